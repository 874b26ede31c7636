"""The limit engine, told as the stories of one payer at one shop."""

import time

import msgspec
import pytest

from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US, parse_rfc3339
from greenlane.policy.limit_rules import rules, stops_of
from greenlane.policy.limits import Asked, Limits
from greenlane.ports.journal import Entry

NOW_US = parse_rfc3339("2026-11-22T12:00:00Z")


class Payer:
    """One account: `card` is its number's pseudonym, `par` the account's."""

    def __init__(self, network="visa", *, limits=None, at_us=NOW_US):
        self.limits, self.network, self.at_us, self.count = limits or Limits(), network, at_us, 0
        self.shop, self.amount_minor, self.initiator, self.card, self.par = "shop", 1999, "cit", 10, 1

    def may(self, *, after_us=0, attempt_id=""):
        cards = (self.card, self.par) if self.par else (self.card,)
        at_us = self.at_us + after_us
        asked = Asked(
            cards, self.shop, self.amount_minor, "EUR", self.initiator, self.network, at_us, attempt_id=attempt_id
        )
        return self.limits.verdict(asked)

    def facts(self):
        return Facts(
            payment_id="pay",
            payment_us=self.at_us,
            amount_minor=self.amount_minor,
            currency="EUR",
            amount_reporting_minor=self.amount_minor,
            attempt_id=f"att_{self.count}",
            merchant_id=self.shop,
            initiator=self.initiator,
            card=self.card,
            par=self.par,
            network=self.network,
            intervention="allow",
            route_id="acquirer_a",
        )

    def hears(self, kind, payload=b"", *, occurred_us=None):
        told_us = self.at_us if occurred_us is None else occurred_us
        self.limits.apply(Entry(1, 1, self.at_us, kind, "t", "1", told_us, 0, 1, b"", self.facts(), payload))

    def sends(self, *, at_us=None):
        self.count += 1
        self.hears("decision", occurred_us=at_us)
        return self

    def told(self, result, code="", mac="", *, kind="authorization"):
        what = "not_sent" if result == "not_sent" else "authorization"
        payload = [what, result, self.network, code or None, mac or None]
        self.hears("not_sent" if result == "not_sent" else kind, msgspec.msgpack.encode(payload))
        self.at_us += SECOND_US
        return self

    def declined(self, code="05", mac="", *, times=1):
        for _ in range(times):
            self.sends().told("declined", code, mac)
        return self


def test_a_new_card_has_the_whole_quota():
    assert Payer().may()[:4] == (True, "HOUSE_24H", NOW_US, 4)


def test_the_house_stops_after_four_declines_in_a_day_over_all_routes_and_amounts():
    payer = Payer().declined(times=4)
    payer.amount_minor = 1
    refused = payer.may()
    assert (refused.allowed, refused.rule, refused.attempts_left) == (False, "HOUSE_24H", 0)
    assert refused.earliest_us == NOW_US + DAY_US
    payer.shop = "another_shop"
    assert payer.may().allowed


def test_twelve_in_thirty_days_and_the_first_frees_a_place():
    payer = Payer()
    for _ in range(12):
        payer.declined()
        payer.at_us += DAY_US
    refused = payer.may()
    assert (refused.rule, refused.earliest_us) == ("HOUSE_30D", NOW_US + 30 * DAY_US)


def test_quota_is_taken_by_the_grant_and_given_back_only_by_not_sent():
    payer = Payer()
    for _ in range(4):
        payer.sends()
    assert not payer.may().allowed
    payer.told("unknown")
    assert not payer.may().allowed
    payer.told("not_sent")
    assert payer.may().attempts_left == 1


def test_an_approval_was_no_decline():
    payer = Payer()
    for _ in range(20):
        payer.sends().told("approved")
    assert payer.may().attempts_left == 4


def test_an_answer_that_came_as_a_link_counts_too():
    payer = Payer()
    payer.sends().told("declined", "41", kind="link")
    assert payer.may().rule == "VISA_CAT1"


def test_not_sent_cannot_take_back_an_answer():
    assert Payer().declined().told("not_sent").may().attempts_left == 3


def test_the_reservation_of_the_attempt_itself_is_not_held_against_it():
    payer = Payer().declined(times=3).sends()
    assert not payer.may().allowed
    assert payer.may(attempt_id="att_4").attempts_left == 1


def test_a_later_stage_of_an_attempt_takes_no_second_place():
    payer = Payer().sends()
    payer.hears("decision")
    assert payer.may().attempts_left == 3


def test_category_one_is_for_ever_whatever_the_amount_or_the_initiator_or_the_route():
    payer = Payer().declined("41")
    payer.amount_minor, payer.initiator = 5, "mit"
    refused = payer.may(after_us=4_000 * DAY_US)
    assert (refused.allowed, refused.rule, refused.earliest_us) == (False, "VISA_CAT1", None)


