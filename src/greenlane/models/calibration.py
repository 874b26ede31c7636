"""From a margin to a probability that means what it says.

A calibrator is data: it travels in the model's manifest and is evaluated here by one compiled loop, so that one row and
many rows get the same bits. How they are fitted stands in `learning/calibrate.py`.
"""

from functools import cached_property
from math import exp, log1p
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numba import njit
from numpy.typing import NDArray

E9: Final = 1_000_000_000
"""Probabilities are recorded as integers in units of 1e-9."""

NO_KNOTS: Final = np.zeros((2, 0))


@njit(cache=True)
def sigmoid(margin: float) -> float:
    """
    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if margin >= 0:
        return 1.0 / (1.0 + exp(-margin))
    odds = exp(margin)
    return odds / (1.0 + odds)


@njit(cache=True)
def softplus(x: float) -> float:
    """ln(1 + e^x) without overflow."""
    return max(x, 0.0) + log1p(exp(-abs(x)))


@njit(cache=True)
def prior_corrected(probability: float, negatives_kept: float) -> float:
    """The probability among all rows, where the model was trained with only this share of the negatives.

    p = b ps / (b ps - ps + 1)  (Elkan 2001; Dal Pozzolo et al. 2015)

    >>> round(prior_corrected(0.1680672268907563, 0.05), 9)
    0.01
    """
    return negatives_kept * probability / (negatives_kept * probability - probability + 1.0)


@njit(cache=True)
def calibrated(margin, numbers, knots, negatives_kept):  # type: ignore[no-untyped-def]  # a kernel
    """The probability, through `knots` where there are any, else by one, two or three `numbers`."""
    if knots.shape[1]:
        odds = between(knots[0], knots[1], margin)
    elif numbers.shape[0] == 3:
        odds = numbers[1] * softplus(margin) - numbers[0] * softplus(-margin) + numbers[2]
    else:
        odds = numbers[0] * margin + numbers[1]
    found = sigmoid(odds)
    return found if negatives_kept == 1.0 else prior_corrected(found, negatives_kept)


@njit(cache=True)
def calibrated_all(margins, numbers, knots, negatives_kept):  # type: ignore[no-untyped-def]  # a kernel
    found = np.empty(margins.shape[0])
    for row in range(margins.shape[0]):
        found[row] = calibrated(margins[row], numbers, knots, negatives_kept)
    return found


@njit(cache=True)
def calibrated_e9(margins, numbers, knots, negatives_kept):  # type: ignore[no-untyped-def]  # a kernel
    found = np.empty(margins.shape[0], np.int64)
    for row in range(margins.shape[0]):
        found[row] = np.int64(np.rint(calibrated(margins[row], numbers, knots, negatives_kept) * E9))
    return found


@njit(cache=True)
def between(x, y, at):  # type: ignore[no-untyped-def]  # a kernel
    """Linear between the knots, flat outside them."""
    right = np.searchsorted(x, at, side="right")
    if right == 0:
        return y[0]
    if right == x.shape[0]:
        return y[-1]
    return y[right - 1] + (y[right] - y[right - 1]) * (at - x[right - 1]) / (x[right] - x[right - 1])


class Calibrator(Struct, frozen=True, kw_only=True, tag_field="method", dict=True):
    """Each kind says its `numbers` or `knots`; what all share is the prior correction and the rounding."""

    negatives_kept: float = 1.0
    """The share of negatives that were kept among the rows it was fitted on."""

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        return np.array([1.0, 0.0])

    @cached_property
    def knots(self) -> NDArray[np.float64]:
        return NO_KNOTS

    def probability(self, margin: float) -> float:
        found: float = calibrated(margin, self.numbers, self.knots, self.negatives_kept)
        return found

    def probability_e9(self, margin: float) -> int:
        """The probability in units of 1e-9, an integer from 0 to 10^9."""
        return round(self.probability(margin) * E9)

    def probabilities_e9(self, margins: NDArray[np.float64]) -> NDArray[np.int64]:
        """Each exactly what `probability_e9` says for it."""
        found: NDArray[np.int64] = calibrated_e9(margins, self.numbers, self.knots, self.negatives_kept)
        return found

    def probabilities(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[rows], each exactly what `probability` says for it."""
        found: NDArray[np.float64] = calibrated_all(margins, self.numbers, self.knots, self.negatives_kept)
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

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        return np.array([self.slope, self.intercept])


class Beta(Calibrator, frozen=True, tag="beta"):
    """logit(p) = a ln s - b ln(1 - s) + c, s the model's own probability  (Kull, Silva Filho, Flach 2017)."""

    a: float
    b: float
    c: float

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        return np.array([self.a, self.b, self.c])


class Isotonic(Calibrator, frozen=True, tag="isotonic"):
    """Linear in log-odds between knots that rise in both; flat outside them.

    >>> curve = Isotonic(margins=(-2.0, 2.0), log_odds=(-3.0, 3.0))
    >>> curve.probability(0.0), curve.probability(5.0) == curve.probability(2.0)
    (0.5, True)
    """

    margins: tuple[float, ...]
    log_odds: tuple[float, ...]

    @cached_property
    def knots(self) -> NDArray[np.float64]:
        return np.array([self.margins, self.log_odds])


AnyCalibrator = Identity | Platt | Beta | Isotonic


def log_odds(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Finite for probabilities of exactly 0 or 1: these count as 1e-9 away from it."""
    inside = np.clip(probabilities, 1.0 / E9, 1.0 - 1.0 / E9)
    found: NDArray[np.float64] = np.log(inside / (1.0 - inside))
    return found
