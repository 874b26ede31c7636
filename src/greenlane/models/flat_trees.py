"""Tree ensembles as flat arrays, scored without a library: the trainer's own margin, as exactly as it adds up itself.

Small trees (at most 64 leaves) are scored by QuickScorer (Lucchese et al., SIGIR 2015):

1. Each tree holds one 64-bit word, one bit per leaf, all bits set: every leaf is still possible.
                                                                         alive: uint64[trees]
2. The splits of all trees are sorted by (feature, threshold).           thresholds: float32[splits]
3. For each feature, walk its splits while x > threshold: that split goes right, so the leaves under its left child are
   struck out of its tree's word.                                        masks: uint64[splits]
4. The lowest bit still set in a word is the leaf where the row ends. Sum the leaf values in tree order.
                                                                         margin: float64

Indices are unsigned in the inner loops: numba then leaves out the test for negative ones, a third of the time.
What step 3 does for a feature that has the same value in many rows is done once for all of them, and what it does for
the ways of payments is kept from one payment to the next. Larger trees are walked from the root.

To flatten another library's model, write the function that turns its format into `Tree`s; it belongs into the
adapter of that library, as `adapters/lightgbm_trainer.py` does. Libraries differ in how leaves add up: see `Sums`.
"""

from collections.abc import Sequence
from math import log
from typing import Any, Final, Literal, TypeGuard, cast, get_args

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.predictor import Beside, Explainer, RowsBeside
from greenlane.models.reasons import Reasons, ReasonTable
from greenlane.models.tree import Leaf, Tree, float32_at_most, packed, preorder

Sums = Literal["trees", "trees32", "votes"]
"""How leaves make a margin.

trees    a float64 sum of log-odds                                              LightGBM
trees32  the same, rounded to float32 after each tree                           XGBoost
votes    each of n trees says a share of events; of their sum s the margin is   random forest
         log (s + 1/2) / (n - s + 1/2), as if half a tree more had voted each way: a unanimous forest is not certain
"""
QUICK_LEAVES_MAX: Final = 64
NAN_LEFT: Final = 1
ZERO_LEFT: Final = 2
ZERO_APART: Final = 4
ZERO: Final = np.float32(1e-35)
"""Where zero stands apart, values this near to it are zero: LightGBM's own kZeroThreshold."""

NODE: Final = np.dtype(
    [("feature", "<i4"), ("threshold", "<f4"), ("right", "<i4"), ("sides", "<i4"), ("value", "<f8"), ("rows", "<f8")]
)
"""One node in preorder: the left child is the next node, `right` counts from the tree's root; a leaf has feature -1."""

ALL_ALIVE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
lowest_bit: Any = trailing_zeros
"""Its index in a word that is not 0: one instruction, which numba has no public name for."""


@njit(cache=True)
def strike(value, first, last, thresholds, trees, masks, sides, zero_apart, alive):  # type: ignore[no-untyped-def]  # a kernel
    """Strike out the leaves that one feature's value rules out, in every tree."""
    if value != value:
        for i in range(first, last):
            if not sides[i] & NAN_LEFT:
                alive[trees[i]] &= masks[i]
    elif zero_apart and -ZERO <= value <= ZERO:
        for i in range(first, last):
            goes_left = sides[i] & ZERO_LEFT != 0 if sides[i] & ZERO_APART else value <= thresholds[i]
            if not goes_left:
                alive[trees[i]] &= masks[i]
    else:
        at, end = np.uint64(first), np.uint64(last)
        while at < end and value > thresholds[at]:
            alive[trees[at]] &= masks[at]
            at += np.uint64(1)


@njit(cache=True)
def quick_exits(x, slots, starts, thresholds, trees, masks, sides, zero_apart, first_leaf, values, exits):  # type: ignore[no-untyped-def]  # a kernel
    """Margin of one row; `exits` gets the leaf where it ends in every tree."""
    alive = np.full(first_leaf.shape[0], ALL_ALIVE)
    for f in range(slots.shape[0]):
        strike(x[slots[f]], starts[f], starts[f + 1], thresholds, trees, masks, sides, zero_apart[f], alive)
    margin = values.dtype.type(0)
    for t in range(first_leaf.shape[0]):
        leaf = first_leaf[t] + lowest_bit(alive[t])
        exits[t] = leaf
        margin += values[leaf]
    return margin


