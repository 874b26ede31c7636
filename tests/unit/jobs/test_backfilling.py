"""A directory's vectors as Parquet files are those that its own engine serves."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.errors import InputError
from greenlane.features.inputs import INPUTS
from greenlane.features.stream import StreamEngine
from greenlane.jobs.backfilling import backfill, day_files
from greenlane.jobs.simulating import simulate
from greenlane.journal.draft import ATTEMPTS
from greenlane.ports.journal import Entry
from greenlane.simulation.world import World
from greenlane.wiring import open_reader


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("backfill") / "shop"
    simulate(World.load("shop"), 1, 300, directory, lambda _done, _all: None)
    return directory


def is_attempt(entry: Entry) -> bool:
    return bool(entry.emits & ATTEMPTS) and entry.sign > 0


def test_every_attempt_has_the_vector_that_the_stream_engine_serves(shop: Path, tmp_path: Path) -> None:
    done = backfill(shop, tmp_path / "out")
    reader = open_reader(shop)
    seqs, vectors = StreamEngine(reader.features).fold_and_read(reader.entries(), is_attempt)
    seq, *columns = duckdb.sql(f"FROM '{tmp_path}/out/*.parquet'").fetchnumpy().values()
    assert done.rows == len(seqs) > 300
    assert seq.tolist() == seqs.tolist(), "in the order of the journal"
    assert np.array_equal(np.stack(columns, axis=1), vectors[:, len(INPUTS) :])


def test_a_window_of_days_leaves_the_other_attempts_out(shop: Path, tmp_path: Path) -> None:
    wanted = [e for e in open_reader(shop).entries() if is_attempt(e)]
    first, last = wanted[50].ingest_us, wanted[120].ingest_us
    assert backfill(shop, tmp_path / "out", from_us=first, to_us=last).rows == 70


def test_days_that_have_files_are_taken_as_they_are(shop: Path, tmp_path: Path) -> None:
    reader = open_reader(shop)
    entries = list(reader.entries())
    reader.places.days.mkdir()
    day = DuckdbEngine().write_day(reader.places.days / "2026-01-01.parquet", entries[:200])
    paths = list(day_files(reader, tmp_path))
    assert paths[0] == day.path
    assert len(paths) == 2
    assert backfill(shop, tmp_path / "out").entries == len(entries)
    shutil.rmtree(reader.places.days)


def test_a_directory_with_something_in_it_is_refused(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        backfill(shop, tmp_path)
