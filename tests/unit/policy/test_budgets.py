"""The exploration ledger: charged at the draw, reconciled at maturity, paced over the day, the same if refolded."""

import random

import msgspec
import pytest
from msgspec.structs import replace

from greenlane.errors import InputError
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.actions import Eligible, Row, Way
from greenlane.policy.budgets import LABEL_US, MICRO, START_PPM, Ledger, check_budget
from greenlane.policy.explore import (
    KINDS,
    Allowance,
    Challenging,
    Context,
    Explored,
    Exploring,
    Releasing,
    Routing,
    explore,
    secret_draw,
)
from greenlane.policy.parameters import EPOCH_US
from greenlane.ports.journal import Entry

BUDGETS = Exploring(
    release=Releasing(budget_minor=5_000), challenge=Challenging(budget_minor=1_000), route=Routing(budget_minor=2_000)
)
DECODER = msgspec.msgpack.Decoder(Explored)
ENCODE = msgspec.msgpack.encode


def explored_of(entry):
    return DECODER.decode(entry.payload) if entry.payload else None


class Days:
    """A ledger and the entries it was given."""

    def __init__(self, exploring=BUDGETS):
        self.exploring = exploring
        self.ledger = Ledger(exploring, explored_of)
        self.entries = []

    def append(self, kind, at_us, *, payload, facts=None):
        seq = len(self.entries) + 1
        entry = Entry(seq, 1, at_us, kind, "test", str(seq), at_us, 0, 1, b"", facts, payload)
        self.entries.append(entry)
        self.ledger.apply(entry)

    def decide(self, at_us, *, kind="route", explored=True, charged=200, expected=20, demand=100, payment="p", card=7):
        found = Explored(
            distribution=(2**31, 2**31),
            place=1,
            kind=kind,
            explored=explored,
            expected_micro=expected * MICRO if explored else 0,
            charged_micro=charged * MICRO if explored else 0,
            demand_micro=demand * MICRO,
        )
        self.append("decision", at_us, payload=ENCODE(found), facts=facts_of(payment, card))

    def hear(self, at_us, kind, result=None, *, payment="p", attempt="a"):
        self.append(kind, at_us, payload=ENCODE([kind, result]), facts=facts_of(payment, 7, attempt=attempt))

    def control(self, at_us, kind, after):
        self.append("control", at_us, payload=ENCODE(["budget", kind, "ann", "why", None, after]))

    def allowance(self, kind, at_us):
        self.ledger.advance(at_us)
        return getattr(self.ledger.allowances, kind)

    def refolded(self):
        again = Ledger(self.exploring, explored_of)
        for entry in self.entries:
            again.apply(entry)
        return again


def facts_of(payment, card, *, attempt="a"):
    return Facts(
        payment_id=payment, payment_us=0, amount_minor=9_000, currency="EUR", amount_reporting_minor=9_000,
        attempt_id=attempt, card=card, device=99, issuer_id="iss_1", route_id="acq_b",
    )  # fmt: skip


@pytest.fixture
def days():
    return Days()


def test_the_draw_is_charged_at_once(days):
    days.decide(1)
    assert days.allowance("route", 1).remaining_micro == 1_800 * MICRO
    assert days.allowance("challenge", 1).remaining_micro == 1_000 * MICRO


def test_what_was_only_on_offer_is_demand_and_costs_nothing(days):
    days.decide(1, explored=False)
    assert days.allowance("route", 1).remaining_micro == 2_000 * MICRO
    assert days.ledger.accounts["route"].demand[0] == 100 * MICRO


def test_an_answer_turns_the_charge_into_the_expected_loss(days):
    days.decide(1)
    days.hear(2, "authorization", "approved")
    account = days.ledger.accounts["route"]
    assert (account.spent, account.reconciled, account.bought) == (20 * MICRO, 1, 1)
    assert days.allowance("route", 2).remaining_micro == 1_980 * MICRO
    assert account.cells["iss_1 acq_b"].explored == 1


def test_an_unknown_result_settles_nothing_and_an_unsent_attempt_gives_all_back(days):
    days.decide(1)
    days.hear(2, "authorization", "unknown")
    assert days.ledger.accounts["route"].reconciled == 0
    days.hear(3, "not_sent")
    assert days.allowance("route", 3).remaining_micro == 2_000 * MICRO
    assert days.ledger.accounts["route"].bought == 0


def test_an_answer_to_another_attempt_settles_nothing(days):
    days.decide(1)
    days.hear(2, "authorization", "approved", attempt="b")
    assert days.ledger.accounts["route"].reconciled == 0


def test_what_is_never_answered_was_spent_after_a_day(days):
    days.decide(1)
    days.ledger.advance(DAY_US + 1)
    account = days.ledger.accounts["route"]
    assert (account.spent, account.bought) == (20 * MICRO, 0)


def test_a_released_payment_waits_for_its_label(days):
    days.decide(1, kind="release", charged=1_000)
    days.hear(2, "authorization", "approved")
    assert days.ledger.accounts["release"].reconciled == 0
    days.ledger.advance(LABEL_US + 1)
    account = days.ledger.accounts["release"]
    assert (account.spent, account.bought) == (0, 1)
    assert days.allowance("release", LABEL_US + 1).remaining_micro == 6_000 * MICRO


