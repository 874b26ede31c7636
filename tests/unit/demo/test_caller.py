"""The merchant's side of the demonstration, against a door that is a few lines long."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from greenlane.decisions.answer import Action
from greenlane.demo.caller import Caller, Pursued
from greenlane.demo.outage import Storm, busiest, with_rush
from greenlane.demo.story import WORLD
from greenlane.demo.table import best_threshold
from greenlane.payments.times import parse_rfc3339
from greenlane.simulation.living import Living
from greenlane.simulation.world import World

PAYMENTS = 300
ALLOW = Action(intervention="allow", route="acq_lakes", credential="pan")
ELSEWHERE = Action(intervention="allow", route="acq_hudson", credential="pan")


class Door:
    """Answers each decision with `action`, and what happened with `step`."""

    def __init__(self, action: Action, step: Callable[[Any], str]):
        self.action, self.step, self.told, self.reported = action, step, [], []
        self.asked: list[str] = []

    def decide(self, attempt: Any) -> Any:
        self.asked.append(attempt.attempt_id)
        return SimpleNamespace(id=f"dec_{len(self.asked)}", action=self.action, probabilities=None, rule_hits=())

    def next_action(self, decision_id: str, happened: Any) -> Any:
        self.told.append(happened)
        step = self.step(happened)
        action = ELSEWHERE if step == "retry_now" else self.action
        return SimpleNamespace(id=f"{decision_id}_n", next=step, at=happened.occurred_at, action=action)

    def report(self, *outcomes: Any) -> None:
        self.reported += outcomes


def honest(happened: Any) -> str:
    """Once more after a first decline."""
    if happened.decline is not None and happened.decline.unknown:
        return "query_or_reverse"
    if happened.authentication is not None:
        return "authorize" if happened.authentication.trans_status == "Y" else "stop"
    first = happened.event_id.count(".") == 0
    return "capture" if happened.approval is not None else "retry_now" if first else "stop"


def lived(action: Action, step: Callable[[Any], str], seed: int = 1) -> tuple[Caller, Door]:
    living = Living(World.load(WORLD), seed)
    arrivals = list(living.arrivals(PAYMENTS))
    door = Door(action, step)
    storm = Storm(living, arrivals[0].at_us, arrivals[-1].at_us)
    caller = Caller(door, living, storm.fair)
    caller.run(arrivals, lambda _: None)
    return caller, door


def test_every_payment_is_followed_to_its_end() -> None:
    caller, door = lived(ALLOW, honest)
    assert len(caller.done) == len(door.asked) == PAYMENTS
    declined = [each for each in caller.done if each.first_declined]
    assert declined and any(each.attempts == 2 for each in declined)
    assert all(each.attempts == 1 for each in caller.done if not each.first_declined)
    assert {each.tried_by for each in declined if each.recovered} == {"retry_now"}
    at_us = [parse_rfc3339(each.occurred_at) for each in door.told]
    assert at_us == sorted(at_us)


def test_what_is_declined_costs_the_lost_sale_once() -> None:
    caller, _ = lived(ALLOW, lambda told: "capture" if told.approval is not None else "stop")
    for each in caller.done:
        assert each.terms is not None
        lost = each.terms.stop if each.first_declined else 0.0
        assert each.net == pytest.approx(each.terms.value + lost) and each.approved == each.terms.approved


def test_a_challenge_is_valued_with_what_follows_it() -> None:
    caller, door = lived(Action(intervention="challenge", route="acq_lakes", credential="pan"), honest)
    shown = [told for told in door.told if told.authentication is not None]
    assert len({told.event_id for told in shown if "." not in told.event_id}) == PAYMENTS
    good = [each for each in caller.done if not each.arrival.truth.fraud]
    assert 0.01 < np.mean([each.turned_away for each in good]) < 0.3


def test_a_payment_that_is_blocked_is_neither_sent_nor_told_of() -> None:
    caller, door = lived(Action(intervention="block"), honest)
    assert not door.told and not door.reported
    assert all(each.turned_away == 1.0 and each.approved == 0.0 for each in caller.done)


def test_a_voided_approval_is_worth_no_more_than_its_fees() -> None:
    kept, _ = lived(ALLOW, lambda told: "capture" if told.approval is not None else "stop")
    voided, _ = lived(ALLOW, lambda told: "void" if told.approval is not None else "stop")
    assert sum(each.net for each in voided.done) < 0 < sum(each.net for each in kept.done)


def test_a_route_that_is_down_approves_nothing_and_only_meanwhile() -> None:
    living = Living(World.load(WORLD), 1)
    crowd, (from_us, to_us) = with_rush(list(living.arrivals(200)))
    storm = Storm(living, from_us, to_us)
    storm.route = "acq_lakes"
    down = [storm.at(at_us, 0)[2] for at_us in (from_us - 1, from_us, to_us)]
    assert down[1] == 0.0 and down[0] > 0.0 and down[2] > 0.0
    caller = Caller(Door(ALLOW, honest), living, storm.fair)
    caller.run(crowd, lambda _: None)
    met = [each for each in caller.done if storm.covers(each.arrival.at_us)]
    assert met and all(each.fair > 0.3 for each in met if not each.arrival.truth.fraud)
    assert busiest(caller.done) == "acq_lakes"
    assert all(each.terms is not None and each.terms.approved < 0.2 for each in met if each.attempts == 1)


def test_where_blocking_never_pays_nobody_is_blocked() -> None:
    nothing = best_threshold(np.array([0.9, 0.1]), np.array([1.0, 1.0]), np.array([0.0, 0.0]))
    assert nothing > 1.0


def test_a_payment_knows_its_attempts_by_the_names_of_the_door() -> None:
    caller, _ = lived(ALLOW, honest)
    payment = Pursued(caller.done[0].case, attempts=2)
    assert payment.attempt_id == f"{payment.arrival.attempt.attempt_id}.2"
