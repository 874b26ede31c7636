"""Fit, calibrate and judge the approval model: what attempts say, held against attempts that came later."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.approval_set import Encoded, Samples, encoded
from greenlane.learning.calibrate import Calibration, calibrate, log_loss
from greenlane.learning.estimator import Estimator, Record
from greenlane.learning.examples import Examples
from greenlane.learning.fit import PLAIN, Fit, HeldOut, Recipe, fit
from greenlane.learning.maturity import poisson_interval
from greenlane.learning.ranking import Ranking
from greenlane.learning.reliability import (
    Bin,
    Check,
    event_checks,
    money_check,
    reliability_bins,
    rms_log_ratio,
    skill_check,
    verdict_of,
)
from greenlane.learning.resampling import Resampled
from greenlane.learning.stability import Week, weeks
from greenlane.learning.weighing import Weighing
from greenlane.models.approval_model import Calibrators
from greenlane.models.approval_rows import COLUMNS, Encoding, segment_of

Floats = NDArray[np.float64]
PARAMETERS: Final[Mapping[str, float]] = {
    "rounds": 240,
    "learning_rate": 0.04,
    "num_leaves": 16,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.6,
    "lambda_l2": 10.0,
    "min_gain_to_split": 0.0,
    "max_bin": 255,
}
"""LightGBM's: small, as three modes of every way are valued for each decision; careful, as approval is noisy."""
HELD_OUT_SHARE: Final = 0.2
SEGMENT_DECLINES_MIN: Final = 200
"""A segment with fewer held-out declines, or approvals, is calibrated with all others."""
SMOOTH: Final = ("beta", "platt")
"""Kinds of calibrators: ways are compared, and the steps of an isotonic curve would make equals of unequal ones."""
GROUPS_MAX: Final = 20
"""The groups with the most attempts are shown."""


class Group(Struct, frozen=True):
    """Attempts of one route, issuer or number: declines observed over expected, with a 95 % interval."""

    name: str
    attempts: int
    declines: float
    ratio: float
    low: float
    high: float
    money_ratio: float
    """Declined money observed over expected."""


class AgainstTruth(Struct, frozen=True):
    """Held against the true probabilities of a simulation, over honest payers."""

    rms_log_ratio: float
    """RMS log(p / true p) of approvals."""
    rms_log_ratio_declines: float
    log_loss: float
    """Of the true probabilities: no model can do better."""
    captured: float
    """Share of the way from the base rate's log loss to it."""


class ApprovalEvaluation(Struct, frozen=True):
    """How the recipe did on attempts that came after all it had learned from."""

    attempts: int
    approved_share: float
    auc: float
    log_loss: float
    base_log_loss: float
    """Of the held-out share itself, foretold for everyone."""
    bins: list[Bin]
    """Of declines: equally many expected in each."""
    by_segment: list[Group]
    """Those that may have calibrators of their own."""
    by_amount: list[Group]
    by_route: list[Group]
    by_issuer: list[Group]
    checks: list[Check] = []
    """Of declines; money lost by decisions is judged by `evaluate policies`, as it takes all ways of a payment."""
    verdict: str = "undecided"
    weeks: list[Week] = []
    """Declines observed over expected."""
    truth: AgainstTruth | None = None
    """Of a simulation."""

    def record(self) -> Record:
        """As plain JSON."""
        found: Record = msgspec.to_builtins(self)
        return found


class Learned(NamedTuple):
    """A fitted model with all that serving needs."""

    fit: Fit
    calibrators: Calibrators
    losses: dict[str, float]
    """Log loss of each kind of calibrator, of all segments together."""
    encoded: Encoded


def learn(
    samples: Samples,
    estimator: Estimator,
    *,
    parameters: Mapping[str, float] | None = None,
    recipe: Recipe = PLAIN,
    frozen_from_us: int | None = None,
    seed: int = 0,
) -> Learned:
    """Fit on everything before `frozen_from_us`, or on all. TrainingError where there is too little to learn."""
    found = encoded(
        samples.rows, routes=samples.routes, exempted=samples.exempted, frozen_from_us=frozen_from_us
    )  # names of later attempts are known, never their answers
    examples = found.examples
    if frozen_from_us is not None:
        examples = examples.take(examples.at_us < frozen_from_us)
    if len(examples) < 200:
        raise TrainingError(
            f"{len(examples)} answered attempts are too few to learn approval from",
            hint="import history with authorizations, or wait; the stated priors answer until then",
        )
    parameters = parameters or (PARAMETERS if estimator.family == "lightgbm" else estimator.default)
    fitted = fit(estimator, examples, parameters=parameters, recipe=recipe, seed=seed)
    calibrators, losses = calibrators_of(examples, fitted.held_out, recipe.weighing)
    return Learned(fitted, calibrators, losses, found)


def calibrators_of(examples: Examples, held_out: HeldOut, weighing: Weighing) -> tuple[Calibrators, dict[str, float]]:
    """One for all, and one for each segment that has held-out answers of both kinds enough."""
    rows, margins = held_out.rows, held_out.margins
    segments = np.array(segments_of(examples.X[rows]))

    def of(part: NDArray[np.bool_]) -> Calibration:
        at = rows[part]
        return calibrate(
            margins[part],
            examples.y[at],
            weighing.by_class(examples.y[at], examples.weight[at]),
            at_us=examples.at_us[at],
            negatives_kept=weighing.negatives_kept,
            kinds=SMOOTH,
            fade=False,
        )

    overall, found = of(np.ones(len(rows), bool)), {}
    for segment in sorted(set(segments.tolist())):
        part = segments == segment
        approved = int(examples.y[rows[part]].sum())
        if min(approved, int(part.sum()) - approved) >= SEGMENT_DECLINES_MIN:
            found[segment] = of(part).calibrator
    return Calibrators(overall.calibrator, found), overall.losses


