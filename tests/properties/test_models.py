"""Laws of scoring: any ensemble, any row, the obviously correct answer; reasons add up; calibrators keep order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.learning.calibrate import fit_isotonic
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.predictor import RowsBeside
from greenlane.models.tree import Leaf, Split, Tree

FEATURES = 3
values = st.one_of(
    st.sampled_from([0.0, -0.0, 1e-38, -1e-38, float("nan"), float("inf"), float("-inf"), 0.1, 1.0]),
    st.floats(-2, 2, width=32),
)
leaves = st.builds(Leaf, st.floats(-3, 3), st.integers(1, 50).map(float))
thresholds = st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1e-38, 1e-35, -1e-35]))
splits = st.tuples(st.integers(0, FEATURES - 1), thresholds, st.booleans())
zero_sides = st.sampled_from([None, None, True, False])
trees = st.recursive(
    leaves, lambda t: st.builds(lambda s, *rest: Split(*s, *rest), splits, t, t, zero_sides), max_leaves=80
)
rows = st.lists(st.lists(values, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=6)


def leaf_of(tree: Tree, row: np.ndarray) -> Leaf:
    """The obviously correct walk."""
    while isinstance(tree, Split):
        x = float(row[tree.feature])
        if np.isnan(x):
            left = tree.nan_left
        elif tree.zero_left is not None and abs(x) <= np.float32(1e-35):
            left = tree.zero_left
        else:
            left = x <= tree.threshold
        tree = tree.left if left else tree.right
    return tree


@settings(max_examples=150, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4), rows)
def test_margins_are_the_sum_of_the_leaves_a_walk_ends_in(ensemble, found):
    x = np.array(found, np.float32)
    flat = FlatTrees.of(ensemble, features=FEATURES)
    expected = []
    for row in x:
        margin = 0.0
        for tree in ensemble:
            margin += leaf_of(tree, row).value
        expected.append(margin)
    assert flat.margins(x).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4), rows, rows, st.integers(0, FEATURES))
def test_rows_laid_beside_one_another_have_the_margins_they_have_alone(ensemble, outer, inner, own):
    """The first columns of each of some rows with the last columns of each of others; places are held anew."""
    flat = FlatTrees.of(ensemble, features=FEATURES)
    for beside in (flat.beside(own, places=4, each=len(inner)), RowsBeside(flat, own, places=4, each=len(inner))):
        beside.hold(3, np.zeros((len(inner), FEATURES - own), np.float32))
        beside.hold(3, np.array(inner, np.float32)[:, own:])
        for one in outer:
            x = np.array([[*one[:own], *other[own:]] for other in inner], np.float32)
            found = beside.margins(np.array(one[:own], np.float32), np.array([3, 3]))
            assert found.tolist() == flat.margins(x).tolist() * 2


@settings(max_examples=100, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4), rows)
def test_reasons_add_up_to_the_margin(ensemble, found):
    flat = FlatTrees.of(ensemble, features=FEATURES)
    explain, slots = flat.explainer(["a", "b", "a"]), flat.slots(np.arange(FEATURES))
    for row in np.array(found, np.float32):
        margin, reasons = explain(row, slots)
        assert margin == flat.margin(row, slots)
        assert abs(reasons.base + reasons.contributions.sum() - margin) < 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 3), st.booleans()), min_size=2, max_size=60))
def test_isotonic_probabilities_never_fall(pairs):
    margins = np.array([m for m, _ in pairs])
    curve = fit_isotonic(margins, np.array([float(y) for _, y in pairs]), np.ones(len(pairs)))
    assert np.all(np.diff(curve.probabilities(np.linspace(-10, 4, 200))) >= 0)