@njit(cache=True)
def is_shared(x, column):  # type: ignore[no-untyped-def]  # a kernel
    """Does every row hold the same value?"""
    first = x[0, column]
    for row in range(1, x.shape[0]):
        value = x[row, column]
        if value != first and (value == value or first == first):
            return False
    return True


@njit(cache=True)
def summed(alive, held, first_leaf, values):  # type: ignore[no-untyped-def]  # a kernel
    """The leaves that are left in both, added in tree order."""
    margin = values.dtype.type(0)
    for t in range(first_leaf.shape[0]):
        margin += values[first_leaf[t] + lowest_bit(alive[t] & held[t])]
    return margin


@njit(cache=True)
def summed_rows(alive, held, first_leaf, values, sums):  # type: ignore[no-untyped-def]  # a kernel
    """The same for each row of `held`, all at once: an addition need not wait for the one before it in another row."""
    sums[:] = 0
    for t in range(first_leaf.shape[0]):
        first, own = first_leaf[t], alive[t]
        for row in range(held.shape[0]):
            sums[row] += values[first + lowest_bit(own & held[row, t])]


@njit(cache=True)
def quick_margins(x, slots, starts, thresholds, trees, masks, sides, zero_apart, first_leaf, values, margins):  # type: ignore[no-untyped-def]  # a kernel
    """Margins of many rows. A feature that does not vary is evaluated once."""
    shared = np.full(first_leaf.shape[0], ALL_ALIVE)
    varying = np.empty(slots.shape[0], np.bool_)
    for f in range(slots.shape[0]):
        varying[f] = not is_shared(x, slots[f])
        if not varying[f]:
            strike(x[0, slots[f]], starts[f], starts[f + 1], thresholds, trees, masks, sides, zero_apart[f], shared)
    own = np.empty_like(shared)
    for row in range(x.shape[0]):
        own[:] = ALL_ALIVE
        for f in range(slots.shape[0]):
            if varying[f]:
                value = x[row, slots[f]]
                strike(value, starts[f], starts[f + 1], thresholds, trees, masks, sides, zero_apart[f], own)
        margins[row] = summed(shared, own, first_leaf, values)


@njit(cache=True)
def strike_columns(columns, first, slots, starts, thresholds, trees, masks, sides, zero_apart, alive):  # type: ignore[no-untyped-def]  # a kernel
    """Strike out what the columns of a row from `first` on rule out."""
    for f in range(slots.shape[0]):
        at = slots[f] - first
        if 0 <= at < columns.shape[0]:
            strike(columns[at], starts[f], starts[f + 1], thresholds, trees, masks, sides, zero_apart[f], alive)


@njit(cache=True)
def quick_beside(columns, at, held, margins, slots, starts, thresholds, trees, masks, sides, zero_apart, leaf, values):  # type: ignore[no-untyped-def]  # a kernel
    """Margins of one payment beside each row of `held`, uint64[places, each, trees], at these places."""
    alive = np.full(leaf.shape[0], ALL_ALIVE)
    strike_columns(columns, 0, slots, starts, thresholds, trees, masks, sides, zero_apart, alive)
    each = held.shape[1]
    sums = np.empty(each, values.dtype)
    for place in range(at.shape[0]):
        summed_rows(alive, held[at[place]], leaf, values, sums)
        margins[place * each : (place + 1) * each] = sums


@njit(cache=True)
def exit_node(x, slots, root, feature, threshold, right, sides):  # type: ignore[no-untyped-def]  # a kernel
    at = root
    while feature[at] >= 0:
        value = x[slots[feature[at]]]
        if value != value:
            left = sides[at] & NAN_LEFT != 0
        elif sides[at] & ZERO_APART and -ZERO <= value <= ZERO:
            left = sides[at] & ZERO_LEFT != 0
        else:
            left = value <= threshold[at]
        at = at + 1 if left else root + right[at]
    return at


