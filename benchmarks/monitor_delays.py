"""How soon drops of approval are found, by rate and size, at a stated number of false alarms of the whole system.

python benchmarks/monitor_delays.py [--streams 2000] [--json FILE]
"""

import argparse
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from numba import njit
from numpy.typing import NDArray

from greenlane.cli.shown import print_table, progress, write_json
from greenlane.monitoring.cusum import drop_information, threshold
from greenlane.monitoring.streams import ALARM, BLOCK_US, NEWS, SUM, TILTS, Budget, Streams, observe
from greenlane.monitoring.traffic import APPROVAL_TILTS, PAGES_PER_DAY, TICKETS_PER_DAY, WAY

MINUTES: Final = 15
BASE: Final = 0.88
LEARNS_DAYS: Final = 3
ANSWERS_MAX: Final = 1_000_000
BLOCKS_A_DAY: Final = 86_400_000_000 // BLOCK_US


class Delay(Struct, frozen=True):
    """Answers and minutes until a drop is found, on average, and what a sum that knows both rates would need."""

    per_minute: float
    drop: float
    answers: float
    minutes: float
    ideal_answers: float

    @property
    def ratio(self) -> float:
        return self.answers / self.ideal_answers


class Curve(Struct, frozen=True):
    """`pages_per_day` and `tickets_per_day` are of `streams` streams, a twentieth of them parents."""

    streams: int
    pages_per_day: float
    tickets_per_day: float
    delays: list[Delay]


def delay_curve(
    *,
    streams: int = 2_000,
    sample: int = 200,
    days: int = 4,
    rates: Sequence[float] = (5.0, 20.0, 60.0, 120.0),
    drops: Sequence[float] = (0.03, 0.05, 0.10),
    repeats: int = 200,
    seed: int = 1,
) -> Curve:
    """False alarms are counted on `sample` streams of 5 to 120 answers a minute that may give their share of the budget
    of `streams`; delays on streams of each rate, `repeats` times, with the thresholds that they had by then."""
    rng = np.random.default_rng(seed)
    parents = streams // 20
    page = false_alarms(rng, sample, budget=PAGES_PER_DAY * sample / parents, days=days) * parents / sample
    rest = streams - parents
    ticket = false_alarms(rng, sample, budget=TICKETS_PER_DAY * sample / rest, days=days) * rest / sample
    delays = [each for rate in rates for each in of_rate(rng, rate, drops, streams=streams, repeats=repeats)]
    return Curve(streams, page, ticket, delays)


def false_alarms(rng: np.random.Generator, count: int, *, budget: float, days: int) -> float:
    """A day, of all `count` streams together."""
    watched, per_block = made(rng.uniform(5.0, 120.0, count), budget)
    alarms = 0
    for block in range((LEARNS_DAYS + days) * BLOCKS_A_DAY):
        calm_block(watched, per_block, rng, block)
        state = watched.state[:count]
        told = state[:, NEWS] > 0.0
        alarms += int(told.sum()) if block >= LEARNS_DAYS * BLOCKS_A_DAY else 0
        state[told, SUM : SUM + TILTS] = 0.0
        state[:, NEWS] = state[:, ALARM] = 0.0
    return alarms / days


def of_rate(
    rng: np.random.Generator, rate: float, drops: Sequence[float], *, streams: int, repeats: int
) -> list[Delay]:
    per_day = TICKETS_PER_DAY / (streams - streams // 20)
    watched, per_block = made(np.array([rate]), per_day)
    for block in range(LEARNS_DAYS * BLOCKS_A_DAY):
        calm_block(watched, per_block, rng, block)
    watched.state[0, ALARM] = watched.state[0, NEWS] = 0.0
    watched.state[0, SUM : SUM + TILTS] = 0.0
    run_length = rate * 1440.0 / per_day
    found = []
    for drop in drops:
        after = BASE - drop
        before_nats, _ = drop_information(BASE, logit(after) - logit(BASE))
        limit = float(threshold(run_length, before_nats))
        seed = int(rng.integers(2**31))
        ours = until_alarm(watched.state, watched.tilts, logit(BASE), after, repeats, seed)
        ideal = until_limit(BASE, after, limit, repeats, seed)
        found.append(Delay(rate, drop, ours, ours / rate, ideal))
    return found


def made(rates: NDArray[np.float64], budget: float) -> tuple[Streams, NDArray[np.int64]]:
    watched = Streams(APPROVAL_TILTS, [Budget((WAY,), budget)], base=BASE, rows_max=2 * len(rates) + 10)
    for number in range(len(rates)):
        watched.hear(((WAY, (str(number),)),), 0.0, happened=1.0, at_us=1)
    return watched, np.maximum(rates * MINUTES, 1.0).astype(np.int64)


def calm_block(watched: Streams, per_block: NDArray[np.int64], rng: np.random.Generator, block: int) -> None:
    happened = (rng.random(int(per_block.sum())) < BASE).astype(np.float64)
    hear_block(watched.state, watched.tilts, logit(BASE), happened, per_block, block * BLOCK_US)
    watched.turn((block + 1) * BLOCK_US)


@njit  # not cached: a cache would not notice that `observe` changed
def hear_block(state, tilts, at_log_odds, happened, per_block, at_us):  # type: ignore[no-untyped-def] # a kernel
    row, place = np.zeros(1, np.int64), 0
    for stream in range(len(per_block)):
        row[0] = stream
        for _ in range(per_block[stream]):
            observe(state, row, tilts, at_log_odds, happened[place], 1.0, 0.0, at_us)
            place += 1


@njit
def until_alarm(state, tilts, at_log_odds, rate, repeats, seed):  # type: ignore[no-untyped-def] # a kernel
    np.random.seed(seed)
    row, kept, total = np.zeros(1, np.int64), state[0].copy(), 0
    for _ in range(repeats):
        state[0] = kept
        for _ in range(ANSWERS_MAX):
            total += 1
            if observe(state, row, tilts, at_log_odds, 1.0 if np.random.random() < rate else 0.0, 1.0, 0.0, 0):
                break
    state[0] = kept
    return total / repeats


@njit(cache=True)
def until_limit(before, after, limit, repeats, seed):  # type: ignore[no-untyped-def] # a kernel
    np.random.seed(seed)
    up, down, total = np.log(after / before), np.log((1.0 - after) / (1.0 - before)), 0
    for _ in range(repeats):
        passed = 0.0
        while passed < limit:
            total += 1
            passed = max(0.0, passed + (up if np.random.random() < after else down))
    return total / repeats


def logit(probability: float) -> float:
    return log(probability / (1.0 - probability))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=2_000, help="watched streams of the whole system")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args()
    with progress("simulating"):
        found = delay_curve(streams=given.streams)
    write_json(found, given.json)
    rows = [
        (f"{d.per_minute:g}", f"{100 * d.drop:.0f} points", f"{d.answers:,.0f}", f"{d.minutes:,.0f}", f"{d.ratio:.2f}")
        for d in found.delays
    ]
    print_table(
        f"{found.streams:,} streams: {found.pages_per_day:.2f} pages, {found.tickets_per_day:.2f} tickets a day, false",
        ["answers a minute", "drop", "answers until found", "minutes", "of the ideal sum's"],
        rows,
    )


if __name__ == "__main__":
    main()
