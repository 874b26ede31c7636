"""Fit a calibrator on held-out time, and choose which kind by log loss on later time still.

Rows may carry weights, and two rows of one payment may carry weights of opposite sign (see `maturity.py`): the sums
used here are over equal margins first, where such a pair is a single row with a soft label.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numba import njit
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.models.calibration import AnyCalibrator, Beta, Isotonic, Platt, log_odds
from greenlane.payments.times import DAY_US

Floats = NDArray[np.float64]


class Logistic(NamedTuple):
    """Maximum likelihood coefficients and their covariance."""

    coefficients: Floats
    covariance: Floats


def logistic_fit(
    features: Floats, y: Floats, weight: Floats, *, ridge: float = 1e-6, penalty: Floats | None = None
) -> Logistic:
    """Newton's method for logit(p) = features @ coefficients; features float64[n, k], y in 0..1.

    A step that would raise the loss is halved. The ridge only keeps separable data finite; half of c' penalty c is
    added to the loss, penalty float64[k, k].
    """
    held = ridge * np.eye(features.shape[1]) + (0.0 if penalty is None else penalty)

    def loss(at: Floats) -> float:
        z = features @ at
        return float(weight @ (np.logaddexp(0.0, z) - y * z) + 0.5 * at @ held @ at)

    coefficients: Floats = np.zeros(features.shape[1])
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(features @ coefficients, -700.0, 700.0)))
        gradient = features.T @ (weight * (y - p)) - held @ coefficients
        hessian = (features * (weight * p * (1.0 - p))[:, None]).T @ features + held
        step: Floats = np.asarray(np.linalg.solve(hessian, gradient), np.float64)
        before = loss(coefficients)
        while loss(coefficients + step) > before + 1e-9 * abs(before) and float(np.max(np.abs(step))) > 1e-10:
            step = step / 2.0
        coefficients = coefficients + step
        if float(np.max(np.abs(step))) < 1e-9:
            break
    return Logistic(coefficients, np.asarray(np.linalg.inv(hessian), np.float64))


def fit_platt(margins: Floats, y: Floats, weight: Floats) -> Platt:
    fitted = logistic_fit(np.column_stack([margins, np.ones(len(margins))]), y, weight)
    slope, intercept = fitted.coefficients.tolist()
    return Platt(slope=slope, intercept=intercept)


def fit_beta(margins: Floats, y: Floats, weight: Floats) -> Beta:
    """A coefficient that would come out negative (a falling curve) is dropped, as Kull et al. do."""
    columns = {
        "a": -np.logaddexp(0.0, -margins),
        "b": np.logaddexp(0.0, margins),
        "c": np.ones(len(margins)),
    }
    found = beta_coefficients(columns, y, weight)
    for name in ("a", "b"):
        if found.get(name, 0.0) < 0.0:
            del columns[name]
            found = beta_coefficients(columns, y, weight)
    return Beta(a=found.get("a", 0.0), b=found.get("b", 0.0), c=found["c"])


def beta_coefficients(columns: dict[str, Floats], y: Floats, weight: Floats) -> dict[str, float]:
    fitted = logistic_fit(np.column_stack(list(columns.values())), y, weight)
    return dict(zip(columns, fitted.coefficients.tolist(), strict=True))


@njit(cache=True)
def pool(y, weight):  # type: ignore[no-untyped-def]  # a kernel
    """Pool adjacent violators (Ayer et al. 1955): number of blocks, and each block's end, mean and weight."""
    n = y.shape[0]
    end, mean, mass = np.empty(n, np.int64), np.empty(n), np.empty(n)
    blocks = 0
    for i in range(n):
        end[blocks], mean[blocks], mass[blocks] = i + 1, y[i], weight[i]
        while blocks > 0 and mean[blocks - 1] >= mean[blocks]:
            total = mass[blocks - 1] + mass[blocks]
            mean[blocks - 1] += (mean[blocks] - mean[blocks - 1]) * (mass[blocks] / total)
            end[blocks - 1], mass[blocks - 1] = end[blocks], total
            blocks -= 1
        blocks += 1
    return end[:blocks], mean[:blocks], mass[:blocks]


