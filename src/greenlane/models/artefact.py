"""A model on disk: one directory, named by the hash of its manifest, which holds the hash of every other file.

    mdl_3f2a.../
        manifest.json          what it is, how it was made, and the sha256 of each file below
        nodes.npy roots.npy    the trees
        golden_rows.npy        rows with missing, infinite and threshold values among them
        golden_margins.npy     what the trainer's own library says about these rows
        golden_probabilities.npy

A model is loaded only if all of it is as it was when saved and it reproduces its golden vectors here and now. Nothing
is unpickled.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.calibration import AnyCalibrator
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.fraud_model import FraudModel

FORMAT: Final = 1
TOLERANCE: Final = 1e-9
ARRAYS: Final = ("nodes", "roots", "golden_rows", "golden_margins", "golden_probabilities")
MISSING_IS_NAN: Final = "missing is NaN, never zero: it takes the side that each split learned for it"


class ModelColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the model, in the order of its trees."""

    name: str
    group: str
    """What its contribution is added up under."""
    dtype: str = "float32"


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is known about a model but its arrays."""

    format: int = FORMAT
    kind: str
    """What is predicted: "fraud" or "approval"."""
    family: str
    trainer: str
    """The library that fitted it, with its version."""
    columns: tuple[ModelColumn, ...]
    feature_set: str
    """Digest of the feature set the training rows were made with."""
    feature_versions: dict[str, str]
    """Digest of each aggregation and derived feature the columns are made of."""
    missing: str = MISSING_IS_NAN
    label: str
    """The event whose probability it is, and when it counts as known."""
    calibrator: AnyCalibrator
    segments: dict[str, AnyCalibrator] = {}
    """Calibrators of segments that are calibrated apart."""
    training_set: dict[str, Any]
    evaluation: dict[str, Any]
    files: dict[str, str] = {}
    """sha256 of each file beside the manifest."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(column.group for column in self.columns)


class Golden(Struct, frozen=True, eq=False):
    """Rows float32[n, m] and what the trainer's own library says: margins and calibrated probabilities, float64[n]."""

    rows: NDArray[np.float32]
    margins: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def golden_rows(x: NDArray[np.float32], trees: FlatTrees, *, seed: int, rows: int = 2000) -> NDArray[np.float32]:
    """Rows that a wrong evaluation would get wrong: real ones, and the same again with edges planted.

    In the planted half every row has thresholds of the trees, their neighbours, infinities, zeros and missing values.
    """
    rng = np.random.default_rng(seed)
    real = x[rng.integers(0, len(x), rows)]
    planted = real.copy()
    splits = trees.nodes[trees.nodes["feature"] >= 0]
    for row in range(rows if len(splits) else 0):
        chosen = splits[rng.integers(0, len(splits), 8)]
        towards = rng.choice(np.array([-np.inf, np.inf], np.float32), 8)
        on_it = rng.random(8) < 0.5
        edge = np.where(on_it, chosen["threshold"], np.nextafter(chosen["threshold"], towards))
        planted[row, chosen["feature"]] = edge
        special = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38], np.float32), 2)
        planted[row, rng.integers(0, x.shape[1], 2)] = special
    return np.concatenate([real, planted])


