"""Laws of flattening: whatever forest a library grows on whatever rows, the flat one says the same of any row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.adapters.families import estimator_of
from greenlane.errors import ModelRefused
from greenlane.learning.examples import Examples
from greenlane.models.artefact import golden_rows
from greenlane.models.flat_trees import NODE, FlatTrees
from greenlane.models.linear import TERM, Linear

pytest.importorskip("xgboost", reason="needs the [train] extra")

GROWN = {
    "lightgbm": {"rounds": 4, "min_data_in_leaf": 2, "lambda_l2": 0.0},
    "xgboost": {"rounds": 4, "min_child_weight": 0.01, "lambda": 0.1},
    "random_forest": {"trees": 4, "min_samples_leaf": 1, "max_features": 0.9},
}


def rows_of(seed: int, scale: float, missing: float) -> Examples:
    """Few rows with ties, zeros, huge and tiny numbers and holes."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((150, 4)) * scale).astype(np.float32)
    x[:, 1] = rng.integers(-2, 3, 150)
    x[:, 2] = np.where(rng.random(150) < 0.5, 0.0, x[:, 2] * 1e-30)
    x[rng.random(x.shape) < missing] = np.nan
    y = (np.nan_to_num(x[:, 0]) > 0).astype(np.int8) ^ (rng.random(150) < 0.2)
    y[:2] = 0, 1
    count = np.arange(150)
    return Examples(tuple("abcd"), x, y.astype(np.int8), rng.random(150) + 0.1, count, count, count)


@pytest.mark.parametrize("family", GROWN)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1e-6, 1.0, 1e6, 1e30]), st.sampled_from([0.0, 0.2]), st.booleans())
def test_any_grown_forest_flattens_to_the_same_margins(family, seed, scale, missing, deep):
    examples = rows_of(seed, scale, missing)
    estimator = estimator_of(family)
    leaves = {"lightgbm": "num_leaves", "xgboost": "max_leaves"}.get(family)
    parameters = {**estimator.default, **GROWN[family], **({leaves: 100 if deep else 5} if leaves else {})}
    fitted = estimator.fit(examples, parameters, seed=seed % 1000)
    flat = fitted.predictor()
    hostile = golden_rows(examples.X, flat, seed=seed, rows=600)
    distance = np.abs(flat.margins(hostile) - fitted.margins(hostile)).max()
    assert distance <= 1e-9
    if family != "random_forest":
        assert distance == 0.0, "the same sum in the same order"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_a_linear_models_reasons_add_up_and_many_rows_are_as_one(seed):
    rng = np.random.default_rng(seed)
    terms = np.zeros(3, TERM)
    for name in TERM.names:
        terms[name] = rng.standard_normal(3)
    terms["high"] = terms["low"] + 1.0
    linear = Linear(rng.standard_normal(1), terms)
    rows = rng.standard_normal((4, 3)).astype(np.float32)
    rows[0, 0], rows[1, 1], rows[2, 2] = np.nan, np.inf, -np.inf
    explain, slots = linear.explainer(["a", "b", "a"]), linear.slots(np.arange(3))
    for row, margin in zip(rows, linear.margins(rows).tolist(), strict=True):
        told, reasons = explain(row, slots)
        assert np.isfinite(margin) and told == margin == linear.margin(row, slots)
        assert abs(reasons.base + reasons.contributions.sum() - margin) < 1e-9


def test_arrays_of_another_form_are_refused():
    terms = np.zeros(1, TERM)
    terms["weight"] = np.nan
    with pytest.raises(ModelRefused, match="finite"):
        Linear(np.zeros(1), terms)
    with pytest.raises(ModelRefused, match="layout"):
        Linear(np.zeros(2), np.zeros(1, TERM))
    votes = np.array([(-1, 0.0, -1, 0, 1.5, 1.0)], NODE)
    with pytest.raises(ModelRefused, match="share"):
        FlatTrees(votes, np.zeros(1, np.int32), features=1, form="votes")
