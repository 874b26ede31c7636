"""What a model's decisions cost, when a payment is blocked if letting it pass is expected to lose money."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stakes:
    """Per row, in minor units: what is lost when fraud passes and what is lost when a good payment is blocked.

    >>> stakes = Stakes.of(np.array([10_000]), dispute_fee_minor=2_000, margin=0.06)
    >>> stakes.break_even
    array([0.04761905])
    """

    loss_minor: Floats
    gain_minor: Floats

    @classmethod
    def of(cls, amount_minor: NDArray[Any], *, dispute_fee_minor: int = 2_000, margin: float = 0.05) -> "Stakes":
        """Stated defaults: fraud loses the amount and a dispute fee, a good payment brings a margin of its amount."""
        return cls(amount_minor + float(dispute_fee_minor), amount_minor * margin)

    @property
    def break_even(self) -> Floats:
        """The fraud probability above which blocking is worth more: p loss > (1 - p) gain."""
        share: Floats = self.gain_minor / (self.gain_minor + self.loss_minor)
        return share

    def cost(self, blocked: NDArray[np.bool_], y: NDArray[Any]) -> Floats:
        """Per row: fraud that passed loses, a good payment that was blocked loses."""
        lost: Floats = np.where(blocked, (y == 0) * self.gain_minor, (y == 1) * self.loss_minor)
        return lost

    def decided_cost(self, probabilities: Floats, y: NDArray[Any]) -> Floats:
        return self.cost(probabilities > self.break_even, y)


class CostPoint(NamedTuple):
    threshold: float
    blocked_share: float
    cost_per_1000_minor: float


def cost_curve(
    probabilities: Floats, y: NDArray[Any], *, stakes: Stakes, weight: Floats, points: int = 200
) -> list[CostPoint]:
    """Cost of blocking at or above each of about `points` thresholds, from blocking nothing on.

    Thresholds are spread evenly over the ranks of the events, where the curve bends.
    """
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    saved = weight * (stakes.cost(np.zeros(len(y), bool), y) - stakes.cost(np.ones(len(y), bool), y))
    total = float(weight @ stakes.cost(np.zeros(len(y), bool), y))
    cost, share = total - np.cumsum(saved[order]), np.cumsum(weight[order])
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(y[order])[ends]
    wanted = np.unique(np.searchsorted(hits, np.linspace(1, hits[-1], points))) if hits[-1] else np.arange(0)
    chosen = ends[np.union1d(wanted, [len(ends) - 1]).astype(np.int64)]
    per_1000 = 1000.0 / float(weight.sum())
    curve = [CostPoint(1.0, 0.0, total * per_1000)]
    for i in chosen:
        curve.append(CostPoint(float(falling[i]), float(share[i] / share[-1]), float(cost[i] * per_1000)))
    return curve
