"""What a declined payment is worth, stated and learned."""

import time

import msgspec
import pytest

from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import stakes
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US
from greenlane.policy.actions import Way
from greenlane.policy.paydays import is_payday, local_day, morning_after
from greenlane.policy.recovery import PPM, PRIORS, STATED, WEIGHT, RecoveryTable, learned, worths_of_decline
from greenlane.policy.remedy import GROUPS, group_of, remedy_of
from greenlane.ports.journal import Entry

SHOP = Economics()
MONEY = stakes(SHOP, 10_000, "merchant")
TWO, ONE = (Way("a", "pan"), Way("b", "pan")), (Way("a", "pan"),)


def worth(table=STATED, ways=TWO, *, fraud=0.01, money=MONEY, **more):
    costs = [(230.0, 230.0, 5.0, 5.0)] * len(ways)
    told = {"initiator": "cit", "fraud_approval_ppm": 700_000, "costs": costs, **more}
    return worths_of_decline(table, ways, money, fraud_e9=round(fraud * 1e9), **told)


def answered(payment, no, result, code="", *, at_us, issuer="bank"):
    facts = Facts(
        payment_id=payment,
        payment_us=0,
        amount_minor=1,
        currency="EUR",
        amount_reporting_minor=1,
        attempt_id=f"{payment}/{no}",
        initiator="mit",
        network="visa",
        issuer_id=issuer,
    )
    payload = msgspec.msgpack.encode(["authorization", result, "visa", code or None])
    return Entry(no, 1, at_us, "authorization", "t", f"{payment}{no}", at_us, 0, 1, b"", facts, payload)


def history_of(payments, approved):
    for number in range(payments):
        yield answered(f"p{number}", 1, "declined", "51", at_us=0)
        result = "approved" if number < approved else "declined"
        yield answered(f"p{number}", 2, result, "" if result == "approved" else "51", at_us=2 * DAY_US)


def test_each_further_try_is_worth_less():
    for group in PRIORS:
        shares = [STATED.share("mit", group, tries=tries, wait_us=2 * DAY_US) for tries in range(7)]
        assert shares == sorted(shares, reverse=True), group


def test_every_category_of_the_tables_has_a_group():
    assert {group_of(category) for categories in GROUPS.values() for category in categories} == set(GROUPS)
    assert group_of("stolen_card") == "final"


@pytest.mark.parametrize(
    ("network", "code", "mac", "kind"),
    [
        ("visa", "05", "", "wait"),
        ("visa", "1A", "", "authenticate"),
        ("visa", "54", "", "update"),
        ("visa", "N7", "", "fix_data"),
        ("visa", "R0", "", "never"),
        ("visa", "58", "", "other_route"),
        ("gateway", "TO", "", "query"),
        ("mastercard", "05", "21", "never"),
        ("mastercard", "83", "01", "authenticate"),
        ("mastercard", "05", "04", "token"),
        ("mastercard", "05", "40", "wait"),
        ("diners", "??", "", "never"),
    ],
)
def test_a_code_asks_for_its_remedy(network, code, mac, kind):
    assert remedy_of(network, code, mac).kind == kind


def test_a_declined_payer_is_worth_more_than_stopping_where_trying_on_pays():
    assert worth()[0].good_micro > MONEY.stop * 1e6
    assert worth(initiator="mit")[0].good_micro > worth(initiator="mit", attempts_left=1)[0].good_micro


def test_without_tries_left_a_decline_is_worth_v_stop():
    assert worth(attempts_left=0)[0] == (round(MONEY.stop * 1e6), 0)


def test_another_route_makes_a_decline_less_bad():
    assert worth()[0].good_micro > worth(ways=ONE)[0].good_micro


def test_a_probable_fraud_is_given_up():
    assert worth(fraud=0.99)[0] == (round(MONEY.stop * 1e6), 0)
    assert worth(fraud=0.01)[0].fraud_micro < 0


def test_the_table_moves_from_the_prior_to_what_the_journal_shows():
    few, many = learned(history_of(4, 2)), learned(history_of(4_000, 2_000))
    prior = STATED.share("mit", "insufficient_funds", tries=0, wait_us=2 * DAY_US)
    shares = [table.share("mit", "insufficient_funds", tries=0, wait_us=2 * DAY_US) for table in (few, many)]
    assert shares[0] == pytest.approx((2 + WEIGHT * prior) / (4 + WEIGHT), abs=2e-6)
    assert shares[1] == pytest.approx(0.5, abs=0.01)
    assert prior < shares[0] < shares[1]


def test_what_was_not_seen_stays_as_stated():
    table = learned(history_of(100, 50))
    assert table.share("cit", "technical", tries=0, wait_us=HOUR_US) == 0.6
    assert learned([]) == STATED == RecoveryTable.load(learned([]).dump())


def test_the_mix_of_declines_is_learned_by_initiator_and_issuer():
    mix = learned(history_of(10_000, 0)).mix("mit", "bank")
    assert mix["insufficient_funds"] > 0.95 * PPM
    assert sum(mix.values()) == pytest.approx(PPM, abs=30)
    assert learned(history_of(10, 0)).mix("mit", "another") != mix


def test_the_same_answer_told_twice_counts_once():
    entries = [*history_of(50, 20)]
    doubled = [entry for entry in entries for _ in range(2)]
    assert learned(doubled).shares == learned(entries).shares


def test_money_is_worked_out_quickly():
    worth()
    best_us = min(_once() for _ in range(100))
    assert best_us < 200  # typically 25


def _once():
    started = time.perf_counter_ns()
    worth()
    return (time.perf_counter_ns() - started) / 1e3


def test_mornings_are_never_sundays_and_never_before():
    for hours in range(0, 24 * 14, 5):
        us = hours * HOUR_US
        for country in ("DE", "US", "JP", ""):
            morning = morning_after(us, country)
            assert us <= morning < us + 2 * DAY_US + HOUR_US
            assert (local_day(morning, country) + 3) % 7 != 6


def test_the_last_business_day_of_a_month_is_a_payday():
    friday_30th_of_january_1970 = 29
    assert is_payday(friday_30th_of_january_1970, "DE")
    assert not is_payday(friday_30th_of_january_1970 + 1, "DE")
