"""Card testing is found within a minute or so, with a rule that fits; ordinary trade and broken routes are not it."""

import numpy as np
import pytest
from unit.monitoring.made import MINUTE, facts

from greenlane.features.where import compile_where
from greenlane.monitoring.alarms import Alarm
from greenlane.monitoring.attacks import Attacks
from greenlane.payments.facts import Facts
from greenlane.policy.attacked import APPROVED, DECLINED

SECOND = 1_000_000


def answer(attacks: Attacks, one: Facts, at_us: int, *, approved: bool) -> bool:
    return attacks.answer([one], [at_us], [APPROVED if approved else DECLINED])[0]


def usual(attacks: Attacks, *, minutes: int = 120, approved: float = 0.88, start: int = 0) -> list:
    rng, found = np.random.default_rng(1), []
    for minute in range(start, start + minutes):
        for second in range(0, 60, 6):
            one = facts(int(rng.integers(1, 2**62)), amount_reporting_minor=int(rng.lognormal(8.3, 0.8)),
                        bin8=f"4000000{rng.integers(4)}", merchant_id=f"shop_{rng.integers(3)}")  # fmt: skip
            answer(attacks, one, minute * MINUTE + second * SECOND, approved=rng.random() < approved)
        found += attacks.turn((minute + 1) * MINUTE)
    return found


def attacked(attacks: Attacks, *, start: int, seconds: int = 60, **changes) -> list:
    rng = np.random.default_rng(2)
    for second in range(seconds):
        told = {key: (value(rng) if callable(value) else value) for key, value in changes.items()}
        one = facts(int(rng.integers(1, 2**62)), amount_reporting_minor=100, code="14", **told)
        answer(attacks, one, start * MINUTE + second * SECOND, approved=rng.random() < 0.1)
    return attacks.turn(start * MINUTE + seconds * SECOND)


def test_ordinary_trade_is_no_attack():
    assert usual(Attacks(), minutes=600) == []


def test_a_broken_route_is_no_attack():
    attacks = Attacks()
    usual(attacks)
    assert usual(attacks, start=120, approved=0.1) == []


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"merchant_id": "shop_1", "bin8": "41111111"}, "merchant shop_1"),
        ({"merchant_id": "shop_1", "bin8": lambda rng: f"5{rng.integers(10**7):07}"}, "merchant shop_1"),
        ({"merchant_id": lambda rng: f"shop_{rng.integers(50)}", "bin8": "41111111"}, "bin 41111111"),
        ({"merchant_id": lambda rng: f"shop_{rng.integers(3)}", "bin8": lambda rng: f"5{rng.integers(10**7):07}",
          "device": 77}, "device 4d"),
    ],
)  # fmt: skip
def test_an_attack_is_found_and_its_rule_holds_it(changes, cause):
    attacks = Attacks()
    usual(attacks)
    found = attacked(attacks, start=120, **changes)
    alarm, rule = found[:2]
    assert isinstance(alarm, Alarm)
    assert str(alarm.causes[0]) == cause
    holds = compile_where(rule.after["where"])
    told = {key: (value(np.random.default_rng(2)) if callable(value) else value) for key, value in changes.items()}
    assert holds(facts(1, amount_reporting_minor=100, **told))
    assert not holds(facts(2, amount_reporting_minor=9_000, merchant_id="other", bin8="49999999"))


def test_what_is_attacked_is_left_out_until_the_mark_expires():
    attacks = Attacks()
    usual(attacks)
    attacked(attacks, start=120, merchant_id="shop_1", bin8="41111111")
    one = facts(5, merchant_id="shop_1", bin8="41111111")
    assert answer(attacks, one, 122 * MINUTE, approved=True)
    assert [type(found).__name__ for found in attacks.turn(300 * MINUTE)] == ["Alarm", "ControlProposal"]
    assert not answer(attacks, one, 301 * MINUTE, approved=True)


def test_state_survives_a_restart():
    attacks, again = Attacks(), Attacks()
    usual(attacks)
    attacked(attacks, start=120, merchant_id="shop_1", bin8="41111111")
    again.load(attacks.dump())
    assert again.measured() == attacks.measured() != []
