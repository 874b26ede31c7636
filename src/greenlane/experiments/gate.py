"""May this off-policy estimate be believed? The gate refuses, rather than warns, and says why.

Where a term of money has too few events, or the log never did what the target policy would do, there is no estimate but
there are bounds. Whatever the gate says, excluded rows (overridden and mandated actions) are counted, by their reason.
"""

from collections.abc import Mapping
from functools import reduce
from itertools import pairwise
from operator import add
from types import MappingProxyType
from typing import Final

import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.distributions import normal_quantile
from greenlane.experiments.off_policy import Difference, Overlap, Term, between, differences, mean_difference
from greenlane.experiments.weights import effective_size
from greenlane.payments.arrays import Floats, Ints

EFFECTIVE_ROWS_MIN: Final = 1_000
EFFECTIVE_EVENTS_MIN: Final = 50
SINGLE_ROW_SHARE_MAX: Final = 0.05
UNSUPPORTED_MAX: Final = 0.01
WEIGHT_MAX: Final = 200.0
PAIRED_ERRORS_MAX: Final = 2.0
MATURITY_MIN: Final = 0.3
"""Share of the labels that must have come: below, a rate is called immature everywhere else too."""
MISCALIBRATION_ALPHA: Final = 0.001
DRAWS_PER_BIN: Final = 25.0
"""Variance, in draws, of a bin of propensities: enough for the normal law."""
BINS_MAX: Final = 10


class Check(Struct, frozen=True):
    name: str
    value: float
    limit: float
    passed: bool
    why: str
    """What to say where it did not pass."""


class Finding(Struct, frozen=True):
    """Money per unit, target minus logging policy: an estimate with its interval, or bounds without one."""

    value: float | None
    low: float
    high: float
    effective_events: float


class Verdict(Struct, frozen=True, kw_only=True):
    accepted: bool
    total: Finding
    terms: dict[str, Finding]
    estimates: dict[str, tuple[float, float, float]]
    """(value, low, high) of each estimator, shown whether accepted or not."""
    checks: tuple[Check, ...]
    effective_rows: float
    units: int
    excluded: Mapping[str, int]
    """Decisions that the question cannot be asked of, by the reason."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused; empty where it was not."""
        return tuple(check.why for check in self.checks if not check.passed)


def judge(
    seen: Overlap,
    terms: Mapping[str, Term],
    *,
    claimed: float | None = None,
    maturity: Floats | None = None,
    excluded: Mapping[str, int] = MappingProxyType({}),
    alpha: float = 0.05,
) -> Verdict:
    """The sum of `terms` and each of them.

    `claimed` is the effect, in money per unit, that was to be shown; by default the estimate itself. `maturity` is the
    share of its labels that each row has by now, 0 to 1; without it labels are taken as complete.

    >>> from greenlane.experiments.off_policy import overlap, term
    >>> rng = np.random.default_rng(1)
    >>> coin, action = np.full((4_000, 2), 0.5), rng.integers(0, 2, 4_000)
    >>> seen = overlap(np.tile([0.1, 0.9], (4_000, 1)), coin, action=action)
    >>> verdict = judge(seen, {"margin": term(seen, action + rng.normal(0, 1, 4_000))})
    >>> verdict.accepted, round(verdict.total.value, 1), verdict.reasons
    (True, 0.4, ())
    """
    if not terms:
        raise InputError("an evaluation needs a term of money", code="invalid_evaluation", param="terms")
    total = reduce(add, terms.values())
    found = differences(seen, total, alpha=alpha)
    events = {name: effective_events(seen, one) for name, one in terms.items()}
    checks = (
        *(
            at_least(
                f"{name}: effective events", count, EFFECTIVE_EVENTS_MIN, f"{name} has too few events: bounds only"
            )
            for name, count in events.items()
        ),
        *support_checks(seen),
        influence_check(seen, total),
        *agreement_checks(seen, found, alpha=alpha),
        width_check(found["DR"], claimed),
        calibration_check(seen),
        maturity_check(maturity),
    )
    supported = all(check.passed for check in checks if check.name in ("unsupported mass", "largest weight"))
    findings = {
        name: finding(seen, one, events=events[name], supported=supported, alpha=alpha) for name, one in terms.items()
    }
    whole = all(one.value is not None for one in findings.values())
    return Verdict(
        accepted=all(check.passed for check in checks),
        total=estimate(found["DR"], min(events.values())) if whole else bounded_total(findings),
        terms=findings,
        estimates={name: (one.value, one.low, one.high) for name, one in found.items()},
        checks=checks,
        effective_rows=effective_rows(seen),
        units=seen.units,
        excluded=dict(excluded),
    )


def at_least(name: str, value: float, limit: float, why: str) -> Check:
    return Check(name, value, limit, value >= limit, f"{why} ({value:.4g}, needs {limit:g})")


def at_most(name: str, value: float, limit: float, why: str) -> Check:
    return Check(name, value, limit, value <= limit, f"{why} ({value:.4g}, may be {limit:.4g})")


def effective_rows(seen: Overlap) -> float:
    """Of the step where least is left."""
    return min(effective_size(seen.weight[seen.step == step]) for step in range(int(seen.step.max()) + 1))


