"""What a directory kept, brought up to an entry: feature state, counts of the policy, entries wherever they lie."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from greenlane.adapters.sqlite_spill import SqliteSpill
from greenlane.decisions.control import control_of
from greenlane.decisions.standing import Standing
from greenlane.features import snapshot
from greenlane.features.definition import FeatureSet
from greenlane.features.stream import StreamEngine
from greenlane.policy.explore import Exploring
from greenlane.ports.journal import Entry, JournalStore, Position
from greenlane.settings import Settings, write_whole
from greenlane.wiring.places import Places

if TYPE_CHECKING:
    from greenlane.adapters.duckdb_engine import DuckdbEngine

Progress = Callable[[int, int], None]
"""Told now and then how far a reading of the journal is: (seq, last seq)."""
TOLD_EVERY: Final = 1_000
"""Entries between two reports of progress."""


def standing_at(
    places: Places, store: JournalStore, exploring: Exploring, *, seq: int, progress: Progress | None = None
) -> Standing:
    """As of an entry: the newest that was saved before it by this build, and is of this journal, brought up to it."""
    standing, after_seq = Standing(exploring), 0
    for path in sorted(places.snapshots.glob("*.standing"), reverse=True):
        with suppress(ValueError, msgspec.MsgspecError):  # damaged, of another build or not ours: an older one may do
            generation, _, dumped = path.read_bytes().partition(b"\n")
            if int(path.stem) <= seq and holds(store, int(generation), int(path.stem)):
                standing, after_seq = Standing.load(dumped, exploring), int(path.stem)
                break
    for entry in all_entries(places, store, after_seq=after_seq, progress=progress):
        if entry.seq > seq:
            break
        standing.apply(entry)
    return standing


def kept_engine(
    places: Places, features: FeatureSet, store: JournalStore, *, settings: Settings, spill_name: str = "spill.sqlite"
) -> tuple[StreamEngine, Position]:
    """The newest snapshot that is of this journal and these features; an empty engine at position 0 without one."""
    spill, room = SqliteSpill(places.root / spill_name), settings.feature_records_max
    for path in sorted(places.snapshots.glob("*.snapshot"), reverse=True):
        loaded = snapshot.load(features, path, capacity_records=room, spill=spill)
        if loaded is not None and holds(store, loaded[1].generation, loaded[1].seq):
            return loaded
    engine = StreamEngine(features, first_complete_us=complete_from(store), capacity_records=room, spill=spill)
    return engine, Position(0, 0)


def current_engine(
    places: Places,
    features: FeatureSet,
    store: JournalStore,
    *,
    settings: Settings,
    progress: Progress | None = None,
) -> StreamEngine:
    """The kept engine, brought up to the last durable entry."""
    engine, position = kept_engine(places, features, store, settings=settings)
    engine.apply_many(all_entries(places, store, after_seq=position.seq, progress=progress))
    return engine


def holds(store: JournalStore, generation: int, seq: int) -> bool:
    """Is this position one of the journal's, and not of a tail that was lost?"""
    first, last = store.span()
    if not first - 1 <= seq <= last:
        return False
    return seq == 0 or seq < first or next(iter(store.read(after_seq=seq - 1, upto_seq=seq))).generation == generation


def complete_from(store: JournalStore) -> int | None:
    """The start of complete history that an import declared; None where the first entry says it."""
    for entry in store.controls():
        record = control_of(entry)
        if (
            record.subject == "import"
            and isinstance(record.after, dict)
            and record.after.get("complete_from_us") is not None
        ):
            return int(record.after["complete_from_us"])
    return None


def all_entries(
    places: Places, store: JournalStore, *, after_seq: int = 0, progress: Progress | None = None
) -> Iterator[Entry]:
    """The journal in order: closed days from Parquet where they have retired, the rest from the store."""
    entries = _all_entries(places, store, after_seq)
    return entries if progress is None else _told(entries, store.span()[1], progress)


def _told(entries: Iterable[Entry], last: int, progress: Progress) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        if entry.seq % TOLD_EVERY == 0 or entry.seq == last:
            progress(entry.seq, last)


def _all_entries(places: Places, store: JournalStore, after_seq: int) -> Iterator[Entry]:
    first, _ = store.span()
    if after_seq + 1 < first:
        for path in sorted(places.days.glob("*.parquet")):
            for entry in day_entries(path):
                if after_seq < entry.seq < first:
                    yield entry
    yield from store.read(after_seq=max(after_seq, first - 1))


def day_entries(path: Path, *, seq: int | None = None) -> Iterator[Entry]:
    with closing(day_table()) as engine:
        yield from engine.read_day(path, seq=seq)


def save_snapshot(
    places: Places, engine: StreamEngine, position: Position, *, standing: Standing | None = None, keep: int = 3
) -> Path:
    """Written under its seq; the newest few are kept. Without `standing` what was kept of it before still serves."""
    places.snapshots.mkdir(exist_ok=True)
    path = places.snapshots / f"{position.seq:020d}.snapshot"
    if standing is not None:
        write_whole(path.with_suffix(".standing"), b"%d\n%b" % (position.generation, standing.dump()))
    snapshot.save(engine, path, position)
    for kind in ("snapshot", "standing"):
        for old in sorted(places.snapshots.glob(f"*.{kind}"))[:-keep]:
            old.unlink(missing_ok=True)
    return path


def day_table() -> "DuckdbEngine":
    """An empty SQL engine, for day files."""
    from greenlane.adapters.duckdb_engine import DuckdbEngine

    return DuckdbEngine()
