"""Two arms compared: absolute and relative lift kept apart, means, ratios, clusters and covariates by one formula."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from greenlane.experiments.distributions import student_beyond, student_quantile
from greenlane.experiments.moments import Moments
from greenlane.payments.arrays import Floats


@dataclass(frozen=True, eq=False)
class Lift:
    """An estimate and its error. Every field is an array over independent experiments."""

    estimate: Floats
    se: Floats
    dof: Floats
    units: Floats
    """Of both arms together."""
    base_errors: Floats
    """Of a relative lift: control's distance from 0 in its own standard errors. Infinite for an absolute one."""


@dataclass(frozen=True, eq=False)
class Effect(Lift):
    """With its two-sided interval and p-value."""

    low: Floats
    high: Floats
    p_value: Floats


def lift(a: Moments, b: Moments, *, relative: bool = False, theta: ArrayLike = 0.0) -> Lift:
    """b against a, in the metric's own units, or as a share of |a| by the delta method.

    `theta` is the slope of a covariate (`slope`). Degrees of freedom are those of Welch (1947).
    """
    shift = np.asarray(theta, np.float64) * (b.mean[..., 2] - a.mean[..., 2])
    share = a.count / (a.count + b.count)
    value_a, value_b = a.value() + shift * (1.0 - share), b.value() - shift * share
    var_a, var_b = a.variance(theta), b.variance(theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        dof = (var_a + var_b) ** 2 / (var_a**2 / (a.count - 1.0) + var_b**2 / (b.count - 1.0))
        estimate, variance = value_b - value_a, var_a + var_b
        base = np.full_like(estimate, np.inf)
        if relative:
            base = np.abs(value_a) / np.sqrt(var_a)
            estimate = estimate / np.abs(value_a)
            variance = var_b / value_a**2 + var_a * value_b**2 / value_a**4
    units = a.count + b.count
    return Lift(*(np.asarray(field) for field in (estimate, np.sqrt(variance), dof, units, base)))


def compare(a: Moments, b: Moments, *, relative: bool = False, alpha: float = 0.05, theta: ArrayLike = 0.0) -> Effect:
    """The lift with Student's interval, for one look.

    The p-value belongs to the interval that is shown: a relative lift is tested with the relative standard error.

    >>> a, b = Moments.of_proportion(86_120, 100_000), Moments.of_proportion(86_590, 100_000)
    >>> found = compare(a, b)
    >>> round(float(found.estimate), 4), round(float(found.p_value), 4)
    (0.0047, 0.0022)
    """
    found = lift(a, b, relative=relative, theta=theta)
    known = (found.se > 0.0) & np.isfinite(found.dof) & (found.dof > 0.0) & np.isfinite(found.se)
    degrees = np.where(known, found.dof, 1.0)
    half = np.where(known, student_quantile(alpha, degrees) * found.se, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = np.where(known, student_beyond(found.estimate / found.se, degrees), 1.0)
    return between(found, half, p_value)


def between(found: Lift, half: Floats, p_value: Floats) -> Effect:
    """The estimate, half a width to each side; where nothing varies `half` is infinite, and nothing is claimed."""
    middle = np.where(np.isinf(half), 0.0, found.estimate)
    return Effect(
        estimate=found.estimate,
        se=found.se,
        dof=found.dof,
        units=found.units,
        base_errors=found.base_errors,
        low=middle - half,
        high=middle + half,
        p_value=p_value,
    )


def slope(a: Moments, b: Moments) -> Floats:
    """Of the metric on the covariate, pooled over both arms; 0 where the covariate never varies."""
    (cross_a, spread_a), (cross_b, spread_b) = a.covariance_with_covariate(), b.covariance_with_covariate()
    cross, spread = np.asarray(cross_a + cross_b), spread_a + spread_b
    return np.divide(cross, spread, out=np.zeros_like(cross), where=spread > 0.0)


@dataclass(frozen=True, eq=False)
class Adjusted:
    """CUPED beside the plain estimate, and the check without which it must not be believed."""

    plain: Effect
    adjusted: Effect
    pre_period: Effect
    """Arms compared on the covariate itself: an effect before the start means broken arms or a leak."""
    theta: Floats


def adjusted(a: Moments, b: Moments, *, relative: bool = False, alpha: float = 0.05) -> Adjusted:
    """CUPED (Deng, Xu, Kohavi, Walker 2013): what the time before the start explains is taken out of the noise.

    The covariate must have been known before assignment. The slope is pooled over both arms.

    >>> before, noise = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, -0.1, -0.1, 0.1])
    >>> a, b = Moments.of(before + noise, covariate=before), Moments.of(before + noise + 1.0, covariate=before)
    >>> found = adjusted(a, b)
    >>> bool(found.adjusted.se < found.plain.se / 5), round(float(found.adjusted.estimate), 9)
    (True, 1.0)
    """
    theta = slope(a, b)
    return Adjusted(
        plain=compare(a, b, relative=relative, alpha=alpha),
        adjusted=compare(a, b, relative=relative, alpha=alpha, theta=theta),
        pre_period=compare(covariate_of(a), covariate_of(b), alpha=alpha),
        theta=theta,
    )


def covariate_of(arm: Moments) -> Moments:
    """The covariate as a metric of its own."""
    return Moments.of_mean(arm.count, arm.mean[..., 2], arm.comoment[..., 2, 2])
