"""What another policy would have earned, row by row; the mean of the rows is the estimate.

`weight` is an importance weight, `predicted` a model's reward for the action taken, `direct` the model's reward
averaged over the target policy's actions. A model must not have seen the row that it predicts: fit it on other cards
(cross-fitting).
"""

from math import log, sqrt

import numpy as np

from greenlane.experiments.distributions import student_quantile
from greenlane.payments.arrays import Floats


def ipw(weight: Floats, reward: Floats) -> Floats:
    """Inverse propensity weighting (Horvitz and Thompson 1952): unbiased, and as noisy as its largest weight."""
    return np.asarray(weight * reward)


def self_normalised(weight: Floats, reward: Floats) -> Floats:
    """Weights that average to 1 (Swaminathan and Joachims 2015): an estimate never outside the rewards seen.

    >>> self_normalised(np.array([3.0, 1.0]), np.array([10.0, 0.0])).mean()
    np.float64(7.5)
    """
    mean = float(weight.mean())
    return np.asarray(weight * reward / mean if mean > 0.0 else 0.0 * reward)


def direct(policy: Floats, model: Floats) -> Floats:
    """The model alone: both are [rows, actions]."""
    return np.asarray((policy * model).sum(axis=-1))


def doubly_robust(weight: Floats, reward: Floats, *, predicted: Floats, direct: Floats) -> Floats:
    """The model, corrected by what it missed (Dudík, Langford, Li 2011): right if weights or model are."""
    return np.asarray(direct + weight * (reward - predicted))


def self_normalised_doubly_robust(weight: Floats, reward: Floats, *, predicted: Floats, direct: Floats) -> Floats:
    return direct + self_normalised(weight, reward - predicted)


def cressie_read(weight: Floats, reward: Floats) -> float:
    """Value by the Euclidean empirical likelihood, under which weights must mean 1 (Karampatziakis, Langford, Mineiro
    2020): mass moves away from rows that make their mean too large. An unseen row of weight 0 is among them; where the
    mean is no more than 1, this is IPW.

    >>> round(cressie_read(np.array([0.5, 3.0, 1.5]), np.array([1.0, 0.0, 1.0])), 3)
    0.5
    """
    if weight.mean() <= 1.0:
        return float((weight * reward).mean())
    seen = np.append(weight, 0.0)
    moments = np.array([[1.0, seen.mean()], [seen.mean(), (seen**2).mean()]])
    base, slope = np.linalg.solve(moments, np.ones(2))
    return float((base + slope * weight) * weight @ reward) / len(seen)


def hoeffding_lower(rows: Floats, *, largest: float, alpha: float = 0.05) -> float:
    """Below the true mean of rows in [0, largest] with probability 1 - alpha, whatever their law (Hoeffding 1963)."""
    return float(rows.mean()) - largest * sqrt(log(1.0 / alpha) / (2.0 * len(rows)))


def bernstein_lower(rows: Floats, *, largest: float, alpha: float = 0.05) -> float:
    """The same, tighter where rows vary little (Maurer and Pontil 2009)."""
    bias = 7.0 * largest * log(2.0 / alpha) / (3.0 * (len(rows) - 1))
    return float(rows.mean()) - bias - sqrt(2.0 * float(rows.var(ddof=1)) * log(2.0 / alpha) / len(rows))


def student_lower(rows: Floats, *, alpha: float = 0.05) -> float:
    """The same for many rows of light tails."""
    return float(rows.mean() - student_quantile(2.0 * alpha, len(rows) - 1.0) * rows.std(ddof=1) / sqrt(len(rows)))
