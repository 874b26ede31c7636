"""naive = stream = DuckDB = Spark, on every value, with zero tolerance; one session of real Spark for all."""

import os
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from parity.journals import EVERYTHING, HOUR, MINUTE, ONE_BY_ONE, STARTS, journals, seeded_journal
from parity.three_ways import agree, agreed_rows, defined_rows
from small_history import small_history

from greenlane.adapters.duckdb_engine import DuckdbEngine, read_table
from greenlane.decisions.releases import Releases
from greenlane.features.definition import FeatureSet
from greenlane.features.parity import compare
from greenlane.features.sql import features_sql
from greenlane.jobs.backfilling import backfill, scores
from greenlane.jobs.training import Plan, predicted, train_fraud, training_set
from greenlane.learning.backfilled_set import HANDED_ON, OWN, set_of_vectors, told_by
from greenlane.learning.examples import Examples
from greenlane.learning.labels import labels_sql
from greenlane.learning.training_set import Made, TrainingSet, build, logged_vector
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import OutcomeRecord
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.wiring import load_model, open_reader

HURT = {"gap": (0, 0, 1, 1_000_000, MINUTE, HOUR), "card": (7, 7, 8, 0), "merchant_id": ("1", "12", "")}
HARDEST = FeatureSet(tuple(a for a in EVERYTHING.aggregations if a.name in ("shop_some", "labels")))
"""Every measure over a where and a ttl; labels at the time of their payment in delayed windows."""
FEW = FeatureSet(
    tuple(
        replace(
            a,
            measures=tuple(m for m in a.measures if m.op not in ("min", "first", "previous_gap")),
            windows=a.windows[:1],
        )
        for a in HARDEST.aggregations
    )
)
"""Of the same, what Spark plans in seconds."""


@settings(max_examples=3, deadline=None)
@given(journals)
def test_the_portable_form_says_what_the_definition_says(entries: list[Entry]) -> None:
    first = entries[0].ingest_us + 45 * MINUTE
    portable_rows(entries, EVERYTHING, first)


def test_the_portable_form_of_each_measure_alone() -> None:
    portable_rows(seeded_journal(150, seed=4, **HURT), ONE_BY_ONE, STARTS[0])


def portable_rows(entries: list[Entry], features: FeatureSet, first: int) -> None:
    engine = DuckdbEngine()
    engine.load(entries)
    defined = defined_rows(entries, features, first_complete_us=first)
    agree(
        compare(features, defined, engine.read_at(features_sql(features, first, portable=True), defined[0])), "portable"
    )


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("pyspark", reason="pyspark comes with the spark extra")
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java, and there is none on this machine")
    from greenlane.adapters.spark_engine import spark_session

    # a short job: the JVM's second compiler and Spark's own would cost more than they save
    environment = pytest.MonkeyPatch()
    environment.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    with spark_session(memory_mb_max=1024, partitions=1, scratch=tmp_path_factory.mktemp("spark")) as session:
        session.conf.set("spark.sql.codegen.wholeStage", "false")
        session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        yield session
    environment.undo()


@pytest.mark.parametrize(
    ("start_us", "features"),
    [
        pytest.param(STARTS[1], FEW, id="few features, across the epoch"),
        pytest.param(STARTS[1], HARDEST, id="across the epoch", marks=pytest.mark.prove),
        pytest.param(STARTS[0], HARDEST, id="in 2026", marks=pytest.mark.prove),
    ],
)
def test_spark_agrees_with_all_three_to_the_bit(
    spark: Any, tmp_path: Path, start_us: int, features: FeatureSet
) -> None:
    from greenlane.adapters.spark_engine import SparkEngine

    entries = seeded_journal(200, seed=6, start_us=start_us, **HURT)
    first = start_us + 10 * MINUTE
    agreed = agreed_rows(entries, features, first_complete_us=first)
    DuckdbEngine().write_day(tmp_path / "day.parquet", entries)
    engine = SparkEngine(spark, tmp_path / "steps")
    engine.load_days([tmp_path / "day.parquet"])
    assert engine.first_ingest_us() == entries[0].ingest_us
    engine.write_at(features, first, condition="TRUE", out=tmp_path / "out")
    agree(compare(features, agreed, written(tmp_path / "out")), "spark")
    assert not list((tmp_path / "steps").iterdir()), "steps are cleared away"


