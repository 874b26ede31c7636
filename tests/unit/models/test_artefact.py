import msgspec
import numpy as np
import pytest

from greenlane.errors import ModelRefused
from greenlane.models.artefact import GOLDEN, Golden, Manifest, ModelColumn, golden_rows, id_of, load, npy, save, sha256
from greenlane.models.calibration import Platt
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split

NAMES = ("amount", "age", "count")
CALIBRATOR = Platt(slope=0.9, intercept=-0.5)
TREES = FlatTrees.of(
    [
        Split(0, 0.5, True, Leaf(-1.0, 9.0), Split(1, 2.0, False, Leaf(1.0, 2.0), Leaf(4.0, 1.0))),
        Split(2, 1.0, False, Leaf(0.0, 5.0), Leaf(0.5, 5.0)),
    ],
    features=3,
)


def manifest(**changes) -> Manifest:
    return Manifest(
        kind="fraud",
        family="lightgbm",
        trainer="lightgbm 4.7.0",
        columns=tuple(ModelColumn(name, "money" if name == "amount" else "history") for name in NAMES),
        feature_set="f" * 32,
        feature_versions={"card_velocity": "a" * 32},
        label="fraud reported",
        calibrator=CALIBRATOR,
        training_set={"rows": 10},
        evaluation={"auc": 0.9},
        **changes,
    )


ARRAYS = ("nodes", "roots", *GOLDEN)


def golden() -> Golden:
    x = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    rows = golden_rows(x, TREES, seed=0)
    margins = TREES.margins(rows)
    return Golden(rows, margins, CALIBRATOR.probabilities(margins))


@pytest.fixture
def saved(tmp_path):
    return tmp_path / save(tmp_path, manifest(), TREES, golden=golden())


def resealed(path, name, data):
    """The artefact with one file replaced and all hashes made right again: only the content is wrong."""
    (path / name).write_bytes(data)
    found = msgspec.json.decode((path / "manifest.json").read_bytes(), type=Manifest)
    found = msgspec.structs.replace(found, files=found.files | {name: sha256(data)})
    text = msgspec.json.encode(found, order="sorted")
    (path / "manifest.json").write_bytes(text)
    return path.rename(path.parent / id_of(text))


def test_a_saved_model_loads_and_says_the_same(saved):
    model, expected = load(saved), golden()
    assert model.id == saved.name
    assert model.names == NAMES
    assert np.array_equal(model.predict_many(expected.rows), expected.probabilities)


def test_golden_rows_hold_missing_infinite_and_threshold_values():
    rows = golden().rows
    assert len(rows) >= 2000
    assert np.isnan(rows).any() and np.isinf(rows).any() and (rows[:, 0] == 0.5).any()


def test_saving_the_same_model_again_gives_the_same_id_and_leaves_nothing_behind(saved):
    assert save(saved.parent, manifest(), TREES, golden=golden()) == saved.name
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("name", [*(f"{n}.npy" for n in ARRAYS), "manifest.json"])
def test_one_changed_byte_in_any_file_is_refused(saved, name):
    data = bytearray((saved / name).read_bytes())
    data[-3] ^= 1
    (saved / name).write_bytes(data)
    with pytest.raises(ModelRefused) as refusal:
        load(saved)
    assert refusal.value.code == "model_hash_differs"


@pytest.mark.parametrize("name", [*(f"{n}.npy" for n in ARRAYS), "manifest.json"])
def test_a_file_that_is_gone_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelRefused, match=name) as refusal:
        load(saved)
    assert refusal.value.code == "model_incomplete"


def test_trees_that_differ_from_the_trainers_margins_are_refused(saved):
    nodes = TREES.nodes.copy()
    nodes["value"][1] += 1e-6
    with pytest.raises(ModelRefused, match="margins") as refusal:
        load(resealed(saved, "nodes.npy", npy(nodes)))
    assert refusal.value.code == "model_golden_differs"


def test_probabilities_that_differ_from_the_trainers_are_refused(saved):
    with pytest.raises(ModelRefused, match="probabilities") as refusal:
        load(resealed(saved, "golden_probabilities.npy", npy(golden().probabilities + 1e-6)))
    assert refusal.value.code == "model_golden_differs"


def test_nan_in_the_trainers_margins_is_a_difference(saved):
    with pytest.raises(ModelRefused, match="margins"):
        load(resealed(saved, "golden_margins.npy", npy(golden().margins * np.nan)))


def test_pickled_arrays_are_refused(saved):
    np.save(saved / "pickled.npy", np.array([{}], object), allow_pickle=True)
    data = (saved / "pickled.npy").read_bytes()
    with pytest.raises(ModelRefused) as refusal:
        load(resealed(saved, "nodes.npy", data))
    assert refusal.value.code == "model_malformed"


def test_another_format_is_refused(tmp_path):
    model_id = save(tmp_path, manifest(format=2), TREES, golden=golden())
    with pytest.raises(ModelRefused) as refusal:
        load(tmp_path / model_id)
    assert refusal.value.code == "model_format_unknown"


def test_a_copy_under_another_name_is_refused(saved):
    with pytest.raises(ModelRefused):
        load(saved.rename(saved.parent / "mdl_0123456789abcdef"))


def test_binding_finds_features_by_name_wherever_they_stand(saved):
    model, expected = load(saved), golden()
    names = ["other", "count", "amount", "another", "age"]
    wide = np.full((len(expected.rows), 5), np.nan, np.float32)
    for place, name in enumerate(NAMES):
        wide[:, names.index(name)] = expected.rows[:, place]
    bound = model.bind(names)
    assert np.array_equal(bound.predict_many(wide), expected.probabilities)
    belief = bound.predict(wide[0])
    assert belief.fraud_probability_e9 == round(expected.probabilities[0] * 1e9)
    assert belief.reasons.groups == ("money", "history")


def test_binding_to_other_definitions_of_its_features_is_refused(saved):
    model = load(saved)
    assert model.bind(NAMES, versions={"card_velocity": "a" * 32, "another": "b" * 32}).id == model.id
    for served in ({"card_velocity": "b" * 32}, {"another": "b" * 32}):
        with pytest.raises(ModelRefused, match="card_velocity") as refusal:
            model.bind(NAMES, versions=served)
        assert refusal.value.code == "model_features_changed"


def test_binding_to_a_vector_without_a_feature_names_it(saved):
    with pytest.raises(ModelRefused, match="age"):
        load(saved).bind(["amount", "count"])
