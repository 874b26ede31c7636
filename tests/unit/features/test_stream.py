import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.features.cases import (
    DAY,
    EVERY_MEASURE,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    columns,
    control,
    engine,
    entry,
    facts,
    journal,
    many,
    one,
)

from greenlane.errors import FeatureError
from greenlane.features.definition import (
    ABSENT,
    EMPTY,
    NEVER,
    WARMING,
    Count,
    Distinct,
    Entity,
    FeatureSet,
    First,
    Last,
    Max,
    Seen,
    Sum,
)
from greenlane.features.inputs import INPUTS, inputs
from greenlane.features.stream import StreamEngine


def test_every_measure_of_three_events():
    made = engine(
        one(*EVERY_MEASURE),
        entry(1, NOON, amount_minor=5, merchant_id="x"),
        entry(2, NOON + MINUTE, amount_minor=9, merchant_id="y"),
        entry(3, NOON + 3 * MINUTE, amount_minor=2, merchant_id="x"),
    )
    assert columns(made, NOON + 5 * MINUTE) == {
        "count.10m": 3,
        "sum_amount_minor.10m": 16,
        "min_amount_minor.10m": 2,
        "max_amount_minor.10m": 9,
        "last_amount_minor.10m": 2,
        "first_amount_minor.10m": 5,
        "time_since.10m": 2 * MINUTE,
        "previous_gap.10m": 2 * MINUTE,
        "distinct_merchant_id.10m": 2,
        "seen": 1,
    }


def test_vector_is_inputs_then_columns_and_the_callers_own():
    made = engine(one(Count()), entry(1, NOON))
    vector = made.read(facts(mcc="5411"), NOON + 1)
    assert vector.dtype == np.int64
    assert vector[: len(INPUTS)].tolist() == list(inputs(facts(mcc="5411"), NOON + 1))
    assert len(vector) == len(INPUTS) + 1
    again = made.read(facts(), NOON + 1)
    again[:] = 0
    assert made.read(facts(mcc="5411"), NOON + 1).tolist() == vector.tolist()


def test_left_edge_is_floored_to_the_hop():
    made = engine(one(Count()), entry(1, NOON), entry(2, NOON + 59 * SECOND))
    assert columns(made, NOON + 11 * MINUTE - 1)["count.10m"] == 2
    assert columns(made, NOON + 11 * MINUTE)["count.10m"] == 0


def test_left_edge_is_floored_below_the_epoch_too():
    made = engine(one(Count()), entry(1, -90 * SECOND), first_complete_us=-DAY)
    assert columns(made, 9 * MINUTE - 1)["count.10m"] == 1
    assert columns(made, 9 * MINUTE)["count.10m"] == 0


def test_hop_of_a_microsecond_slides_exactly():
    made = engine(one(Count(), windows=("1m/1us",)), entry(1, NOON))
    assert columns(made, NOON + MINUTE)["count.1m"] == 1
    assert columns(made, NOON + MINUTE + 1)["count.1m"] == 0


def test_extreme_value_leaves_a_max_window():
    made = engine(one(Max("amount_minor")), entry(1, NOON, amount_minor=10**13), entry(2, NOON + 2 * MINUTE))
    assert columns(made, NOON + 10 * MINUTE)["max_amount_minor.10m"] == 10**13
    assert columns(made, NOON + 11 * MINUTE)["max_amount_minor.10m"] == 100


def test_sums_are_exact_past_two_to_the_53():
    entries = [entry(i, NOON, amount_minor=10**13 - (i % 2)) for i in range(1, 2001)]
    assert columns(engine(one(Sum("amount_minor")), *entries), NOON)["sum_amount_minor.10m"] == 2000 * 10**13 - 1000


def test_future_stamped_event_counts_from_its_arrival():
    made = engine(one(Count()), entry(1, NOON, occurred_us=NOON + DAY))
    assert columns(made, NOON + 11 * MINUTE)["count.10m"] == 0


def test_late_event_lands_in_its_own_tile():
    features = one(Count(), Last("amount_minor"), First("amount_minor"))
    late = entry(2, NOON + 2 * MINUTE, occurred_us=NOON - 5 * MINUTE, amount_minor=1)
    made = engine(features, entry(1, NOON, amount_minor=9), late)
    assert columns(made, NOON + 5 * MINUTE) == {"count.10m": 2, "last_amount_minor.10m": 9, "first_amount_minor.10m": 1}
    assert columns(made, NOON + 6 * MINUTE)["count.10m"] == 1