def by_margin(margins: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Ascending distinct margins with the mean label and the total weight at each."""
    distinct, place = np.unique(margins, return_inverse=True)
    mass = np.bincount(place, weight).astype(np.float64)
    return distinct, np.bincount(place, weight * y) / mass, mass


def fit_isotonic(margins: Floats, y: Floats, weight: Floats) -> Isotonic:
    """Knots at each pooled block's mean margin; in between log-odds are linear, so that ranks survive.

    A block that saw no event, or nothing else, is taken as having seen half of one: never certain.
    """
    distinct, mean, mass = by_margin(margins, y, weight)
    ends, pooled, blocks = pool(mean, mass)
    starts = np.concatenate([[0], ends[:-1]])
    centre = np.add.reduceat(distinct * mass, starts) / blocks
    floor = 0.5 / (blocks + 1.0)
    inside = np.maximum.accumulate(np.minimum(np.maximum(pooled, floor), 1.0 - floor))
    inside[pooled <= 0.0] = np.minimum(inside[pooled <= 0.0], inside[pooled > 0.0].min(initial=1.0))
    rising = np.concatenate([[True], np.diff(inside) > 0.0])
    return Isotonic(margins=tuple(centre[rising].tolist()), log_odds=tuple(log_odds(inside[rising]).tolist()))


KNOT_EVENTS: Final = 50
KNOTS_MAX: Final = 7
"""Between the ends of a curve: one for each so many events."""
STIFFNESS: Final = 10.0
"""Assumed; what a curve bends, squared, costs so many nats. Much stiffer is Platt's line, much softer follows luck."""


def fit_curve(margins: Floats, y: Floats, weight: Floats) -> Isotonic | Platt:
    """A rising curve, linear between a few knots and reluctant to bend (penalised spline; Eilers and Marx 1996).

    For models whose log-odds are bent where two or three numbers cannot follow, with too few events for steps.
    """
    events = np.quantile(margins[y > 0.5], np.linspace(0.0, 1.0, 2 + min(KNOTS_MAX, int(y.sum()) // KNOT_EVENTS))[1:-1])
    knots = np.unique(np.concatenate([[margins.min()], events, [margins.max()]]))
    if len(knots) < 3 or np.diff(knots).min() < 1e-6:
        return fit_platt(margins, y, weight)
    piece = np.clip(np.searchsorted(knots, margins, side="right") - 1, 0, len(knots) - 2)
    after, rows = (margins - knots[piece]) / np.diff(knots)[piece], np.arange(len(margins))
    basis = np.zeros((len(margins), len(knots)))
    basis[rows, piece], basis[rows, piece + 1] = 1.0 - after, after
    bends = np.diff(np.diff(np.eye(len(knots)), axis=0) / np.diff(knots)[:, None], axis=0)
    fitted = logistic_fit(basis, y, weight, penalty=STIFFNESS * bends.T @ bends)
    mass = basis.T @ np.maximum(weight, 0.0)
    ends, rising, _ = pool(fitted.coefficients, mass)
    starts = np.concatenate([[0], ends[:-1]])
    centre = np.add.reduceat(knots * mass, starts) / np.add.reduceat(mass, starts)
    return Isotonic(margins=tuple(centre.tolist()), log_odds=tuple(rising.tolist()))


ISOTONIC_EVENTS_MIN: Final = 1_000
"""With fewer, steps follow luck (Niculescu-Mizil and Caruana 2005)."""
FITS: Final[Mapping[str, Callable[[Floats, Floats, Floats], Isotonic | Beta | Platt]]] = {
    "isotonic": fit_isotonic,
    "curve": fit_curve,
    "beta": fit_beta,
    "platt": fit_platt,
}


def log_loss(probabilities: Floats, y: Floats, weight: Floats) -> float:
    """Mean negative log likelihood in nats."""
    z = log_odds(probabilities)
    return float(weight @ (np.logaddexp(0.0, z) - y * z) / weight.sum())


class Calibration(NamedTuple):
    calibrator: AnyCalibrator
    losses: dict[str, float]
    """Log loss of each kind on the later half, fitted on the earlier half."""


HALF_LIFE_US: Final = 20 * DAY_US
RECENT: Final = ", recent"


def fading(weight: Floats, at_us: NDArray[np.int64]) -> Floats:
    """The weights, halved for each 20 days before the last row; in all as much as before.

    >>> fading(np.ones(2), np.array([0, HALF_LIFE_US])).round(2).tolist()
    [0.67, 1.33]
    """
    faded = weight * 0.5 ** ((at_us[-1] - at_us) / HALF_LIFE_US)
    return np.asarray(faded * (weight.sum() / faded.sum()))


def calibrate(
    margins: Floats,
    y: NDArray[np.int8],
    weight: Floats,
    *,
    at_us: NDArray[np.int64],
    negatives_kept: float = 1.0,
    kinds: Collection[str] = FITS.keys(),
    fade: bool = True,
) -> Calibration:
    """Choose among isotonic, curve, beta and Platt (or only `kinds`), and fit the chosen one on all the rows.

    The margins must come from rows that the model was not fitted on. Each kind is fitted on the half with the earlier
    events and judged on the later ones; with `fade` twice, once with all rows alike and once with the recent ones
    first: where a history begins, everybody is new, and what a margin meant then it does not mean any more.
    """
    order = np.argsort(at_us, kind="stable")
    margins, labels, weight, at_us = margins[order], y[order].astype(np.float64), weight[order], at_us[order]
    halfway = int(np.searchsorted(np.cumsum(labels), labels.sum() / 2)) + 1
    if labels.sum() < 10 or not labels[halfway:].sum():
        raise TrainingError(
            f"{int(labels.sum())} events are too few to calibrate on", hint="take a longer history, or wait for labels"
        )
    earlier, later = slice(None, halfway), slice(halfway, None)

    def fitted(name: str, rows: slice) -> Isotonic | Beta | Platt:
        kind, _, recent = name.partition(RECENT[0])
        counted = fading(weight[rows], at_us[rows]) if recent else weight[rows]
        return FITS[kind](margins[rows], labels[rows], counted)

    smooth = labels.sum() < ISOTONIC_EVENTS_MIN
    kinds = [kind for kind in kinds if kind != "isotonic" or not smooth]
    names = kinds + [f"{kind}{RECENT}" for kind in kinds if fade]
    judged = {name: fitted(name, earlier).probabilities(margins[later]) for name in names}
    losses = {name: log_loss(p, labels[later], weight[later]) for name, p in judged.items()}
    chosen = fitted(min(losses, key=losses.__getitem__), slice(None))
    return Calibration(replace(chosen, negatives_kept=negatives_kept), losses)


def cross_calibrated(margins: Floats, y: Floats, weight: Floats, *, half: NDArray[np.bool_]) -> Floats:
    """Probabilities recalibrated by a beta curve that is fitted on one half and read on the other, both ways."""
    found = np.empty(len(margins))
    for part in (half, ~half):
        found[~part] = fit_beta(margins[part], y[part], weight[part]).probabilities(margins[~part])
    return found
