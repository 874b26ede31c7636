"""Another feature set on a directory that lives already: folded aside first, then live at a recorded position."""

import importlib.util
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from greenlane.decisions.live import CHAMPION, features_change
from greenlane.errors import JournalError, SettingsError
from greenlane.features import snapshot
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.ports.clock import SystemClock
from greenlane.wiring import (
    Importer,
    Places,
    Progress,
    is_running,
    kept_engine,
    load_model,
    open_reader,
)


class Declared(Struct, frozen=True):
    """What is live now, and since which entry; 0 where nothing had to change."""

    digest: str
    seq: int
    columns: int
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    changed: tuple[str, ...]


def joined(live: FeatureSet, more: FeatureSet) -> FeatureSet:
    """All of both; where both use a name, it is defined as in `more`.

    >>> from greenlane.features.catalogue import CATALOGUE
    >>> joined(CATALOGUE, CATALOGUE).digest == CATALOGUE.digest
    True
    """
    aggregations = {one.name: one for one in (*live.aggregations, *more.aggregations)}
    derived = {one.name: one for one in (*live.derived, *more.derived)}
    return FeatureSet(tuple(aggregations.values()), tuple(derived.values())).check()


def read_features(file: Path) -> FeatureSet:
    """The `FEATURES` that a Python file defines."""
    spec = importlib.util.spec_from_file_location("declared_features", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise SettingsError(f"there is no Python file {file}", hint="a file that defines FEATURES = FeatureSet(...)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "FEATURES", None)
    if not isinstance(found, FeatureSet):
        raise SettingsError(f"{file} defines no FEATURES", hint="FEATURES = FeatureSet((Aggregation(...), ...))")
    return found.check()


def declare_features(
    directory: Path, features: FeatureSet, *, replace: bool = False, why: str, progress: Progress
) -> Declared:
    """Make `features` live beside those that are, or in their place; the next server starts with them warm.

    Nothing changes before they have been folded over the whole journal. Raises JournalError while a server runs, and
    ModelRefused where the champion could not be served any more.
    """
    reader = open_reader(directory)
    if is_running(reader.places):
        raise JournalError(f"a server holds {directory}", hint="stop it first: features are declared offline")
    before = reader.live.features
    after = features.check() if before is None or replace else joined(before, features)
    if before is not None and before.digest == after.digest:
        return declared(before, after, seq=0)
    champion = reader.live.aliases.get(CHAMPION)
    if champion is not None:
        load_model(reader.places, champion).bind(Finaliser(after).names, versions=after.versions)
    with closing(Importer(directory)) as importer:  # from here on nobody else writes
        engine = folded(reader.places, after, directory, progress=progress)
        journal = importer.journal
        at_us = journal.last_ingest_us or SystemClock().now_us()  # no later: history may still be imported after it
        change = features_change(after, before, who="cli", why=why)
        event_id = f"features/{journal.position}"
        importer.control(change, source="cli", event_id=event_id, ingest_us=at_us)
        position = journal.position
        journal.writer.wait(position.seq)
        reader.places.snapshots.mkdir(exist_ok=True)
        snapshot.save(engine, reader.places.snapshots / f"{position.seq:020d}.snapshot", position)
        engine.close()
    return declared(before, after, seq=position.seq)


def folded(places: Places, features: FeatureSet, directory: Path, *, progress: Progress) -> StreamEngine:
    """The features' state after the last durable entry."""
    reader = open_reader(directory)
    engine, position = kept_engine(places, features, reader.store, settings=reader.settings)
    engine.apply_many(reader.entries(after_seq=position.seq, progress=progress))
    return engine


def declared(before: FeatureSet | None, after: FeatureSet, *, seq: int) -> Declared:
    was, now = {} if before is None else before.versions, after.versions
    return Declared(
        digest=after.digest,
        seq=seq,
        columns=len(after.columns),
        added=tuple(name for name in now if name not in was),
        dropped=tuple(name for name in was if name not in now),
        changed=tuple(name for name in now if name in was and was[name] != now[name]),
    )
