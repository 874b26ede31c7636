"""Prices of shared budgets: zero with headroom, rising towards the limit, in force from the next policy epoch."""

from datetime import date

import msgspec
import pytest

from greenlane.decisions.control import ControlRecord, control_draft
from greenlane.errors import InputError
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer
from greenlane.policy.multipliers import (
    HOURS,
    MICRO,
    Month,
    Price,
    Prices,
    Pricing,
    band_pressure_ppm,
    check_price,
    programme_pressures_ppm,
    repriced,
    repriced_micro,
)
from greenlane.policy.parameters import EPOCH_US, Multipliers
from greenlane.ports.clock import FakeClock

NOW = date(2026, 11, 1)


def month(network="visa", **figures):
    usual = {
        "payments": 100_000, "payments_before": 100_000, "reports": 0, "disputes": 0,
        "sales_minor": 10**9, "reported_minor": 0,
    }  # fmt: skip
    return Month(network, **{**usual, **figures})


def test_vamp_counts_reports_and_disputes_over_the_same_month():
    assert programme_pressures_ppm(month(reports=900, disputes=600), on=NOW) == {"VAMP": 1_000_000}


def test_below_the_least_count_a_programme_binds_nobody():
    small = month(payments=1_000, payments_before=1_000, reports=30, disputes=20)  # 5 %, but 50 items
    assert programme_pressures_ppm(small, on=NOW)["VAMP"] == 50 * 10**6 // 1_500


def test_the_older_threshold_holds_until_the_newer_begins():
    of_march = programme_pressures_ppm(month(reports=2_200), on=date(2026, 3, 31))
    of_april = programme_pressures_ppm(month(reports=2_200), on=date(2026, 4, 1))
    assert of_march["VAMP"] == 1_000_000
    assert of_april["VAMP"] == 2_200 * 10**6 // 1_500


def test_mastercard_divides_disputes_by_the_month_before():
    grown = month("mastercard", payments=300_000, payments_before=100_000, disputes=1_500)
    found = programme_pressures_ppm(grown, on=NOW)
    assert (found["ECM"], found["HECM"], found["EFM"]) == (1_000_000, 500_000, 0)


def test_fraud_monitoring_needs_rate_and_money_and_payments_and_little_authentication():
    fraud = {"sales_minor": 10**9, "reported_minor": 5_000_000}
    assert programme_pressures_ppm(month("mastercard", **fraud), on=NOW)["EFM"] == 1_000_000
    authenticated = month("mastercard", **fraud, authenticated_ppm=200_000)
    assert programme_pressures_ppm(authenticated, on=NOW)["EFM"] == 0
    assert programme_pressures_ppm(authenticated, on=NOW, regulated=True)["EFM"] == 1_000_000
    few = month("mastercard", **fraud, payments=500)
    assert programme_pressures_ppm(few, on=NOW)["EFM"] == 500_000


def test_a_band_is_measured_in_value_against_its_reference_rate():
    assert band_pressure_ppm(600, 10**6, reference_bps=6) == 1_000_000
    assert band_pressure_ppm(0, 0, reference_bps=13) == 0


def test_a_price_is_zero_below_its_share_whatever_it_was():
    assert repriced_micro(699_999, 5 * MICRO, at_limit_micro=MICRO, pricing=Pricing()) == 0


def test_a_price_moves_by_steps_to_the_line_and_stops_at_its_maximum():
    pricing, price, seen = Pricing(), 0, []
    for _ in range(30):
        price = repriced_micro(10_000_000, price, at_limit_micro=MICRO, pricing=pricing)
        seen.append(price)
    assert seen[:3] == [250_000, 500_000, 750_000]
    assert seen[-1] == 4 * MICRO
    assert repriced_micro(850_000, price, at_limit_micro=MICRO, pricing=pricing) == price - 250_000


def test_only_prices_that_change_are_submitted():
    calm = [("band", "acq_1", 500_000), ("programme", "shop_1/VAMP", 0), ("review", HOURS, 100_000)]
    assert repriced(calm, {}, pricing=Pricing()) == []
    scarce = [("band", "acq_1", 1_000_000), ("review", HOURS, 1_000_000), ("programme", "shop/1/ECM", 1_000_000)]
    found = repriced(scarce, {"band/acq_1": MICRO}, pricing=Pricing())
    assert [(price.id, price.micro) for price in found] == [
        ("review/hours", 75 * MICRO), ("programme/shop/1/ECM", 250 * MICRO)
    ]  # fmt: skip