def test_a_reported_release_costs_its_amount_and_later_budgets_pay_for_it(days):
    days.decide(1, kind="release", charged=1_000)
    days.hear(DAY_US, "fraud_report")
    assert days.ledger.accounts["release"].spent == 9_000 * MICRO
    remaining = [days.allowance("release", day * DAY_US).remaining_micro // MICRO for day in (1, 2, 3)]
    assert remaining == [0, 2_000, 5_000]


def test_a_declined_release_teaches_no_label(days):
    days.decide(1, kind="release")
    days.hear(2, "authorization", "declined")
    assert (days.ledger.accounts["release"].reconciled, days.ledger.accounts["release"].bought) == (1, 0)


def test_what_comes_back_at_most_doubles_a_day(days):
    for n in range(20):
        days.decide(n * DAY_US, kind="release", charged=5_000, payment=f"p{n}")
    for n in range(20):
        days.hear(20 * DAY_US, "authorization", "declined", payment=f"p{n}")
    assert days.allowance("release", 20 * DAY_US).remaining_micro == 10_000 * MICRO


def test_releases_are_counted_by_card_and_by_device_and_only_today(days):
    days.decide(1, kind="release", card=7)
    assert days.ledger.released_today(facts_of("q", 7)) == 1
    assert days.ledger.released_today(facts_of("q", 8)) == 1  # the same device
    assert days.ledger.released_today(replace(facts_of("q", 8), device=0)) == 0
    days.ledger.advance(DAY_US)
    assert days.ledger.released_today(facts_of("q", 7)) == 0


def test_a_control_entry_sets_a_budget_and_takes_it_back(days):
    days.control(1, "route", 0)
    assert days.allowance("route", 1) == Allowance(0, 0, START_PPM)
    days.control(2, "route", None)
    assert days.allowance("route", 2).budget_micro == 2_000 * MICRO


@pytest.mark.parametrize(("kind", "after"), [("luck", 1), ("route", -1), ("route", True), ("route", 1.5)])
def test_a_budget_that_is_none_is_refused(kind, after):
    with pytest.raises(InputError):
        check_budget(kind, after)


def test_the_pace_is_what_is_left_over_what_would_be_asked(days):
    for slot in range(96):
        days.decide(slot * EPOCH_US, explored=False, demand=100)  # 9,600 on this day
    assert days.allowance("route", DAY_US).pace_ppm == 2_000 * 10**6 // 9_600
    days.decide(DAY_US, charged=1_000)
    assert days.allowance("route", DAY_US).pace_ppm == 2_000 * 10**6 // 9_600  # frozen within the epoch
    noon = days.allowance("route", DAY_US + 48 * EPOCH_US)
    assert noon.pace_ppm == 1_000 * 10**6 // 4_800


def test_an_unknown_demand_begins_slowly(days):
    assert days.allowance("route", 5 * EPOCH_US).pace_ppm == START_PPM


def test_a_read_in_between_changes_nothing(days):
    days.decide(1)
    other = days.refolded()
    other.advance(3 * EPOCH_US + 5)
    other.advance(5 * DAY_US)
    for ledger in (days.ledger, other):
        ledger.advance(9 * DAY_US)
    assert other.dump() == days.ledger.dump()


VALUES = [100 * MICRO, 99 * MICRO, 0]
MAY = Eligible((Row("allow", "", 0b11),), (Way("a", "pan"), Way("b", "pan")), ())


def shop(days, *, per_epoch, day_count, seed=1, restart=False):
    """Traffic that explores as it is allowed to, with a rush of demand at noon; answered soon after."""
    draw, chance = secret_draw(b"tenant"), random.Random(seed)
    for epoch in range(day_count * 96):
        for n in range(per_epoch * (5 if epoch % 96 == 48 else 1)):
            at_us = epoch * EPOCH_US + n
            payment = f"p{epoch}-{n}"
            days.ledger.advance(at_us)
            seen = Context(payment_id=payment, amount_minor=5_000, allowances=days.ledger.allowances)
            found = explore(VALUES, MAY, context=seen, exploring=days.exploring, draw=draw)
            if found.explored:
                assert found.charged_micro <= seen.allowances.route.remaining_micro
            days.append("decision", at_us, payload=ENCODE(found), facts=facts_of(payment, 7))
            if found.explored and chance.random() < 0.9:
                days.hear(at_us + 1, "authorization", "approved", payment=payment)
        if restart and epoch % 50 == 0:
            days.ledger = Ledger.load(days.ledger.dump(), days.exploring, explored_of)


def test_no_day_charges_more_than_two_budgets_and_the_day_is_used_evenly():
    days = Days()
    charged = []
    shop(days, per_epoch=2, day_count=4)
    ledger = Ledger(BUDGETS, explored_of)
    by_slot = [0] * 96
    for entry in days.entries:
        ledger.apply(entry)
        day = entry.ingest_us // DAY_US
        charged += [0] * (day + 1 - len(charged))
        found = explored_of(entry) if entry.kind == "decision" else None
        if found is not None and found.explored:
            charged[day] += found.charged_micro
            by_slot[entry.ingest_us % DAY_US // EPOCH_US] += 1
    budget = 2_000 * MICRO
    assert all(each <= 2 * budget for each in charged)
    assert all(each > 0.6 * budget for each in charged[1:])
    assert ledger.accounts["route"].spent <= 4 * budget
    quarters = [sum(by_slot[q : q + 24]) for q in range(0, 96, 24)]
    assert min(quarters) > 0.25 * max(quarters)


def test_a_refold_and_a_restart_give_the_same_bytes():
    whole, restarted = Days(), Days()
    shop(whole, per_epoch=1, day_count=2)
    shop(restarted, per_epoch=1, day_count=2, restart=True)
    assert [entry.payload for entry in restarted.entries] == [entry.payload for entry in whole.entries]
    assert restarted.ledger.dump() == whole.ledger.dump() == whole.refolded().dump()


def test_every_kind_has_its_account(days):
    assert tuple(days.ledger.accounts) == KINDS
