"""What an experiment shows by now: every arm against the control, by metric, with all that may make it untrue.

Absolute and relative lift stand apart. The plain interval is for one look at the planned end, the sequence for any
look; p-values of all metrics and arms are adjusted together (Holm). CUPED stands beside the plain estimate with its
pre-period check. What labels will still come is divided by the share that has come (`maturity`).
"""

from collections.abc import Iterator
from math import fsum
from typing import Final, Literal, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from greenlane.experiments.ab import Effect, Lift, adjusted, compare, lift
from greenlane.experiments.bootstrap import cluster_bootstrap
from greenlane.experiments.guardrails import Guardrail, Watch, forbidden, looked
from greenlane.experiments.moments import Moments
from greenlane.experiments.multiple import holm
from greenlane.experiments.sequences import always_valid
from greenlane.experiments.srm import chi_square_check, sequential_check
from greenlane.experiments.tally import Pause, Point, Tallies, Tally, sums_of
from greenlane.learning.headroom import PRIORS
from greenlane.learning.maturity import SHARE_MIN
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import PPM, Experiment, Rail
from greenlane.ports.journal import Entry

SRM_ALPHA: Final = 0.001
LOOK_EVERY: Final = 1.02
"""A guardrail looks again when there are so many times as many payments: often enough, and bounded."""
PATH_MAX: Final = 200
SEED: Final = 7


class Measure(NamedTuple):
    """numerator / denominator, and which way is worse."""

    numerator: str
    denominator: str
    harm: Literal["rise", "fall"]
    unit: str


MEASURES: Final = {
    "payment_approval": Measure("approved", "settled", "fall", "share"),
    "attempt_approval": Measure("attempts_approved", "attempts", "fall", "share"),
    "challenge_rate": Measure("challenged", "exposed", "rise", "share"),
    "block_rate": Measure("blocked", "exposed", "rise", "share"),
    "latency_us": Measure("latency_us", "decisions", "rise", "us"),
    "expected_loss": Measure("expected_loss_minor", "exposed", "rise", "minor units a payment"),
    "early_reports": Measure("reports", "exposed", "rise", "share"),
    "disputes": Measure("disputes", "exposed", "rise", "share"),
    "believed_value": Measure("believed_minor", "exposed", "fall", "minor units a payment"),
    "earned": Measure("earned_minor", "settled", "fall", "minor units a payment"),
    "lost": Measure("lost_minor", "exposed", "rise", "minor units a payment"),
}
RAILS: Final = (
    Rail(metric="payment_approval", tolerated=0.01),
    Rail(metric="challenge_rate", tolerated=0.05),
    Rail(metric="expected_loss"),
    Rail(metric="early_reports"),
    Rail(metric="forbidden_retries"),
)
"""Of an experiment that states none: its whole budget for false alarms is the sum, .04 and nothing for the last."""


class Interval(Struct, frozen=True):
    estimate: float
    low: float | None
    """None: nothing can be said yet."""
    high: float | None
    p_value: float


class Compared(Struct, frozen=True, kw_only=True):
    """An arm against the control, on one metric."""

    arm: str
    metric: str
    unit: str
    value: float | None
    control: float | None
    absolute: Interval
    """For one look at the planned end: delta method over clusters."""
    relative: Interval
    """As a share of the control's value: another question, another p-value."""
    bootstrap: Interval
    cuped: Interval
    pre_period_p_value: float
    """Small: the arms differed before the start, and CUPED is not to be believed."""
    sequence: Interval
    """Absolute, for any look."""
    adjusted_p_value: float
    """Of the sequence, over all metrics and arms (Holm)."""


class ArmShown(Struct, frozen=True, kw_only=True):
    arm: str
    share: float
    paused: bool
    units: int
    payments: int
    forbidden_retries: int
    matured_share: float
    """Of the reports that will come about its payments, how many can have come."""
    lost_matured_minor: float | None
    """A payment, with what is still to come; None while less than 30 % has."""
    net_matured_minor: float | None
    """Earned less that, a payment."""


class RailShown(Struct, frozen=True, kw_only=True):
    arm: str
    metric: str
    tolerated: float
    budget: float
    harm: float
    p_value: float
    path: list[Point]
    paused: Point | None


class Readout(Struct, frozen=True, kw_only=True):
    experiment: Experiment
    started_us: int
    ended_us: int
    arms: list[ArmShown]
    srm_p_value: float
    """For one look (chi-square)."""
    srm_sequential_p_value: float
    """For every look; below .001 nothing else may be read."""
    metrics: list[Compared]
    guardrails: list[RailShown]
    notes: list[str]


def readout(tally: Tally, *, now_us: int) -> Readout:
    experiment = tally.experiment
    control, *others = (arm.name for arm in experiment.arms)
    found = [compared(tally, control, arm, metric) for arm in others for metric in MEASURES]
    found = with_holm(found)
    return Readout(
        experiment=experiment,
        started_us=tally.started_us,
        ended_us=tally.ended_us,
        arms=[shown(tally, name, now_us=now_us) for name in tally.sums],
        srm_p_value=srm(tally),
        srm_sequential_p_value=tally.srm_p_value,
        metrics=found,
        guardrails=[rail_shown(tally, arm, rail) for arm in others for rail in rails_of(experiment)],
        notes=notes_of(tally),
    )


