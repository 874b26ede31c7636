"""What an experiment shows by now: every arm against the control, by metric, with all that may make it untrue.

Absolute and relative lift stand apart. The plain interval is for one look at the planned end, the sequence for any
look; p-values of all metrics and arms are adjusted together (Holm). CUPED stands beside the plain estimate with its
pre-period check. What labels will still come is divided by the share that has come (`maturity`).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from math import fsum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from greenlane.experiments.ab import Effect, Lift, adjusted, compare, lift
from greenlane.experiments.bootstrap import cluster_bootstrap
from greenlane.experiments.guardrails import Harm, Watch, forbidden, watch
from greenlane.experiments.moments import Moments
from greenlane.experiments.multiple import holm
from greenlane.experiments.sequences import always_valid
from greenlane.experiments.srm import chi_square_check, sequential_check
from greenlane.experiments.tally import ArmTally, Pause, Point, Tallies, Tally
from greenlane.learning.lateness import Label, Lateness
from greenlane.learning.maturity import SHARE_MIN, Maturity
from greenlane.payments.times import DAY_US, format_rfc3339
from greenlane.policy.arms import PPM, Experiment, Rail
from greenlane.policy.running import HOLDOUT
from greenlane.ports.journal import Entry

SRM_ALPHA: Final = 0.001
LOOK_EVERY: Final = 1.02
"""A guardrail looks again when there are so many times as many payments: often enough, and bounded."""
PATH_MAX: Final = 200
SEED: Final = 7
LABELS: Final[tuple[Label, ...]] = ("fraud_reports", "disputes")


class Measure(NamedTuple):
    """numerator / denominator, and which way is worse."""

    numerator: str
    denominator: str
    harm: Harm
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


UNKNOWN: Final = Interval(0.0, None, None, 1.0)


class Compared(Struct, frozen=True, kw_only=True):
    """An arm against the control, on one metric."""

    arm: str
    metric: str
    unit: str
    value: float | None = None
    control: float | None = None
    absolute: Interval = UNKNOWN
    """For one look at the planned end: delta method over clusters."""
    relative: Interval = UNKNOWN
    """As a share of the control's value: another question, another p-value."""
    bootstrap: Interval = UNKNOWN
    cuped: Interval = UNKNOWN
    pre_period_p_value: float = 1.0
    """Small: the arms differed before the start, and CUPED is not to be believed."""
    sequence: Interval = UNKNOWN
    """Absolute, for any look."""
    adjusted_p_value: float = 1.0
    """Of the sequence, over all metrics and arms (Holm)."""


class ArmShown(Struct, frozen=True, kw_only=True):
    arm: str
    share: float
    paused: bool
    units: int
    payments: int
    since_us: int
    """From when on it is read: its last resumption, else the start."""
    forbidden_retries: int
    matured_share: float
    """Of the reports that will come about its payments, how many can have come."""
    disputes_matured_share: float
    """The same of disputes, which come later."""
    lost_matured_minor: float | None
    """A payment, with what is still to come; None while less than 30 % of either has."""
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
    not_judged: str
    """Why it cannot be; "" where it is."""


class Readout(Struct, frozen=True, kw_only=True):
    experiment: Experiment
    started_us: int
    ended_us: int
    arms: list[ArmShown]
    srm_p_value: float | None
    """For one look (chi-square); None: no two arms can be compared just now, so nothing was checked."""
    srm_sequential_p_value: float
    """For every look since the arms began, or began anew; below .001 nothing else may be read."""
    metrics: list[Compared]
    guardrails: list[RailShown]
    notes: list[str]


def readout(tally: Tally, *, now_us: int, lateness: Lateness | None = None, beside: int = 0) -> Readout:
    """`lateness` says how late labels come here (default: as stated), `beside` how many other experiments are read."""
    experiment = tally.experiment
    _, *others = (arm.name for arm in experiment.arms)
    return Readout(
        experiment=experiment,
        started_us=tally.started_us,
        ended_us=tally.ended_us,
        arms=[shown(tally, name, now_us=now_us, lateness=lateness or Lateness()) for name in tally.arms],
        srm_p_value=srm(tally),
        srm_sequential_p_value=sequential_srm(tally),
        metrics=with_holm([compared(tally, arm, metric) for arm in others for metric in MEASURES]),
        guardrails=[rail_shown(tally, arm, rail) for arm in others for rail in rails_of(experiment)],
        notes=notes_of(tally, beside=beside),
    )