def test_later_entry_wins_a_tie_for_last_and_the_earlier_for_first():
    made = engine(one(Last("amount_minor"), First("amount_minor")), entry(1, NOON, amount_minor=1), entry(2, NOON))
    assert columns(made, NOON) == {"last_amount_minor.10m": 100, "first_amount_minor.10m": 1}


def test_absent_warming_never_and_empty_differ():
    features = one(*EVERY_MEASURE, ttl="1h")
    made = engine(features, entry(1, NOON), first_complete_us=NOON - 5 * MINUTE)
    assert set(columns(made, NOON, card=0).values()) == {ABSENT}
    assert columns(made, NOON + MINUTE)["count.10m"] == WARMING
    assert columns(made, NOON + MINUTE)["seen"] == 1
    assert columns(made, NOON + MINUTE, card=8)["seen"] == WARMING
    later = columns(made, NOON + 30 * MINUTE)
    assert [later[name] for name in ("count.10m", "sum_amount_minor.10m", "distinct_merchant_id.10m")] == [0, 0, 0]
    assert later["min_amount_minor.10m"] == later["time_since.10m"] == later["previous_gap.10m"] == EMPTY
    assert set(columns(made, NOON + HOUR + 1).values()) == {NEVER}


def test_one_event_has_no_previous_gap():
    assert columns(engine(one(*EVERY_MEASURE), entry(1, NOON)), NOON)["previous_gap.10m"] == EMPTY


def test_journal_is_complete_from_its_first_entry_of_any_kind():
    made = engine(one(Count()), control(1, NOON), entry(2, NOON + MINUTE), first_complete_us=None)
    assert columns(made, NOON + 10 * MINUTE - 1)["count.10m"] == WARMING
    assert columns(made, NOON + 10 * MINUTE)["count.10m"] == 1


def test_empty_journal_is_warming():
    assert columns(StreamEngine(one(Count())), NOON)["count.10m"] == WARMING


def test_reversal_subtracts_and_is_no_event():
    made = engine(one(*EVERY_MEASURE), entry(1, NOON, sign=-1, amount_minor=30))
    assert set(columns(made, NOON).values()) == {NEVER}
    made.apply(entry(2, NOON + MINUTE, amount_minor=100))
    found = columns(made, NOON + MINUTE)
    assert (found["count.10m"], found["sum_amount_minor.10m"], found["min_amount_minor.10m"]) == (0, 70, 100)


def test_label_lands_at_the_time_of_its_payment_and_delay_has_two_edges():
    features = one(Count(), source="fraud_reports", windows=("10m/1m+5m",), time="payment", maturity="1h")
    report = entry(1, NOON + 12 * MINUTE, source="fraud_reports", payment_us=NOON)
    made = engine(features, report, first_complete_us=NOON - DAY)
    assert columns(made, NOON + 12 * MINUTE)["count.10m+5m"] == 1
    assert columns(made, NOON + 16 * MINUTE)["count.10m+5m"] == 0
    early = engine(features, entry(1, NOON + 1, source="fraud_reports", payment_us=NOON), first_complete_us=NOON - DAY)
    assert columns(early, NOON + 5 * MINUTE - 1)["count.10m+5m"] == 0
    assert columns(early, NOON + 5 * MINUTE)["count.10m+5m"] == 1


def test_event_older_than_the_ttl_is_ignored():
    features = one(Count(), Seen(), ttl="11m")
    made = engine(features, entry(1, NOON, occurred_us=NOON - 11 * MINUTE - 1))
    assert set(columns(made, NOON).values()) == {NEVER}


def test_card_comes_back_after_its_ttl_without_its_past():
    made = engine(one(Count(), Seen()), entry(1, NOON), entry(2, NOON + DAY))
    assert columns(made, NOON + DAY) == {"count.10m": 1, "seen": 1}


def test_distinct_keeps_the_newest_values_up_to_its_cap():
    shops = [entry(i, NOON + i * MINUTE, merchant_id=f"shop {i}") for i in range(1, 6)]
    made = engine(one(Distinct("merchant_id", 3)), *shops)
    assert columns(made, NOON + 5 * MINUTE)["distinct_merchant_id.10m"] == 3
    assert columns(made, NOON + 13 * MINUTE)["distinct_merchant_id.10m"] == 3
    assert columns(made, NOON + 14 * MINUTE)["distinct_merchant_id.10m"] == 2