def save(
    directory: Path,
    manifest: Manifest,
    trees: FlatTrees,
    *,
    golden: Golden,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Write the artefact under `directory` and answer its id; all of it is there, durably, or nothing is.

    `beside` are files that this kind of model has besides the arrays.
    """
    arrays: tuple[NDArray[Any], ...] = (trees.nodes, trees.roots, golden.rows, golden.margins, golden.probabilities)
    contents = {f"{name}.npy": npy(array) for name, array in zip(ARRAYS, arrays, strict=True)}
    contents.update(beside)
    manifest = msgspec.structs.replace(manifest, files={name: sha256(data) for name, data in contents.items()})
    contents["manifest.json"] = msgspec.json.encode(manifest, order="sorted")
    model_id = id_of(contents["manifest.json"])
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / model_id).exists():
        place(directory, model_id, contents)
    return model_id


def place(directory: Path, model_id: str, contents: Mapping[str, bytes]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".saving_", dir=directory))
    try:
        for name, data in contents.items():
            write_durably(temporary / name, data)
        sync_directory(temporary)
        temporary.rename(directory / model_id)
        sync_directory(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path) -> FraudModel:
    """The model in this directory: verified, proven on its golden vectors, and with its kernels compiled.

    Raises ModelRefused with the check that failed in `code`.
    """
    manifest = read_manifest(path)
    arrays = {name: verified(path / f"{name}.npy", manifest.files) for name in ARRAYS}
    trees = FlatTrees(arrays["nodes"], arrays["roots"], features=len(manifest.columns))
    model = FraudModel.of(
        path.name,
        manifest.names,
        trees,
        calibrator=manifest.calibrator,
        groups=manifest.groups,
        versions=manifest.feature_versions,
    )
    prove(model, Golden(arrays["golden_rows"], arrays["golden_margins"], arrays["golden_probabilities"]))
    return model


def read_manifest(path: Path, *, kind: str = "fraud") -> Manifest:
    """The manifest of an artefact of this kind, whose hash must be the directory's name."""
    try:
        data = (path / "manifest.json").read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} has no manifest.json", code="model_incomplete", hint=str(error)) from error
    if id_of(data) != path.name:
        raise refused(path, "model_hash_differs", f"its manifest hashes to {id_of(data)}")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise refused(path, "model_format_unknown", f"its manifest cannot be read: {error}") from error
    if manifest.format != FORMAT or manifest.kind != kind:
        raise refused(path, "model_format_unknown", f"format {manifest.format}, kind {manifest.kind!r}")
    return manifest


def verified_bytes(path: Path, files: Mapping[str, str]) -> bytes:
    """A file beside the manifest, which must be the one that was saved."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(path.parent, "model_incomplete", f"{path.name} cannot be read: {error}") from error
    if sha256(data) != files.get(path.name):
        raise refused(path.parent, "model_hash_differs", f"{path.name} is not the file that was saved")
    return data


def verified(path: Path, files: Mapping[str, str]) -> NDArray[Any]:
    data = verified_bytes(path, files)
    try:
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise refused(path.parent, "model_malformed", f"{path.name} is not a plain array: {error}") from error
    return array


def prove(model: FraudModel, golden: Golden) -> None:
    """Reproduce the golden vectors, many at once and one by one, which also compiles and warms every kernel."""
    if golden.rows.dtype != np.float32 or golden.rows.shape != (len(golden.margins), len(model.names)):
        raise refused(Path(model.id), "model_malformed", f"golden rows are {golden.rows.dtype}{golden.rows.shape}")
    margins = model.trees.margins(golden.rows, model.slots)
    agree(model.id, "margins", found=margins, expected=golden.margins)
    agree(model.id, "probabilities", found=model.calibrator.probabilities(margins), expected=golden.probabilities)
    singly = [model.predict(row) for row in golden.rows[-200:]]
    agree(model.id, "margins row by row", found=[b.margin for b in singly], expected=golden.margins[-200:])
    whole = [b.reasons.base + b.reasons.contributions.sum() for b in singly]
    agree(model.id, "reasons", found=whole, expected=golden.margins[-200:])


def agree(model_id: str, what: str, *, found: Sequence[float] | NDArray[Any], expected: NDArray[Any]) -> None:
    distance = float(np.max(np.abs(np.asarray(found) - expected), initial=0.0))
    if not distance <= TOLERANCE:
        raise refused(
            Path(model_id), "model_golden_differs", f"its {what} differ from the trainer's own by {distance:.3g}"
        )


def refused(path: Path, code: str, what: str) -> ModelRefused:
    return ModelRefused(f"{path.name} is not loaded: {what}", code=code, hint="save the model again from its trainer")


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def id_of(manifest: bytes) -> str:
    return "mdl_" + sha256(manifest)[:16]
