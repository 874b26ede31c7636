"""Why a margin is what it is: path contributions by feature group.

On the way from a tree's root to the leaf where a row ends, each split moves what the tree expects (the mean of its
leaves, weighted by training rows). The movement is credited to the group of the feature that was asked (Saabas 2014).
Along a path the movements telescope, so over all trees

    margin = base + sum of the groups' contributions          base = sum of what the trees expect at their roots

holds by construction. These are path contributions; they are not SHAP values, which average over orderings of features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numba import njit
from numpy.typing import NDArray

from greenlane.models.tree import packed


@njit(cache=True)
def expect(roots, feature, right, value, rows):  # type: ignore[no-untyped-def]  # a kernel
    """Fill in, from the leaves up, the expected value and the rows of every split."""
    for t in range(roots.shape[0] - 1, -1, -1):
        end = roots[t + 1] if t + 1 < roots.shape[0] else feature.shape[0]
        for at in range(end - 1, roots[t] - 1, -1):
            if feature[at] >= 0:
                left, other = at + 1, roots[t] + right[at]
                rows[at] = rows[left] + rows[other]
                share = rows[left] / rows[at] if rows[at] > 0.0 else 0.5
                value[at] = share * value[left] + (1.0 - share) * value[other]


@njit(cache=True)
def credit(roots, feature, right, value, group_of_feature, paths):  # type: ignore[no-untyped-def]  # a kernel
    """Fill in, from the roots down, what each group has moved on the way to every node."""
    for t in range(roots.shape[0]):
        end = roots[t + 1] if t + 1 < roots.shape[0] else feature.shape[0]
        for at in range(roots[t], end):
            if feature[at] >= 0:
                group = group_of_feature[feature[at]]
                for child in (at + 1, roots[t] + right[at]):
                    paths[child] = paths[at]
                    paths[child, group] += value[child] - value[at]


@njit(cache=True)
def gather(table, exits, contributions):  # type: ignore[no-untyped-def]  # a kernel
    groups = contributions.shape[0]
    cells = table.reshape(-1)
    for t in range(exits.shape[0]):
        line = np.uint64(exits[t]) * np.uint64(groups)
        for group in range(groups):
            contributions[group] += cells[line + np.uint64(group)]


class Reasons(Struct, frozen=True, eq=False, gc=False):
    """One row's margin taken apart: `base + contributions.sum()` is the margin, in log-odds."""

    base: float
    groups: tuple[str, ...]
    contributions: NDArray[np.float64]

    def top(self, n: int) -> list[tuple[str, float]]:
        """The n groups that moved the margin most, either way.

        >>> Reasons(-3.0, ("amount", "velocity"), np.array([0.2, -1.5])).top(1)
        [('velocity', -1.5)]
        """
        named: list[tuple[str, float]] = list(zip(self.groups, self.contributions.tolist(), strict=True))
        return sorted(named, key=lambda reason: -abs(reason[1]))[:n]


class ReasonTable:
    """One line per leaf of the ensemble, one column per group; a row's reasons are the sum of the lines it ends in.

    `nodes` and `roots` are those of `FlatTrees`; `group_of_feature` names the group of each feature, in its order.

    >>> from greenlane.models.flat_trees import FlatTrees
    >>> from greenlane.models.tree import Leaf, Split
    >>> trees = FlatTrees.of([Split(0, 0.5, True, Leaf(-1.0, 3.0), Leaf(3.0, 1.0))], features=1)
    >>> reasons = ReasonTable(trees.nodes, trees.roots, ["amount"]).explain(np.array([1], np.int32))
    >>> reasons.base, reasons.top(1)
    (0.0, [('amount', 3.0)])
    """

    def __init__(self, nodes: NDArray[Any], roots: NDArray[np.int32], group_of_feature: Sequence[str]):
        self.groups = tuple(dict.fromkeys(group_of_feature))
        number = np.array([self.groups.index(g) for g in group_of_feature], np.int64)
        feature, right = (packed(nodes[c], np.int32) for c in ("feature", "right"))
        value, rows = (packed(nodes[c].copy(), np.float64) for c in ("value", "rows"))
        expect(roots, feature, right, value, rows)
        paths = np.zeros((len(feature), len(self.groups)))
        credit(roots, feature, right, value, number, paths)
        self.base = float(value[roots].sum())
        self.table: NDArray[Any] = packed(paths[feature < 0], np.float64)

    def explain(self, exits: NDArray[np.int32]) -> Reasons:
        """`exits` as `FlatTrees.sums` gives them: the leaf each tree ends in."""
        contributions = np.zeros(len(self.groups))
        gather(self.table, exits, contributions)
        return Reasons(self.base, self.groups, contributions)
