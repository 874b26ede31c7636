"""Entries into DuckDB and back: nothing lost, nothing half written."""

import hashlib

import pytest

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.errors import JournalError
from greenlane.payments.facts import Facts
from greenlane.ports.journal import Entry

COUNTED = (
    "SELECT q.seq, COUNT(e.seq) FROM queries AS q LEFT JOIN entries AS e ON e.seq < q.seq GROUP BY q.seq ORDER BY q.seq"
)


def entry(seq: int, *, ingest_us: int = 0, known: bool = True) -> Entry:
    facts = Facts(
        payment_id=f"pay é {seq}",
        payment_us=-seq,
        amount_minor=2**63 - 1,
        currency="",
        amount_reporting_minor=-(2**63),
        card=-1,
    )
    body = seq.to_bytes(16, "big")
    return Entry(seq, 2, ingest_us, "control", "it's", "\0", -5, 3, -1, body, facts if known else None, b"\x00\xff")


def test_a_day_file_gives_back_the_entries_it_was_given(tmp_path):
    engine = DuckdbEngine()
    entries = [entry(seq, known=seq % 3 != 0) for seq in range(1, 100)]
    day = engine.write_day(tmp_path / "it's.parquet", reversed(entries))
    assert (day.first_seq, day.last_seq, day.rows) == (1, 99, 99)
    assert day.sha256 == hashlib.sha256(day.path.read_bytes()).hexdigest()
    assert list(engine.read_day(day.path)) == entries
    assert [path.name for path in tmp_path.iterdir()] == ["it's.parquet"]


def test_an_empty_day_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(JournalError):
        DuckdbEngine().write_day(tmp_path / "day.parquet", [])
    assert list(tmp_path.iterdir()) == []


def test_days_on_disk_and_a_loaded_tail_are_one_relation(tmp_path):
    days = [
        DuckdbEngine().write_day(tmp_path / f"{first}.parquet", [entry(first, ingest_us=first), entry(first + 1)]).path
        for first in (1, 11)
    ]
    engine = DuckdbEngine()
    engine.load_days(days[:1])
    engine.load_days(days[1:])
    engine.load([entry(21), entry(22, known=False), entry(23)])
    assert engine.read_at(COUNTED, [23])[1].tolist() == [[5]]


def test_the_first_ingest_counts_entries_without_facts():
    engine = DuckdbEngine()
    assert engine.first_ingest_us() == 0
    engine.load([entry(1, ingest_us=40, known=False), entry(2, ingest_us=50)])
    assert engine.first_ingest_us() == 40


def test_reading_at_an_entry_that_is_not_held_is_refused():
    engine = DuckdbEngine()
    engine.load([entry(1)])
    with pytest.raises(JournalError):
        engine.read_at("SELECT e.seq, e.card FROM entries AS e JOIN queries USING (seq)", [1, 2])


def test_no_queries_give_no_rows():
    engine = DuckdbEngine()
    assert engine.read_at("SELECT e.seq, e.card FROM entries AS e JOIN queries USING (seq)", [])[1].shape == (0, 1)
