"""Outages in minute counts by response code: which are found and dated to within minutes, and how many pages are false?

    python benchmarks/counts.py [--seeds 14] [--days 2] [--per-minute 120] [--outages 6] [--json FILE]

The files are made: payments rise and fall with the hour and the day of the week, wander beyond chance, and decline by
about ten codes of which some are seen once an hour. Into each, a few outages of known start and end are put, of the
kinds of `FAULTS`. Everything is read back from Parquet or CSV in one of the `FORMS` that such files come in.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from table import Bar, bar, report

from greenlane.jobs.monitoring import Monitored, replay

Counts = NDArray[np.float64]
CODES: Final = ("00", "05", "51", "91", "14", "54", "57", "59", "61", "96", "N7")
SHARES: Final = np.array([0.0, 0.030, 0.055, 0.003, 0.004, 0.006, 0.005, 0.004, 0.003, 0.001, 0.001])
FIRST: Final = np.datetime64("2025-07-11T23:30", "us")
MINUTE_US: Final = 60_000_000
DAY: Final = 1440
APART: Final = 150
"""Minutes between the end of an outage and the next one's start, at least."""
WILD: Final = 300.0
"""The variance of a minute of 100 is 100 + 100^2 / 300."""
EARLY, LATE = 6, 3
"""Minutes around the true start within which a page must begin."""


class Outage(NamedTuple):
    kind: str
    start: int
    end: int
    """Minutes since the file's first."""


Fault = Callable[[Counts, Counts, np.random.Generator], Counts]
"""(expected counts[minutes, codes], how far it has come 0..1[minutes, 1]) -> expected counts"""


def silence(mean: Counts, on: Counts, _rng: np.random.Generator) -> Counts:
    return mean * (1.0 - on)


def fewer(mean: Counts, on: Counts, rng: np.random.Generator) -> Counts:
    return mean * (1.0 - on * rng.uniform(0.6, 0.9))


def moved(mean: Counts, on: Counts, *, share: float, to: Any) -> Counts:
    """`share` of what would be approved is declined, by the codes `to`."""
    lost = mean[:, :1] * on * share
    found = mean.copy()
    found[:, :1] -= lost
    found[:, [CODES.index(code) for code in to]] += lost / len(to)
    return found


def technical(mean: Counts, on: Counts, rng: np.random.Generator) -> Counts:
    return moved(mean, on, share=rng.uniform(0.3, 0.95), to=("91",))


def declines(mean: Counts, on: Counts, rng: np.random.Generator) -> Counts:
    return moved(mean, on, share=rng.uniform(0.3, 0.8), to=(rng.choice(["05", "51", "57"]),))


def partial(mean: Counts, on: Counts, rng: np.random.Generator) -> Counts:
    return moved(mean, on, share=rng.uniform(0.15, 0.3), to=("05", "91", "96"))


FAULTS: Final[dict[str, tuple[Fault, int]]] = {
    "silence": (silence, 0),
    "fewer": (fewer, 0),
    "technical": (technical, 0),
    "declines": (declines, 0),
    "partial": (partial, 0),
    "gradual": (technical, 8),
}
"""And over how many minutes they come."""


def expected(rng: np.random.Generator, days: int, per_minute: float) -> Counts:
    """float64[minutes, codes] of a usual stretch of days."""
    minute = np.arange(days * DAY)
    hour, day = minute / 60.0 % 24.0, minute // DAY
    phase = rng.uniform(-1.0, 1.0)
    shape = 0.12 + 0.88 * np.exp(1.3 * (np.cos((hour - 15.0 - phase) / 24.0 * 2.0 * np.pi) - 1.0))
    weekly = np.array([1.0, 0.95, 1.0, 1.05, 1.2, 1.1, 0.8])[(day + rng.integers(7)) % 7]
    level = np.exp(wandering(rng, len(minute), deviation=0.08, minutes=60.0)) * surges(rng, days)
    share = np.tile(SHARES, (len(minute), 1))
    for at in range(1, len(CODES)):
        daily = 0.25 * np.cos((hour - 4.0) / 24.0 * 2.0 * np.pi)
        share[:, at] *= np.exp(daily + wandering(rng, len(minute), deviation=0.12, minutes=90.0))
    share[:, 0] = 1.0 - share[:, 1:].sum(axis=1)
    return np.asarray(per_minute * (shape * weekly * level)[:, None] * share)


def surges(rng: np.random.Generator, days: int) -> Counts:
    """About once a day something is on sale: twice or three times the volume, which fades; and full hours begin with a
    minute or two of standing orders."""
    found = np.ones(days * DAY)
    for start in rng.integers(0, days * DAY, rng.poisson(days)):
        found[start:] += rng.uniform(0.5, 2.0) * np.exp(-np.arange(len(found) - start) / rng.uniform(10.0, 40.0))
    found[np.arange(len(found)) % 60 < 2] *= 1.3
    return found


def wandering(rng: np.random.Generator, size: int, *, deviation: float, minutes: float) -> Counts:
    """Ornstein and Uhlenbeck's, by the minute."""
    kept = np.exp(-1.0 / minutes)
    found, steps = np.empty(size), rng.normal(0.0, deviation * np.sqrt(1.0 - kept**2), size)
    last = rng.normal(0.0, deviation)
    for at in range(size):
        found[at] = last = kept * last + steps[at]
    return found


