"""What a fraud model is worth on time it has not seen: ranking, money, and whether its probabilities hold."""

from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import log_loss
from greenlane.learning.estimator import Record
from greenlane.learning.examples import Examples
from greenlane.learning.maturity import MaturedRate
from greenlane.learning.money import CostPoint, Stakes, cost_curve
from greenlane.learning.policy_money import PolicyMoney, PolicyValues, friction, policy_money
from greenlane.learning.ranking import Ranking, card_precision
from greenlane.learning.reliability import (
    Bin,
    Check,
    Verdict,
    amount_check,
    event_checks,
    regret_check,
    reliability_bins,
    rms_log_ratio,
    rms_log_ratio_of_bins,
    skill_check,
    total_check,
    verdict_of,
)
from greenlane.learning.resampling import Figure, Resampled, ends
from greenlane.learning.stability import SegmentRate, Week, segment_rates, weeks
from greenlane.models.calibration import log_odds, sigmoid

Floats = NDArray[np.float64]
POINTS_MAX: Final = 200


class Priced(NamedTuple):
    """The test rows that the policy has valued, in order, each standing for `weight` of its kind."""

    rows: NDArray[np.int64]
    values: PolicyValues
    weight: Floats


class Known(NamedTuple):
    """What only a simulation knows of each test row."""

    informed: Floats
    """P(reported) as believed by who knows every label of other cards, later ones included, and no more features."""
    y: NDArray[np.int8]
    """Will be reported, however late."""


class Beside(NamedTuple):
    """What may be known of test rows beside their labels."""

    money: Priced | None = None
    rate: MaturedRate | None = None
    known: Known | None = None


NOTHING: Final = Beside()


class AgainstTruth(Struct, frozen=True):
    """Held against what a simulation knows."""

    rms_log_ratio: float
    """RMS log(p / the informed oracle's p): that is an estimate too, so that two good models differ."""
    rms_log_ratio_of_bins: float
    """RMS log(expected / true events), less what chance alone would give."""
    rate: float
    """Frauds that will be reported, per payment."""
    total: Check
    """Observed over expected with every report that will come."""
    informed_per_1000_minor: float | None
    """Value under the policy with the informed oracle's probabilities."""


class CurvePoint(Struct, frozen=True):
    recall: float
    precision: float
    threshold: float


class OperatingPoint(Struct, frozen=True):
    """What happens when each payment is blocked above its own break-even probability."""

    blocked_share: float
    precision: float
    recall: float
    cost_per_1000_minor: float
    allow_all_cost_per_1000_minor: float
    best_threshold: float
    """The fixed threshold that would have been the cheapest, in hindsight."""
    best_threshold_cost_per_1000_minor: float


class Evaluation(Struct, frozen=True):
    """Everything a model card says; plain data, small enough for a manifest."""

    rows: int
    events: int
    base_rate: float
    auc: Figure
    average_precision: Figure
    card_precision: dict[str, float]
    log_loss: float
    bins: list[Bin]
    checks: list[Check]
    verdict: Verdict
    operating_point: OperatingPoint
    precision_recall: list[CurvePoint]
    costs: list[CostPoint]
    histogram_edges: list[float]
    """Probabilities, equally spaced in log-odds."""
    histogram_good: list[int]
    histogram_fraud: list[int]
    seed: int
    segments: list[SegmentRate] = []
    """Good payers stopped, by issuer country, network, funding and MCC: by the policy where its money is known."""
    weeks: list[Week] = []
    policy: PolicyMoney | None = None
    """Under the real policy on each row's economics; None where these are not known."""
    rate: MaturedRate | None = None
    """Reported frauds per payment, of those whose reports have come and of those that will."""
    truth: AgainstTruth | None = None
    """Of a simulation."""

    def record(self) -> Record:
        """As plain JSON."""
        found: Record = msgspec.to_builtins(self)
        return found


