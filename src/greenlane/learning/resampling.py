"""Cards drawn again and again, with replacement: how sure a figure is whose rows are not strangers to one another."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CLUSTERS_MAX: Final = 20_000
"""Cards are resampled in at most so many groups."""


class Figure(Struct, frozen=True):
    """A figure with its 95 % interval by cards."""

    value: float
    low: float
    high: float


class Resampled(NamedTuple):
    """Which rows belong together, and how often each group is drawn: a Poisson number with mean 1.

    >>> cards = Resampled.of(np.array([4, 4, 9]), seed=0, replicates=3)
    >>> cards.sums(np.ones(3)).tolist(), cards.totals(np.ones(3)).shape
    ([2.0, 1.0], (3,))
    """

    cluster: NDArray[np.int64]
    """Each row's group, numbered from 0."""
    draws: Floats
    """float64[replicates, groups]"""

    @classmethod
    def of(cls, card: NDArray[np.int64] | Sequence[int], *, seed: int, replicates: int = 200) -> "Resampled":
        cluster = np.unique(card, return_inverse=True)[1] % CLUSTERS_MAX
        shape = replicates, int(cluster.max()) + 1
        return cls(cluster, np.random.default_rng(seed).poisson(1.0, shape).astype(np.float64))

    def take(self, rows: NDArray[Any]) -> "Resampled":
        """Of some of the rows, the same draws."""
        return self._replace(cluster=self.cluster[rows])

    def sums(self, each: Floats) -> Floats:
        """float64[groups], of a number for each row."""
        return np.bincount(self.cluster, each, self.draws.shape[1]).astype(np.float64)

    def totals(self, each: Floats) -> Floats:
        """float64[replicates]: the sum over all rows in each draw."""
        return np.asarray(self.draws @ self.sums(each))


def ends(drawn: Floats | Sequence[float]) -> tuple[float, float]:
    """Between them lie 95 % of what was drawn."""
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high
