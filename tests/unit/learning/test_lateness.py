"""How late labels come, forgotten by the calendar."""

from greenlane.learning.lateness import COHORT_DAYS, LABELS_MIN, PRIORS, Lateness
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.ports.journal import SOURCE_BIT, Entry

FIRST = 20_000


def entry(day: int, emits: int) -> Entry:
    facts = Facts(payment_id="p", payment_us=FIRST * DAY_US, amount_minor=1, currency="EUR", amount_reporting_minor=1)
    return Entry(1, 1, day * DAY_US, "x", "s", "1", 0, emits, 1, b"", facts, b"")


def test_old_cohorts_are_dropped_on_a_day_without_a_label_and_never_taken_in() -> None:
    fold, report = Lateness(), SOURCE_BIT["fraud_reports"]
    for _ in range(LABELS_MIN):
        fold.apply(entry(FIRST + 2, report))
    fold.apply(entry(FIRST + COHORT_DAYS, SOURCE_BIT["approvals"]))
    assert fold.curve("fraud_reports", at_us=(FIRST + COHORT_DAYS) * DAY_US).labels == LABELS_MIN
    later = FIRST + COHORT_DAYS + 1
    fold.apply(entry(later, SOURCE_BIT["approvals"]))
    assert not any(fold.late.values())
    fold.apply(entry(later, report))
    assert not any(fold.late.values())
    assert fold.curve("fraud_reports", at_us=later * DAY_US) is PRIORS["fraud_reports"]
