"""Spark equals DuckDB over a large journal: differing cells, time and memory of both.

Events of cards and merchants over 60 days, one merchant with a tenth of them, a tenth late by up to three days, labels
reversed now and then; written as day files. Both engines answer at every attempt from the same files, each in a process
of its own, and the two tables are compared cell by cell.

    python benchmarks/spark_equals_duckdb.py [--json OUT] [--events N] [--memory-mb N] [--keep DIR]
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import msgspec
from table import Bar, about, bar, shown

from greenlane.features.definition import (
    Aggregation,
    Count,
    Distinct,
    Entity,
    FeatureSet,
    Last,
    Max,
    Sum,
    TimeSince,
)
from greenlane.jobs.backfilling import Backfilled, Room, Work, write_by_duckdb, write_by_spark
from greenlane.ports.journal import SOURCE_BIT

START_US = 1_767_225_600_000_000
DAYS = 60
AMOUNT = "amount_reporting_minor"
MERCHANT = Entity("merchant", "merchant_id")
FEATURES = FeatureSet(
    (
        Aggregation(
            "card", Entity("card", "card"), "attempts",
            (Count(), Sum(AMOUNT), Max(AMOUNT), Distinct("merchant_id"), Last(AMOUNT), TimeSince()),
            ("1h/2m", "24h/1h", "30d/1d"),
        ),
        Aggregation("merchant", MERCHANT, "attempts", (Count(), Sum(AMOUNT)), ("1h/2m", "7d/6h")),
        Aggregation(
            "merchant_fraud", MERCHANT, "fraud_reports", (Count(), Sum(AMOUNT)),
            ("30d/1d+8d",), time="payment", maturity="60d",
        ),
    )
).check()  # fmt: skip
ATTEMPTS, REPORTS = SOURCE_BIT["attempts"], SOURCE_BIT["fraud_reports"]
CONDITION = f"(emits & {ATTEMPTS}) <> 0"
DAY_US = 86_400_000_000


def write_journal(folder: Path, events: int) -> list[Path]:
    """One Parquet file a day, in the shape that the engine's own day files have where features look."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    con.execute(f"""
        CREATE TABLE drawn AS
        SELECT i + 1 AS seq, {START_US} + CAST(i * {DAYS * DAY_US / events} AS BIGINT) AS ingest_us,
            hash(i, 1) % 1000 AS lot, hash(i, 2) AS a, hash(i, 3) AS b, hash(i, 4) AS c
        FROM range({events}) AS drawn(i)""")
    con.execute(f"""
        CREATE TABLE entries AS
        SELECT CAST(seq AS BIGINT) AS seq, ingest_us,
            CAST(ingest_us - CASE WHEN lot % 10 = 0 THEN a % {3 * DAY_US} ELSE 0 END AS BIGINT) AS occurred_us,
            CASE WHEN lot < 20 THEN 'fraud_report' ELSE 'decision' END AS kind,
            CAST(CASE WHEN lot < 20 THEN {REPORTS} ELSE {ATTEMPTS} END AS INTEGER) AS emits,
            CAST(CASE WHEN lot = 7 THEN -1 ELSE 1 END AS INTEGER) AS sign,
            {facts(events)}
        FROM drawn""")
    paths = []
    for day in range(DAYS):
        low = START_US + day * DAY_US
        paths.append(folder / f"{day:02d}.parquet")
        con.execute(
            f"COPY (FROM entries WHERE ingest_us >= {low} AND ingest_us < {low + DAY_US} ORDER BY seq) TO '{paths[-1]}'"
        )
    con.close()
    return paths


def facts(events: int) -> str:
    """Cards are drawn as unevenly as their square root; every tenth event is of one merchant."""
    from greenlane.adapters.duckdb_engine import FACT_TYPES

    cards, merchants = max(events // 50, 10), max(events // 2500, 5)
    given = {
        "payment_id": "'p' || seq",
        "payment_us": f"CAST(ingest_us - CASE WHEN lot < 20 THEN c % {50 * DAY_US} ELSE 0 END AS BIGINT)",
        "amount_minor": "CAST(a % 50000 AS BIGINT)",
        AMOUNT: "CAST(a % 50000 AS BIGINT)",
        "currency": "'EUR'",
        "card": f"CAST(1 + floor({cards} * pow((b % 1000003) / 1000003.0, 2)) AS BIGINT)",
        "merchant_id": f"CASE WHEN c % 10 = 0 THEN 'hot' ELSE 'm' || (c % {merchants}) END",
    }
    empty = {"VARCHAR": "''", "BIGINT": "CAST(0 AS BIGINT)"}
    return ", ".join(f"{given.get(fact, empty[kind])} AS {fact}" for fact, kind in FACT_TYPES.items())


def in_its_own_process(write: Callable[..., Backfilled], days: list[Path], out: Path, room: Room) -> Backfilled:
    """So that the memory told is that of one engine."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(write, (Work(days, FEATURES, out, CONDITION, START_US, room),))


