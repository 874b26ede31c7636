"""How wrong a sum may be whose rows are not strangers: rows of one card, and rows of one hour, move together."""

from dataclasses import dataclass

import numpy as np

from greenlane.errors import InputError
from greenlane.payments.arrays import Floats, Ints


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows grouped in one or two ways: int64[rows] each, groups numbered from 0.

    >>> rows = np.array([1.0, 1.0, -1.0, -1.0])
    >>> Groups.of(np.arange(4)).variance(rows), Groups.of(np.array([0, 0, 1, 1])).variance(rows)
    ((5.333333333333333, 3.0), (16.0, 1.0))
    """

    single: tuple[Ints, ...]
    crossed: Ints | None
    """Rows that share both groups."""

    @classmethod
    def of(cls, *groupings: Ints) -> "Groups":
        single = tuple(numbered(group) for group in groupings)
        if min(int(group.max(initial=0)) for group in single) < 1:
            raise InputError("an interval needs two groups or more", hint="leave out a grouping with one group")
        crossed = numbered(single[0] * (single[1].max() + 1) + single[1]) if len(single) == 2 else None
        return cls(single, crossed)

    def variance(self, influence: Floats) -> tuple[float, float]:
        """Of `influence.sum()`, and its degrees of freedom.

        Two ways: V_1 + V_2 - V_both (Cameron, Gelbach, Miller 2011), and never less than V_1. Each has the correction
        G / (G - 1) for G groups; the fewest groups give the degrees of freedom.
        """
        centred = influence - influence.mean()
        found = [group_variance(centred, group) for group in self.single]
        dof = min(int(group.max()) for group in self.single)
        if self.crossed is None:
            return found[0], float(dof)
        return max(found[0], sum(found) - group_variance(centred, self.crossed)), float(dof)


def numbered(group: Ints) -> Ints:
    return np.asarray(np.unique(group, return_inverse=True)[1], np.int64)


def group_variance(centred: Floats, group: Ints) -> float:
    sums = np.bincount(group, centred)
    return float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)
