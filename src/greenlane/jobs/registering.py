"""The registry of one directory: cards measured and registered, the index brought up to date, old models pruned."""

import shutil
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from greenlane.adapters.onnx_net import open_net
from greenlane.errors import Conflict, GreenlaneError, InputError, ModelRefused
from greenlane.features.finalise import Finaliser
from greenlane.jobs.asking import server_client
from greenlane.journal.sequencer import folded
from greenlane.learning.registry import Card, Cost, bring_up_to_date, card_of, registration_change, stages
from greenlane.learning.served import Predict, timed
from greenlane.models.approval_model import load_approval
from greenlane.models.approval_rows import MODES, PAYMENT_COLUMNS
from greenlane.models.artefact import Manifest, id_of, place, read_manifest, verified
from greenlane.policy.running import Running
from greenlane.ports.registry import Registry
from greenlane.wiring import (
    Places,
    Reader,
    engine_version,
    is_running,
    load_model,
    model_path,
    open_reader,
    open_system,
)

WAYS: Final = 8
"""Ways of the attempt that an approval model is timed on."""


def open_registry(reader: Reader) -> Registry:
    """The index, as the journal stands."""
    from greenlane.adapters.sqlite_registry import SqliteRegistry

    registry = SqliteRegistry(reader.places.root / "registry.sqlite")
    bring_up_to_date(registry, list(reader.store.controls()))
    return registry


