"""The way on after an answer, with the system's parts around it."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small_shop import attempt_body, shop_in

from greenlane.decide import decide
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.record import DecisionRecord, decision_id, next_of, record_of
from greenlane.decisions.standing import expected_of
from greenlane.jobs.replaying import replay_sample
from greenlane.outcomes.accept import draft_of
from greenlane.outcomes.happened import Declined, Happened, outcome_of
from greenlane.payments.attempt import Attempt, ThreeDS
from greenlane.payments.times import DAY_US, MINUTE_US
from greenlane.ports.journal import Entry
from greenlane.proceed import proceed
from greenlane.wiring import System

ROUTES = [{"id": "north"}, {"id": "south"}]
numbers = count(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = shop_in(tmp_path_factory.mktemp("proceed"))
    system.clock.set(1_790_000_000_000_000)
    yield system
    system.close()


def decided(shop: System, payment: int) -> Entry:
    attempt = msgspec.convert(attempt_body(payment, amount=5_000) | {"eligible_routes": ROUTES}, Attempt)
    return decide(attempt, lane=shop.lane, event_id=f"d{payment}", body_hash=b"d")[0]


def after(shop: System, before: Entry, **told: Any) -> DecisionRecord:
    number = next(numbers)
    happened = Happened(source="acquirer", event_id=f"h{number}", **told)
    outcome = outcome_of(happened, record_of(before).attempt, decision_id(before.generation, before.seq))
    assert outcome is not None
    shop.clock.advance(1_000_000)
    shop.journal.append(
        draft_of(
            outcome, body_hash=number.to_bytes(2, "big"), subjects=shop.subjects, reporting=shop.reporting,
            now_us=shop.clock.now_us(),
        )
    )  # fmt: skip
    return proceed(happened, before, lane=shop.lane, event_id=f"n{number}", body_hash=b"n")[1]


class Broken:
    def approvals(self, *_asked: Any, **_more: Any) -> Any:
        raise RuntimeError("no approvals today")


def test_without_the_approval_model_the_next_action_is_of_the_stated_table_and_says_so(
    shop: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = decided(shop, 1)
    monkeypatch.setattr(shop.lane.folds, "approvals", Broken())
    record = after(shop, before, decline=Declined(network_response_code="91"))
    assert record.further is not None and record.further.found.next == "retry_now"
    assert record.degraded == ("approvals",)


def test_without_a_fraud_model_a_next_action_has_no_value(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.lane, "model", None)
    record = after(shop, decided(shop, 7), decline=Declined(network_response_code="91"))
    told = next_of(shop.journal.entries("payment", "pay_7")[-1], record, shop.releases.versions(record.release))
    assert (told.next, told.degraded) == ("retry_now", ("static",))
    assert (told.expected_value, told.runner_up, told.probabilities, told.reasons) == (None, None, None, ())
    assert told.exploration is not None and list(told.exploration.distribution.values()) == [2**32]


def test_an_attempt_that_was_reversed_counts_against_the_limits_of_the_next(shop: System) -> None:
    before = decided(shop, 2)
    unknown = after(shop, before, decline=Declined(unknown=True))
    free = after(shop, before, reversed=True)
    left = [record.further.outlooks[0].verdict.attempts_left for record in (unknown, free) if record.further]
    assert left == [3, 3]


def test_after_an_authentication_that_was_passed_the_authenticated_approval_is_expected(shop: System) -> None:
    before = decided(shop, 3)
    record = after(shop, before, authentication=ThreeDS(trans_status="Y", eci="05"))
    assert record.further is not None and record.further.found.next == "authorize"
    entry = shop.journal.entries("payment", "pay_3")[-1]
    expected, approval = expected_of(entry), record.further.approval
    assert expected is not None and approval is not None
    assert expected.approval_e9 == approval.good_3ds_e9 != approval.good_e9


def test_a_further_attempt_has_a_name_that_nobody_has(shop: System) -> None:
    before = decided(shop, 4)
    body = attempt_body(5, amount=5_000) | {"attempt_id": "att_4.2", "eligible_routes": ROUTES}
    decide(msgspec.convert(body, Attempt), lane=shop.lane, event_id="d5", body_hash=b"d")
    assert after(shop, before, decline=Declined(network_response_code="91")).attempt.attempt_id == "att_4.3"


def test_a_retry_that_was_planned_and_came_to_nothing_ends_when_it_is_asked_about_again(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    shop.clock.set(1_790_000_000_000_000)
    attempt = msgspec.convert(attempt_body(6, amount=5_000, initiator="mit"), Attempt)
    before, _ = decide(attempt, lane=shop.lane, event_id="d6", body_hash=b"d")
    planned = after(shop, before, decline=Declined(network_response_code="51"))
    assert planned.further is not None and planned.further.found.next == "retry_at"
    shop.clock.advance(40 * DAY_US)
    asked = Happened(source="acquirer", event_id="again")
    last = shop.journal.entries("payment", "pay_6")[-1]
    _, record = proceed(asked, last, lane=shop.lane, event_id="again", body_hash=b"n")
    assert record.further is not None and record.further.found.stop_reason == "too_late"
    assert (record.attempt.attempt_id, record.attempt_no) == (planned.attempt.attempt_id, 2)
    shop.close()


def test_explored_retries_are_recorded_charged_and_replayed(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    shop.clock.set(1_790_000_000_000_000)
    order = ControlRecord("budget", "route", "tests", "to learn", None, 10**8)
    shop.control(order, event_id="budget", who="tests")
    ledger, three = shop.standing.ledger.accounts["route"], [*ROUTES, {"id": "west"}]
    made = []
    for payment in range(100, 140):
        body = attempt_body(payment, amount=5_000) | {"eligible_routes": three}
        before, _ = decide(msgspec.convert(body, Attempt), lane=shop.lane, event_id=f"d{payment}", body_hash=b"d")
        shop.clock.advance(16 * MINUTE_US)  # a policy epoch each, so that the budget's pace is known
        charged = ledger.charged
        record = after(shop, before, decline=Declined(network_response_code="91"))
        assert ledger.charged - charged == record.chosen.explored.charged_micro
        made.append(record)
    drawn = [record for record in made if record.chosen.explored.kind == "route"]
    assert all(record.chosen.propensity > 0 for record in drawn)
    assert all(record.chosen.action == record.chosen.may.action(record.chosen.explored.place) for record in drawn)
    assert 0 < sum(record.chosen.explored.explored for record in drawn) < len(drawn)
    shop.close()
    found = replay_sample(tmp_path, sample=10_000, refold=True, progress=lambda done, total: None)
    assert (found.decisions, found.differences) == (80, [])
