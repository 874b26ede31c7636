"""Every family fits, is published, is loaded again, and serves what its trainer says on hostile rows."""

from importlib.util import find_spec

import numpy as np
import pytest
from unit.learning.synthetic_examples import payments

from greenlane.adapters.families import FAMILIES, estimator_of
from greenlane.adapters.onnx_net import open_net
from greenlane.errors import ModelRefused, TrainingError
from greenlane.learning.evaluate import evaluate
from greenlane.learning.fit import Fit, Recipe, fit
from greenlane.learning.publish import Provenance, calibrated, publish
from greenlane.learning.weighing import Weighing
from greenlane.models.artefact import golden_rows, load, read_manifest

NEEDED = {"lightgbm": "lightgbm", "xgboost": "xgboost", "tabm": "tabm"}
NEEDED |= dict.fromkeys(("random_forest", "logistic"), "sklearn")
BODIES = ("nodes.npy", "terms.npy", "net.onnx")
QUICK = {
    "lightgbm": {"rounds": 20},
    "xgboost": {"rounds": 20},
    "random_forest": {"trees": 15},
    "logistic": {},
    "tabm": {"width": 16, "members": 4, "epochs": 2},
}
EXAMPLES, _ = payments(4_000, seed=1)
RECIPE = Recipe(Weighing(event_weight=3.0, by_cost=True), {"f0": 1})
HELD_SIGNS = {"lightgbm", "xgboost", "random_forest"}

families = pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=pytest.mark.skipif(not find_spec(NEEDED[name]), reason=f"needs the [{extra}] extra"))
        for name, (_, _, extra) in FAMILIES.items()
    ],
)
FITTED: dict[str, Fit] = {}


def fitted(family: str) -> Fit:
    """Once for all tests."""
    if family not in FITTED:
        estimator = estimator_of(family)
        parameters = {**estimator.default, **QUICK[family]}
        FITTED[family] = fit(estimator, EXAMPLES, parameters=parameters, recipe=RECIPE, blocks=2, seed=3)
    return FITTED[family]


@families
def test_what_is_served_is_what_the_trainer_says_on_twelve_thousand_hostile_rows(family):
    found = fitted(family).fitted
    served = found.predictor()
    rows = golden_rows(EXAMPLES.X, served, seed=7)
    assert len(rows) >= 10_000 and np.isnan(rows).any() and np.isinf(rows).any()
    expected = found.margins(rows)
    assert np.isfinite(expected).all()
    assert np.abs(served.margins(rows) - expected).max() <= 1e-9
    slots = served.slots(np.arange(served.features))
    assert np.abs([served.margin(row, slots) for row in rows[-300:]] - expected[-300:]).max() <= 1e-9


@families
def test_it_is_published_loaded_and_believed(family, tmp_path):
    found = fitted(family)
    calibration = calibrated(found, EXAMPLES)
    margins = found.fitted.margins(EXAMPLES.X)
    model = publish(
        tmp_path,
        found,
        calibration,
        estimator=estimator_of(family),
        examples=EXAMPLES,
        evaluation=evaluate(margins, calibration.calibrator.probabilities(margins), EXAMPLES, replicates=5),
        provenance=Provenance({name: name for name in EXAMPLES.names}, "digest", {}, "fraud reported", {}),
        open_net=open_net,
    )
    again = load(tmp_path / model.id, open_net=open_net)
    manifest = read_manifest(tmp_path / model.id)
    assert manifest.family == family and manifest.verified["rows"] >= 10_000
    assert manifest.verified["largest_difference"] <= 1e-9
    assert manifest.training_set["weighing"] == {"event_weight": 3.0, "by_cost": True}
    assert np.allclose(again.predict_many(EXAMPLES.X), calibration.calibrator.probabilities(margins), atol=1e-9)
    belief = again.predict(EXAMPLES.X[0])
    assert abs(belief.reasons.base + belief.reasons.contributions.sum() - belief.margin) < 1e-9
    body = next(path for path in (tmp_path / model.id).iterdir() if path.name in BODIES)
    data = bytearray(body.read_bytes())
    data[len(data) // 2] ^= 1
    body.write_bytes(data)
    with pytest.raises(ModelRefused) as refusal:
        load(tmp_path / model.id, open_net=open_net)
    assert refusal.value.code == "model_hash_differs"


@families
def test_equal_seeds_give_equal_margins(family):
    estimator = estimator_of(family)
    again = RECIPE.fit(estimator, EXAMPLES, fitted(family).parameters, seed=3)
    assert np.array_equal(again.margins(EXAMPLES.X), fitted(family).fitted.margins(EXAMPLES.X))


@families
def test_weighted_events_leave_the_probabilities_right(family):
    found = fitted(family)
    calibrator = calibrated(found, EXAMPLES).calibrator
    assert calibrator.negatives_kept == pytest.approx(1 / 3)
    held = found.held_out
    believed = calibrator.probabilities(held.margins).sum()
    assert believed == pytest.approx(EXAMPLES.y[held.rows].sum(), rel=0.1)


@families
def test_a_known_sign_is_held_where_the_family_can(family):
    if family not in HELD_SIGNS:
        pytest.skip(f"{family} knows no signs")
    rows = np.repeat(EXAMPLES.X[:1], 50, axis=0)
    for start in (0, 100, 200):
        rows[:] = EXAMPLES.X[start]
        rows[:, 0] = np.linspace(-3, 3, 50)
        assert np.all(np.diff(fitted(family).fitted.margins(rows)) >= 0)


def test_a_family_that_nobody_knows_is_told_with_those_that_are():
    with pytest.raises(TrainingError, match="no family 'forest'"):
        estimator_of("forest")
