"""What attaching features to labels costs: 20 columns of the SQL engine against an ASOF join picking 20 columns.

100,000 labels and 100,000 events over 60 days in one journal, cards drawn evenly; both sides answer the same labels
from the same table, and neither sorts anything beforehand. The ASOF join only fetches one earlier row; the first
feature set asks for the same, the others fold whole windows.

    python benchmarks/training_set.py [--json OUT] [--rows N] [--rounds N]
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from table import Bar, bar, report

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.features.definition import (
    Aggregation,
    Count,
    Distinct,
    Entity,
    FeatureSet,
    First,
    Last,
    Max,
    Measure,
    Min,
    PreviousGap,
    Sum,
    TimeSince,
)
from greenlane.features.sql import features_sql
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

START_US = 1_767_225_600_000_000
SPAN_US = 60 * 86_400_000_000
AMOUNT = "amount_reporting_minor"
CARD = Entity("card", "card")
WINDOWS = ("1h/5m", "24h/1h", "7d/6h", "30d/1d")
PICKED = (
    "payment_us", "amount_minor", AMOUNT, "par", "customer", "email", "phone", "device", "ip", "shipping", "asn",
    "is_proxy", "account_age_us", "card", "ingest_us", "occurred_us", "emits", "sign", "seq", "payment_us",
)  # fmt: skip
SETS: dict[str, tuple[tuple[Measure, ...], tuple[str, ...]]] = {
    "the latest values": (tuple(Last(fact) for fact in PICKED[:10]), ("7d/6h", "30d/1d")),
    "velocity": ((Count(), Sum(AMOUNT), Last(AMOUNT), TimeSince(), PreviousGap()), WINDOWS),
    "with extremes": ((Count(), Sum(AMOUNT), Min(AMOUNT), Max(AMOUNT), TimeSince()), WINDOWS),
    "with first and distinct": ((Count(), Sum(AMOUNT), First(AMOUNT), Distinct("device"), TimeSince()), WINDOWS),
}
REFERENCE = f"""
    WITH asked AS (SELECT e.seq, e.card FROM queries AS q JOIN entries AS e ON e.seq = q.seq),
    events AS (SELECT * FROM entries WHERE (emits & 1) <> 0)
    SELECT a.seq, {", ".join(f"COALESCE(e.{name}, 0) AS picked_{i}" for i, name in enumerate(PICKED))}
    FROM asked AS a ASOF LEFT JOIN events AS e ON a.card = e.card AND a.seq > e.seq ORDER BY a.seq
"""


def journal(*, events: int, labels: int, cards: int, late_share: float = 0.0) -> list[Entry]:
    """Events and labels in time order; a late event happened up to three days before it arrived."""
    rng = np.random.default_rng(11)
    size = events + labels
    ingest = np.sort(START_US + rng.integers(0, SPAN_US, size)).tolist()
    emits = np.where(rng.permutation(size) < events, SOURCE_BIT["attempts"], 0).tolist()
    lag = np.where(rng.random(size) < late_share, rng.integers(0, 3 * 86_400_000_000, size), 0).tolist()
    card, amount = rng.integers(1, cards + 1, size).tolist(), rng.integers(1, 500_000, size).tolist()
    return [
        Entry(
            i + 1, 1, ingest[i], "decision", "api", "", ingest[i] - lag[i], emits[i], 1, b"",
            Facts(
                payment_id="p", payment_us=ingest[i], amount_minor=amount[i], currency="EUR",
                amount_reporting_minor=amount[i], card=card[i], device=amount[i] % 60 + 1,
            ),
            b"",
        )
        for i in range(size)
    ]  # fmt: skip


def engine_of(entries: list[Entry]) -> tuple[DuckdbEngine, list[int]]:
    engine = DuckdbEngine(threads=1, memory_mb_max=4096)
    engine.load(entries)
    return engine, [e.seq for e in entries if not e.emits]


def cpu_s(queries: list[str], *, engine: DuckdbEngine, seqs: list[int], rounds: int) -> list[float]:
    """Median CPU of each query, all run in turn, after one round to warm up."""
    spent: list[list[float]] = [[] for _ in queries]
    for _ in range(rounds + 1):
        for query, times in zip(queries, spent, strict=True):
            begun = time.process_time()
            engine.read_at(query, seqs)
            times.append(time.process_time() - begun)
    return [median(times[1:]) for times in spent]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    bars: list[Bar] = []
    texts = {
        name: features_sql(FeatureSet((Aggregation("a", CARD, "attempts", measures, windows),)).check(), START_US)
        for name, (measures, windows) in SETS.items()
    }
    for cards in (10_000, 10):
        engine, seqs = engine_of(journal(events=given.rows, labels=given.rows, cards=cards))
        reference, *ours = cpu_s([REFERENCE, *texts.values()], engine=engine, seqs=seqs, rounds=given.rounds)
        for name, spent in zip(texts, ours, strict=True):
            title = f"training set, {name}, {cards} keys"
            bars.append(bar(title, spent, "s CPU", reference=reference, ratio_max=2))
        if cards > 10:
            continue
        for late_share in (0.0, 0.2):
            hot, hot_seqs = engine_of(
                journal(events=4 * given.rows, labels=given.rows, cards=cards, late_share=late_share)
            )
            few, few_seqs = engine_of(journal(events=given.rows, labels=given.rows, cards=cards, late_share=late_share))
            grown = cpu_s([*texts.values()], engine=hot, seqs=hot_seqs, rounds=1)
            small = cpu_s([*texts.values()], engine=few, seqs=few_seqs, rounds=1)
            for name, large, spent in zip(texts, grown, small, strict=True):
                title = f"four times the events, {name}, {cards} keys, {late_share:.0%} late"
                bars.append(bar(title, large, "s CPU", reference=spent, ratio_max=5))
    return report(bars, given.json)


if __name__ == "__main__":
    sys.exit(main())
