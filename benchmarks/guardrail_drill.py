"""The guardrails of live experiments, tried on payments whose truth is known: how soon, and how often for nothing.

    python benchmarks/guardrail_drill.py [--runs 20] [--payments 4000] [--seed 1] [--json FILE]

Exit status 1 where harmless arms are paused more often than their budget allows.

The tally and the looks are the follower's own; only the payments are simulated: cards pay once or several times, differ
in how often they are approved, and some payments are fraud that is reported days later.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from greenlane.cli.shown import print_table, progress, write_json
from greenlane.experiments.readout import RAILS, look
from greenlane.experiments.tally import Tallies, Tally
from greenlane.merchants.economics import Economics
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import Arm, Experiment, Exposure

Progress = Callable[[int, int], None]
START_US: Final = 1_767_225_600_000_000
ARMS: Final = ("control", "treatment")
MORE: Final = 5
"""Times as many runs without harm: a false alarm is rare."""
BUDGET: Final = sum({rail.metric: rail.budget for rail in RAILS if rail.metric != "forbidden_retries"}.values())


class Harm(NamedTuple):
    """What the treatment does to a payment, on top of what the control does."""

    name: str
    approval: float = 0.0
    challenges: float = 0.0
    expected_loss: float = 1.0
    """Times the control's."""
    forbidden: float = 0.0


HARMS: Final = (
    Harm("none"),
    Harm("approval falls by the tolerated point", approval=-0.01),
    Harm("approval falls by 3 points", approval=-0.03),
    Harm("approval falls by 5 points", approval=-0.05),
    Harm("approval falls by 10 points", approval=-0.10),
    Harm("15 points more are challenged", challenges=0.15),
    Harm("everything is challenged", challenges=1.0, approval=-0.08),
    Harm("a blind fraud model: 3 times the expected loss", expected_loss=3.0),
    Harm("one retry in a thousand is forbidden", forbidden=0.001),
)


class Drilled(Struct, frozen=True, kw_only=True):
    harm: str
    runs: int
    paused: int
    payments_median: int | None
    """Of both arms, until the pause, where there was one."""
    payments_p90: int | None
    by: dict[str, int]
    verdict: str


def drill(runs: int, *, payments: int, seed: int, progress: Progress) -> list[Drilled]:
    found, done, whole = [], 0, runs * sum(MORE if is_harmless(harm) else 1 for harm in HARMS)
    for place, harm in enumerate(HARMS):
        ends = []
        for number in range(runs * MORE if is_harmless(harm) else runs):
            ends.append(run(harm, payments, seed=seed * 1_000_003 + place * 10_007 + number))
            done += 1
            progress(done, whole)
        found.append(drilled(harm, ends))
    return found


def is_harmless(harm: Harm) -> bool:
    """No worse than what is tolerated."""
    return harm.approval >= -0.01 and harm[2:] == Harm("none")[2:]


def drilled(harm: Harm, ends: list[tuple[str, int] | None]) -> Drilled:
    paused = [end for end in ends if end is not None]
    counts = sorted(units for _, units in paused)
    # what the budget allows, and three standard deviations of luck
    allowed = BUDGET * len(ends) + 3.0 * (BUDGET * (1.0 - BUDGET) * len(ends)) ** 0.5
    verdict = ("over budget" if len(paused) > allowed else f"budget {BUDGET:g}") if is_harmless(harm) else ""
    return Drilled(
        harm=harm.name,
        runs=len(ends),
        paused=len(paused),
        payments_median=counts[len(counts) // 2] if counts else None,
        payments_p90=counts[len(counts) * 9 // 10] if counts else None,
        by=dict(Counter(metric for metric, _ in paused).most_common()),
        verdict=verdict,
    )


def run(harm: Harm, payments: int, *, seed: int) -> tuple[str, int] | None:
    """(the metric that broke, payments of both arms by then), or None where nothing did."""
    rng = np.random.default_rng(seed)
    arms = tuple(Arm(name, 500_000) for name in ARMS)
    tallies = Tallies(lambda _merchant: Economics())
    experiment = Experiment(id="drill", unit="card", arms=arms, planned=payments, state="running")
    tally = tallies.of["drill"] = Tally(experiment)
    cards = max(10, payments // 2)
    hashes, leaning = rng.integers(0, 2**63, cards).tolist(), rng.normal(0.0, 0.08, cards).clip(-0.3, 0.1).tolist()
    card_of, luck = rng.integers(0, cards, payments).tolist(), rng.random((payments, 4)).tolist()
    amounts = rng.lognormal(8.5, 0.8, payments).tolist()
    fraud = rng.beta(0.08, 12.0, payments).tolist()
    for number in range(payments):
        card, draws = card_of[number], luck[number]
        treated = hashes[card] >> 3 & 1
        more = harm if treated else Harm("")
        seen = Exposure("drill", ARMS[treated], hashes[card])
        at_us = START_US + number * 30_000_000
        challenged = float(draws[0] < 0.05 + more.challenges)
        approved = float(draws[1] < min(1.0, 0.88 + leaning[card] + more.approval))
        reported = approved * float(draws[2] < fraud[number] * more.expected_loss)
        tally.meet(seen, at_us)
        tally.add(
            seen, at_us, exposed=1.0, decisions=1.0, settled=1.0, attempts=1.0, latency_us=900.0, challenged=challenged,
            approved=approved, attempts_approved=approved, expected_loss_minor=amounts[number] * fraud[number]
            * more.expected_loss * (1.0 - challenged), reports=reported * (number < payments - DAY_US // 30_000_000),
        )  # fmt: skip
        tally.arms[seen.arm].forbidden += draws[3] < more.forbidden
        for _, pause in look(tallies, at_us):
            return pause.metric, pause.point.units
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="per harm; without one, five times as many")
    parser.add_argument("--payments", type=int, default=4_000, help="of both arms together, planned")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated payments")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args()
    with progress("simulating experiments") as tell:
        found = drill(given.runs, payments=given.payments, seed=given.seed, progress=tell)
    write_json({"drills": found}, given.json)
    rows = []
    for each in found:
        until = ["" if number is None else f"{number:,}" for number in (each.payments_median, each.payments_p90)]
        by = ", ".join(f"{metric} {number}" for metric, number in each.by.items())
        rows.append((each.harm, f"{each.paused} of {each.runs}", *until, by, each.verdict))
    columns = ["harm", "paused", "payments until, median", "p90", "by", ""]
    print_table(f"{given.payments:,} payments planned, guardrails as by default", columns, rows)
    return int(any(each.verdict == "over budget" for each in found))


if __name__ == "__main__":
    sys.exit(main())