@njit(cache=True)
def walked_exits(x, slots, roots, feature, threshold, right, sides, leaf_of_node, values, exits):  # type: ignore[no-untyped-def]  # a kernel
    """The same as `quick_exits` for trees of any size."""
    margin = values.dtype.type(0)
    for t in range(roots.shape[0]):
        exits[t] = leaf_of_node[exit_node(x, slots, roots[t], feature, threshold, right, sides)]
        margin += values[exits[t]]
    return margin


@njit(cache=True)
def walked_margins(x, slots, roots, feature, threshold, right, sides, leaf_of_node, values, margins):  # type: ignore[no-untyped-def]  # a kernel
    for row in range(x.shape[0]):
        margin = values.dtype.type(0)
        for t in range(roots.shape[0]):
            margin += values[leaf_of_node[exit_node(x[row], slots, roots[t], feature, threshold, right, sides)]]
        margins[row] = margin


@njit(cache=True)
def left_leaf_masks(roots, feature, right, masks):  # type: ignore[no-untyped-def]  # a kernel
    """For every split, the word with the leaves under its left child cleared. Leaves count from the left."""
    nodes = feature.shape[0]
    leaves = np.ones(nodes, np.int64)
    first = np.zeros(nodes, np.int64)
    for t in range(roots.shape[0]):
        root = roots[t]
        end = roots[t + 1] if t + 1 < roots.shape[0] else nodes
        for at in range(end - 1, root - 1, -1):
            if feature[at] >= 0:
                leaves[at] = leaves[at + 1] + leaves[root + right[at]]
        for at in range(root, end):
            if feature[at] >= 0:
                first[at + 1] = first[at]
                first[root + right[at]] = first[at] + leaves[at + 1]
                under_left = ((np.uint64(1) << np.uint64(leaves[at + 1])) - np.uint64(1)) << np.uint64(first[at])
                masks[at] = ~under_left


def vote(votes: float, trees: int) -> float:
    """The margin of a forest in which `votes` of the trees are for the event.

    >>> vote(50.0, 100), round(vote(0.0, 100), 2)
    (0.0, -5.3)
    """
    return log((votes + 0.5) / (trees - votes + 0.5))