def segments_of(rows: NDArray[np.float32]) -> list[str]:
    number, initiated = (rows[:, COLUMNS.index(name)].tolist() for name in ("attempt_no", "merchant_initiated"))
    return [segment_of(attempt_no=n, merchant_initiated=m) for n, m in zip(number, initiated, strict=True)]


def split_us(samples: Samples) -> int:
    """When the last fifth of the attempts began: of attempts, as late retries would stretch the time."""
    if not samples.rows:
        raise TrainingError("no answered attempts", hint="report authorizations, or import history with them")
    return samples.rows[int(len(samples.rows) * (1.0 - HELD_OUT_SHARE))].situation.at_us


def judge(
    learned: Learned, samples: Samples, *, from_us: int, truth: Floats | None = None, seed: int = 0
) -> ApprovalEvaluation:
    """How a model that was frozen at `from_us` did on what came later.

    `truth` float64[rows of `samples`]: the true P(approved) where a simulation knows it, else NaN.
    """
    every = learned.encoded.examples
    later, counts = every.at_us >= from_us, np.array([s.genuine > 0.0 for s in samples.rows])
    issuers = np.array([s.situation.facts.issuer_id for s in samples.rows])[counts][later]
    test = every.take(later)
    if not 0 < int(test.y.sum()) < len(test):
        raise TrainingError("the held-out time has no declines, or nothing else", hint="take a longer period")
    margins = learned.fit.fitted.margins(test.X)
    p = learned.calibrators.probabilities(test.X, margins)
    y, weight = test.y.astype(np.float64), test.weight
    base = float(weight @ y / weight.sum())
    bins = reliability_bins(1.0 - p, 1.0 - y, weight, test.day)
    checks = decline_checks(bins, 1.0 - p, 1.0 - y, test=test, seed=seed)

    def by(names: Sequence[str] | NDArray[np.str_]) -> list[Group]:
        return groups(np.asarray(names), p, y, weight, test.amount_minor)

    return ApprovalEvaluation(
        attempts=len(test),
        approved_share=base,
        auc=Ranking.of(p, test.y, weight).auc(),
        log_loss=log_loss(p, y, weight),
        base_log_loss=log_loss(np.full(len(y), base), y, weight),
        bins=bins,
        by_segment=by(segments_of(test.X)),
        by_amount=by(amount_bands(test.amount_minor)),
        by_route=by(route_names(test.X, learned.encoded.encoding)),
        by_issuer=by(issuers),
        checks=checks,
        verdict=verdict_of(checks),
        weeks=weeks(test.at_us, 1.0 - p, 1.0 - y, weight),
        truth=None if truth is None else against_truth(p, truth[counts][later], y, weight),
    )


def against_truth(p: Floats, truth: Floats, y: Floats, weight: Floats) -> AgainstTruth:
    known = np.isfinite(truth)
    p, truth, y, weight = p[known], truth[known], y[known], weight[known]
    base = np.full(len(y), np.average(y, weights=weight))
    best, ours, naive = (log_loss(each, y, weight) for each in (truth, p, base))
    return AgainstTruth(
        rms_log_ratio(p, truth, weight),
        rms_log_ratio(1.0 - p, 1.0 - truth, weight),
        best,
        (naive - ours) / max(naive - best, 1e-9),
    )


def decline_checks(bins: list[Bin], p: Floats, y: Floats, *, test: Examples, seed: int) -> list[Check]:
    """Bins, slope, total, declined money, and skill above the base rate; its interval resamples cards."""
    return [
        *event_checks(bins, p, y, test.weight, test.day),
        money_check("declined money, observed/expected", p, y, test.weight * test.amount_minor, test.day),
        skill_check(p, y, test.weight, Resampled.of(test.card, seed=seed)),
    ]


def route_names(rows: NDArray[np.float32], encoding: Encoding) -> NDArray[np.str_]:
    names = {code.index: route for route, code in encoding.routes.items()}
    return np.array([names[int(index)] for index in rows[:, COLUMNS.index("route")]])


def amount_bands(amount_minor: NDArray[np.int64]) -> NDArray[np.str_]:
    """Five, of equally many attempts.

    >>> amount_bands(np.array([100, 200, 300, 5_000, 9_000, 9_000]))[[0, 1, -1]].tolist()
    ['up to 200', 'up to 200', 'up to 9,000']
    """
    most = np.quantile(amount_minor, np.arange(1, 6) / 5)
    return np.array([f"up to {each:,.0f}" for each in most])[np.searchsorted(most, amount_minor)]


def groups(
    names: NDArray[np.str_], p: Floats, y: Floats, weight: Floats, amount_minor: NDArray[np.int64]
) -> list[Group]:
    """The largest groups, by their number of attempts."""
    distinct, place, sizes = np.unique(names, return_inverse=True, return_counts=True)
    declines, expected = (np.bincount(place, weight * (1.0 - each)).tolist() for each in (y, p))
    money, due_money = (np.bincount(place, weight * amount_minor * (1.0 - each)).tolist() for each in (y, p))
    found = []
    for at in np.argsort(-sizes, kind="stable")[:GROUPS_MAX].tolist():
        due = max(expected[at], 1e-9)
        low, high = (bound / due for bound in poisson_interval(declines[at]))
        ratios = declines[at] / due, low, high, money[at] / max(due_money[at], 1e-9)
        found.append(Group(str(distinct[at]), int(sizes[at]), declines[at], *ratios))
    return found
