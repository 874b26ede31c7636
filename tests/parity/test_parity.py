"""naive = SQL = stream, on every value, with zero tolerance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.journals import EVERYTHING, HOUR, MINUTE, ONE_BY_ONE, STARTS, journals, seeded_journal
from parity.naive import naive_rows
from parity.three_ways import agreed_rows

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.features.definition import MARK_MAX, MARKS
from greenlane.features.parity import is_sampled, report, verify
from greenlane.features.sql import features_sql

complete_after_us = st.sampled_from([-(10**15), -HOUR, 0, 45 * MINUTE])


@settings(max_examples=8, deadline=None)
@given(journals, complete_after_us)
def test_three_engines_agree_on_every_value(entries, complete_after_us):
    agreed_rows(entries, EVERYTHING, first_complete_us=entries[0].ingest_us + complete_after_us)


@pytest.mark.prove
@pytest.mark.timeout(1200)
@settings(max_examples=500, deadline=None)
@given(journals, complete_after_us)
def test_three_engines_agree_on_many_more_journals(entries, complete_after_us):
    agreed_rows(entries, EVERYTHING, first_complete_us=entries[0].ingest_us + complete_after_us)


@pytest.mark.parametrize("start_us", STARTS)
def test_three_engines_agree_where_keys_are_hot_and_time_is_dense(start_us):
    entries = seeded_journal(
        250, seed=1, start_us=start_us, gap=(0, 0, 1, 1_000_000, MINUTE), card=(7,), merchant_id=("1", "12")
    )
    _, rows = agreed_rows(entries, EVERYTHING, first_complete_us=start_us + 10 * MINUTE)
    assert {int(v) for v in np.unique(rows) if v <= MARK_MAX} == set(MARKS) - {min(MARKS) + 4}, "every mark but evicted"


def test_each_measure_alone_agrees():
    agreed_rows(seeded_journal(150, seed=2), ONE_BY_ONE, first_complete_us=STARTS[0])


def test_twenty_thousand_events_agree_in_stream_and_sql_and_a_sample_with_the_definition():
    entries = seeded_journal(
        20_000, seed=3, gap=(0, 0, 1, 1_000_000, MINUTE), card=(*range(1, 30), 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7)
    )
    engine = DuckdbEngine(threads=2)
    verified = verify(entries, EVERYTHING, sample=1, engine=engine)
    assert not verified.mismatches, report(verified.mismatches)
    assert verified.rows > 16_000
    first = entries[0].ingest_us
    sample = [e for e in entries if e.facts is not None and is_sampled(e.seq, 4000)]
    _, rows = engine.read_at(features_sql(EVERYTHING, first), [e.seq for e in sample])
    assert rows.tolist() == naive_rows(entries, sample, EVERYTHING, first_complete_us=first)
