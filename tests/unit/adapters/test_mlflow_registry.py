"""A model goes out to MLflow and comes back the same by its hash."""

import shutil
from pathlib import Path

import pytest
from small_history import small_history

from greenlane.errors import InputError, ModelRefused, NotFound
from greenlane.jobs.exchanging import export_to_mlflow, import_from_mlflow
from greenlane.jobs.pipeline import Recipe, begin, run_steps
from greenlane.models.artefact import load

pytest.importorskip("mlflow", reason="mlflow comes with the mlflow extra")
pytest.importorskip("lightgbm", reason="fitting needs the train extra")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory, and a model that was registered in it."""
    directory = small_history(tmp_path_factory.mktemp("stored"))
    run = begin(directory, Recipe(parameters={"rounds": 60}), name="night", progress=lambda _done, _all: None)
    results = list(run_steps(run, ["set", "report", "fit", "calibrate", "evaluate", "register"]))
    return directory, str(results[-1].outputs["model"])


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # MLflow puts files of a database's runs beside it
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_round_trip_gives_the_same_model_with_lineage_and_metrics_told(
    stored: tuple[Path, str], uri: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    directory, model_id = stored
    name = export_to_mlflow(directory, model_id, uri=uri)
    assert name == "greenlane-fraud/1"
    assert export_to_mlflow(directory, model_id, uri=uri) == name, "once is enough"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = client.get_run(client.get_model_version("greenlane-fraud", "1").run_id).data
    assert run.tags["greenlane.model"] == model_id
    assert run.tags["greenlane.training_set"]
    assert run.metrics["average_precision"] > 0
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(directory, elsewhere)
    shutil.rmtree(elsewhere / "models")
    assert import_from_mlflow(elsewhere, model_id, uri=uri) == model_id
    files = [{f.name: f.read_bytes() for f in (d / "models" / model_id).iterdir()} for d in (directory, elsewhere)]
    assert files[0] == files[1]
    assert load(elsewhere / "models" / model_id).id == model_id


def test_what_was_changed_there_is_refused(stored: tuple[Path, str], uri: str, tmp_path: Path) -> None:
    directory, model_id = stored
    export_to_mlflow(directory, model_id, uri=uri)
    (manifest,) = tmp_path.rglob("artefact/manifest.json")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(ModelRefused, match="what came back is mdl_"):
        import_from_mlflow(directory, model_id, uri=uri)


def test_an_unknown_model_and_an_unknown_place_are_told(stored: tuple[Path, str], uri: str) -> None:
    with pytest.raises(NotFound, match="has no mdl_0000000000000000"):
        import_from_mlflow(stored[0], "mdl_0000000000000000", uri=uri)
    with pytest.raises(InputError, match="refused"):
        import_from_mlflow(stored[0], stored[1], uri="nowhere://x")