def rails_of(experiment: Experiment) -> tuple[Rail, ...]:
    """None of the hold-out, which changes nothing."""
    return () if experiment.id == HOLDOUT else experiment.guardrails or RAILS


def pair_of(tally: Tally, arm: str, metric: str) -> tuple[Moments, Moments] | None:
    """The control and the arm since the same moment; None while nothing can be said. Buckets are the clusters; the
    covariate is what the pasts of a bucket's units said, beyond the mean of both arms, in units of a bucket's usual
    size: arms may be of any share.
    """
    both = tally.held_against(arm, (MEASURES[metric].numerator, MEASURES[metric].denominator, "before", "units"))
    if metric in tally.unjudged or any(len(sums) < 2 or sums[:, 1].sum() <= 0.0 for sums in both):
        return None
    usual = np.concatenate(both)[:, 2:].sum(axis=0)
    mean = usual[0] / usual[1] if usual[1] else 0.0
    first, second = (
        Moments.of(y, d, (x - mean * n) / max(float(n.mean()), 1.0)) for y, d, x, n in (sums.T for sums in both)
    )
    return first, second


def payments(*arms: Moments) -> float:
    """Or whatever the metric's denominator counts."""
    return fsum(float(arm.count * arm.mean[..., 1]) for arm in arms)


def counted(found: Lift, units: float) -> Lift:
    """The same lift, with time told in payments rather than in buckets."""
    return dataclasses.replace(found, units=np.asarray(units))