def labelled_journal(seed: int) -> list[Entry]:
    """Attempts that come twice, early and late answers of every kind, reports that wait, are linked, and taken back."""
    rng, entries = random.Random(seed), list[Entry]()

    def add(kind: str, facts: Facts | None, *, emits: str = "", sign: int = 1, **told: Any) -> None:
        seq = len(entries) + 1
        bits = sum(SOURCE_BIT[name] for name in emits.split())
        given = {"source": "acquirer", "event_id": f"e{seq}", "payload": b""} | told
        entries.append(Entry(seq, 1, seq * MINUTE, kind, occurred_us=seq * MINUTE, emits=bits, sign=sign,
                             body_hash=bytes(16), facts=facts, **given))  # fmt: skip

    for _ in range(400):
        kind = rng.choice([*ANSWERS, "attempt", "attempt"])
        name = rng.choice(["", *(f"a{number}" for number in range(40))])
        facts = Facts(payment_id=f"p{name}", payment_us=0, amount_minor=7, currency="EUR", amount_reporting_minor=8,
                      attempt_id=name, card=rng.randrange(5), code=rng.choice(["Y", "A", "N", "R", "U"]),
                      mcc="5411", channel=rng.choice(["ecommerce", "?"]))  # fmt: skip
        if kind == "attempt":
            add("authorization", facts, emits="attempts " + rng.choice(["approvals", "declines", ""]))
        elif kind == "link":
            waits = rng.choice(["fraud_report", "dispute", "abandoned"])
            add(waits, None, event_id=f"w{len(entries)}")
            payload = msgspec.msgpack.encode(OutcomeRecord(waits))
            add("link", facts, emits=ANSWERS[waits], event_id=f"link w{len(entries) - 1}", payload=payload)
        else:
            sign = rng.choice([1, 1, 1, -1]) if kind in ("fraud_report", "dispute") else 1
            result = rng.choice(["failed", "declined", "succeeded"])
            payload = msgspec.msgpack.encode(OutcomeRecord(kind, result=result))
            add(kind, facts, emits=ANSWERS[kind], sign=sign, payload=payload)
    return entries


ANSWERS = {
    "fraud_report": "fraud_reports", "dispute": "disputes", "authentication": "authentications", "link": "",
    "review": "", "abandoned": "", "not_sent": "", "refund": "refunds",
}  # fmt: skip
MADE = Made("", 350 * MINUTE, 20 * MINUTE, 340 * MINUTE, (1, 1), (400, 1))
"""A cut before the end, and rows of a part of the time."""


def labels_by_fold(entries: list[Entry], label: str) -> TrainingSet:
    return build(entries, FeatureSet(()), label=label, label_cut_us=MADE.label_cut_us, from_us=MADE.from_us,
                 to_us=MADE.to_us)  # fmt: skip


def rows_sql(label: str) -> str:
    condition = f"(emits & 1) <> 0 AND sign > 0 AND ingest_us >= {MADE.from_us} AND ingest_us < {MADE.to_us}"
    return labels_sql(label, cut_us=MADE.label_cut_us, condition=condition, beside=HANDED_ON)


def set_of(folder: Path, label: str) -> TrainingSet:
    rows = dict(zip(*read_table(folder), strict=True))
    nothing = np.empty((len(rows["seq"]), 0), np.int64)
    return set_of_vectors(rows, nothing, FeatureSet(()), replace(MADE, label=label))


TELL = partial(told_by, logged=partial(logged_vector, Releases(), FeatureSet(())))


