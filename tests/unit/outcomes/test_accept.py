"""From the outcome as it was sent to the entry that is kept."""

from typing import Any

import msgspec
import pytest
from small_shop import attempt_body

from greenlane.errors import InputError
from greenlane.journal.draft import Draft
from greenlane.journal.freeze import Reporting
from greenlane.outcomes.accept import draft_of
from greenlane.payments.outcome import RECORD_DECODER, Outcome
from greenlane.ports.subjects import MemorySubjects
from greenlane.settings import Rate

REPORTING = Reporting("EUR", {"USD": Rate(920_000_000_000, "2026-11-21")})


def draft(**said: Any) -> Draft:
    told = {"type": "authorization", "source": "psp", "event_id": "1", "payment_id": "pay_1"} | said
    outcome = msgspec.convert({k: v for k, v in told.items() if v is not None}, Outcome)
    return draft_of(outcome, body_hash=bytes(16), subjects=MemorySubjects(), reporting=REPORTING, now_us=5)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"payment_id": None, "result": "approved"}, "$.payment_id"),
        ({}, "$.result"),
        ({"result": "won"}, "$.result"),
        ({"type": "authentication"}, "$.trans_status"),
        ({"type": "reversal"}, "$.reverses"),
        ({"type": "dispute", "reverses": "dispute"}, "$.reverses"),
        ({"type": "refund", "amount": 5}, "$.currency"),
        ({"type": "refund", "amount": 5, "currency": "JPY"}, "$.currency"),
        ({"type": "dispute", "occurred_at": "yesterday"}, "$.occurred_at"),
        ({"type": "dispute", "payment": attempt_body(1)["payment"] | {"currency": "ZZZ"}}, "$.payment.currency"),
    ],
)
def test_parts_that_do_not_fit_are_named(said: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as refusal:
        draft(**said)
    assert refusal.value.param == param
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("result", "code", "approved", "decline_class"),
    [
        ("approved", None, True, "approved"),
        ("partially_approved", None, True, "approved"),
        ("declined", "51", False, "soft"),
        ("unknown", None, None, "unknown"),
    ],
)
def test_an_authorization_says_whether_it_was_approved_and_how_it_was_declined(
    result: str, code: str | None, approved: bool | None, decline_class: str
) -> None:
    made = draft(result=result, network="visa", network_response_code=code)
    assert made.approved is approved
    assert made.code == code
    if result != "declined":
        assert made.decline_class == decline_class
    else:
        assert made.decline_class not in (None, "approved", "unknown")


def test_a_refund_is_counted_in_the_reporting_currency() -> None:
    assert draft(type="refund", amount=1000, currency="USD").amount_reporting_minor == 920
    assert draft(type="dispute", amount=1000, currency="USD").amount_reporting_minor is None


def test_a_whole_payment_is_kept_by_pseudonym_only() -> None:
    made = draft(type="fraud_report", payment=attempt_body(7)["payment"])
    assert made.facts is not None and made.facts.card != 0
    kept = made.payload + msgspec.msgpack.encode(made.facts)
    assert b"fp_0" not in kept and b"cus_7" not in kept and b"203.0.113" not in kept


def test_what_was_executed_is_kept() -> None:
    made = draft(result="approved", executed={"route": "north", "intervention": "challenge", "overridden": True})
    assert (made.route_id, made.intervention) == ("north", "challenge")
    record = RECORD_DECODER.decode(made.payload)
    assert (record.executed_route, record.executed_intervention, record.overridden) == ("north", "challenge", True)


def test_the_record_says_all_that_the_outcome_said() -> None:
    made = draft(type="dispute", result="opened", reason="10.4", amount=5, currency="EUR", decision_id="dec_1_1")
    record = RECORD_DECODER.decode(made.payload)
    assert (record.type, record.result, record.reason, record.amount_minor) == ("dispute", "opened", "10.4", 5)
    assert (record.decision_id, record.payment_id) == ("dec_1_1", "pay_1")
