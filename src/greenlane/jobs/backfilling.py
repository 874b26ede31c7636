"""Feature vectors of a whole journal as Parquet files, by the SQL engine: in this process, or on Spark."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.adapters.duckdb_engine import DuckdbEngine, peak_mb, read_vectors
from greenlane.errors import InputError, TrainingError
from greenlane.features.definition import FeatureSet
from greenlane.features.inputs import INPUTS, inputs
from greenlane.features.kernels import Ints
from greenlane.features.sql import features_sql
from greenlane.learning.training_set import Vectors
from greenlane.payments.times import day_of, format_day
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.wiring import Progress, Reader, complete_from, open_reader

Engine = Literal["duckdb", "spark"]
ORIGIN: Final = "origin.json"


class Origin(Struct, frozen=True):
    """Beside the vectors: the digest of their features, and an entry that another journal has not in that place."""

    features: str
    seq: int
    ingest_us: int
    event_id: str


def origin_of(reader: Reader, seq: int) -> Origin | None:
    """None where the journal has no such entry."""
    here = reader.entries(after_seq=seq - 1) if seq else ()
    return next((Origin(reader.features.digest, e.seq, e.ingest_us, e.event_id) for e in here), None)


class Room(Struct, frozen=True):
    """What an engine may take of this machine."""

    cores: int = 2
    memory_mb_max: int = 4096


TWO_CORES: Final = Room()


class Work(NamedTuple):
    """The vectors at the entries of day files that meet an SQL condition; `since_us` None: complete from the first."""

    days: Sequence[Path]
    features: FeatureSet
    out: Path
    condition: str
    since_us: int | None
    room: Room = TWO_CORES


class Backfilled(Struct, frozen=True):
    """What was written, and what it took. `rows` have the position `seq` and one integer per column."""

    engine: Engine
    rows: int
    columns: int
    entries: int
    feature_set: str
    seconds: float
    """Of the engine alone: the journal lay in Parquet files by then."""
    peak_mb: int
    """The most memory that the engine's process held."""


def backfill(
    directory: Path,
    out: Path,
    *,
    engine: Engine = "duckdb",
    from_us: int | None = None,
    to_us: int | None = None,
    room: Room = TWO_CORES,
    progress: Progress = lambda _done, _all: None,
) -> Backfilled:
    """The vectors of all attempts ingested from `from_us` until before `to_us`, in the Parquet files of `out`.

    InputError where `out` is not empty. The days of the journal that are no Parquet files yet become some for the time
    of the backfill.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty", param="--out", hint="name a directory that is not there yet")
    reader = open_reader(directory)
    features, since_us = reader.features, complete_from(reader.store)
    origin = origin_of(reader, reader.store.span()[1])
    condition = f"(emits & {SOURCE_BIT['attempts']}) <> 0 AND sign > 0"
    condition += f" AND ingest_us >= {from_us}" if from_us is not None else ""
    condition += f" AND ingest_us < {to_us}" if to_us is not None else ""
    with TemporaryDirectory(prefix="greenlane-backfill-") as scratch:
        days = list(day_files(reader, Path(scratch)))
        work = Work(days, features, out, condition, since_us, room)
        done = write_by_spark(work, progress) if engine == "spark" else write_by_duckdb(work, progress)
    (out / ORIGIN).write_bytes(msgspec.json.encode(origin))
    return done


def vectors_in(folder: Path, reader: Reader) -> Vectors:
    """The vectors of the live features at any attempts that a backfill wrote, as the stream engine would read them.

    TrainingError where it is of another journal or of other features, or knows no such attempt.
    """
    told: Origin | None = None
    with suppress(OSError, msgspec.MsgspecError):  # nothing told, or damaged
        told = msgspec.json.decode((folder / ORIGIN).read_bytes(), type=Origin | None)
    if told is None or told != origin_of(reader, told.seq):
        hint = f"greenlane backfill --data DIR --out {folder}, into a new directory"
        raise TrainingError(f"{folder} is no backfill of this journal by the features that are live", hint=hint)
    names, seqs, columns = read_vectors(folder)
    assert names == tuple(column.name for column in reader.features.columns), "the digest is of these columns"

    def at(entries: Sequence[Entry]) -> Ints:
        wanted = np.array([entry.seq for entry in entries], np.int64)
        absent = wanted[~np.isin(wanted, seqs)]
        if len(absent):
            hint = "backfill again, without --from and --to, or take its window"
            raise TrainingError(f"the backfill has no entry {absent[0]}, nor {len(absent) - 1} more", hint=hint)
        told = [inputs(e.facts, e.ingest_us) for e in entries if e.facts is not None]
        own = np.array(told, np.int64).reshape(len(entries), len(INPUTS))
        return np.ascontiguousarray(np.concatenate([own, columns[np.searchsorted(seqs, wanted)]], axis=1))

    return at


def day_files(reader: Reader, folder: Path) -> Iterator[Path]:
    """The journal as day files: those that the follower wrote, and the others written into `folder`."""
    yield from (written := sorted(reader.places.days.glob("*.parquet")))
    with closing(DuckdbEngine()) as table:
        last = table.last_seq(written[-1]) if written else 0
        for name, entries in by_day(reader.store.read(after_seq=last)):
            yield table.write_day(folder / f"{name}.parquet", entries).path


def by_day(entries: Iterator[Entry]) -> Iterator[tuple[str, Iterator[Entry]]]:
    for number, found in groupby(entries, key=lambda entry: day_of(entry.ingest_us)):
        yield format_day(number), found


def write_by_duckdb(work: Work, progress: Progress = lambda _done, _all: None) -> Backfilled:
    work.out.mkdir(parents=True, exist_ok=True)
    with closing(DuckdbEngine(threads=work.room.cores, memory_mb_max=work.room.memory_mb_max)) as table:
        table.load_days(work.days)
        since_us = table.first_ingest_us() if work.since_us is None else work.since_us
        begun = time.perf_counter()
        table.write_at(features_sql(work.features, since_us), work.condition, work.out / "vectors.parquet")
        progress(1, 1)
        return backfilled("duckdb", work, seconds=time.perf_counter() - begun, peak=peak_mb())


def write_by_spark(work: Work, progress: Progress = lambda _done, _all: None) -> Backfilled:
    """The same on Spark. The time is without the session's start."""
    from greenlane.adapters.spark_engine import SparkEngine, session_peak_mb, spark_session

    cores, memory_mb = work.room.cores, work.room.memory_mb_max
    with (
        TemporaryDirectory(prefix="greenlane-spark-") as scratch,
        spark_session(cores=cores, memory_mb_max=memory_mb, scratch=Path(scratch)) as session,
    ):
        engine = SparkEngine(session, Path(scratch) / "steps")
        engine.load_days(work.days)
        since_us = engine.first_ingest_us() if work.since_us is None else work.since_us
        begun = time.perf_counter()
        engine.write_at(work.features, since_us, condition=work.condition, out=work.out, progress=progress)
        seconds = time.perf_counter() - begun
        return backfilled("spark", work, seconds=seconds, peak=session_peak_mb(session))


def backfilled(engine: Engine, work: Work, *, seconds: float, peak: int) -> Backfilled:
    with closing(DuckdbEngine()) as table:
        rows, entries = table.rows_of(sorted(work.out.glob("*.parquet"))), table.rows_of(work.days)
    return Backfilled(engine, rows, len(work.features.columns), entries, work.features.digest, round(seconds, 1), peak)
