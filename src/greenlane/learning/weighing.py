"""Which rows count for how much while a model is fitted. What it is calibrated and judged on is never touched.

- By class: events count `event_weight` times. Then the fitted odds are that many times too high; the calibrator is
  fitted on rows weighted alike and corrects the prior exactly as for left-out negatives (Elkan 2001), with
  negatives_kept = 1 / event_weight.
- By cost: each row counts by what a wrong choice about its payment loses, be it fraud or not. Both labels of a payment
  weigh the same, so that the odds stay what they are; the model takes more care where there is more to lose.
- Of a label with more than ROWS_PER_LABEL_MAX rows an even draw is fitted on, whose weights make up for the rest: a
  million payments without fraud say little more than a hundred thousand, and take ten times as long.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.examples import Examples
from greenlane.learning.money import Stakes

Floats = NDArray[np.float64]
ROWS_PER_LABEL_MAX: Final = 125_000
COST_SHARE: Final = 0.99
"""Rows beyond this quantile of what is at stake count as much as it: one payment is not the model."""


@dataclass(frozen=True)
class Weighing:
    """
    >>> Weighing(event_weight=4.0).negatives_kept
    0.25
    """

    event_weight: float = 1.0
    by_cost: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.event_weight < float("inf"):
            raise TrainingError(f"a class weight of {self.event_weight:g}", hint="any positive number; 1 weighs alike")

    @property
    def negatives_kept(self) -> float:
        return 1.0 / self.event_weight

    def by_class(self, y: NDArray[np.int8], weight: Floats) -> Floats:
        found: Floats = np.where(y == 1, weight * self.event_weight, weight)
        return found

    def for_fit(self, examples: Examples, *, negative: bool) -> Examples:
        """The examples as a trainer is to weigh them; no weight is negative unless it may be."""
        if not negative:
            examples = without_negative(examples)
        weight = self.by_class(examples.y, examples.weight)
        if self.by_cost:
            weight = weight * cost_of_error(examples.amount_minor)
        return replace(examples, weight=weight)


EQUAL: Final = Weighing()


def drawn(examples: Examples, *, seed: int) -> Examples:
    """At most about ROWS_PER_LABEL_MAX rows of each label, with the total weight of all; and all of negative weight,
    which belong to another row each."""
    rows = np.bincount(examples.y, minlength=2)
    if rows.max() <= ROWS_PER_LABEL_MAX:
        return examples
    share = np.minimum(1.0, ROWS_PER_LABEL_MAX / np.maximum(rows, 1))[examples.y]
    share[examples.weight < 0.0] = 1.0
    kept = np.random.default_rng(seed).random(len(examples)) < share
    return replace(examples, weight=examples.weight / share).take(kept)


def cost_of_error(amount_minor: NDArray[np.int64]) -> Floats:
    """What lies between the right and the wrong choice, float64[n] with mean 1."""
    stakes = Stakes.of(amount_minor)
    at_stake = stakes.loss_minor + stakes.gain_minor
    held = np.minimum(at_stake, np.quantile(at_stake, COST_SHARE))
    found: Floats = held / held.mean()
    return found


def without_negative(examples: Examples) -> Examples:
    """The same events and the same total, for trainers that know no negative weights.

    A young payment with a report stands for others whose report is still to come, and takes them away from the payments
    without one: here from all of these alike, where the pairs of `maturity.py` take them away at the reported payment.
    """
    negative = examples.weight < 0.0
    if not negative.any():
        return examples
    good = (examples.y == 0) & ~negative
    taken = float(-examples.weight[negative].sum() / examples.weight[good].sum())
    if taken >= 1.0:
        raise TrainingError("the reports still to come outnumber the payments without one", hint="take an earlier cut")
    weight = np.where(good, examples.weight * (1.0 - taken), examples.weight)
    return replace(examples, weight=weight).take(~negative)
