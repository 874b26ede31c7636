"""Intervals that stay true however often one looks: confidence sequences, tuned to the planned size.

The asymptotic normal-mixture sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences" (arXiv 2103.06476): all looks from the first on miss with probability alpha
together. It needs an estimate, its standard error and a count of units, so means, differences, ratios and adjusted
estimates are all served by one function.
"""

from math import log, sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from greenlane.experiments.ab import Effect, Lift, between
from greenlane.experiments.distributions import normal_below
from greenlane.payments.arrays import Floats

UNITS_MIN: Final = 50
"""Below, the central limit says nothing yet and the interval is the whole line."""
BASE_ERRORS_MIN: Final = 6.0
"""A relative lift is the whole line until control is so many standard errors from 0: looked at early, a rare event
divides by almost nothing."""


def mixture_rho(alpha: float, planned: float) -> float:
    """Width of the mixture that makes the interval narrowest at `planned` units (equation 161).

    >>> round(mixture_rho(0.05, 5_000) ** 2 * 5_000, 3)
    7.936
    """
    return sqrt((-2.0 * log(alpha) + log(1.0 - 2.0 * log(alpha))) / planned)


def standard_errors(units: ArrayLike, *, planned: float, alpha: float = 0.05) -> Floats:
    """Half the interval's width, in standard errors (equation 9). A fixed-size interval has 1.96.

    >>> [round(float(half), 2) for half in standard_errors([100, 5_000, 50_000], planned=5_000)]
    [6.69, 3.04, 3.24]
    """
    time = np.asarray(units, np.float64) * mixture_rho(alpha, planned) ** 2
    return np.asarray(np.sqrt(2.0 * (1.0 + 1.0 / time) * (0.5 * np.log1p(time) - log(alpha))))


def always_valid(found: Lift, *, planned: float, alpha: float = 0.05) -> Effect:
    """The same estimate with an interval and a p-value that may be looked at after every unit.

    `planned` counts the units of both arms together and is fixed before the start: a sequence tuned to another size is
    still valid, only wider.

    >>> from greenlane.experiments.ab import compare
    >>> from greenlane.experiments.moments import Moments
    >>> lift = compare(Moments.of_proportion(86_120, 100_000), Moments.of_proportion(86_590, 100_000))
    >>> seen = always_valid(lift, planned=200_000)
    >>> bool(seen.low < 0.0 < lift.low), round(float(seen.p_value), 3)
    (False, 0.047)
    """
    known = (found.units >= UNITS_MIN) & (found.se > 0.0) & np.isfinite(found.se)
    known &= found.base_errors >= BASE_ERRORS_MIN
    half = np.where(known, standard_errors(found.units, planned=planned, alpha=alpha) * found.se, np.inf)
    z = np.where(known, found.estimate / np.where(known, found.se, 1.0), 0.0)
    evidence = log_evidence(z, found.units, planned=planned, alpha=alpha)
    return between(found, half, np.where(known, np.exp(-np.maximum(evidence, 0.0)), 1.0))


def log_evidence(z: Floats, units: Floats, *, planned: float, alpha: float) -> Floats:
    """Log of the martingale against "no effect" at z standard errors: 1 / its value is an always-valid p-value."""
    time = units * mixture_rho(alpha, planned) ** 2
    return np.asarray(z * z / 2.0 * time / (1.0 + time) - 0.5 * np.log1p(time))


def log_evidence_above(z: Floats, units: Floats, *, planned: float, alpha: float) -> Floats:
    """The same against "no effect or a negative one": the mixture keeps its upper half.

    >>> from math import log
    >>> harm = log_evidence_above(np.array([-5.0, 3.0]), np.array([5e3, 5e3]), planned=5e3, alpha=0.05)
    >>> (harm > log(1 / 0.05)).tolist()
    [False, True]
    """
    time = units * mixture_rho(2.0 * alpha, planned) ** 2
    inner = z * np.sqrt(time / (1.0 + time))
    upper = np.log(np.maximum(2.0 * normal_below(inner), 1e-300))
    return np.asarray(inner * inner / 2.0 - 0.5 * np.log1p(time) + upper)