def kind_of(path: Path) -> str:
    """Of a stored artefact, whatever is wrong with it otherwise."""
    try:
        found = msgspec.json.decode((path / "manifest.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelRefused(f"{path.name} has no manifest.json", code="model_incomplete", hint=str(error)) from error
    return str(found.get("kind", ""))


def measured(reader: Reader, model_id: str) -> Card:
    """The card of a stored model: loaded as the hot path would, proven, and timed. ModelRefused or NotFound."""
    path = model_path(reader.places, model_id)
    manifest = read_manifest(path, kind=kind_of(path))
    rows = np.ascontiguousarray(verified(path / "golden_rows.npy", manifest.files), np.float32)
    started_s = time.thread_time()
    predict, memory_bytes = prediction(reader, path, manifest, rows)
    load_ms = (time.thread_time() - started_s) * 1e3
    took_us = timed({model_id: predict}, {model_id: rows})[model_id]
    return card_of(
        model_id,
        manifest,
        Cost(
            bytes_on_disk=sum(file.stat().st_size for file in path.iterdir()),
            memory_bytes=memory_bytes,
            load_ms=round(load_ms, 3),
            p50_us=round(float(np.quantile(took_us, 0.5)), 3),
            p99_us=round(float(np.quantile(took_us, 0.99)), 3),
            predictions=len(took_us),
        ),
        code=engine_version(),
        parent=reader.live.aliases.get(f"{manifest.kind}/champion", ""),
    )


def prediction(reader: Reader, path: Path, manifest: Manifest, rows: Any) -> tuple[Predict, int]:
    """(one prediction as the hot path asks for it; bytes in memory); the model was loaded."""
    if manifest.kind == "fraud":
        model = load_model(reader.places, path.name)
        return model.predict, model.predictor.memory_bytes
    approval, own = load_approval(path, open_net=open_net), len(PAYMENT_COLUMNS)
    beside, ways = approval.predictor.beside(own, places=WAYS, each=len(MODES)), np.arange(WAYS)
    for way, columns in enumerate(np.resize(rows[:, own:], (WAYS, len(MODES), rows.shape[1] - own))):
        beside.hold(way, columns)
    return lambda row: beside.margins(row[:own], ways), approval.memory_bytes


def unserved(reader: Reader, card: Card) -> tuple[str, ...]:
    """Features of a model that are not served, or are defined otherwise than it learned them."""
    if card.kind != "fraud":
        return ()
    names = set(Finaliser(reader.features).names)
    missing = [name for name in card.names if name not in names]
    versions = reader.features.versions
    return (*missing, *(n for n, digest in card.lineage.feature_versions.items() if versions.get(n) != digest))


def register(directory: Path, model: str, *, why: str) -> Card:
    """Register a stored model, or one in another directory, which is copied in first. It moves no alias."""
    reader = open_reader(directory)
    model_id = brought_in(reader.places, Path(model)) if Path(model).is_dir() else model
    if is_running(reader.places):
        path = f"/v1/models/{model_id}/register"
        return server_client(reader.places).call("POST", path, {"why": why}, Card)
    card = measured(reader, model_id)
    with closing(open_system(directory)) as system:
        at = f"{system.journal.position}"
        system.control(registration_change(card, who="cli", why=why), event_id=f"register/{model_id}/{at}", who="cli")
    return card


def brought_in(places: Places, path: Path) -> str:
    """Copy an artefact into the directory's store, under the name that its content gives it."""
    try:
        contents = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
        model_id = id_of(contents["manifest.json"])
    except (OSError, KeyError) as error:
        raise InputError(f"{path} holds no artefact: {error}", param="MODEL", hint="a directory mdl_...") from error
    places.models.mkdir(parents=True, exist_ok=True)
    if not (places.models / model_id).exists():
        place(places.models, model_id, contents)
    return model_id


def prune(directory: Path, *, keep: int) -> tuple[list[str], dict[str, str]]:
    """Delete stored models that nothing needs; what was deleted, and why each other one was not.

    A model stays where an alias names it, a release of the journal does (decisions are replayed with it), or it is one
    of the `keep` that were stored last. Conflict while a server runs.
    """
    reader = open_reader(directory)
    if is_running(reader.places):
        raise Conflict("a server runs here", hint="stop it first: it may be about to load one of these")
    named = needed(reader)
    stored = sorted(reader.places.models.glob("mdl_*"), key=lambda path: -path.stat().st_mtime_ns)
    named.update({path.name: "one of the latest" for path in stored[:keep] if path.name not in named})
    gone = [path.name for path in stored if path.name not in named]
    for name in gone:
        shutil.rmtree(reader.places.models / name)
    return gone, {path.name: named[path.name] for path in stored if path.name in named}


def needed(reader: Reader) -> dict[str, str]:
    """Models that must stay, and why."""
    running = folded(Running(), reader.store.controls())
    why = {
        model: f"experiment {name} has it"
        for name, experiment in running.known.items()
        for arm in experiment.arms
        for model in (arm.otherwise.fraud_model, arm.otherwise.approval_model)
        if model is not None
    }
    why |= {model: f"it is {alias}" for alias, model in reader.live.aliases.items() if model}
    for versions in reader.releases.known.values():
        why.update({model: "decisions name it" for model in versions.models.values() if model not in why})
    return why


def listed(reader: Reader) -> list[dict[str, Any]]:
    """Every stored model with its stage and the figures of its card; the ones that are registered first."""
    with closing(open_registry(reader)) as registry:
        stage, known = stages(reader.live.aliases, registry.moves()), registry.models()
    rows: list[dict[str, Any]] = [
        {"model": m.id, "kind": m.kind, "family": m.family, "stage": stage.get(m.id, "registered"), "card": m.card}
        for m in known
    ]
    names = {row["model"] for row in rows}
    for path in sorted(reader.places.models.glob("mdl_*")):
        if path.name not in names:
            kind, at = "", stage.get(path.name, "stored")
            with suppress(GreenlaneError):  # a damaged one is listed too
                kind = kind_of(path)
            rows.append({"model": path.name, "kind": kind, "family": "", "stage": at, "card": None})
    return rows


def registered_card(reader: Reader, model_id: str) -> Card | None:
    """The card that was registered last."""
    with closing(open_registry(reader)) as registry:
        found = [m.card for m in registry.models() if m.id == model_id]
    return msgspec.convert(found[-1], Card) if found else None
