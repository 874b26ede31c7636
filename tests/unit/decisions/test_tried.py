"""A payment's past, as the journal tells it."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from small_shop import attempt_body, shop_in

from greenlane.decide import decide
from greenlane.decisions.tried import history_in
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


def decided(shop: System, attempt: Attempt) -> None:
    shop.clock.advance(1_000_000)
    decide(attempt, lane=shop.lane, event_id=f"d{next(numbers)}", body_hash=bytes(16))


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