def differing_cells(left: Path, right: Path) -> tuple[int, int]:
    """(cells, those that differ); a row that only one side has differs in all of its cells."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    names = [column.name for column in FEATURES.columns]
    differ = " + ".join(f'CAST(l."{name}" IS DISTINCT FROM r."{name}" AS BIGINT)' for name in names)
    sides = f"(FROM '{left}/*.parquet') AS l FULL JOIN (FROM '{right}/*.parquet') AS r ON l.seq = r.seq"
    ((rows, found),) = con.execute(f"SELECT COUNT(*), SUM({differ}) FROM {sides}").fetchall()
    return rows * len(names), int(found)


def tell(name: str, done: Backfilled) -> None:
    took = f"{done.seconds:,.1f} s, {done.processor_s:,.1f} s of the processor"
    print(f"{name}: {done.rows:,} vectors in {took}, {done.peak_mb:,} MB at most", flush=True)


def measured(folder: Path, events: int, room: Room) -> tuple[list[Bar], dict[str, object]]:
    begun = time.perf_counter()
    (folder / "days").mkdir()
    days = write_journal(folder / "days", events)
    print(f"{events:,} events written in {time.perf_counter() - begun:.0f} s", flush=True)
    duck = in_its_own_process(write_by_duckdb, days, folder / "duckdb", room)
    tell("DuckDB", duck)
    spark = in_its_own_process(write_by_spark, days, folder / "spark", room)
    tell("Spark", spark)
    cells, differ = differing_cells(folder / "duckdb", folder / "spark")
    print(f"{cells:,} cells compared, {differ:,} differ", flush=True)
    bars = [
        bar(f"differing cells of {cells:,}", differ, "cells", value_max=0),
        bar("vectors of Spark", spark.rows, "rows", reference=duck.rows, ratio_min=1),
        bar("time of Spark beside DuckDB", spark.seconds, "s", reference=duck.seconds),
        bar("processor time of Spark beside DuckDB", spark.processor_s, "s", reference=duck.processor_s),
        bar("memory of Spark beside DuckDB", spark.peak_mb, "MB", reference=duck.peak_mb),
    ]
    return bars, {"events": events, "duckdb": duck, "spark": spark}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--memory-mb", type=int, default=6000, help="Of each engine.")
    parser.add_argument("--keep", type=Path, help="Write journal and tables here, and leave them.")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True)
    with nullcontext(given.keep) if given.keep else TemporaryDirectory(prefix="greenlane-scale-") as folder:
        bars, found = measured(Path(folder), given.events, Room(2, given.memory_mb))
    print(shown(bars))
    if given.json:
        result = {**about(), **found, "bars": bars}
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return int(any(each.passed is False for each in bars))


if __name__ == "__main__":
    sys.exit(main())
