"""A decision tree in no library's words: what every trainer's format is translated into before it is flattened."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Leaf(NamedTuple):
    value: float
    """Added to the margin."""
    rows: float = 1.0
    """How many training rows ended here: the weight of this leaf in what the tree expects."""


class Split(NamedTuple):
    """Left where x <= threshold; a missing value (NaN) has a side of its own."""

    feature: int
    threshold: float
    nan_left: bool
    left: "Tree"
    right: "Tree"
    zero_left: bool | None = None
    """The side of zero where it is not a number like others: LightGBM can treat zero as missing."""


Tree = Leaf | Split


def float32_at_most(threshold: float) -> np.float32:
    """The largest float32 not above the threshold, so that `x <= threshold` is unchanged for every float32 x.

    >>> float(float32_at_most(0.1)) <= 0.1
    True
    >>> bool(float32_at_most(1e300) == np.finfo(np.float32).max)
    True
    """
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf))


def packed(column: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """As kernels read it."""
    return np.ascontiguousarray(column, dtype=kind)


def preorder(tree: Tree) -> Iterator[tuple[Tree, int]]:
    """Every node, parents first and left before right, with the index of its right child (-1 for a leaf).

    >>> [right for _, right in preorder(Split(0, 0.5, True, Leaf(1.0), Leaf(2.0)))]
    [2, -1, -1]
    """
    pending, index = [tree], 0
    while pending:
        node = pending.pop()
        if isinstance(node, Leaf):
            yield node, -1
        else:
            yield node, index + 1 + node_count(node.left)
            pending += [node.right, node.left]
        index += 1


def node_count(tree: Tree) -> int:
    pending, count = [tree], 0
    while pending:
        node = pending.pop()
        count += 1
        if isinstance(node, Split):
            pending += [node.left, node.right]
    return count
