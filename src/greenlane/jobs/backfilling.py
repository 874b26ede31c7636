"""The training set of a whole journal as Parquet files, by the SQL engine: in this process, or on Spark.

OUT/
    *.parquet        the feature vector of every attempt
    rows/*.parquet   what came of it, as known at the label cut, its weight, and what it says about itself
    origin.json      which journal, features, window and cut
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.duckdb_engine import DuckdbEngine, Tell, peak_mb, read_table, read_vectors
from greenlane.errors import InputError, TrainingError
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.kernels import Ints
from greenlane.features.sql import features_sql
from greenlane.learning.backfilled_set import HANDED_ON, OWN, set_of_vectors, told_by
from greenlane.learning.labels import labels_sql
from greenlane.learning.training_set import ATTEMPTS, Made, TrainingSet, end_of, logged_vector
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.times import day_of, format_day
from greenlane.ports.journal import Entry
from greenlane.wiring import Places, Progress, Reader, complete_from, load_model, open_reader

Engine = Literal["duckdb", "spark"]
ORIGIN: Final = "origin.json"
AGAIN: Final = "greenlane backfill --data DIR --out OUT, into a new directory"
ROWS: Final = "rows"


class Origin(Struct, frozen=True):
    """Beside the rows: the digest of their features, an entry that another journal has not in that place, and of what
    the set is."""

    features: str
    ingest_us: int
    event_id: str
    made: Made

    def of(self, reader: Reader) -> bool:
        """Whether that is the journal and its live features."""
        here = next(iter(reader.entries(after_seq=self.made.last[0] - 1)), None)
        entry = None if here is None else ((here.seq, here.generation), here.ingest_us, here.event_id)
        return self.features == reader.features.digest and entry == (self.made.last, self.ingest_us, self.event_id)


class Room(Struct, frozen=True):
    """What an engine may take of this machine."""

    cores: int = 2
    memory_mb_max: int = 4096


TWO_CORES: Final = Room()


class Labels(NamedTuple):
    """How the rows are labelled: a query, and what single entries tell it."""

    query: str
    tell: Tell


class Work(NamedTuple):
    """The vectors at the entries of day files that meet an SQL condition, and their labels where these are asked for;
    `since_us` None: complete from the first."""

    days: Sequence[Path]
    features: FeatureSet
    out: Path
    condition: str
    since_us: int | None
    room: Room = TWO_CORES
    labels: Labels | None = None


class Backfilled(Struct, frozen=True):
    """What was written, and what it took. `rows` have the position `seq` and one integer per column."""

    engine: Engine
    rows: int
    columns: int
    entries: int
    feature_set: str
    seconds: float
    """Of the engine alone: the journal lay in Parquet files by then."""
    processor_s: float
    """What it worked in that time on all cores; Spark's Python workers apart."""
    peak_mb: int
    """The most memory that the engine's process held."""


def backfill(
    directory: Path,
    out: Path,
    *,
    engine: Engine = "duckdb",
    from_us: int | None = None,
    to_us: int | None = None,
    cut_us: int | None = None,
    label: str = "fraud_report",
    room: Room = TWO_CORES,
    progress: Progress = lambda _done, _all: None,
) -> Backfilled:
    """The training set of all attempts ingested from `from_us` until before `to_us`, in the Parquet files of `out`.

    InputError where `out` is not empty. The days of the journal that are no Parquet files yet become some for the time
    of the backfill.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty", param="--out", hint="name a directory that is not there yet")
    reader = open_reader(directory)
    features, origin = reader.features, origin_of(reader, label=label, from_us=from_us, to_us=to_us, cut_us=cut_us)
    made = origin.made
    condition = f"(emits & {ATTEMPTS}) <> 0 AND sign > 0 AND ingest_us >= {made.from_us} AND ingest_us < {made.to_us}"
    query = labels_sql(label, cut_us=made.label_cut_us, condition=condition, beside=HANDED_ON)
    labels = Labels(query, partial(told_by, logged=partial(logged_vector, reader.releases, features)))
    with TemporaryDirectory(prefix="greenlane-backfill-") as scratch:
        days = list(day_files(reader, Path(scratch)))
        work = Work(days, features, out, condition, complete_from(reader.store), room, labels)
        done = write_by_spark(work, progress) if engine == "spark" else write_by_duckdb(work, progress)
    (out / ORIGIN).write_bytes(msgspec.json.encode(origin))
    return done


def origin_of(reader: Reader, *, label: str, from_us: int | None, to_us: int | None, cut_us: int | None) -> Origin:
    first, last = (next(iter(reader.entries(after_seq=seq)), None) for seq in (0, reader.store.span()[1] - 1))
    if first is None or last is None:
        raise TrainingError("the journal is empty", hint="import history, or start the server")
    cut_us = last.ingest_us if cut_us is None else cut_us
    places = (first.seq, first.generation), (last.seq, last.generation)
    made = Made(label, cut_us, from_us or 0, end_of(to_us, cut_us), *places)
    return Origin(reader.features.digest, last.ingest_us, last.event_id, made)


def backfilled_set(folder: Path, reader: Reader, asked: Mapping[str, object]) -> TrainingSet:
    """The training set that a backfill wrote: to the byte the one that folding the journal gives.

    TrainingError where it is of another journal or of other features, or of another window, cut or label than `asked`
    for by the names of `Made`.
    """
    told: Origin | None = None
    with suppress(OSError, msgspec.MsgspecError):  # nothing told, or damaged
        told = msgspec.json.decode((folder / ORIGIN).read_bytes(), type=Origin)
    if told is None or not told.of(reader):
        raise TrainingError(f"{folder} is no backfill of this journal by the features that are live", hint=AGAIN)
    for name, wanted in asked.items():
        if wanted is not None and wanted != (held := getattr(told.made, name)):
            hint = "backfill with the same --from, --to, --cut and --label"
            raise TrainingError(f"{folder} was backfilled with {name} {held}, not {wanted}", hint=hint)
    names, seqs, vectors = read_vectors(folder)
    rows = dict(zip(*read_table(folder / ROWS), strict=True))
    if names != tuple(column.name for column in reader.features.columns) or not np.array_equal(rows["seq"], seqs):
        raise TrainingError(f"{folder} is damaged: its vectors and its rows are not of the same entries", hint=AGAIN)
    return set_of_vectors(rows, vectors, reader.features, told.made)


def scores(
    places: Places, model_id: str, features: FeatureSet, vectors: Ints
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a stored model says of vectors; it is opened once on each worker."""
    finaliser, model = Finaliser(features), opened(places, model_id)
    X, bound = finaliser.matrix(vectors), model.bind(finaliser.names)
    return bound.predictor.margins(X, bound.slots), bound.predict_many(X)


