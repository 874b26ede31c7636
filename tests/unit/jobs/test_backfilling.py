"""A directory's vectors as Parquet files are those that its own engine serves."""

import os
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from msgspec.structs import replace
from small_history import small_history

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.errors import InputError, SettingsError, TrainingError
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import FeatureSet
from greenlane.features.inputs import INPUTS
from greenlane.features.stream import StreamEngine
from greenlane.jobs.backfilling import ORIGIN, Engine, backfill, day_files
from greenlane.jobs.declaring import declare_features
from greenlane.jobs.simulating import simulate
from greenlane.jobs.training import Plan, evaluate_fraud, train_fraud, training_set
from greenlane.journal.draft import ATTEMPTS
from greenlane.models.artefact import read_manifest
from greenlane.ports.journal import Entry
from greenlane.simulation.world import World
from greenlane.wiring import Places, open_reader


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


def skip_without_spark() -> None:
    pytest.importorskip("pyspark", reason="pyspark comes with the spark extra")
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java, and there is none on this machine")


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_a_training_set_of_a_backfill_is_the_one_of_the_stream_to_the_byte(
    shop: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "spark":
        skip_without_spark()
    # a short job: the JVM's second compiler would cost more than it saves
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    few, reader = few_features(shop, tmp_path), open_reader(tmp_path / "shop")
    assert backfill(reader.places.root, tmp_path / "out", engine=engine).columns == len(few.columns)
    plans = Plan(), Plan(vectors=tmp_path / "out")
    streamed, filled = (training_set(reader, plan).manifest for plan in plans)
    assert filled == streamed and filled["rows"] > 300
    assert filled["states"]["good"] > 100 and filled["states"]["declined"] > 10


def few_features(shop: Path, folder: Path) -> FeatureSet:
    """A copy of the shop on which counts of one window are live: what Spark plans in seconds."""
    shutil.copytree(shop, folder / "shop")
    first = CATALOGUE.aggregations[0]
    few = FeatureSet((replace(first, measures=first.measures[:1], windows=first.windows[:1]),)).check()
    declare_features(folder / "shop", few, replace=True, why="a test", progress=lambda _done, _all: None)
    return few


def test_a_backfill_of_other_features_or_of_fewer_days_is_no_source_of_a_training_set(
    shop: Path, tmp_path: Path
) -> None:
    reader = open_reader(shop)
    first = [e for e in reader.entries() if is_attempt(e)][50].ingest_us
    backfill(shop, tmp_path / "out", from_us=first)
    with pytest.raises(TrainingError, match="was backfilled with label fraud_report, not dispute"):
        training_set(reader, Plan(label="dispute", vectors=tmp_path / "out"))
    with pytest.raises(TrainingError, match=f"was backfilled with from_us {first}, not 1"):
        training_set(reader, Plan(from_us=1, vectors=tmp_path / "out"))
    assert training_set(reader, Plan(from_us=first, vectors=tmp_path / "out")).manifest["rows"] > 200
    (tmp_path / "out" / ORIGIN).write_text("of others")
    with pytest.raises(TrainingError, match="no backfill of this journal by the features that are live"):
        training_set(reader, Plan(vectors=tmp_path / "out"))


def test_a_backfill_of_another_journal_is_refused_though_its_features_and_numbers_are_the_same(
    shop: Path, tmp_path: Path
) -> None:
    simulate(World.load("shop"), 2, 250, tmp_path / "other", lambda _done, _all: None)
    backfill(tmp_path / "other", tmp_path / "out")
    with pytest.raises(TrainingError, match="no backfill of this journal"):
        training_set(open_reader(shop), Plan(vectors=tmp_path / "out"))


def test_a_directory_with_something_in_it_is_refused(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        backfill(shop, tmp_path)


def test_without_java_spark_says_what_it_needs(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SettingsError, match="Spark needs Java, and there is none here"):
        backfill(shop, tmp_path / "out", engine="spark")


@pytest.mark.prove
def test_a_model_fitted_and_judged_by_sparks_workers_is_an_ordinary_model(tmp_path: Path) -> None:
    skip_without_spark()
    data, out = small_history(tmp_path, payments=1000), tmp_path / "out"
    backfill(data, out)
    plan = Plan(family="xgboost", engine="spark", vectors=out)
    trained = train_fraud(data, plan, progress=quiet)
    manifest = read_manifest(Places(data).models / trained.model_id)
    assert trained.alias == "fraud/champion"
    assert " on spark " in manifest.trainer and manifest.verified["largest_difference"] < 1e-9
    _, here = evaluate_fraud(data, Plan(vectors=out), progress=quiet)
    assert evaluate_fraud(data, plan, progress=quiet)[1].record() == here.record()


def quiet(_done: int, _all: int) -> None:
    """Tells nobody."""