class Journal:
    def __init__(self):
        self.prices = Prices()
        self.clock = FakeClock(1)
        self.sequencer = Sequencer(MemoryJournal(), self.clock, [self.prices])
        self.entries = []

    def submit(self, price_id, after, subject="price"):
        record = ControlRecord(subject, price_id, "follower", "why", None, after)
        draft = control_draft(record, source="follower", event_id=str(len(self.entries)))
        self.entries.append(self.sequencer.append(draft))

    def at(self, epoch, network="visa", merchant_id="shop_1", acquirers=("acq_1", "acq_2")):
        return self.prices.at(epoch, acquirers=acquirers, merchant_id=merchant_id, network=network)


@pytest.fixture
def journal():
    found = Journal()
    yield found
    found.sequencer.close()


def test_a_price_is_in_force_from_the_next_epoch_on(journal):
    journal.submit("band/acq_1", 2 * MICRO)
    assert journal.at(0) == Multipliers()
    assert journal.at(1).band_micro == {"acq_1": 2 * MICRO}


def test_within_an_epoch_the_old_price_stands_however_often_it_is_set(journal):
    journal.submit("review/hours", 100 * MICRO)
    journal.clock.advance(EPOCH_US)
    journal.submit("review/hours", 200 * MICRO)
    journal.submit("review/hours", 300 * MICRO)
    assert [journal.at(epoch).review_minor for epoch in (1, 2)] == [100, 300]


def test_programmes_price_the_items_they_count_on_their_own_network(journal):
    journal.submit("programme/shop_1/VAMP", 800 * MICRO)
    journal.submit("programme/shop_1/ECM", 500 * MICRO)
    journal.submit("programme/shop_1/EFM", 300 * MICRO)
    visa, mastercard = journal.at(1), journal.at(1, network="mastercard")
    assert (visa.report_minor, visa.dispute_minor) == (800, 800)
    assert (mastercard.report_minor, mastercard.dispute_minor) == (300, 500)
    assert journal.at(1, network="amex") == journal.at(1, merchant_id="shop_2") == Multipliers()


def test_none_takes_a_price_away_and_other_subjects_are_passed_over(journal):
    journal.submit("review/hours", 5 * MICRO)
    journal.submit("anything", {"a": 1}, subject="rule")
    journal.clock.advance(EPOCH_US)
    journal.submit("review/hours", None)
    assert [journal.at(epoch).review_minor for epoch in (1, 2)] == [5, 0]


def test_what_the_controller_asks_for_is_what_comes_into_force(journal):
    for price in repriced([("programme", "shop_1/VAMP", 1_200_000)], journal.prices.submitted, pricing=Pricing()):
        check_price(price.control["id"], price.control["after"])
        journal.submit(price.control["id"], price.control["after"])
    assert journal.prices.submitted == {"programme/shop_1/VAMP": 200 * MICRO}
    assert journal.at(1).report_minor == 200


def test_a_snapshot_and_a_refold_are_the_same(journal):
    journal.submit("band/acq_1", 2 * MICRO)
    journal.submit("review/hours", 5 * MICRO)
    again = Prices()
    for entry in journal.entries:
        again.apply(entry)
    assert again.dump() == journal.prices.dump() == Prices.load(journal.prices.dump()).dump()


@pytest.mark.parametrize(
    ("price_id", "after"),
    [
        ("luck/acq", 1), ("band/", 1), ("review/minutes", 1), ("programme/VAMP", 1), ("programme/shop/OTHER", 1),
        ("band/acq", -1), ("band/acq", 1.5), ("band/acq", True), ("band/acq", 10**16),
    ],
)  # fmt: skip
def test_what_is_no_price_is_refused(price_id, after):
    with pytest.raises(InputError):
        check_price(price_id, after)


def test_a_price_says_why():
    price = Price("band", "acq_1", 934_000, 1, 0)
    assert price.control["why"] == "forecast at 93.4 % of its limit"
    assert msgspec.json.encode(price.control)
