"""What pauses an arm: harm that can be seen in time, looked at after every unit, with false alarms inside a budget.

A guardrail acts on what exists now: approval, challenge rate, latency, the expected loss under a frozen reference
model, reports at equal cohort age. Matured disputes come too late to pause anything and are read at the end.
"""

from math import inf, log
from typing import Literal

import numpy as np
from msgspec import Struct

from greenlane.experiments.ab import Lift
from greenlane.experiments.sequences import UNITS_MIN, log_evidence_above
from greenlane.payments.arrays import Floats
from greenlane.policy.arms import Rail

Harm = Literal["rise", "fall"]


class Watch(Struct, frozen=True):
    """One look."""

    harm: float
    """How much worse than control, in the metric's units; negative: better."""
    p_value: float
    """Always valid: keep looking as often as you like."""
    pause: bool
    low: float = -inf
    """The harm's lower end: the arm is paused when it lies above what is tolerated."""


def watch(found: Lift, rail: Rail, *, harm: Harm, planned: int) -> Watch:
    """`planned` counts the units of both arms together, fixed before the start; the lift's `units` are those so far.

    >>> from greenlane.experiments.ab import lift
    >>> from greenlane.experiments.moments import Moments
    >>> seen = lift(Moments.of_proportion(8_700, 10_000), Moments.of_proportion(8_300, 10_000))
    >>> watch(seen, Rail(metric="payment_approval", tolerated=0.002), harm="fall", planned=20_000).pause
    True
    """
    worse = float(found.estimate) * (1.0 if harm == "rise" else -1.0)
    if float(found.units) < UNITS_MIN or not float(found.se) > 0.0:
        return Watch(worse, 1.0, False)
    z = np.asarray((worse - rail.tolerated) / found.se)
    evidence = float(log_evidence_above(z, found.units, planned=planned, alpha=rail.budget))
    low = worse - _broken_at(found.units, rail.budget, planned) * float(found.se)
    return Watch(worse, float(np.exp(-max(evidence, 0.0))), evidence > -log(rail.budget), low)


def _broken_at(units: Floats, budget: float, planned: int) -> float:
    """How many standard errors of harm beyond what is tolerated break the rail now, to a fiftieth."""
    low, width = 0.0, 40.0
    for _ in range(2):  # twice a grid of 45: the second within one step of the first
        z = np.linspace(low, low + width, 46)
        evidence = log_evidence_above(z, units, planned=planned, alpha=budget)
        place = int(np.searchsorted(evidence, -log(budget)))
        low, width = float(z[max(place - 1, 0)]), width / 45.0
    return low + width


def forbidden(count: int) -> Watch:
    """Things that must not happen at all, such as a retry that a scheme forbids: one is enough.

    >>> forbidden(0).pause, forbidden(1).pause
    (False, True)
    """
    return Watch(float(count), 0.0 if count else 1.0, count > 0)