def effective_events(seen: Overlap, money: Term) -> float:
    """Events of this kind of money that tell the policies apart: under the weights and under their distance from 1.

    A target policy that almost never differs keeps all its weights near 1, and yet its difference hangs on few events.
    """
    weight = seen.weight[money.reward != 0.0]
    return min(effective_size(weight), effective_size(np.abs(weight - 1.0)))


def support_checks(seen: Overlap) -> tuple[Check, ...]:
    lost = float((seen.weight_before * seen.unsupported()).sum()) / seen.units
    return (
        at_least("effective rows", effective_rows(seen), EFFECTIVE_ROWS_MIN, "the policies meet in too few rows"),
        at_most("unsupported mass", lost, UNSUPPORTED_MAX, "the log never did part of what the target would do"),
        at_most("largest weight", float(seen.weight.max()), WEIGHT_MAX, "a single row stands for too many"),
    )


def influence_check(seen: Overlap, money: Term) -> Check:
    pull = np.abs(seen.weight * (money.reward - money.predicted))
    share = float(pull.max() / pull.sum()) if pull.sum() > 0.0 else 0.0
    return at_most("largest row's share", share, SINGLE_ROW_SHARE_MAX, "one row carries the estimate")


def agreement_checks(seen: Overlap, found: Mapping[str, Difference], *, alpha: float) -> tuple[Check, ...]:
    """Each estimator against the doubly robust one, in standard errors of their paired difference."""
    claimed = found["DR"]
    return tuple(
        at_most(
            f"{name} against DR",
            apart(seen, one, claimed, alpha=alpha),
            PAIRED_ERRORS_MAX,
            f"{name} and DR disagree, in paired standard errors",
        )
        for name, one in found.items()
        if name != "DR"
    )


def apart(seen: Overlap, one: Difference, other: Difference, *, alpha: float) -> float:
    found = between(seen, one, other, alpha=alpha)
    gap, negligible = abs(found.value), 1e-9 * (abs(one.value) + abs(other.value))
    return gap / found.se if gap > negligible and found.se > 0.0 else 0.0


def width_check(found: Difference, claimed: float | None) -> Check:
    effect = abs(found.value if claimed is None else claimed)
    why = "the interval's half-width exceeds the effect"
    return at_most("half-width", (found.high - found.low) / 2.0, effect, why)


def calibration_check(seen: Overlap) -> Check:
    """Was each action taken as often as its propensity says, in bins of propensity; as the worst bin's z."""
    rows, actions = np.nonzero((seen.logging > 0.0) & (seen.logging < 1.0) & seen.taken[:, None])
    p = seen.logging[rows, actions]
    order = np.argsort(p, kind="stable")
    drawn = np.cumsum((p * (1.0 - p))[order])
    bins = min(BINS_MAX, int(drawn[-1] / DRAWS_PER_BIN)) if len(drawn) else 0
    limit = normal_quantile(1.0 - MISCALIBRATION_ALPHA / 2.0 / max(bins, 1))
    cuts = np.searchsorted(drawn, drawn[-1] * np.arange(bins + 1) / bins) if bins else np.zeros(1, np.int64)
    surprise = (seen.action[rows] == actions) - p
    worst = max(
        (
            bin_surprise(seen, rows[order[start:end]], surprise[order[start:end]])
            for start, end in pairwise(cuts.tolist())
        ),
        default=0.0,
    )
    return at_most(
        "propensities, worst bin", worst, limit, "actions were not taken as often as logged propensities say"
    )


def bin_surprise(seen: Overlap, rows: Ints, surprise: Floats) -> float:
    """How far a bin is from what its propensities say, in standard errors by cluster."""
    sums = np.bincount(seen.groups.single[0][rows], surprise)
    spread = float(np.sqrt(sums @ sums))
    return abs(float(sums.sum())) / spread if spread > 0.0 else 0.0


def maturity_check(maturity: Floats | None) -> Check:
    least = 1.0 if maturity is None else float(maturity.min())
    return at_least("labels come", least, MATURITY_MIN, "rows are too young for their labels")


def finding(seen: Overlap, money: Term, *, events: float, supported: bool, alpha: float) -> Finding:
    if not supported:
        return support_bounds(seen, money, events=events, alpha=alpha)
    if events < EFFECTIVE_EVENTS_MIN:
        return movement_bounds(seen, money, events=events)
    return estimate(differences(seen, money, alpha=alpha)["DR"], events)


def estimate(found: Difference, events: float) -> Finding:
    return Finding(found.value, found.low, found.high, events)


def support_bounds(seen: Overlap, money: Term, *, events: float, alpha: float) -> Finding:
    """What is supported as estimated; what is not at its least and at its most (Manski 1990)."""
    beyond = seen.weight_before * seen.unsupported()
    rows = (seen.weight - 1.0) * money.reward
    least, most = (mean_difference(seen, rows + beyond * worth, alpha=alpha) for worth in (money.low, money.high))
    return Finding(None, least.low, most.high, events)


def movement_bounds(seen: Overlap, money: Term, *, events: float) -> Finding:
    """Without events: the policies differ by no more than the probability that moves, times the range of the money."""
    most = float((seen.moved() * (money.high - money.low)).sum()) / seen.units
    return Finding(None, -most, most, events)


def bounded_total(findings: Mapping[str, Finding]) -> Finding:
    parts = findings.values()
    events = min(one.effective_events for one in parts)
    return Finding(None, sum(one.low for one in parts), sum(one.high for one in parts), events)