def made(seed: int, *, days: int, per_minute: float, outages: int) -> tuple[NDArray[np.int64], list[Outage]]:
    """int64[minutes, codes], and what was put into them."""
    rng = np.random.default_rng(seed)
    mean, told, free = expected(rng, days, per_minute), list[Outage](), 3 * 60
    room = (days * DAY - free) // outages if outages else 0
    for number in range(outages):
        kind = tuple(FAULTS)[(seed + number) % len(FAULTS)]
        fault, rise = FAULTS[kind]
        start = free + number * room + int(rng.integers(0, room - APART))
        end = start + int(rng.integers(8, 60))
        on = np.clip((np.arange(start, end) - start + 1.0) / (rise + 1.0), 0.0, 1.0)[:, None]
        mean[start:end] = fault(mean[start:end], on, rng)
        told.append(Outage(kind, start, end))
    wild = rng.gamma(WILD, 1.0 / WILD, mean.shape)
    return rng.poisson(wild * mean), told


FORMS: Final = ("long", "gaps", "shuffled", "numbers", "zoned", "wide", "csv")


def write(counts: NDArray[np.int64], folder: Path, form: str, *, seed: int) -> Path:
    """Rows of zero or none, unsorted and in parts, codes as numbers, zoned or text times, a column for each code."""
    import pandas as pd

    stamps = pd.date_range(pd.Timestamp(FIRST), periods=len(counts), freq="min")
    rows = pd.DataFrame(counts, columns=list(CODES)).assign(timestamp=stamps)
    if form == "wide":
        rows.to_parquet(folder / "counts.parquet", index=False)
        return folder / "counts.parquet"
    rows = rows.melt("timestamp", var_name="auth_code", value_name="count")
    if form in ("gaps", "numbers", "csv"):
        rows = rows[rows["count"] > 0]
    if form == "numbers":
        rows = rows[rows["auth_code"] != "N7"].astype({"auth_code": int, "count": float})
    if form == "zoned":
        rows["timestamp"] = rows["timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/Sao_Paulo")
    if form == "shuffled":
        half = rows.assign(count=rows["count"] // 2)
        rows = pd.concat([half, rows.assign(count=rows["count"] - half["count"])])
        rows = rows.sample(frac=1.0, random_state=seed)
        rows["timestamp"] = rows["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S")
    file = folder / ("counts.csv" if form == "csv" else "counts.parquet")
    (rows.to_csv if form == "csv" else rows.to_parquet)(file, index=False)
    return file


class Judged(NamedTuple):
    found: list[tuple[Outage, float | None]]
    """With minutes from its start until it was known; None where no page began near it."""
    false_pages: int
    false_tickets: int
    days: float


def judged(found: Monitored, told: list[Outage]) -> Judged:
    """A page counts as an outage's if it began within -6 to +3 minutes of it. False is what begins outside any."""
    pages = [one for one in found.incidents if one.severity == "page"]
    begun = [(minute(one.started_us), minute(one.detected_us)) for one in pages]
    delays = [
        min((known - outage.start for start, known in begun if -EARLY <= start - outage.start <= LATE), default=None)
        for outage in told
    ]
    false = [one for one in found.incidents if not any(is_of(minute(one.started_us), outage) for outage in told)]
    pages_false = sum(one.severity == "page" for one in false)
    return Judged(list(zip(told, delays, strict=True)), pages_false, len(false) - pages_false, found.days)


def minute(at_us: int) -> float:
    return (at_us - FIRST.astype(np.int64)) / MINUTE_US


def is_of(start: float, outage: Outage) -> bool:
    return outage.start - EARLY <= start <= outage.end + LATE


def replayed(seed: int, *, days: int, per_minute: float, outages: int) -> Judged:
    """A file of this seed, in one of the forms, written, read, and judged."""
    counts, told = made(seed, days=days, per_minute=per_minute, outages=outages)
    with tempfile.TemporaryDirectory() as folder:
        file = write(counts, Path(folder), FORMS[seed % len(FORMS)], seed=seed)
        return judged(replay(file), told)


def measured(seeds: int, *, days: int, per_minute: float, outages: int) -> list[Bar]:
    every = [replayed(seed, days=days, per_minute=per_minute, outages=outages) for seed in range(seeds)]
    whole = sum(one.days for one in every)
    rows = []
    for kind in FAULTS if outages else ():
        delays = [delay for one in every for outage, delay in one.found if outage.kind == kind]
        known = [delay for delay in delays if delay is not None]
        rows += [
            bar(f"{kind}: found, of {len(delays)}", len(known) / len(delays), "", value_min=1.0),
            bar(f"{kind}: minutes until known, mean", float(np.mean(known)), "min"),
        ]
    pages, tickets = sum(one.false_pages for one in every), sum(one.false_tickets for one in every)
    return [
        *rows,
        bar("false pages", pages / whole, "a day", value_max=1.0),
        bar("false tickets", tickets / whole, "a day"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=14)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--per-minute", type=float, default=120.0, help="payments, at the busiest hour")
    parser.add_argument("--outages", type=int, default=6, help="in each file")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measured(given.seeds, days=given.days, per_minute=given.per_minute, outages=given.outages)
    return report(found, given.json)


if __name__ == "__main__":
    sys.exit(main())