def evaluate(
    margins: Floats,
    probabilities: Floats,
    test: Examples,
    *,
    beside: Beside = NOTHING,
    seed: int = 0,
    replicates: int = 200,
) -> Evaluation:
    """Ranking is by margin, everything else by probability; intervals resample cards. Arrays are float64[len(test)]."""
    if not 0 < test.y.sum() < len(test):
        raise TrainingError(f"{int(test.y.sum())} events in {len(test)} test rows", hint="take a longer test period")
    stakes, y, weight = Stakes.of(test.amount_minor), test.y.astype(np.float64), test.weight
    ranking = Ranking.of(margins, test.y, weight)
    cards, day = Resampled.of(test.card, seed=seed, replicates=replicates), test.day
    bins = reliability_bins(probabilities, y, weight, day)
    checks = [
        *event_checks(bins, probabilities, y, weight, day),
        amount_check(probabilities, y, weight, day, stakes=stakes),
        skill_check(probabilities, y, weight, cards),
        regret_check(probabilities, y, weight, stakes=stakes, cards=cards),
    ]
    costs = cost_curve(probabilities, test.y, stakes=stakes, weight=weight)
    edges, good, fraud = histogram(probabilities, test.y)
    aucs, precisions = resampled(ranking, cards)
    segments, policy = by_policy(probabilities, test, beside.money, stakes=stakes, cards=cards)
    return Evaluation(
        rows=len(test),
        events=int(test.y.sum()),
        base_rate=float(weight @ y / weight.sum()),
        auc=figure(ranking.auc(), aucs),
        average_precision=figure(ranking.average_precision(), precisions),
        card_precision={"100": card_precision(margins, test.y, card=test.card, day=day, k=100)},
        log_loss=log_loss(probabilities, y, weight),
        bins=bins,
        checks=checks,
        verdict=verdict_of(checks),
        operating_point=operating_point(probabilities, y, weight=weight, stakes=stakes, costs=costs),
        precision_recall=precision_recall(Ranking.of(probabilities, test.y, weight)),
        costs=costs,
        histogram_edges=edges,
        histogram_good=good,
        histogram_fraud=fraud,
        seed=seed,
        segments=segments,
        weeks=weeks(test.at_us, probabilities, y, weight),
        policy=policy,
        rate=beside.rate,
        truth=against_truth(probabilities, beside.known, test, money=beside.money) if beside.known else None,
    )


def by_policy(
    p: Floats, test: Examples, money: Priced | None, *, stakes: Stakes, cards: Resampled
) -> tuple[list[SegmentRate], PolicyMoney | None]:
    """Good payers stopped, and money: by the policy where it has valued rows, else above each row's break-even."""
    if money is None:
        return segment_rates(test, p > stakes.break_even, cards), None
    rows, believed, drawn = money.rows, p[money.rows], cards.take(money.rows)
    weight, stopped = test.weight[rows] * money.weight, friction(money.values.interventions(believed))
    earned = policy_money(money.values, believed, test.y[rows], weight=weight, cards=drawn)
    return segment_rates(test.take(rows), stopped, drawn), earned


def against_truth(probabilities: Floats, known: Known, test: Examples, *, money: Priced | None) -> AgainstTruth:
    y, informed = known.y.astype(np.float64), None
    bins = reliability_bins(probabilities, y, test.weight, test.day)
    if money is not None:
        at, weight = money.rows, test.weight[money.rows] * money.weight
        informed = 1000.0 * float(weight @ money.values.earned(known.informed[at], test.y[at]) / weight.sum())
    return AgainstTruth(
        rms_log_ratio(probabilities, known.informed, test.weight),
        rms_log_ratio_of_bins(bins),
        float(test.weight @ y / test.weight.sum()),
        total_check(probabilities, y, test.weight, test.day),
        informed,
    )


def resampled(ranking: Ranking, cards: Resampled) -> tuple[list[float], list[float]]:
    """Area under ROC and average precision of each draw of cards that holds both kinds of rows."""
    aucs, precisions = [], []
    for drawn in cards.draws:
        again = drawn[cards.cluster]
        hits, misses = ranking.cumulated(again)
        if hits[-1] > 0 and misses[-1] > 0:
            aucs.append(ranking.auc(again))
            precisions.append(ranking.average_precision(again))
    return aucs, precisions


def figure(value: float, replicates: list[float]) -> Figure:
    return Figure(value, *(ends(replicates) if replicates else (value, value)))


def operating_point(
    probabilities: Floats, y: Floats, *, weight: Floats, stakes: Stakes, costs: list[CostPoint]
) -> OperatingPoint:
    blocked = probabilities > stakes.break_even
    per_1000 = 1000.0 / float(weight.sum())
    caught, stopped = float(weight[blocked] @ y[blocked]), float(weight[blocked].sum())
    best = min(costs, key=lambda point: point.cost_per_1000_minor)
    return OperatingPoint(
        blocked_share=stopped / float(weight.sum()),
        precision=caught / stopped if stopped else 0.0,
        recall=caught / float(weight @ y),
        cost_per_1000_minor=float(weight @ stakes.cost(blocked, y)) * per_1000,
        allow_all_cost_per_1000_minor=costs[0].cost_per_1000_minor,
        best_threshold=best.threshold,
        best_threshold_cost_per_1000_minor=best.cost_per_1000_minor,
    )


def precision_recall(ranking: Ranking) -> list[CurvePoint]:
    """At most POINTS_MAX points, evenly over recall."""
    precision, recall, score = ranking.precision_recall()
    chosen = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0 - 1e-12, POINTS_MAX)))
    return [CurvePoint(float(recall[i]), float(precision[i]), float(score[i])) for i in chosen]


def histogram(probabilities: Floats, y: NDArray[np.int8]) -> tuple[list[float], list[int], list[int]]:
    z = log_odds(probabilities)
    edges = np.linspace(float(z.min()) - 1e-9, float(z.max()) + 1e-9, 41)
    good, fraud = (np.histogram(z[y == label], edges)[0].tolist() for label in (0, 1))
    return [sigmoid(edge) for edge in edges.tolist()], good, fraud