def test_absent_value_is_not_distinct():
    made = engine(one(Distinct("merchant_id"), Distinct("device")), entry(1, NOON, merchant_id="", device=0))
    assert columns(made, NOON) == {"distinct_merchant_id.10m": 0, "distinct_device.10m": 0}


def test_parts_of_a_key_do_not_run_together():
    features = one(Count(), entity=Entity("pair", ("merchant_id", "route_id")))
    made = engine(features, entry(1, NOON, merchant_id="1", route_id="23"))
    assert columns(made, NOON, merchant_id="1", route_id="23")["count.10m"] == 1
    assert columns(made, NOON, merchant_id="12", route_id="3")["count.10m"] == NEVER
    assert columns(made, NOON, merchant_id="23", route_id="1")["count.10m"] == NEVER
    assert columns(made, NOON, merchant_id="1")["count.10m"] == ABSENT


def test_where_and_source_choose_events():
    features = one(Count(), where="amount_minor > 50")
    small, declined = entry(1, NOON, amount_minor=50), entry(2, NOON, source="declines")
    assert columns(engine(features, small, declined), NOON)["count.10m"] == NEVER
    assert columns(engine(features, entry(1, NOON)), NOON)["count.10m"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_many_at_once_equals_one_at_a_time(seed):
    entries = journal(seed, 300)
    slow, fast = StreamEngine(many()), StreamEngine(many())
    vectors = []
    for e in entries:
        if e.facts is not None and e.seq % 3:
            vectors.append(slow.read(e.facts, e.ingest_us))
        slow.apply(e)
    seqs, matrix = fast.fold_and_read(iter(entries), lambda e: e.seq % 3 > 0)
    assert seqs.tolist() == [e.seq for e in entries if e.facts is not None and e.seq % 3]
    assert (matrix == np.array(vectors)).all()
    assert slow.canonical() == fast.canonical()


def test_chunks_and_growth_do_not_show():
    entries = [entry(i, NOON + i * SECOND, card=i, merchant_id=str(i % 7)) for i in range(1, 6001)]
    whole, parts = StreamEngine(many()), StreamEngine(many())
    whole.apply_many(entries)
    for begin in range(0, 6000, 999):
        parts.apply_many(entries[begin : begin + 999])
    assert whole.canonical() == parts.canonical()


def test_reading_nothing_gives_an_empty_matrix():
    seqs, matrix = StreamEngine(many()).fold_and_read([], lambda _e: True)
    assert (seqs.shape, matrix.shape) == ((0,), (0, len(INPUTS) + len(many().columns)))


def test_histories_past_their_ttl_leave_memory():
    made = StreamEngine(one(Count()))
    made.apply_many(entry(i, NOON + i * MINUTE, card=i) for i in range(1, 3000))
    assert made.memory.records < 200


def test_reads_leave_no_trace():
    made, quiet = (engine(many(), *journal(5, 100)) for _ in range(2))
    for e in journal(6, 100):
        made.read(e.facts or facts(), NOON + DAY)
    assert made.canonical() == quiet.canonical()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-15, 15), min_size=1, max_size=40))
def test_counts_add_up_over_any_order_of_late_events(lags):
    """A tile ring filled in any order answers like a sorted list."""
    now = NOON + HOUR
    made = engine(one(Count(), windows=("10m/1m", "20m/2m")))
    for i, lag in enumerate(lags):
        made.apply(entry(i + 1, now, occurred_us=now - abs(lag) * MINUTE))
    found = columns(made, now)
    assert found["count.10m"] == sum(abs(lag) <= 10 for lag in lags) or found["count.10m"] == NEVER
    assert found["count.20m"] == len(lags)


def test_set_without_aggregations_reads_inputs_only():
    assert len(StreamEngine(FeatureSet(())).read(facts(), NOON)) == len(INPUTS)


def test_unusable_definition_is_refused():
    with pytest.raises(FeatureError):
        StreamEngine(one(Count(), where="no_such_fact = 1"))


def test_freed_blocks_are_used_again():
    made = StreamEngine(many())
    lengths = []
    for part in range(4):
        begin = part * 3000
        made.apply_many(entry(i, NOON + i * MINUTE, card=i, merchant_id=str(i)) for i in range(begin + 1, begin + 3001))
        lengths.append(len(made.memory.state.arena))
    assert lengths[-1] == lengths[0]
