"""From a margin to a probability that means what it says.

A calibrator is data: it travels in the model's manifest and is evaluated here, one margin at a time, in plain floats,
so that one row and many rows get the same bits. How they are fitted stands in `learning/calibrate.py`.
"""

from bisect import bisect_right
from collections.abc import Iterable
from math import exp, log1p
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

E9: Final = 1_000_000_000
"""Probabilities are recorded as integers in units of 1e-9."""


def sigmoid(margin: float) -> float:
    """
    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if margin >= 0:
        return 1.0 / (1.0 + exp(-margin))
    odds = exp(margin)
    return odds / (1.0 + odds)


def softplus(x: float) -> float:
    """ln(1 + e^x) without overflow."""
    return max(x, 0.0) + log1p(exp(-abs(x)))


def prior_corrected(probability: float, *, negatives_kept: float) -> float:
    """The probability among all rows, where the model was trained with only this share of the negatives.

    p = b ps / (b ps - ps + 1)  (Elkan 2001; Dal Pozzolo et al. 2015)

    >>> round(prior_corrected(0.1680672268907563, negatives_kept=0.05), 9)
    0.01
    """
    return negatives_kept * probability / (negatives_kept * probability - probability + 1.0)


class Calibrator(Struct, frozen=True, kw_only=True, tag_field="method"):
    """Each kind says `calibrated(margin)`; what all share is the prior correction and the rounding."""

    negatives_kept: float = 1.0
    """The share of negatives that were kept among the rows it was fitted on."""

    def calibrated(self, margin: float) -> float:
        return sigmoid(margin)

    def probability(self, margin: float) -> float:
        found = self.calibrated(margin)
        return found if self.negatives_kept == 1.0 else prior_corrected(found, negatives_kept=self.negatives_kept)

    def probability_e9(self, margin: float) -> int:
        """The probability in units of 1e-9, an integer from 0 to 10^9."""
        return round(self.probability(margin) * E9)

    def probabilities_e9(self, margins: Iterable[float]) -> list[int]:
        """Each exactly what `probability_e9` says for it."""
        if self.negatives_kept != 1.0:
            return [self.probability_e9(margin) for margin in margins]
        return [round(p * E9) for p in map(self.calibrated, margins)]

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[rows], each exactly what `probability` says for it."""
        found: NDArray[np.float64] = np.array([self.probability(margin) for margin in margins.tolist()], np.float64)
        return found


class Identity(Calibrator, frozen=True, tag="identity"):
    """The model's own log-odds, believed.

    >>> Identity().probability_e9(0.0)
    500000000
    """


class Platt(Calibrator, frozen=True, tag="platt"):
    """logit(p) = slope * margin + intercept  (Platt 1999)."""

    slope: float
    intercept: float

    def calibrated(self, margin: float) -> float:
        return sigmoid(self.slope * margin + self.intercept)


class Beta(Calibrator, frozen=True, tag="beta"):
    """logit(p) = a ln s - b ln(1 - s) + c, s the model's own probability  (Kull, Silva Filho, Flach 2017)."""

    a: float
    b: float
    c: float

    def calibrated(self, margin: float) -> float:
        return sigmoid(self.b * softplus(margin) - self.a * softplus(-margin) + self.c)


class Isotonic(Calibrator, frozen=True, tag="isotonic"):
    """Linear in log-odds between knots that rise in both; flat outside them.

    >>> curve = Isotonic(margins=(-2.0, 2.0), log_odds=(-3.0, 3.0))
    >>> curve.calibrated(0.0), curve.calibrated(5.0) == curve.calibrated(2.0)
    (0.5, True)
    """

    margins: tuple[float, ...]
    log_odds: tuple[float, ...]

    def calibrated(self, margin: float) -> float:
        right = bisect_right(self.margins, margin)
        if right == 0:
            return sigmoid(self.log_odds[0])
        if right == len(self.margins):
            return sigmoid(self.log_odds[-1])
        x0, x1 = self.margins[right - 1], self.margins[right]
        y0, y1 = self.log_odds[right - 1], self.log_odds[right]
        return sigmoid(y0 + (y1 - y0) * (margin - x0) / (x1 - x0))


AnyCalibrator = Identity | Platt | Beta | Isotonic


def log_odds(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Finite for probabilities of exactly 0 or 1: these count as 1e-9 away from it."""
    inside = np.clip(probabilities, 1.0 / E9, 1.0 - 1.0 / E9)
    found: NDArray[np.float64] = np.log(inside / (1.0 - inside))
    return found