def rails_of(experiment: Experiment) -> tuple[Rail, ...]:
    return experiment.guardrails or RAILS


def moments_of(tally: Tally, arm: str, metric: str) -> Moments:
    """Buckets are the clusters; the covariate is what cards' past said, centred."""
    measure = MEASURES[metric]
    sums = sums_of(tally, arm, (measure.numerator, measure.denominator, "before"))
    return Moments.of(sums[:, 0], sums[:, 1], sums[:, 2])


def is_known(*arms: Moments) -> bool:
    return all(float(arm.count) >= 2.0 and float(arm.mean[..., 1]) > 0.0 for arm in arms)


def payments(tally: Tally, *arms: str, metric: str) -> float:
    return fsum(tally.total(arm, MEASURES[metric].denominator) for arm in arms)


def counted(found: Lift, units: float) -> Lift:
    """The same lift, with time told in payments rather than in buckets."""
    return Lift(found.estimate, found.se, found.dof, np.asarray(units), found.base_errors)


def compared(tally: Tally, control: str, arm: str, metric: str) -> Compared:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _compared(tally, control, arm, metric)


def _compared(tally: Tally, control: str, arm: str, metric: str) -> Compared:
    a, b = (moments_of(tally, name, metric) for name in (control, arm))
    unknown = Interval(0.0, None, None, 1.0)
    if not is_known(a, b):
        return Compared(
            arm=arm, metric=metric, unit=MEASURES[metric].unit, value=None, control=None, absolute=unknown,
            relative=unknown, bootstrap=unknown, cuped=unknown, pre_period_p_value=1.0, sequence=unknown,
            adjusted_p_value=1.0,
        )  # fmt: skip
    beside, units = adjusted(a, b), payments(tally, control, arm, metric=metric)
    sequence = always_valid(counted(lift(a, b), units), planned=float(tally.experiment.planned))
    rows = [sums_of(tally, name, MEASURES[metric][:2]) for name in (control, arm)]
    again = cluster_bootstrap((rows[0][:, 0], rows[0][:, 1]), (rows[1][:, 0], rows[1][:, 1]), seed=SEED, replicates=400)
    return Compared(
        arm=arm,
        metric=metric,
        unit=MEASURES[metric].unit,
        value=float(b.value()),
        control=float(a.value()),
        absolute=interval(beside.plain),
        relative=interval(compare(a, b, relative=True)),
        bootstrap=interval(again),
        cuped=interval(beside.adjusted),
        pre_period_p_value=float(beside.pre_period.p_value),
        sequence=interval(sequence),
        adjusted_p_value=float(sequence.p_value),
    )


def interval(found: Effect) -> Interval:
    low, high = float(found.low), float(found.high)
    known = np.isfinite([low, high]).all() and np.isfinite(float(found.estimate))
    p_value = float(found.p_value) if np.isfinite(float(found.p_value)) else 1.0
    estimate = float(found.estimate) if np.isfinite(float(found.estimate)) else 0.0
    return Interval(estimate, low if known else None, high if known else None, p_value)


def with_holm(found: list[Compared]) -> list[Compared]:
    if not found:
        return found
    together = holm([each.sequence.p_value for each in found])
    return [replace(each, adjusted_p_value=float(p)) for each, p in zip(found, together, strict=True)]


def shown(tally: Tally, name: str, *, now_us: int) -> ArmShown:
    experiment = tally.experiment
    arm = experiment.named(name)
    exposed, settled = tally.total(name, "exposed"), tally.total(name, "settled")
    share = matured_share(tally, name, now_us=now_us)
    lost = tally.total(name, "lost_minor") / exposed / share if exposed and share >= SHARE_MIN else None
    earned = tally.total(name, "earned_minor") / settled if settled else 0.0
    return ArmShown(
        arm=name,
        share=arm.share_ppm / PPM if arm is not None else 0.0,
        paused=name in experiment.paused_arms,
        units=tally.units(name),
        payments=round(exposed),
        forbidden_retries=tally.forbidden[name],
        matured_share=share,
        lost_matured_minor=lost,
        net_matured_minor=None if lost is None else earned - lost,
    )