@cache
def opened(places: Places, model_id: str) -> FraudModel:
    return load_model(places, model_id)


def scored_by_spark(
    folder: Path, reader: Reader, model_id: str, seqs: Ints
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(margins, probabilities) of a stored model at entries of a backfill, by the workers of a Spark session."""
    from greenlane.adapters.spark_engine import scores_of, spark_session

    vectors, rows = sorted(folder.glob("*.parquet")), sorted((folder / ROWS).glob("*.parquet"))
    score = partial(scores, reader.places, model_id, reader.features)
    with TemporaryDirectory(prefix="greenlane-spark-") as scratch, spark_session(scratch=Path(scratch)) as session:
        found, margins, probabilities = scores_of(session, vectors, rows, OWN, score)
    at = np.searchsorted(found, seqs)
    assert np.array_equal(found[at], seqs), "every row is scored"
    return margins[at], probabilities[at]


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
        begun, worked = time.perf_counter(), time.process_time()
        table.write_at(features_sql(work.features, since_us), work.condition, work.out / "vectors.parquet")
        progress(1, 2)
        if work.labels is not None:
            (work.out / ROWS).mkdir()
            table.write_rows(work.labels.query, work.labels.tell, work.out / ROWS / "rows.parquet")
        progress(2, 2)
        took = time.perf_counter() - begun, time.process_time() - worked
        return backfilled("duckdb", work, took=took, peak=peak_mb())


def write_by_spark(work: Work, progress: Progress = lambda _done, _all: None) -> Backfilled:
    """The same on Spark. The time is without the session's start."""
    from greenlane.adapters.spark_engine import SparkEngine, session_peak_mb, session_processor_s, spark_session

    cores, memory_mb = work.room.cores, work.room.memory_mb_max
    with (
        TemporaryDirectory(prefix="greenlane-spark-") as scratch,
        spark_session(cores=cores, memory_mb_max=memory_mb, scratch=Path(scratch)) as session,
    ):
        engine = SparkEngine(session, Path(scratch) / "steps")
        engine.load_days(work.days)
        since_us = engine.first_ingest_us() if work.since_us is None else work.since_us
        begun, worked = time.perf_counter(), session_processor_s(session)
        engine.write_at(work.features, since_us, condition=work.condition, out=work.out, progress=progress)
        if work.labels is not None:
            engine.write_rows(work.labels.query, work.labels.tell, work.out / ROWS)
        took = time.perf_counter() - begun, session_processor_s(session) - worked
        return backfilled("spark", work, took=took, peak=session_peak_mb(session))


def backfilled(engine: Engine, work: Work, *, took: tuple[float, float], peak: int) -> Backfilled:
    with closing(DuckdbEngine()) as table:
        rows, entries = table.rows_of(sorted(work.out.glob("*.parquet"))), table.rows_of(work.days)
    seconds, processor_s = (round(each, 1) for each in took)
    columns, digest = len(work.features.columns), work.features.digest
    return Backfilled(engine, rows, columns, entries, digest, seconds, processor_s, peak)
