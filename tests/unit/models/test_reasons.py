import numpy as np

from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split

TREES = FlatTrees.of(
    [
        Split(0, 0.5, True, Leaf(-1.0, 90.0), Split(1, 2.0, True, Leaf(1.0, 6.0), Leaf(4.0, 4.0))),
        Split(1, 1.0, False, Leaf(0.0, 50.0), Leaf(0.5, 50.0)),
    ],
    features=2,
)


def explained(row: list[float]):
    return TREES.explainer(["amount", "velocity"])(np.array(row, np.float32), TREES.slots(np.arange(2)))


def test_the_base_is_what_the_trees_expect_before_anything_is_asked():
    _, reasons = explained([0.0, 0.0])
    assert np.isclose(reasons.base, (-90 + 6 + 16) / 100 + 0.25)


def test_each_group_gets_what_its_questions_moved():
    _, reasons = explained([1.0, 3.0])
    expected_right = (6 + 16) / 10
    moved = {"amount": expected_right - (-0.68), "velocity": (4.0 - expected_right) + 0.25}
    assert np.allclose(reasons.contributions, list(moved.values()))
    assert [group for group, _ in reasons.top(1)] == ["amount"]


def test_contributions_and_base_add_up_to_the_margin():
    for row in ([0.0, 0.0], [1.0, 1.5], [np.nan, np.nan], [np.inf, -np.inf]):
        margin, reasons = explained(row)
        assert abs(reasons.base + reasons.contributions.sum() - margin) < 1e-12
