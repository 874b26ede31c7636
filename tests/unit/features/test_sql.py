"""What the compiled query looks like; that it answers rightly is shown under tests/parity."""

import sqlglot

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.features.definition import ABSENT, Aggregation, Count, Entity, FeatureSet, Last, Seen, Sum, TimeSince
from greenlane.features.sql import features_sql
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

CARD = Entity("card", "card")
AMOUNT = "amount_reporting_minor"


def query_of(*aggregations: Aggregation) -> str:
    return features_sql(FeatureSet(aggregations).check(), 0)


def steps_of(query: str) -> list[str]:
    return [cte.alias for cte in sqlglot.parse_one(query, dialect="duckdb").args["with_"].expressions]


def test_columns_stand_in_the_order_of_the_set_after_seq():
    sums = Aggregation("sums", CARD, "attempts", (Sum(AMOUNT), Count()), ("1h/5m", "24h/1h"))
    ever = Aggregation("ever", CARD, "approvals", (Seen(),), ttl="400d")
    named = sqlglot.parse_one(query_of(sums, ever), dialect="duckdb").named_selects
    assert named == ["seq", *(c.name for c in FeatureSet((sums, ever)).columns)]


def test_steps_that_no_measure_needs_are_left_out():
    recent = Aggregation("recent", CARD, "attempts", (Last(AMOUNT), TimeSince()), ("1h/5m",))
    assert steps_of(query_of(recent)) == ["arrivals_0", "timeline_0", "asked_0", "cuts_0", "vectors_0"]


def test_it_never_divides():
    everything = Aggregation("everything", CARD, "attempts", (Count(), Sum(AMOUNT)), ("1h/5m",))
    tree = sqlglot.parse_one(query_of(everything), dialect="duckdb")
    assert not list(tree.find_all(sqlglot.exp.Div, sqlglot.exp.IntDiv, sqlglot.exp.Avg))


def test_names_of_aggregations_cannot_clash_with_each_other():
    parts = [Aggregation(name, CARD, "attempts", (Count(),), ("1h/5m",)) for name in ("late", "late_points", "cuts_0")]
    assert len(set(steps_of(query_of(*parts)))) == len(steps_of(query_of(*parts)))


def test_every_query_is_answered_in_order_also_for_entities_never_seen_and_without_key():
    engine = DuckdbEngine()
    engine.load(
        Entry(
            seq,
            1,
            seq * 1000,
            "decision",
            "api",
            f"e{seq}",
            seq * 1000,
            SOURCE_BIT["attempts"],
            1,
            bytes(16),
            Facts(payment_id="p", payment_us=0, amount_minor=1, currency="", amount_reporting_minor=1, card=card),
            b"",
        )
        for seq, card in ((1, 7), (2, 0), (3, 9), (4, 7))
    )
    counts = Aggregation("counts", CARD, "attempts", (Seen(), Count()), ("1h/5m",))
    seqs, rows = engine.read_at(features_sql(FeatureSet((counts,)), -(10**15)), [4, 3, 2, 4, 1])
    never = ABSENT - 3
    assert seqs.tolist() == [4, 3, 2, 4, 1]
    assert rows.tolist() == [[1, 1], [never, never], [ABSENT, ABSENT], [1, 1], [never, never]]
    assert rows.dtype == "int64"