@pytest.mark.parametrize("label", ["fraud_report", "dispute"])
@pytest.mark.parametrize("seed", range(8))
def test_labels_by_sql_are_those_of_the_fold(tmp_path: Path, label: str, seed: int) -> None:
    entries = labelled_journal(seed)
    engine = DuckdbEngine()
    engine.load_days([engine.write_day(tmp_path / "day.parquet", entries).path])
    (tmp_path / "rows").mkdir()
    engine.write_rows(rows_sql(label), TELL, tmp_path / "rows" / "rows.parquet")
    folded = labels_by_fold(entries, label)
    assert len(set(folded.state.tolist())) >= 5, "of many kinds"
    found = set_of(tmp_path / "rows", label)
    assert found.manifest["states"] == folded.manifest["states"]
    assert found.manifest["rows_hash"] == folded.manifest["rows_hash"]


@pytest.mark.parametrize("label", ["fraud_report", "dispute"])
def test_labels_by_spark_are_those_of_the_fold(spark: Any, tmp_path: Path, label: str) -> None:
    from greenlane.adapters.spark_engine import SparkEngine

    entries = labelled_journal(1)
    DuckdbEngine().write_day(tmp_path / "day.parquet", entries)
    engine = SparkEngine(spark, tmp_path / "steps")
    engine.load_days([tmp_path / "day.parquet"])
    engine.write_rows(rows_sql(label), TELL, tmp_path / "rows")
    folded = labels_by_fold(entries, label).manifest
    assert set_of(tmp_path / "rows", label).manifest["rows_hash"] == folded["rows_hash"]


def written(out: Path) -> tuple[np.ndarray, np.ndarray]:
    seq, *columns = duckdb.sql(f"FROM '{out}/*.parquet' ORDER BY seq").fetchnumpy().values()
    assert {column.dtype for column in columns} == {np.dtype("int64")}
    return seq, np.stack(columns, axis=1)


def test_a_model_says_on_sparks_workers_what_it_says_here(spark: Any, tmp_path: Path) -> None:
    from greenlane.adapters.spark_engine import scores_of

    data, out = small_history(tmp_path, payments=800), tmp_path / "out"
    model_id = train_fraud(data, Plan(family="logistic"), progress=quiet).model_id
    backfill(data, out)
    reader = open_reader(data)
    score = partial(scores, reader.places, model_id, reader.features)
    seqs, *said = scores_of(spark, [out / "vectors.parquet"], [out / "rows" / "rows.parquet"], OWN, score)
    examples = training_set(reader, Plan(vectors=out)).examples()
    assert len(seqs) == len(examples) == 800
    for there, here in zip(said, predicted(load_model(reader.places, model_id), examples), strict=True):
        assert there.tobytes() == here.tobytes(), "to the bit"


def quiet(_done: int, _all: int) -> None:
    """Tells nobody."""


def test_xgboost_fitted_by_sparks_workers_is_served_like_any_other(spark: Any, tmp_path: Path) -> None:
    pytest.importorskip("xgboost", reason="xgboost comes with the train and spark extras")
    from greenlane.adapters.xgboost_trainer import SparkXgBoost

    rng = np.random.default_rng(5)
    X = rng.normal(size=(500, 3)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(size=500) > 1.0).astype(np.int8)
    around = {"at_us": np.arange(500), "amount_minor": np.full(500, 100), "card": np.arange(500)}
    examples = Examples(("card.count.1h", "amount_minor", "hour"), X, y, weight=np.ones(500), **around)
    estimator = SparkXgBoost(spark, tmp_path)
    fitted = estimator.fit(examples, {**estimator.default, "rounds": 15, "eta": 0.3}, seed=1, signs={"hour": 1})
    margins = fitted.margins(X)
    assert np.abs(fitted.predictor().margins(X) - margins).max() < 1e-9
    assert margins[y == 1].mean() > margins[y == 0].mean() + 1.0
    rising = np.column_stack([np.zeros(50), np.zeros(50), np.linspace(-2, 2, 50)]).astype(np.float32)
    assert np.all(np.diff(fitted.margins(rising)) >= 0), "a sign is kept"