def test_category_one_follows_the_account_to_its_token():
    payer = Payer().declined("41")
    payer.card = 11
    assert payer.may().rule == "VISA_CAT1"


def test_another_number_of_the_account_cures_what_it_repairs_and_nothing_else():
    closed, stolen = Payer().declined("46"), Payer().declined("43")
    assert not closed.may().allowed
    closed.card = stolen.card = 11
    assert closed.may().allowed
    assert not stolen.may().allowed


@pytest.mark.parametrize("mac", ["03", "21"])
def test_do_not_try_again_binds_the_card_for_thirty_days(mac):
    payer = Payer("mastercard").declined("05", mac)
    payer.amount_minor = 1
    refused = payer.may()
    assert (refused.rule, refused.earliest_us) == ("MC_MAC_03_21", NOW_US + 30 * DAY_US)


def test_a_mastercard_advice_names_the_earliest_time():
    refused = Payer("mastercard").declined("51", "26").may()
    assert (refused.rule, refused.earliest_us) == ("MC_MAC_24_30", NOW_US + 2 * DAY_US)


def test_a_lost_card_is_not_tried_again_on_a_network_that_publishes_no_rule():
    refused = Payer("diners").declined("41").may()
    assert (refused.rule, refused.earliest_us) == ("HOUSE_HARD", NOW_US + 30 * DAY_US)


def test_an_umbrella_code_without_advice_is_hard():
    assert Payer("mastercard").declined("79").may().rule == "HOUSE_HARD"
    assert Payer("mastercard").declined("79", "01").may().allowed


def test_visa_counts_customers_and_merchants_apart_and_an_approval_begins_anew():
    relaxed = tuple(rule for rule in rules() if rule.networks)
    payer = Payer(limits=Limits(relaxed, reserve=0)).declined(times=20)
    assert payer.may().rule == "VISA_CAT234_20"
    payer.initiator = "mit"
    assert payer.may().attempts_left == 20
    payer.initiator = "cit"
    payer.sends().told("approved")
    assert payer.may().attempts_left == 20


def test_a_rule_binds_from_its_day_until_its_successors():
    relaxed = tuple(rule for rule in rules() if rule.networks)
    before = Payer(limits=Limits(relaxed, reserve=0), at_us=parse_rfc3339("2025-05-18T00:00:00Z"))
    assert before.may()[1:4:2] == ("VISA_CAT234_15", 15)
    assert before.may(after_us=DAY_US)[1:4:2] == ("VISA_CAT234_20", 20)


def test_a_reserve_is_kept_below_the_caps_of_networks():
    relaxed = tuple(rule for rule in rules() if rule.networks)
    assert Payer("mastercard", limits=Limits(relaxed)).may()[1:4:2] == ("MC_EAA_24H", 8)


def test_elo_counts_by_calendar_month():
    relaxed = tuple(rule for rule in rules() if rule.networks)
    payer = Payer("elo", limits=Limits(relaxed, reserve=0)).declined(times=15)
    assert payer.may().earliest_us == parse_rfc3339("2026-12-01T00:00:00Z")


def test_an_attempt_scheduled_for_later_counts_around_its_time():
    payer = Payer()
    for _ in range(4):
        payer.sends(at_us=NOW_US + 5 * DAY_US)
    assert payer.may().allowed
    assert not payer.may(after_us=5 * DAY_US - HOUR_US).allowed
    assert not payer.may(after_us=5 * DAY_US + HOUR_US).allowed
    assert payer.may(after_us=6 * DAY_US).allowed


def test_a_shadow_decision_and_a_block_take_nothing():
    payer = Payer()
    for intervention in ("", "block"):
        facts = msgspec.structs.replace(payer.facts(), intervention=intervention)
        payer.limits.apply(Entry(1, 1, NOW_US, "decision", "t", "1", NOW_US, 0, 1, b"", facts, b""))
    assert payer.may().attempts_left == 4


def test_a_decision_after_an_approval_elsewhere_takes_nothing():
    payer = Payer()
    payer.hears("decision", msgspec.msgpack.encode((("post_authorization", None), 1)))
    assert payer.may().attempts_left == 4


def test_small_amounts_on_mastercard_are_advised_against():
    payer = Payer("mastercard")
    assert payer.may().advice == ()
    payer.amount_minor = 100
    assert (payer.may().advice, payer.may().allowed) == (("MC_NOMINAL",), True)


def test_every_stop_is_a_rule_of_the_table():
    stops = [*stops_of("visa", "43", "", channel="ecommerce", at_us=0)]
    stops += stops_of("mastercard", "51", "24", channel="ecommerce", at_us=0)
    assert {stop.applies_to for stop in stops} <= {rule.applies_to for rule in rules()}


def test_a_verdict_is_quick():
    payer = Payer().declined(times=3)
    best_us = min(_once(payer) for _ in range(200))
    assert best_us < 60  # typically 10


def _once(payer):
    started = time.perf_counter_ns()
    payer.may()
    return (time.perf_counter_ns() - started) / 1e3
