"""Two arms compared: absolute and relative lift kept apart, means, ratios, clusters and covariates by one formula."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenlane.experiments.distributions import student_beyond, student_quantile
from greenlane.experiments.moments import Moments

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Effect:
    """An estimate with its two-sided interval and p-value. Every field is an array over independent experiments."""

    estimate: Floats
    low: Floats
    high: Floats
    se: Floats
    p_value: Floats
    units: Floats
    """Of both arms together."""


def compare(a: Moments, b: Moments, *, relative: bool = False, alpha: float = 0.05, theta: ArrayLike = 0.0) -> Effect:
    """b against a: by Welch's t (1947), in the metric's own units, or as a share of |a| by the delta method.

    The p-value belongs to the interval that is shown: a relative lift is tested with the relative standard error.
    `theta` is the slope of a covariate (`adjusted`).

    >>> a, b = Moments.of_proportion(86_120, 100_000), Moments.of_proportion(86_590, 100_000)
    >>> lift = compare(a, b)
    >>> round(float(lift.estimate), 4), round(float(lift.p_value), 4)
    (0.0047, 0.0022)
    """
    shift = np.asarray(theta, np.float64) * (b.mean[..., 2] - a.mean[..., 2])
    share = a.count / (a.count + b.count)
    value_a, value_b = a.value() + shift * (1.0 - share), b.value() - shift * share
    var_a, var_b = a.variance(theta), b.variance(theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        dof = (var_a + var_b) ** 2 / (var_a**2 / (a.count - 1.0) + var_b**2 / (b.count - 1.0))
        estimate, variance = value_b - value_a, var_a + var_b
        if relative:
            estimate = estimate / np.abs(value_a)
            variance = var_b / value_a**2 + var_a * value_b**2 / value_a**4
    return effect_of(estimate, np.sqrt(variance), dof=dof, units=a.count + b.count, alpha=alpha)


def effect_of(estimate: Floats, se: Floats, *, dof: Floats, units: Floats, alpha: float) -> Effect:
    """Student's interval; where nothing varies the degrees are unknown and the interval is the whole line."""
    known = (se > 0.0) & np.isfinite(dof) & (dof > 0.0) & np.isfinite(se)
    degrees = np.where(known, dof, 1.0)
    half = np.where(known, student_quantile(alpha, degrees) * se, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = np.where(known, student_beyond(estimate / se, degrees), 1.0)
    return Effect(*(np.asarray(field) for field in (estimate, estimate - half, estimate + half, se, p_value, units)))


@dataclass(frozen=True, eq=False)
class Adjusted:
    """CUPED beside the plain estimate, and the check without which it must not be believed."""

    plain: Effect
    adjusted: Effect
    pre_period: Effect
    """Arms compared on the covariate itself: an effect before the start means broken arms or a leak."""
    theta: Floats
    correlation: Floats
    """Of covariate and metric: the variance shrinks by its square."""


def adjusted(a: Moments, b: Moments, *, relative: bool = False, alpha: float = 0.05) -> Adjusted:
    """CUPED (Deng, Xu, Kohavi, Walker 2013): what the time before the start explains is taken out of the noise.

    The covariate must have been known before assignment. The slope is pooled over both arms.

    >>> before, noise = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, -0.1, -0.1, 0.1])
    >>> a, b = Moments.of(before + noise, covariate=before), Moments.of(before + noise + 1.0, covariate=before)
    >>> found = adjusted(a, b)
    >>> bool(found.adjusted.se < found.plain.se / 5), round(float(found.adjusted.estimate), 9)
    (True, 1.0)
    """
    (cross_a, spread_a), (cross_b, spread_b) = a.covariance_with_covariate(), b.covariance_with_covariate()
    cross, spread = cross_a + cross_b, spread_a + spread_b
    theta = np.divide(cross, spread, out=np.zeros_like(cross), where=spread > 0.0)
    own = (a.variance() * a.count + b.variance() * b.count) * (a.count + b.count) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(spread > 0.0, cross / np.sqrt(spread * own), 0.0)
    return Adjusted(
        plain=compare(a, b, relative=relative, alpha=alpha),
        adjusted=compare(a, b, relative=relative, alpha=alpha, theta=theta),
        pre_period=compare(covariate_of(a), covariate_of(b), alpha=alpha),
        theta=theta,
        correlation=correlation,
    )


def covariate_of(arm: Moments) -> Moments:
    """The covariate as a metric of its own."""
    return Moments.of_mean(arm.count, arm.mean[..., 2], arm.comoment[..., 2, 2])
