"""Single figures of calibration that others quote, and two calibrators to hold ours against. None of them decides.

At eight frauds in 10,000 payments the error of "never fraud" is .0008: what decides is in `learning.reliability`.
"""

from typing import NamedTuple

import numpy as np

from greenlane.learning.calibrate import Floats, logistic_fit, pool


def brier(probabilities: Floats, y: Floats) -> float:
    """Mean squared error  (Brier 1950).

    >>> brier(np.array([0.5, 1.0]), np.array([0.0, 1.0]))
    0.125
    """
    return float(np.mean((probabilities - y) ** 2))


def calibration_error(probabilities: Floats, y: Floats, *, bins: int, equal_mass: bool = False) -> float:
    """ECE: mean over rows of |mean probability - share of events| of their bin (Naeini et al. 2015).

    Bins are of equal width, or of equally many rows in the order of their probability.

    >>> calibration_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0]), bins=5)
    0.25
    """
    if equal_mass:
        parts = np.array_split(np.argsort(probabilities, kind="stable"), bins)
        gaps = [abs(float(np.sum(probabilities[part] - y[part]))) for part in parts]
        return sum(gaps) / len(y)
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], probabilities, "right")
    return float(np.abs(np.bincount(place, probabilities - y, bins)).sum() / len(y))


def temperature(margins: Floats, y: Floats) -> float:
    """T of sigmoid(margin / T) with the least log loss  (Guo et al. 2017).

    >>> round(temperature(np.array([-2.0, -2.0, 2.0, 2.0]), np.array([0.0, 0.25, 0.75, 1.0])), 3)
    1.028
    """
    return float(1.0 / logistic_fit(margins[:, None], y, np.ones(len(y)), ridge=0.0).coefficients[0])


class VennAbers(NamedTuple):
    """What isotonic regression would say of a row if it were no event, if it were one, and both merged."""

    low: Floats
    high: Floats

    @property
    def probability(self) -> Floats:
        """p1 / (1 - p0 + p1): the least regret under log loss  (Vovk and Petej 2014)."""
        return np.asarray(self.high / (1.0 - self.low + self.high))


def venn_abers(scores: Floats, y: Floats, *, test: Floats) -> VennAbers:
    """Each test score is put among the calibration rows twice.

    >>> found = venn_abers(np.array([0.2, 0.8]), np.array([0.0, 1.0]), test=np.array([0.5]))
    >>> found.low.tolist(), found.high.tolist(), found.probability.tolist()
    ([0.0], [1.0], [0.5])
    """
    low, high = (np.array([_isotonic_at(scores, y, score, label) for score in test.tolist()]) for label in (0.0, 1.0))
    return VennAbers(low, high)


def _isotonic_at(scores: Floats, y: Floats, score: float, label: float) -> float:
    distinct, place = np.unique(np.append(scores, score), return_inverse=True)
    mass = np.bincount(place).astype(np.float64)
    ends, means, _ = pool(np.bincount(place, np.append(y, label)) / mass, mass)
    return float(means[np.searchsorted(ends, np.searchsorted(distinct, score), "right")])


def beta_map(scores: Floats, *, a: float, b: float, m: float) -> Floats:
    """The beta calibration map of slopes a, b through (m, 1/2)  (Kull, Silva Filho and Flach 2017, (9)).

    >>> beta_map(np.array([0.3, 0.5]), a=1.0, b=1.0, m=0.3).round(3).tolist()
    [0.5, 0.7]
    """
    told = a * np.log(scores) - b * np.log1p(-scores) + b * np.log1p(-m) - a * np.log(m)
    return np.asarray(1.0 / (1.0 + np.exp(-told)))
