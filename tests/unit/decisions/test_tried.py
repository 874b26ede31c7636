"""A payment's past, as the journal tells it."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from small_shop import attempt_body, shop_in

from greenlane.decide import decide
from greenlane.decisions.record import DecisionRecord
from greenlane.decisions.tried import capturable, history_in, tried_in
from greenlane.outcomes.accept import draft_of
from greenlane.payments.attempt import Attempt
from greenlane.payments.outcome import Outcome
from greenlane.policy.history import History, Tried
from greenlane.wiring import System

NOON = 1_790_000_000_000_000
numbers = count(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = shop_in(tmp_path_factory.mktemp("tried"))
    system.clock.set(NOON)
    yield system
    system.close()


def asked(payment: int, attempt_id: str, **more: Any) -> Attempt:
    body = attempt_body(payment, amount=5_000) | {"attempt_id": attempt_id, "eligible_routes": [{"id": "north"}]}
    return msgspec.convert(body | more, Attempt)


def decided(shop: System, attempt: Attempt) -> DecisionRecord:
    shop.clock.advance(1_000_000)
    return decide(attempt, lane=shop.lane, event_id=f"d{next(numbers)}", body_hash=bytes(16))[1]


def told(shop: System, **outcome: Any) -> None:
    shop.clock.advance(1_000_000)
    number = next(numbers)
    body = msgspec.convert({"source": "acquirer", "event_id": f"o{number}", **outcome}, Outcome)
    draft = draft_of(
        body,
        body_hash=number.to_bytes(16, "big"),
        subjects=shop.subjects,
        reporting=shop.reporting,
        now_us=shop.clock.now_us(),
    )
    shop.journal.append(draft)


def past(shop: System, payment: int, attempt_id: str = "next", **more: Any) -> History:
    attempt = asked(payment, attempt_id, **more)
    return history_in(shop.journal.entries("payment", attempt.payment.id), attempt)


def test_a_new_payment_has_no_past(shop: System) -> None:
    assert past(shop, 1) == History()


def test_an_attempt_that_was_granted_is_pending_until_it_is_answered(shop: System) -> None:
    decided(shop, asked(2, "a2"))
    assert past(shop, 2).tried == (Tried("a2", 1, "north", "pan", at_us=shop.clock.now_us(), network="visa"),)
    told(shop, type="authorization", attempt_id="a2", result="declined", network="visa", network_response_code="05")
    (tried,) = past(shop, 2).tried
    assert (tried.answer, tried.code, tried.decline_class, tried.route) == ("declined", "05", "soft", "north")
    assert (tried.at_us, tried.attempt_no) == (shop.clock.now_us(), 1)


def test_of_its_own_attempt_only_the_way_is_known(shop: System) -> None:
    decided(shop, asked(3, "a3"))
    assert past(shop, 3, "a3") == History(route="north", credential="pan")


def test_a_shadow_decision_was_never_sent(shop: System) -> None:
    decided(shop, asked(4, "a4", mode="shadow"))
    assert past(shop, 4) == History()


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        ({"type": "authorization", "result": "approved"}, "approved"),
        ({"type": "authorization", "result": "partially_approved"}, "partially_approved"),
        ({"type": "authorization", "result": "unknown"}, "unknown"),
        ({"type": "not_sent"}, "not_sent"),
    ],
)
def test_every_answer_has_its_word(shop: System, outcome: dict[str, str], answer: str) -> None:
    payment = 100 + next(numbers)
    decided(shop, asked(payment, f"b{payment}"))
    told(shop, attempt_id=f"b{payment}", **outcome)
    assert [tried.answer for tried in past(shop, payment).tried] == [answer]


def test_a_soft_decline_leaves_the_challenge_and_its_answer_opens_the_way_again(shop: System) -> None:
    decided(shop, asked(5, "a5"))
    told(shop, type="authorization", attempt_id="a5", result="declined", network="visa", network_response_code="1A")
    assert past(shop, 5).soft_declined
    told(shop, type="authentication", attempt_id="a5", trans_status="Y", eci="05")
    history = past(shop, 5)
    assert (history.status, history.liability_shifted, history.soft_declined) == ("Y", True, False)


def test_a_code_is_read_in_the_payments_network_where_the_answer_names_none(shop: System) -> None:
    decided(shop, asked(8, "a8"))
    told(shop, type="authorization", attempt_id="a8", result="declined", network_response_code="1A")
    assert past(shop, 8).soft_declined


def test_what_the_caller_tells_goes_before_what_was_reported(shop: System) -> None:
    decided(shop, asked(6, "a6"))
    told(shop, type="authentication", attempt_id="a6", trans_status="N")
    assert past(shop, 6).status == "N"
    assert past(shop, 6, verification={"three_ds": {"trans_status": "Y"}}).status == "Y"


def test_a_decision_after_a_decline_knows_of_it(shop: System) -> None:
    decided(shop, asked(7, "a7"))
    told(shop, type="authorization", attempt_id="a7", result="declined", network="visa", network_response_code="59")
    shop.clock.advance(1_000_000)
    _, record = decide(asked(7, "b7"), lane=shop.lane, event_id=f"d{next(numbers)}", body_hash=bytes(16))
    assert record.attempt_no == 2
    seen = record.chosen.probabilities
    assert seen is not None and seen.fraud_given_history_e9 > 10 * seen.fraud_e9
    assert max(seen.approval_e9) < 200_000_000


def answers(shop: System, payment: int) -> dict[str, str]:
    return {tried.attempt_id: tried.answer for tried in past(shop, payment).tried}


@pytest.mark.parametrize(
    ("result", "stop"),
    [
        ("approved", "approved_already"),
        ("partially_approved", "approved_already"),
        ("unknown", "earlier_attempt_unknown"),
    ],
)
@pytest.mark.parametrize("again", ["other", "same"])
def test_nothing_is_sent_beside_an_approval_or_an_unknown_result(
    shop: System, result: str, stop: str, again: str
) -> None:
    payment = 200 + next(numbers)
    decided(shop, asked(payment, f"c{payment}"))
    told(shop, type="authorization", attempt_id=f"c{payment}", result=result)
    record = decided(shop, asked(payment, f"c{payment}" if again == "same" else f"d{payment}"))
    assert record.chosen.action.intervention == "block" and record.chosen.stops == (stop,)
    told(shop, type="reversal", attempt_id=f"c{payment}", reverses="authorization")
    assert decided(shop, asked(payment, f"e{payment}")).chosen.action.route == "north"


def test_an_attempt_that_was_declined_knows_it_when_it_is_sent_again(shop: System) -> None:
    decided(shop, asked(9, "a9"))
    told(shop, type="authorization", attempt_id="a9", result="declined", network="visa", network_response_code="05")
    assert [tried.code for tried in past(shop, 9, "a9").tried] == ["05"]


def test_an_approval_stands_until_it_is_reversed_whatever_is_said_later(shop: System) -> None:
    decided(shop, asked(10, "a10"))
    told(shop, type="authorization", attempt_id="a10", result="approved")
    decided(shop, asked(10, "a10", stage="post_authorization"))
    told(shop, type="authorization", attempt_id="a10", result="unknown")
    told(shop, type="authorization", attempt_id="a10", result="declined", network_response_code="05")
    told(shop, type="not_sent", attempt_id="a10")
    assert answers(shop, 10) == {"a10": "approved"}
    told(shop, type="reversal", attempt_id="a10", reverses="authorization")
    assert answers(shop, 10) == {"a10": "reversed"}


def test_a_decline_is_not_forgotten_by_what_comes_too_late(shop: System) -> None:
    decided(shop, asked(11, "a11"))
    told(shop, type="authorization", attempt_id="a11", result="declined", network_response_code="05")
    for late in ({"type": "authorization", "result": "unknown"}, {"type": "not_sent"}):
        told(shop, attempt_id="a11", **late)
    told(shop, type="reversal", attempt_id="a11", reverses="authorization")
    assert answers(shop, 11) == {"a11": "declined"}
    told(shop, type="authorization", attempt_id="a11", result="approved")
    assert answers(shop, 11) == {"a11": "approved"}


def test_the_attempt_that_was_reversed_is_the_one_that_was_named(shop: System) -> None:
    for attempt_id, result in (("a12", "unknown"), ("b12", "declined"), ("c12", "approved")):
        decided(shop, asked(12, attempt_id))
        told(shop, type="authorization", attempt_id=attempt_id, payment_id="pay_12", result=result)
    told(shop, type="reversal", attempt_id="a12", reverses="authorization")
    assert answers(shop, 12) == {"a12": "reversed", "b12": "declined", "c12": "approved"}


def test_no_more_is_captured_than_the_part_that_stands(shop: System) -> None:
    def left() -> int | None:
        return capturable(shop.journal.entries("payment", "pay_13"))

    decided(shop, asked(13, "a13"))
    assert left() is None
    told(shop, type="authorization", attempt_id="a13", result="partially_approved", amount=2_000, currency="EUR")
    told(shop, type="authorization", attempt_id="a13", result="approved")
    assert left() == 2_000
    told(shop, type="reversal", attempt_id="a13", reverses="authorization")
    decided(shop, asked(13, "b13"))
    told(shop, type="authorization", attempt_id="b13", result="partially_approved", amount=3_000, currency="EUR")
    told(shop, type="capture", payment_id="pay_13", amount=1_000, currency="EUR")
    assert left() == 2_000
    assert next(tried.answer for tried in tried_in(shop.journal.entries("payment", "pay_13"))) == "reversed"


def test_another_cards_authentication_and_declines_are_no_news_of_this_one(shop: System) -> None:
    decided(shop, asked(14, "a14"))
    told(shop, type="authentication", attempt_id="a14", trans_status="Y", eci="05")
    told(shop, type="authorization", attempt_id="a14", result="declined", network="visa", network_response_code="51")
    body = attempt_body(14, amount=5_000) | {"attempt_id": "b14", "eligible_routes": [{"id": "north"}]}
    card = body["payment"]["payment_method"]["card"] | {"fingerprint": "fp_another"}
    body["payment"] = body["payment"] | {"payment_method": {"card": card}}
    same = decided(shop, asked(14, "c14"))
    other = decided(shop, msgspec.convert(body, Attempt))
    seen = [(r.given.history.status, r.given.history.declines) for r in (same, other) if r.given.history is not None]
    assert seen == [("Y", 1), ("", 0)]
    assert same.chosen.probabilities is not None and other.chosen.probabilities is not None
    assert max(same.chosen.probabilities.approval_e9) < 200_000_000 < min(other.chosen.probabilities.approval_e9)