def matured_share(tally: Tally, arm: str, *, now_us: int) -> float:
    days = tally.by_day[arm]
    if not days:
        return 0.0
    ages = np.array([max(0, now_us - day * DAY_US - DAY_US // 2) for day in days], np.int64)
    counts = np.array(list(days.values()), np.float64)
    return float(PRIORS["fraud_reports"].at(ages) @ counts / counts.sum())


def srm(tally: Tally) -> float:
    counts, shares = met(tally)
    return chi_square_check(counts, shares) if len(counts) > 1 and fsum(counts) else 1.0


def met(tally: Tally) -> tuple[list[float], list[int]]:
    """(units, shares) of the arms that were never paused: only these were filled by their shares all the time."""
    steady = [arm for arm in tally.experiment.arms if arm.name not in tally.paused_once]
    return [float(tally.units(arm.name)) for arm in steady], [arm.share_ppm for arm in steady]


def notes_of(tally: Tally) -> list[str]:
    """What arms share, and so what the numbers do not say."""
    experiment = tally.experiment
    found = ["prices of shared budgets are the same for all arms, except where an arm states its own"]
    if experiment.unit == "cell":
        hours = experiment.block_us / 3_600_000_000
        found.append(f"a switchback: cells of issuer and routes take turns every {hours:g} h; blocks are the clusters")
    elif experiment.learner == "shared":
        found.append("all arms share one learner of approval: what one arm learns, the others use")
    for arm in sorted(tally.paused_once - set(experiment.paused_arms)):
        found.insert(0, f"{arm} was paused for a while: its payments are of other days than the control's")
    if tally.srm_p_value < SRM_ALPHA:
        found.insert(0, "SAMPLE RATIO: the arms did not get their shares; nothing else may be read")
    return found


def rail_shown(tally: Tally, arm: str, rail: Rail) -> RailShown:
    seen, _ = watched(tally, arm, rail)
    paused = next((p.point for p in tally.pauses if (p.arm, p.metric) == (arm, rail.metric)), None)
    return RailShown(
        arm=arm,
        metric=rail.metric,
        tolerated=rail.tolerated,
        budget=rail.budget,
        harm=seen.harm,
        p_value=min([seen.p_value, *(point.p_value for point in tally.paths.get(f"{arm}/{rail.metric}", ()))]),
        path=tally.paths.get(f"{arm}/{rail.metric}", []),
        paused=paused,
    )


def watched(tally: Tally, arm: str, rail: Rail) -> tuple[Watch, int]:
    """One look, and at how many payments of both arms."""
    if rail.metric == "forbidden_retries":
        return forbidden(tally.forbidden[arm]), round(tally.total(arm, "exposed"))
    control = tally.experiment.arms[0].name
    a, b = (moments_of(tally, name, rail.metric) for name in (control, arm))
    units = payments(tally, control, arm, metric=rail.metric)
    if not is_known(a, b):
        return Watch(0.0, 1.0, False), round(units)
    guardrail = Guardrail(
        metric=rail.metric,
        harm=MEASURES[rail.metric].harm,
        tolerated=rail.tolerated,
        planned=tally.experiment.planned,
        budget=rail.budget,
    )
    return looked(guardrail, counted(lift(a, b), units)), round(units)


def fold(tallies: Tallies, entry: Entry) -> list[tuple[Experiment, Pause]]:
    """Count an entry in, and look where it is time to: the same journal gives the same looks, whoever folds it."""
    tallies.apply(entry)
    return look(tallies, entry.ingest_us) if entry.kind == "decision" else []


def look(tallies: Tallies, at_us: int) -> list[tuple[Experiment, Pause]]:
    """Every guardrail of what runs, where there are enough new payments to look again: the arms to pause."""
    found: list[tuple[Experiment, Pause]] = []
    for tally in tallies.of.values():
        due = max(tally.looked_at + 10, LOOK_EVERY * tally.looked_at)
        if tally.exposed >= due and tally.experiment.state == "running":
            tallies.settle(at_us)
            tally.looked_at = tally.exposed
            found += [(tally.experiment, pause) for pause in _looked(tally, at_us)]
    return found


def _looked(tally: Tally, at_us: int) -> Iterator[Pause]:
    experiment = tally.experiment
    counts, shares = met(tally)
    if len(counts) > 1:
        tally.srm_p_value = min(tally.srm_p_value, float(sequential_check(counts, shares)))
    for arm in experiment.arms[1:]:
        if arm.name not in experiment.paused_arms:
            yield from _broken(tally, arm.name, at_us)


def why_of(pause: Pause) -> str:
    """For the audit: what was seen, and that looking often does not explain it."""
    seen = pause.point
    least = f"at least {seen.low:.4g}, p={seen.p_value:.2g}"
    return f"{pause.metric} worse by {seen.harm:.4g} ({least}) at {seen.units} payments"


def _broken(tally: Tally, arm: str, at_us: int) -> Iterator[Pause]:
    for rail in rails_of(tally.experiment):
        seen, units = watched(tally, arm, rail)
        point = Point(at_us, units, seen.harm, seen.low, seen.p_value)
        path = tally.paths.setdefault(f"{arm}/{rail.metric}", [])
        path.append(point)
        if len(path) > PATH_MAX:
            del path[1:-1:2]
        if seen.pause and not any((pause.arm, pause.metric) == (arm, rail.metric) for pause in tally.pauses):
            pause = Pause(arm, rail.metric, point)
            tally.pauses.append(pause)
            yield pause
