"""Models to and from MLflow: our artefact as it is, its lineage as tags, its evaluation as metrics.

What MLflow keeps is the directory of files that serves; its name is the hash of its content, so what comes back is the
same model or is refused. No MLflow flavour is written: nothing but Greenlane proves its golden vectors.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from greenlane.errors import InputError, NotFound

EXPERIMENT: Final = "greenlane"
FOLDER: Final = "artefact"
TAG: Final = "greenlane.model"


@contextmanager
def mlflow_client(uri: str) -> Iterator[Any]:
    """Of a tracking server or a database; InputError without the [mlflow] extra or where nothing answers."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as missing:
        raise InputError(f"{missing.name} is not installed", hint="pip install -e '.[mlflow]'") from None
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        raise InputError(f"MLflow at {uri} refused: {error}", param="--uri") from error


def export_model(uri: str, path: Path, *, kind: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """The version's name in MLflow; a model that is there already keeps the one it has."""
    name = f"greenlane-{kind}"
    with mlflow_client(uri) as client:
        found = versions_of(client, path.name)
        if not found:
            run_id = logged(client, path, tags=tags, metrics=metrics)
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            source = f"runs:/{run_id}/{FOLDER}"
            found = [client.create_model_version(name, source, run_id, tags={TAG: path.name})]
        return f"{found[0].name}/{found[0].version}"


def logged(client: Any, path: Path, *, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """A finished run that has the artefact's files."""
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
    run = client.create_run(experiment, run_name=path.name, tags={TAG: path.name, **tags})
    for metric, value in metrics.items():
        client.log_metric(run.info.run_id, metric, value)
    client.log_artifacts(run.info.run_id, str(path), FOLDER)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def versions_of(client: Any, model_id: str) -> list[Any]:
    return list(client.search_model_versions(f"tags.`{TAG}` = '{model_id}'"))


@contextmanager
def fetched(uri: str, model_id: str) -> Iterator[Path]:
    """The files of a model, as long as the block lasts; NotFound where MLflow has none of this name."""
    with mlflow_client(uri) as client, TemporaryDirectory(prefix="greenlane-mlflow-") as folder:
        found = versions_of(client, model_id)
        if not found:
            raise NotFound(f"MLflow at {uri} has no {model_id}", hint="greenlane models export MODEL --uri URI")
        yield Path(client.download_artifacts(found[0].run_id, FOLDER, folder))