@np.errstate(divide="ignore", invalid="ignore")
def compared(tally: Tally, arm: str, metric: str) -> Compared:
    unit = MEASURES[metric].unit
    if (pair := pair_of(tally, arm, metric)) is None:
        return Compared(arm=arm, metric=metric, unit=unit)
    a, b = pair
    beside, anew = adjusted(a, b), began_anew(tally, arm)
    sequence = always_valid(counted(lift(a, b), payments(a, b)), planned=float(tally.experiment.planned))
    first, second = tally.held_against(arm, MEASURES[metric][:2])
    again = cluster_bootstrap((first[:, 0], first[:, 1]), (second[:, 0], second[:, 1]), seed=SEED, replicates=400)
    return Compared(
        arm=arm,
        metric=metric,
        unit=unit,
        value=float(b.value()),
        control=float(a.value()),
        absolute=interval(beside.plain),
        relative=interval(compare(a, b, relative=True)),
        bootstrap=interval(again),
        cuped=UNKNOWN if anew else interval(beside.adjusted),
        pre_period_p_value=1.0 if anew else float(beside.pre_period.p_value),
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


def shown(tally: Tally, name: str, *, now_us: int, lateness: Lateness) -> ArmShown:
    """What a report told of grows to what it will be by the reports' F, what a dispute told of by the disputes'."""
    experiment, arm = tally.experiment, tally.arms[name]
    stated = experiment.named(name)
    exposed, settled, lost = arm.total("exposed"), arm.total("settled"), arm.total("lost_minor")
    disputed = arm.total("disputed_minor")
    reports, disputes = (matured(arm, lateness.curve(label, at_us=now_us), now_us) for label in LABELS)
    known = exposed > 0.0 and min(reports, disputes) >= SHARE_MIN
    lost_matured = ((lost - disputed) / reports + disputed / disputes) / exposed if known else None
    earned = arm.total("earned_minor") / settled if settled else 0.0
    return ArmShown(
        arm=name,
        share=stated.share_ppm / PPM if stated is not None else 0.0,
        paused=name in experiment.paused_arms,
        units=arm.met.count(),
        payments=round(exposed),
        since_us=arm.since_us or tally.started_us,
        forbidden_retries=arm.forbidden,
        matured_share=reports,
        disputes_matured_share=disputes,
        lost_matured_minor=lost_matured,
        net_matured_minor=None if lost_matured is None else earned - lost_matured,
    )


def matured(arm: ArmTally, curve: Maturity, now_us: int) -> float:
    """Share of its labels that can have come."""
    if not arm.by_day:
        return 0.0
    ages = np.array([max(0, now_us - day * DAY_US - DAY_US // 2) for day in arm.by_day], np.int64)
    counts = np.array(list(arm.by_day.values()), np.float64)
    return float(curve.at(ages) @ counts / counts.sum())


def srm(tally: Tally) -> float | None:
    return together([chi_square_check(*each) for each in ratios(tally).values() if fsum(each[0])])


def sequential_srm(tally: Tally) -> float:
    """At any look so far, of all checks that no arm has begun anew since."""
    found = together(list(tally.ratios.values()))
    return 1.0 if found is None else found


def together(p_values: Sequence[float]) -> float | None:
    """Of all checks (Bonferroni)."""
    return min(1.0, len(p_values) * min(p_values)) if p_values else None


def ratios(tally: Tally) -> dict[tuple[str, ...], tuple[list[float], list[int]]]:
    """(units, shares) to be checked, by arms: of those that were there as long as the control, and of each that was
    resumed beside what the control met since.
    """
    control, *_ = arms = tally.experiment.arms
    there = [arm for arm in arms if arm.name not in tally.experiment.paused_arms]
    steady = [arm for arm in there if not began_anew(tally, arm.name)]
    units = [float(tally.arms[arm.name].met.count()) for arm in steady]
    found = {tuple(arm.name for arm in steady): (units, [arm.share_ppm for arm in steady])}
    for arm in there if control in there else ():
        resumed = tally.arms[arm.name]
        if began_anew(tally, arm.name) and resumed.beside is not None:
            units = [float(resumed.beside.count()), float(resumed.met.count())]
            found[control.name, arm.name] = units, [control.share_ppm, arm.share_ppm]
    return {arms: each for arms, each in found.items() if len(arms) > 1}


def began_anew(tally: Tally, arm: str) -> bool:
    return tally.arms[arm].since_us != tally.control.since_us


def notes_of(tally: Tally, *, beside: int) -> list[str]:
    """What arms share, and so what the numbers do not say."""
    experiment = tally.experiment
    family = f"{len(MEASURES) * (len(experiment.arms) - 1)} comparisons of this experiment (Holm)"
    found = [
        "prices of shared budgets are the same for all arms, except where an arm states its own",
        f"p, all together, is of the {family}; the {beside} other experiments here are not corrected for",
    ]
    if experiment.id == HOLDOUT:
        found.append("held out by card: an experiment that splits another unit holds out that unit instead")
    if experiment.unit == "cell":
        hours = experiment.block_us / 3_600_000_000
        found.append(f"a switchback: cells of issuer and routes take turns every {hours:g} h; blocks are the clusters")
    elif experiment.learner == "shared":
        found.append("all arms share one learner of approval: what one arm learns, the others use")
    found[:0] = [f"{metric} is not judged: {why}" for metric, why in tally.unjudged.items()]
    for name, arm in tally.arms.items():
        if arm.since_us > tally.started_us:
            since = format_rfc3339(arm.since_us)
            found.insert(
                0, f"{name} was resumed: it is read, against the control and by its guardrails, from {since} on"
            )
    if sequential_srm(tally) < SRM_ALPHA:
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
        not_judged=tally.unjudged.get(rail.metric, ""),
    )


def watched(tally: Tally, arm: str, rail: Rail) -> tuple[Watch, int]:
    """One look, and at how many payments of both arms."""
    if rail.metric == "forbidden_retries":
        return forbidden(tally.arms[arm].forbidden), round(tally.arms[arm].total("exposed"))
    if (pair := pair_of(tally, arm, rail.metric)) is None:
        return Watch(0.0, 1.0, False), 0
    units, harm = payments(*pair), MEASURES[rail.metric].harm
    return watch(counted(lift(*pair), units), rail, harm=harm, planned=tally.experiment.planned), round(units)


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
    for arms, each in ratios(tally).items():
        tally.ratios[arms] = min(tally.ratios.get(arms, 1.0), float(sequential_check(*each)))
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
