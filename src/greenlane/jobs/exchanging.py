"""Stored models out to another registry and in again, the same by their hash."""

from pathlib import Path

from greenlane.adapters.mlflow_registry import export_model, fetched
from greenlane.errors import ModelRefused
from greenlane.jobs.registering import brought_in, measured, registered_card
from greenlane.learning.registry import Card
from greenlane.wiring import model_path, open_reader


def export_to_mlflow(directory: Path, model_id: str, *, uri: str) -> str:
    """The name that the model has there."""
    reader = open_reader(directory)
    path = model_path(reader.places, model_id)
    card = registered_card(reader, model_id) or measured(reader, model_id)
    return export_model(uri, path, kind=card.kind, tags=tags_of(card), metrics=metrics_of(card))


def tags_of(card: Card) -> dict[str, str]:
    lineage = card.lineage
    return {
        "greenlane.family": card.family,
        "greenlane.trainer": card.trainer,
        "greenlane.journal": f"{lineage.journal_first_seq}-{lineage.journal_last_seq}",
        "greenlane.label_cut_us": str(lineage.label_cut_us),
        "greenlane.training_set": lineage.training_set,
        "greenlane.feature_set": lineage.feature_set,
        "greenlane.code": lineage.code,
        "greenlane.parent": lineage.parent,
        "greenlane.calibration": str(card.evaluation.get("verdict", "")),
    }


def metrics_of(card: Card) -> dict[str, float]:
    """Plain figures of the evaluation, those with an interval by their value, and what serving costs."""
    found = {"p50_us": card.cost.p50_us, "p99_us": card.cost.p99_us, "bytes_on_disk": float(card.cost.bytes_on_disk)}
    for name, value in card.evaluation.items():
        plain = value.get("value") if isinstance(value, dict) else value
        if isinstance(plain, int | float) and not isinstance(plain, bool):
            found[name] = float(plain)
    return found


def import_from_mlflow(directory: Path, model_id: str, *, uri: str) -> str:
    """Into the store of a directory, verified; ModelRefused where what comes back is another model."""
    reader = open_reader(directory)
    with fetched(uri, model_id) as path:
        came = brought_in(reader.places, path)
    if came != model_id:
        raise ModelRefused(f"what came back is {came}, not {model_id}", code="model_changed", hint="export it again")
    measured(reader, model_id)
    return came
