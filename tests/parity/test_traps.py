"""Traps that have bitten feature stores, small enough to check by hand; all three engines give the stated answer."""

from parity.journals import HOUR, MINUTE, SECOND
from parity.three_ways import agreed_rows

from greenlane.features.definition import (
    EMPTY,
    NEVER,
    WARMING,
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
    Seen,
    Sum,
    TimeSince,
)
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

NOON = 12 * HOUR
AMOUNT = "amount_reporting_minor"
CARD = Entity("card", "card")


class Log:
    """A journal written by hand; `answer` reads at its end."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self, at_us: int, *, occurred_us: int | None = None, emits: str = "attempts", sign: int = 1, **facts: object
    ) -> "Log":
        usual = {"payment_us": at_us, "amount_minor": 1, "amount_reporting_minor": 1, "card": 7, "currency": "EUR"}
        bits = SOURCE_BIT[emits] if emits else 0
        occurred = at_us if occurred_us is None else occurred_us
        seq = len(self.entries) + 1
        known = Facts(payment_id=f"p{seq}", **(usual | facts))
        self.entries.append(
            Entry(seq, 1, at_us, "decision", "api", f"e{seq}", occurred, bits, sign, bytes(16), known, b"")
        )
        return self

    def answer(self, at_us: int, *measures: Measure, complete_us: int = -(10**15), **options) -> list[int]:
        declared = {"entity": CARD, "source": "attempts", "windows": ("1h/5m",)} | options
        features = FeatureSet((Aggregation("trap", measures=measures, **declared),)).check()
        asked = Log()
        asked.entries = [*self.entries]
        asked.add(at_us, emits="")
        return agreed_rows(asked.entries, features, first_complete_us=complete_us)[1][-1].tolist()


def test_an_event_exactly_on_the_left_edge_is_in_and_one_microsecond_earlier_is_out():
    log = Log().add(NOON - HOUR - 1).add(NOON - HOUR)
    assert log.answer(NOON, Count()) == [1]
    assert log.answer(NOON - 1, Count()) == [2], "the edge moves by whole hops"


def test_the_extreme_value_leaves_a_max_window():
    log = Log().add(NOON - 65 * MINUTE, amount_reporting_minor=99).add(NOON - MINUTE, amount_reporting_minor=3)
    measures = (Max(AMOUNT), Min(AMOUNT), First(AMOUNT))
    assert log.answer(NOON - 1, *measures) == [99, 3, 99]
    assert log.answer(NOON, *measures) == [3, 3, 3]


def test_long_after_the_last_event_the_window_is_empty_and_later_the_entity_was_never_seen():
    log = Log().add(NOON)
    measures = (Count(), Sum(AMOUNT), Max(AMOUNT), Last(AMOUNT), TimeSince(), Distinct("card"), Seen())
    assert log.answer(NOON + 10 * HOUR, *measures, ttl="1d") == [0, 0, EMPTY, EMPTY, EMPTY, 0, 1]
    assert log.answer(NOON + 24 * HOUR + 1, *measures, ttl="1d") == [NEVER] * 7


def test_a_late_write_does_not_hide_the_newer_value():
    log = Log().add(NOON, amount_reporting_minor=5)
    log.add(NOON + SECOND, occurred_us=NOON - MINUTE, amount_reporting_minor=4)
    assert log.answer(NOON + 2 * SECOND, Last(AMOUNT), First(AMOUNT), TimeSince(), PreviousGap()) == [
        5,
        4,
        2 * SECOND,
        MINUTE,
    ]


def test_a_future_stamp_counts_from_its_arrival():
    log = Log().add(NOON, occurred_us=NOON + 10 * HOUR)
    assert log.answer(NOON + 66 * MINUTE, Count(), Seen(), ttl="1d") == [0, 1]


def test_a_payment_does_not_see_itself_nor_one_of_the_same_microsecond_after_it():
    log = Log().add(NOON).add(NOON)
    assert log.answer(NOON, Count()) == [2]
    assert agreed_rows(
        log.entries, FeatureSet((Aggregation("a", CARD, "attempts", (Count(),), ("1h/5m",)),)), first_complete_us=0
    )[1].tolist() == [[NEVER], [1]]


def test_parts_of_a_composite_key_do_not_run_together():
    log = Log().add(NOON, merchant_id="1", mcc="23").add(NOON, merchant_id="12", mcc="3", emits="")
    features = FeatureSet((Aggregation("a", Entity("e", ("merchant_id", "mcc")), "attempts", (Count(),), ("1h/5m",)),))
    assert agreed_rows(log.entries, features, first_complete_us=0)[1].tolist() == [[NEVER], [NEVER]]


def test_sums_past_two_to_the_53_keep_their_last_digit():
    log = Log().add(NOON, account_age_us=2**53).add(NOON, account_age_us=1)
    assert log.answer(NOON, Sum("account_age_us")) == [2**53 + 1]


def test_two_labels_of_one_key_and_time_both_count_and_a_reversal_takes_one_back():
    label = {"emits": "fraud_reports", "payment_us": NOON}
    options = {"source": "fraud_reports", "time": "payment", "maturity": "9d", "windows": ("1h/5m",)}
    log = Log().add(NOON + MINUTE, **label).add(NOON + MINUTE, **label)
    assert log.answer(NOON + 5 * MINUTE, Count(), Sum(AMOUNT), **options) == [2, 2]
    log.add(NOON + 2 * MINUTE, sign=-1, **label)
    assert log.answer(NOON + 5 * MINUTE, Count(), Sum(AMOUNT), Distinct("card"), **options) == [1, 1, 1]


def test_a_label_lands_at_the_time_of_its_payment_unless_it_is_older_than_the_ttl():
    options = {"source": "fraud_reports", "time": "payment", "maturity": "5h", "windows": ("1h/30m+2h",)}
    log = Log().add(NOON, emits="fraud_reports", payment_us=NOON - 3 * HOUR)
    assert log.answer(NOON, Count(), **options) == [1]
    old = Log().add(NOON, emits="fraud_reports", payment_us=NOON - 9 * HOUR)
    assert old.answer(NOON, Count(), Seen(), **options) == [NEVER, NEVER]


def test_a_delayed_window_ends_at_the_end_of_the_tile_of_its_right_edge():
    log = Log()
    for minutes in (31, 30, 29, 1, 0):
        log.add(NOON - minutes * MINUTE)
    assert log.answer(NOON, Count(), windows=("1h/15m+30m",)) == [3], "the tile of 11:30 reaches to 11:45"


def test_warming_comes_before_never_and_absent_before_both():
    assert Log().answer(NOON, Count(), Seen(), complete_us=NOON - HOUR + 1) == [WARMING, WARMING]
    assert Log().answer(NOON, Count(), Seen(), complete_us=NOON - HOUR, ttl="3h") == [NEVER, WARMING]


def test_an_entity_rises_again_after_its_ttl_without_its_past():
    log = Log().add(NOON, amount_reporting_minor=9).add(NOON + 10 * HOUR, amount_reporting_minor=2)
    measures = (Count(), Sum(AMOUNT), Max(AMOUNT), PreviousGap())
    assert log.answer(NOON + 10 * HOUR + 1, *measures, ttl="3h") == [1, 2, 2, EMPTY]


def test_a_late_value_counts_once_however_often_it_was_on_time():
    log = Log().add(NOON, mcc="a").add(NOON, occurred_us=NOON - MINUTE, mcc="a")
    log.add(NOON, occurred_us=NOON - MINUTE, mcc="b").add(NOON, mcc="")
    assert log.answer(NOON + 1, Distinct("mcc")) == [2]
    assert log.answer(NOON + 55 * MINUTE, Distinct("mcc"), windows=("54m/1m",)) == [0]


def test_windows_hold_below_the_epoch():
    log = Log().add(-HOUR - 1).add(-HOUR)
    assert log.answer(-1, Count()) == [2]
    assert log.answer(0, Count()) == [1]
