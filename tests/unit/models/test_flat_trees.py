"""The flat trees say what LightGBM says, bit for bit, on rows made to find a difference."""

import numpy as np
import pytest

from greenlane.adapters.lightgbm_trainer import flat_trees_from
from greenlane.errors import ModelRefused, TrainingError
from greenlane.models.flat_trees import NODE, FlatTrees
from greenlane.models.tree import Leaf, Split

lightgbm = pytest.importorskip("lightgbm", reason="needs the [train] extra")

FEATURES = 12
KINDS = {
    "missing is NaN": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "more leaves than bits": {"num_leaves": 150},
    "stumps": {"num_leaves": 2},
}


def training_rows(rows: int = 8000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    x[:, 3] = rng.integers(0, 4, rows)
    x[:, 4] = np.where(rng.random(rows) < 0.5, 0, x[:, 4])
    x[rng.random(x.shape) < 0.1] = np.nan
    z = np.nan_to_num(x[:, 0]) + 2 * np.isnan(x[:, 2]) + (x[:, 3] == 0) + 0.7 * (x[:, 4] == 0)
    return x, (z + rng.standard_normal(rows) > 2).astype(int)


def hostile_rows(x: np.ndarray, trees: FlatTrees, rows: int = 12_000) -> np.ndarray:
    """Rows on, just above and just below the trees' own thresholds, with infinities, zeros and missing values."""
    rng = np.random.default_rng(1)
    found = x[rng.integers(0, len(x), rows)]
    splits = trees.nodes[trees.nodes["feature"] >= 0]
    special = np.array([np.inf, -np.inf, 0, -0.0, 1e-35, -1e-35, 1e-38, -1e-38, 3.4e38, -3.4e38, np.nan], np.float32)
    for row in found:
        for split in splits[rng.integers(0, len(splits), 3)]:
            towards = np.float32(rng.choice([-np.inf, np.inf]))
            near = np.nextafter(split["threshold"], towards)
            row[split["feature"]] = split["threshold"] if rng.random() < 0.4 else near
        row[rng.integers(FEATURES)] = rng.choice(special)
    return found


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    x, y = training_rows()
    settings = {"objective": "binary", "num_leaves": 64, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(settings | KINDS[request.param], lightgbm.Dataset(x, y), 30)
    trees = flat_trees_from(booster.model_to_string())
    return booster, trees, hostile_rows(x, trees)


def test_margins_equal_lightgbms_bit_for_bit(trained):
    booster, trees, rows = trained
    assert np.array_equal(trees.margins(rows), booster.predict(rows, raw_score=True, num_threads=1))


def test_one_row_and_many_rows_agree_bit_for_bit(trained):
    _, trees, rows = trained
    slots = trees.slots(np.arange(FEATURES))
    assert [trees.margin(row, slots) for row in rows[:500]] == trees.margins(rows[:500]).tolist()


def test_routes_that_share_most_features_are_scored_as_if_alone(trained):
    _, trees, rows = trained
    routes = np.repeat(rows[:1], 8, axis=0)
    routes[:, 8:] = rows[10:18, 8:]
    routes[:, 0] = np.nan
    assert trees.margins(routes).tolist() == [trees.margins(route[None]).tolist()[0] for route in routes]


def test_exits_are_the_leaves_whose_values_make_the_margin(trained):
    _, trees, rows = trained
    margin, exits = trees.sums(rows[0], trees.slots(np.arange(FEATURES)))
    assert sum(trees.leaf_values[exits].tolist()) == margin


def test_features_are_found_in_a_longer_vector(trained):
    _, trees, rows = trained
    places = np.arange(FEATURES)[::-1] + 5
    longer = np.full((len(rows), FEATURES + 5), 7.0, np.float32)
    longer[:, places] = rows
    assert np.array_equal(trees.margins(longer, trees.slots(places)), trees.margins(rows))


def test_a_single_leaf_is_a_tree():
    trees = FlatTrees.of([Leaf(0.25), Leaf(0.5)], features=1)
    assert trees.margins(np.zeros((2, 1), np.float32)).tolist() == [0.75, 0.75]


def test_no_rows_give_no_margins():
    assert FlatTrees.of([Leaf(0.25)], features=1).margins(np.zeros((0, 1), np.float32)).tolist() == []


@pytest.mark.parametrize(
    ("nodes", "roots"),
    [
        ([(0, 0.5, 5, 3, 0, 0), (-1, 0, -1, 0, 1, 1), (-1, 0, -1, 0, 1, 1)], [0]),
        ([(0, 0.5, 1, 3, 0, 0), (-1, 0, -1, 0, 1, 1), (-1, 0, -1, 0, 1, 1)], [0]),
        ([(9, 0.5, 2, 3, 0, 0), (-1, 0, -1, 0, 1, 1), (-1, 0, -1, 0, 1, 1)], [0]),
        ([(-1, 0, -1, 0, 1, 1), (-1, 0, -1, 0, 1, 1)], [0]),
        ([(-1, 0, -1, 0, 1, 1)], [1]),
    ],
)
def test_arrays_that_a_kernel_would_read_beyond_are_refused(nodes, roots):
    with pytest.raises(ModelRefused):
        FlatTrees(np.array(nodes, NODE), np.array(roots, np.int32), features=1)


def test_categorical_splits_are_refused_when_flattened():
    x, y = training_rows(2000)
    data = lightgbm.Dataset(np.nan_to_num(x), y, categorical_feature=[3])
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_per_group": 1, "num_threads": 1}, data, 20
    )
    with pytest.raises(TrainingError, match="categorical"):
        flat_trees_from(booster.model_to_string())


def test_deep_trees_are_walked_to_the_same_leaf_as_quick_ones():
    tree: Leaf | Split = Leaf(0.0)
    for depth in range(200):
        if depth % 2:
            tree = Split(0, 200.0 - depth, True, Leaf(float(depth)), tree)
        else:
            tree = Split(1, float(depth), False, tree, Leaf(float(-depth)))
    trees = FlatTrees.of([tree], features=2)
    assert not trees.is_quick
    assert trees.margins(np.array([[1000.0, -1.0], [np.nan, np.nan]], np.float32)).tolist() == [0.0, 199.0]
