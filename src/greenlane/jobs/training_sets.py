"""Training sets on disk: built, inspected, kept under the hash of what they are, and read back equal.

sets/set_3f2a.../
    rows.parquet     one row a decision: what was known, what came of it
    manifest.json    journal range, feature versions, cut, counts by label state, hash of the rows
    quality.json     what the checks found, and the profile that later sets are held against
"""

from pathlib import Path
from typing import Final

import msgspec

from greenlane.decisions.live import CHAMPION
from greenlane.errors import ModelRefused, TrainingError
from greenlane.learning.quality import Profile, Quality, inspect
from greenlane.learning.training_set import BESIDE, TrainingSet, columns_of, inspected, set_of
from greenlane.models.artefact import read_manifest, sha256
from greenlane.settings import make_directory, write_whole
from greenlane.wiring import Reader

ROWS, MANIFEST, QUALITY = "rows.parquet", "manifest.json", "quality.json"
PROFILE: Final = "profile"
"""In the manifest of a model's training set: what its columns looked like."""


def keep(sets: Path, found: TrainingSet, quality: Quality) -> Path:
    """Write a set under its hash, whole or not at all; one that is there already is left as it is."""
    from greenlane.adapters.parquet_columns import write_columns

    told = msgspec.json.encode(found.manifest, order="sorted")
    path = sets / f"set_{sha256(told)[:16]}"
    if not (path / MANIFEST).exists():
        make_directory(path)
        write_columns(path / ROWS, columns_of(found))
        (path / QUALITY).write_bytes(msgspec.json.encode(quality, order="sorted"))
        write_whole(path / MANIFEST, told)
    return path


def kept(path: Path) -> TrainingSet:
    """A set that `keep` wrote, proven equal by its hash; TrainingError where it is not what its name says."""
    from greenlane.adapters.parquet_columns import read_columns

    try:
        told = (path / MANIFEST).read_bytes()
    except OSError as problem:
        hint = "`greenlane pipeline step set` keeps one"
        raise TrainingError(f"{path} holds no training set", hint=hint) from problem
    if path.name != f"set_{sha256(told)[:16]}":
        raise TrainingError(f"the manifest in {path} is not the one of its name", hint="build the set again")
    return set_of(read_columns(path / ROWS, BESIDE), msgspec.json.decode(told))


def quality_of(found: TrainingSet, *, expected: tuple[str, ...] = (), reference: Profile | None = None) -> Quality:
    """The checks' result; `Quality.check` raises where something is breached. `expected` are the columns served now."""
    return inspect(inspected(found), expected=expected, reference=reference)


def reference_of(reader: Reader, alias: str = CHAMPION) -> Profile | None:
    """The profile of what the model under an alias was trained on; None where there is none or it cannot be read."""
    model_id = reader.live.aliases.get(alias)
    if model_id is None:
        return None
    try:
        told = read_manifest(reader.places.models / model_id).training_set.get(PROFILE)
    except ModelRefused:
        return None
    return None if told is None else msgspec.convert(told, Profile)