class FlatTrees:
    """An ensemble whose margin is the sum of one leaf per tree, in tree order: a `Predictor`.

    `nodes` is NODE[n] and `roots` int32[trees]: all that has to be kept of it. `features` is the number of columns that
    the splits index, `form` how leaves add up. Margins are log-odds for a model trained on log loss.

    >>> from greenlane.models.tree import Leaf, Split
    >>> trees = FlatTrees.of([Split(0, 0.5, True, Leaf(-1.0), Leaf(2.0))], features=1)
    >>> trees.margins(np.array([[0.5], [0.6], [np.nan]], np.float32))
    array([-1.,  2., -1.])
    """

    missing = "missing is NaN, never zero: it takes the side that each split learned for it"

    def __init__(self, nodes: NDArray[Any], roots: NDArray[np.int32], *, features: int, form: Sums = "trees"):
        self.nodes, self.roots, self.features, self.form = nodes, roots, features, form
        check_shape(nodes, roots, features)
        if form == "votes" and np.any((nodes["value"] < 0.0) | (nodes["value"] > 1.0)):
            raise ModelRefused("a vote is not a share", code="model_malformed")
        self.is_leaf = nodes["feature"] < 0
        self.leaf_nodes = np.flatnonzero(self.is_leaf)
        self.leaf_of_node = packed(np.cumsum(self.is_leaf) - 1, np.int32)
        self.leaf_values = packed(nodes["value"][self.leaf_nodes], np.float32 if form == "trees32" else np.float64)
        per_tree = np.add.reduceat(self.is_leaf.astype(np.int64), roots)
        self.is_quick = bool(per_tree.max() <= QUICK_LEAVES_MAX and len(roots) <= np.iinfo(np.uint16).max)
        self.tables = self.quick_tables(per_tree) if self.is_quick else self.walk_tables()

    @classmethod
    def of(cls, trees: Sequence[Tree], *, features: int, form: Sums = "trees") -> "FlatTrees":
        rows: list[tuple[int, float, int, int, float, float]] = []
        roots = []
        for tree in trees:
            roots.append(len(rows))
            for node, right in preorder(tree):
                if isinstance(node, Leaf):
                    rows.append((-1, 0.0, -1, 0, node.value, node.rows))
                else:
                    sides = NAN_LEFT * node.nan_left
                    if node.zero_left is not None:
                        sides += ZERO_APART + ZERO_LEFT * node.zero_left
                    threshold = float(float32_at_most(node.threshold))
                    rows.append((node.feature, threshold, right, sides, 0.0, 0.0))
        return cls(np.array(rows, NODE), np.array(roots, np.int32), features=features, form=form)

    def files(self) -> dict[str, NDArray[Any] | bytes]:
        return {"nodes.npy": self.nodes, "roots.npy": self.roots}

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        splits = self.nodes[~self.is_leaf]
        return packed(splits["feature"], np.int64), packed(splits["threshold"], np.float32)

    @property
    def memory_bytes(self) -> int:
        return sum(array.nbytes for array in (self.nodes, self.roots, self.leaf_of_node, *self.tables))

    def quick_tables(self, leaves_per_tree: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Splits by (feature, threshold), only of the features that any tree splits on."""
        masks = np.zeros(len(self.nodes), np.uint64)
        feature = packed(self.nodes["feature"], np.int32)
        left_leaf_masks(self.roots, feature, packed(self.nodes["right"], np.int32), masks)
        order = np.lexsort((self.nodes["threshold"], feature))[len(self.leaf_nodes) :]
        splits, tree_of_node = self.nodes[order], np.searchsorted(self.roots, order, side="right") - 1
        self.used, starts = np.unique(splits["feature"], return_index=True)
        apart = splits["sides"] & ZERO_APART != 0
        zero_apart = np.isin(self.used, splits["feature"][apart])
        return (
            packed(np.append(starts, len(order)), np.int64),
            packed(splits["threshold"], np.float32),
            packed(tree_of_node, np.uint16),
            masks[order],
            packed(splits["sides"], np.uint8),
            zero_apart,
            packed(np.cumsum(leaves_per_tree) - leaves_per_tree, np.uint64),
            self.leaf_values,
        )

    def walk_tables(self) -> tuple[NDArray[Any], ...]:
        self.used = np.arange(self.features)
        columns = (("feature", np.int32), ("threshold", np.float32), ("right", np.int32), ("sides", np.uint8))
        parts = tuple(packed(self.nodes[name], kind) for name, kind in columns)
        return (self.roots, *parts, self.leaf_of_node, self.leaf_values)

    def slots(self, places: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Where the kernels find each feature they read, when feature f stands at places[f] of a longer vector."""
        return packed(places[self.used], np.int64)

    def sums(self, x: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[float, NDArray[np.int32]]:
        """What the leaves of one row add up to and, per tree, the leaf it ends in. `x` is float32[n], contiguous."""
        exits = np.empty(len(self.roots), np.int32)
        kernel: Any = quick_exits if self.is_quick else walked_exits
        return kernel(x, slots, *self.tables, exits), exits

    def margin(self, x: NDArray[np.float32], slots: NDArray[np.int64]) -> float:
        found, _ = self.sums(x, slots)
        return vote(found, len(self.roots)) if self.form == "votes" else found

    def margins(self, x: NDArray[np.float32], slots: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """float64[rows] for float32[rows, n], C-contiguous: unrelated rows, or the routes of one payment."""
        margins = np.empty(len(x), np.float64)
        if len(x):
            kernel: Any = quick_margins if self.is_quick else walked_margins
            slots = self.slots(np.arange(self.features)) if slots is None else slots
            kernel(x, slots, *self.tables, margins)
        return self.told(margins)

    def told(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Margins, of what the leaves add up to."""
        if self.form == "votes":
            return np.array([vote(each, len(self.roots)) for each in sums.tolist()], np.float64)
        return sums

    def beside(self, own: int, *, places: int, each: int) -> Beside:
        beside = TreesBeside if self.is_quick else RowsBeside
        return beside(self, own, places=places, each=each)

    def explainer(self, groups: Sequence[str]) -> Explainer:
        """Path contributions by group; see `reasons.py`."""
        table, trees = ReasonTable(self.nodes, self.roots, groups), len(self.roots)

        def explain(x: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[float, Reasons]:
            margin, exits = self.sums(x, slots)
            said = table.explain(exits)
            if self.form == "trees32":  # what was rounded off after each tree counts to the base
                said = Reasons(margin - float(said.contributions.sum()), said.groups, said.contributions)
            return margin, said

        def explain_votes(x: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[float, Reasons]:
            """Contributions to the sum of votes, brought to log-odds in proportion."""
            votes, exits = self.sums(x, slots)
            margin, base, said = vote(votes, trees), vote(table.base, trees), table.explain(exits)
            moved = votes - table.base
            slope = (margin - base) / moved if abs(moved) > 1e-6 else 1 / (votes + 0.5) + 1 / (trees - votes + 0.5)
            return margin, Reasons(base, said.groups, said.contributions * slope)

        return explain_votes if self.form == "votes" else explain


class TreesBeside:
    """Holds what columns have struck out already, so that only the payment's own are left to strike.

    >>> from greenlane.models.tree import Leaf, Split
    >>> trees = FlatTrees.of([Split(0, 0.5, True, Leaf(-1.0), Split(1, 0.5, True, Leaf(2.0), Leaf(3.0)))], features=2)
    >>> beside = TreesBeside(trees, 1, places=8, each=2)
    >>> beside.hold(5, np.array([[0.0], [1.0]], np.float32))
    >>> beside.margins(np.array([0.7], np.float32), np.array([5]))
    array([2., 3.])
    >>> beside.memory_bytes
    128
    """

    def __init__(self, trees: FlatTrees, own: int, *, places: int, each: int):
        self._trees, self._own, self._each = trees, own, each
        self._held = np.full((places, each, len(trees.roots)), ALL_ALIVE)  # touched now, not at the first payments
        self.memory_bytes = self._held.nbytes
        self._slots = trees.slots(np.arange(trees.features))
        self.hold(0, np.zeros((each, trees.features - own), np.float32))  # compiles now, too
        self.margins(np.zeros(own, np.float32), np.zeros(1, np.int64))

    def hold(self, place: int, columns: NDArray[np.float32]) -> None:
        held, kernel = self._held[place], cast(Any, strike_columns)
        held[:] = ALL_ALIVE
        for row, alive in zip(columns, held, strict=True):
            kernel(row, self._own, self._slots, *self._trees.tables[:6], alive)

    def margins(self, columns: NDArray[np.float32], at: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = np.empty(len(at) * self._each, np.float64)
        cast(Any, quick_beside)(columns, at, self._held, sums, self._slots, *self._trees.tables)
        return self._trees.told(sums)


def is_trees(form: str) -> TypeGuard[Sums]:
    return form in get_args(Sums)


def check_shape(nodes: NDArray[Any], roots: NDArray[np.int32], features: int) -> None:
    """Kernels read without bounds checks, so arrays from a file prove first that they stay inside.

    In preorder a tree is well formed if every left subtree ends where the right one begins.
    """
    if nodes.dtype != NODE or roots.dtype != np.int32 or not len(roots) or roots[0] != 0 or np.any(np.diff(roots) < 1):
        raise ModelRefused("the trees are not in the layout of this version", code="model_malformed")
    ends = np.append(roots[1:], len(nodes))
    for root, end in zip(roots.tolist(), ends.tolist(), strict=True):
        check_tree(nodes[root:end])
    if nodes["feature"].max(initial=-1) >= features:
        raise ModelRefused(f"a split reads a feature beyond the {features} named", code="model_malformed")


def check_tree(nodes: NDArray[Any]) -> None:
    pending = [len(nodes)]
    for at, (feature, right) in enumerate(zip(nodes["feature"].tolist(), nodes["right"].tolist(), strict=True)):
        end = pending.pop() if pending else -1
        if (feature < 0 and end != at + 1) or (feature >= 0 and not at + 1 < right < end):
            raise ModelRefused("a tree's nodes are not in preorder", code="model_malformed")
        if feature >= 0:
            pending += [end, right]
