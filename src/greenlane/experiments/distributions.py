"""Normal, Student and chi-square tails and the log of gamma, over arrays: all the special functions this room needs."""

from math import erfc, exp, gamma, log, pi, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from greenlane.payments.arrays import Floats

STIRLING: Final = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
"""B_2k / (2k (2k-1)), of log gamma's asymptotic series."""
SHIFT: Final = 8
"""From here on six terms of the series are exact to 1e-12."""
FRACTION_STEPS_MAX: Final = 500


def normal_quantile(probability: float) -> float:
    """
    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    return NormalDist().inv_cdf(probability)


def normal_below(z: ArrayLike) -> Floats:
    """P(Z <= z).

    >>> float(normal_below(0.0))
    0.5
    """
    return np.asarray(np.vectorize(lambda one: erfc(-one / sqrt(2.0)) / 2.0, otypes=[float])(z))


def log_gamma(x: ArrayLike) -> Floats:
    """log of gamma(x), x > 0: the recurrence up to x + 8, Stirling's series from there (Abramowitz and Stegun 6.1.40).

    >>> round(float(np.exp(log_gamma(5.0))), 9)
    24.0
    """
    given = np.asarray(x, np.float64)
    large = given + SHIFT
    product = np.ones_like(given)
    for step in range(SHIFT):
        product = product * (given + step)
    inverse = 1.0 / large
    series = sum(term * inverse ** (2 * k + 1) for k, term in enumerate(STIRLING))
    return np.asarray((large - 0.5) * np.log(large) - large + 0.5 * log(2.0 * pi) + series - np.log(product))


def chi_square_above(x: float, dof: int) -> float:
    """P(chi-square with `dof` degrees of freedom > x): finite sums, as the degrees are whole.

    >>> round(chi_square_above(3.841459, 1), 6)
    0.05
    """
    half = x / 2.0
    if half <= 0.0:
        return 1.0
    start = 0.0 if dof % 2 == 0 else 0.5
    tail = 0.0 if dof % 2 == 0 else erfc(sqrt(half))
    term = exp(-half) * half**start / gamma(start + 1.0)
    for k in range(dof // 2):
        tail += term
        term *= half / (start + k + 1.0)
    return min(tail, 1.0)


def student_beyond(t: ArrayLike, dof: ArrayLike) -> Floats:
    """P(|T| > t) for Student's T: the regularised incomplete beta I(dof/2, 1/2) at dof / (dof + t^2).

    >>> round(float(student_beyond(2.228139, 10)), 6)
    0.05
    """
    size, degrees = np.broadcast_arrays(np.abs(np.asarray(t, np.float64)), np.asarray(dof, np.float64))
    a = degrees / 2.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        square = size * size
        x, y = degrees / (degrees + square), square / (degrees + square)
        front = np.exp(a * np.log(x) + 0.5 * np.log(y) + log_gamma_step(a) - 0.5 * log(pi))
        near = x > (a + 1.0) / (a + 2.5)
        upper = front / a * beta_fraction(np.where(near, 0.5, x), a=a, b=0.5 + 0.0 * a)
        lower = 1.0 - front / 0.5 * beta_fraction(np.where(near, y, 0.5), a=0.5 + 0.0 * a, b=a)
    tail = np.where(near, lower, upper)
    tail = np.where(size == 0.0, 1.0, np.where(np.isinf(size), 0.0, tail))
    return np.asarray(np.where(np.isnan(size), np.nan, tail))


def log_gamma_step(a: Floats) -> Floats:
    """log of gamma(a + 1/2) / gamma(a), without the cancellation that a large `a` would bring."""
    series = 0.5 * np.log(a) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)
    return np.where(a > 200.0, series, log_gamma(a + 0.5) - log_gamma(a))


def beta_fraction(x: Floats, *, a: Floats, b: Floats) -> Floats:
    """The continued fraction of the incomplete beta (DLMF 8.17.22), by Lentz's method."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    value = d.copy()
    for m in range(1, FRACTION_STEPS_MAX):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / np.where(np.abs(1.0 + term * d) < tiny, tiny, 1.0 + term * d)
            c = np.where(np.abs(1.0 + term / c) < tiny, tiny, 1.0 + term / c)
            value = value * (c * d)
        if not np.any(np.abs(c * d - 1.0) > 1e-14):
            break
    return value


def student_quantile(alpha: float, dof: ArrayLike) -> Floats:
    """t with P(|T| > t) = alpha, by Newton's steps from the normal quantile and its expansion in 1/dof.

    Steps square the error, so one below 1e-9 was the last that was needed.

    >>> [round(float(t), 4) for t in student_quantile(0.05, np.array([1.0, 10.0, 1e6]))]
    [12.7062, 2.2281, 1.96]
    """
    degrees = np.asarray(dof, np.float64)
    z = normal_quantile(1.0 - alpha / 2.0)
    t = z + (z**3 + z) / (4.0 * degrees)
    for _ in range(60):
        step = (student_beyond(t, degrees) - alpha) / (2.0 * student_density(t, degrees))
        t = t + step
        if not np.any(np.abs(step) > 1e-9 * np.abs(t)):
            break
    return np.asarray(t)


def student_density(t: Floats, dof: Floats) -> Floats:
    shape = log_gamma_step(dof / 2.0) - 0.5 * np.log(dof * pi)
    return np.asarray(np.exp(shape - (dof + 1.0) / 2.0 * np.log1p(t * t / dof)))
