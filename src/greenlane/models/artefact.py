"""A model on disk: one directory, named by the hash of its manifest, which holds the hash of every other file.

    mdl_3f2a.../
        manifest.json          what it is, how it was made, and the sha256 of each file below
        nodes.npy roots.npy    the trees; or bias.npy terms.npy, a linear model; or net.onnx, a net
        golden_rows.npy        rows with missing, infinite, unseen and threshold values among them
        golden_margins.npy     what the trainer's own library says about these rows
        golden_probabilities.npy

A model is loaded only if all of it is as it was when saved and it reproduces its golden vectors here and now. Nothing
is unpickled. The golden rows are some of the VERIFIED_ROWS that it had to get right before it was saved.
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
from greenlane.models.flat_trees import FlatTrees, is_trees
from greenlane.models.fraud_model import FraudModel
from greenlane.models.linear import FORM as LINEAR
from greenlane.models.linear import Linear
from greenlane.models.predictor import OpenNet, Predictor, no_net

FORMAT: Final = 1
TOLERANCE: Final = 1e-9
VERIFIED_ROWS: Final = 12_000
GOLDEN_ROWS: Final = 2_000
"""Of the verified ones, kept in the artefact."""
NET: Final = "net"
GRAPH: Final = "net.onnx"
GOLDEN: Final = ("golden_rows", "golden_margins", "golden_probabilities")
UNREADABLE: Final = "save the model again from its trainer"


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
    form: str = "trees"
    """How it is evaluated: what `Predictor.form` says."""
    missing: str = FlatTrees.missing
    label: str
    """The event whose probability it is, and when it counts as known."""
    calibrator: AnyCalibrator
    segments: dict[str, AnyCalibrator] = {}
    """Calibrators of segments that are calibrated apart."""
    training_set: dict[str, Any]
    evaluation: dict[str, Any]
    verified: dict[str, float] = {}
    """On how many rows it was held against its trainer before it was saved, and the largest difference."""
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


def golden_rows(
    x: NDArray[np.float32], predictor: Predictor, *, seed: int, rows: int = VERIFIED_ROWS
) -> NDArray[np.float32]:
    """Rows that a wrong evaluation would get wrong: real ones, and the same again with edges planted.

    In the planted half every row has thresholds of the model, their neighbours, infinities, zeros, missing values and
    codes that nobody has seen.
    """
    rng = np.random.default_rng(seed)
    real = x[rng.integers(0, len(x), rows // 2)]
    planted, every = real.copy(), np.arange(len(real))[:, None]
    features, values = predictor.edges()
    if len(features):
        chosen = rng.integers(0, len(features), (len(real), 8))
        beside = np.nextafter(values[chosen], rng.choice(np.array([-np.inf, np.inf], np.float32), chosen.shape))
        planted[every, features[chosen]] = np.where(rng.random(chosen.shape) < 0.5, values[chosen], beside)
    unseen = np.nanmax(np.where(np.isfinite(x), x, np.nan), initial=0.0) + 1.0
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, unseen, -1.0, 3.4e38, -3.4e38], np.float32)
    planted[every, rng.integers(0, x.shape[1], (len(real), 2))] = rng.choice(special, (len(real), 2))
    return np.concatenate([real, planted])


def save(
    directory: Path,
    manifest: Manifest,
    predictor: Predictor,
    *,
    golden: Golden,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Write the artefact under `directory` and answer its id; all of it is there, durably, or nothing is.

    `beside` are files that this kind of model has besides its predictor's and the golden ones.
    """
    vectors = {f"{name}.npy": getattr(golden, name.removeprefix("golden_")) for name in GOLDEN}
    files = {**predictor.files(), **vectors, **beside}
    contents = {name: data if isinstance(data, bytes) else npy(data) for name, data in files.items()}
    manifest = msgspec.structs.replace(
        manifest,
        form=predictor.form,
        missing=predictor.missing,
        files={name: sha256(data) for name, data in contents.items()},
    )
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


def load(path: Path, *, open_net: OpenNet = no_net) -> FraudModel:
    """The model in this directory: verified, proven on its golden vectors, and with its kernels compiled.

    Raises ModelRefused with the check that failed in `code`.
    """
    manifest = read_manifest(path)
    model = FraudModel.of(
        path.name,
        manifest.names,
        predictor_in(path, manifest, open_net),
        calibrator=manifest.calibrator,
        groups=manifest.groups,
        versions=manifest.feature_versions,
    )
    golden = golden_in(path, manifest)
    prove_margins(path, model.predictor, golden)
    agree(path, "probabilities", model.calibrator.probabilities(golden.margins), golden.probabilities)
    beliefs = [model.predict(row) for row in golden.rows[-200:]]
    agree(path, "reasons", [b.reasons.base + b.reasons.contributions.sum() for b in beliefs], golden.margins[-200:])
    return model


def predictor_in(path: Path, manifest: Manifest, open_net: OpenNet) -> Predictor:
    """What the manifest's form is evaluated by, out of verified files."""

    def array(name: str) -> NDArray[Any]:
        return verified(path / f"{name}.npy", manifest.files)

    if manifest.form == NET:
        graph = verified_bytes(path / GRAPH, manifest.files)
        try:
            return open_net(graph, len(manifest.columns))
        except ModelRefused as error:
            raise refused(path, error.code, error.message, hint=error.hint) from error
    if manifest.form == LINEAR:
        linear = Linear(array("bias"), array("terms"))
        if linear.features != len(manifest.columns):
            raise refused(path, "model_malformed", f"{linear.features} terms for {len(manifest.columns)} columns")
        return linear
    if is_trees(manifest.form):
        return FlatTrees(array("nodes"), array("roots"), features=len(manifest.columns), form=manifest.form)
    raise refused(path, "model_format_unknown", f"its form {manifest.form!r} is not known here")


def golden_in(path: Path, manifest: Manifest) -> Golden:
    golden = Golden(*(verified(path / f"{name}.npy", manifest.files) for name in GOLDEN))
    if golden.rows.dtype != np.float32 or golden.rows.shape != (len(golden.margins), len(manifest.columns)):
        raise refused(path, "model_malformed", f"golden rows are {golden.rows.dtype}{golden.rows.shape}")
    return golden


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


def prove_margins(path: Path, predictor: Predictor, golden: Golden) -> None:
    """Reproduce the golden margins, many at once and one by one, which also compiles and warms every kernel."""
    slots = predictor.slots(np.arange(predictor.features))
    agree(path, "margins", predictor.margins(golden.rows, slots), golden.margins)
    singly = [predictor.margin(row, slots) for row in golden.rows[-200:]]
    agree(path, "margins row by row", singly, golden.margins[-200:])


def agree(path: Path, what: str, found: Sequence[float] | NDArray[Any], expected: NDArray[Any], /) -> float:
    """The largest difference between what is served and what the trainer said, which must be none to speak of."""
    distance = float(np.max(np.abs(np.asarray(found) - expected), initial=0.0))
    if not distance <= TOLERANCE:
        raise refused(path, "model_golden_differs", f"its {what} differ from the trainer's own by {distance:.3g}")
    return distance


def refused(path: Path, code: str, what: str, *, hint: str | None = UNREADABLE) -> ModelRefused:
    return ModelRefused(f"{path.name} is not loaded: {what}", code=code, hint=hint)


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def id_of(manifest: bytes) -> str:
    return "mdl_" + sha256(manifest)[:16]
