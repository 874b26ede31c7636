"""Forecasts of what reports and disputes come to, from the part that has come, and the prices they lead to."""

import numpy as np
import pytest

from greenlane.learning.headroom import SEASONED_MIN, Headroom
from greenlane.learning.lateness import LABELS_MIN, Lateness
from greenlane.merchants.economics import Economics, RouteTerms, TraBand
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.multipliers import Pricing, repriced
from greenlane.ports.journal import SOURCE_BIT, Entry

TERMS = RouteTerms(
    id="acq_a", acquirer="north", exemptions=("transaction_risk_analysis",), tra_band=TraBand(reference_bps=13)
)
GERMAN = Economics(country="DE", routes=(TERMS, RouteTerms(id="acq_b")))
START = 20_600 * DAY_US


def economics_of(merchant_id):
    return GERMAN


def entry(source, payment_us, ingest_us, *, sign=1, **facts):
    stated = {
        "merchant_id": "shop_1", "network": "visa", "route_id": "acq_a", "issuer_country": "DE",
        "amount_reporting_minor": 10_000, **facts,
    }  # fmt: skip
    facts = Facts(payment_id="p", payment_us=payment_us, amount_minor=10_000, currency="EUR", **stated)
    return Entry(1, 1, ingest_us, "x", "s", "1", ingest_us, SOURCE_BIT[source], sign, b"", facts, b"")


def history(*, days, per_day, reported, disputed, seed=3, **facts):
    """Entries in the order of their arrival: a shop whose truth is known."""
    rng = np.random.default_rng(seed)
    found = []
    for day in range(days):
        at_us = START + day * DAY_US
        found += [entry("approvals", at_us, at_us, **facts)] * per_day
        for source, share, median, sigma in (("fraud_reports", reported, 11, 0.9), ("disputes", disputed, 28, 0.75)):
            for delay in rng.lognormal(np.log(median), sigma, rng.poisson(per_day * share)):
                arrives_us = at_us + int(delay * DAY_US)
                if delay < 120 and arrives_us < START + days * DAY_US:
                    found.append(entry(source, at_us, arrives_us, **facts))
    return sorted(found, key=lambda e: e.ingest_us), START + days * DAY_US


def folded(entries):
    lateness = Lateness()
    headroom = Headroom(economics_of, lateness)
    for each in entries:
        lateness.apply(each)
        headroom.apply(each)
    return headroom


def by_subject(headroom, at_us):
    return {subject: ppm / 1e6 for _, subject, ppm in headroom.pressures(at_us)}


def test_the_forecast_is_near_the_truth_though_most_disputes_are_still_to_come():
    entries, now_us = history(days=100, per_day=1_200, reported=0.01, disputed=0.01)
    found = by_subject(folded(entries), now_us)
    assert found["shop_1/VAMP"] == pytest.approx(720 / 1_500, rel=0.1)  # 2 % of 36,000: the count is what binds
    assert found["north"] == pytest.approx(100 / 13, rel=0.1)  # 1 % of value against 13 bps


def test_what_was_seen_alone_would_fall_short():
    entries, now_us = history(days=110, per_day=300, reported=0.0, disputed=0.02, network="mastercard")
    headroom = folded(entries)
    latest = [day for at, day in headroom._merchants["shop_1 mastercard"].items() if now_us // DAY_US - at < 30]
    seen = sum(day.disputes for day in latest) / sum(day.payments for day in latest)
    forecast = by_subject(headroom, now_us)["shop_1/ECM"] * 0.015
    assert seen < 0.01
    assert forecast == pytest.approx(0.02, rel=0.15)


def test_two_weeks_are_too_little_to_be_priced_on():
    entries, now_us = history(days=9, per_day=300, reported=0.05, disputed=0.05)
    assert set(by_subject(folded(entries), now_us).values()) == {0.0}


def test_lateness_is_learned_where_labels_are_many():
    entries, now_us = history(days=100, per_day=50, reported=0.1, disputed=0.0)
    headroom = folded(entries)
    today = now_us // DAY_US
    assert sum(e.emits == SOURCE_BIT["fraud_reports"] for e in entries) > LABELS_MIN
    assert headroom._shares("fraud_reports", today)[11] == pytest.approx(0.5, abs=0.1)
    assert headroom._shares("disputes", today)[30] == 0.55


def test_only_payments_in_scope_count_in_a_band():
    for outside in ({"issuer_country": "US"}, {"initiator": "mit"}, {"channel": "moto"}, {"route_id": "acq_b"}):
        assert "north" not in by_subject(folded([entry("approvals", START, START, **outside)]), START)
    assert "north" in by_subject(folded([entry("approvals", START, START)]), START)


def test_what_is_taken_back_was_never_there():
    whole = [entry("approvals", START, START), entry("fraud_reports", START, START + DAY_US)]
    back = [*whole, entry("fraud_reports", START, START + DAY_US, sign=-1)]
    day = folded(back)._merchants["shop_1 visa"][START // DAY_US]
    assert (day.payments, day.fraud_reports, day.reported_minor) == (1, 0, 0)


def test_old_days_are_forgotten():
    entries, _ = history(days=130, per_day=20, reported=0.05, disputed=0.05)
    assert len(folded(entries)._merchants["shop_1 visa"]) <= 92


def test_a_price_rises_while_fraud_lasts_and_is_gone_when_it_is():
    bad, bad_us = history(days=60, per_day=300, reported=0.005, disputed=0.0)
    headroom, prices = folded(bad), {}
    for _ in range(8):
        prices |= {price.id: price.micro for price in repriced(headroom.pressures(bad_us), prices, pricing=Pricing())}
    assert list(prices) == ["band/north"]
    assert prices["band/north"] > 1_000_000
    for day in range(95):
        at_us = bad_us + day * DAY_US
        for _ in range(300):
            headroom.apply(entry("approvals", at_us, at_us))
    clean = repriced(headroom.pressures(bad_us + 95 * DAY_US), prices, pricing=Pricing())
    assert [(price.id, price.micro) for price in clean] == [("band/north", 0)]


def test_a_merchant_is_new_until_enough_payments_have_matured():
    entries, now_us = history(days=20, per_day=100, reported=0.002, disputed=0.0, mcc="5816")
    assert len(entries) > 2 * SEASONED_MIN - 10
    assert not list(folded(entries).seasoned(now_us))
    entries, now_us = history(days=40, per_day=100, reported=0.002, disputed=0.0, mcc="5816")
    ((merchant, mcc, payments),) = folded(entries).seasoned(now_us)
    assert (merchant, mcc) == ("shop_1", "5816") and SEASONED_MIN <= payments < 4_000


def test_a_merchant_near_a_programmes_limit_keeps_its_caps():
    entries, now_us = history(days=100, per_day=1_200, reported=0.02, disputed=0.02)
    assert not list(folded(entries).seasoned(now_us))


def test_what_was_kept_goes_on_as_if_it_had_been_folded_again():
    entries, at_us = history(days=120, per_day=40, reported=0.02, disputed=0.01)
    lateness = Lateness()
    whole, again = Headroom(economics_of, lateness), Headroom(economics_of, lateness)
    for each in entries[:2_000]:
        whole.apply(each)
    again.load(whole.dump())
    for each in entries[2_000:]:
        lateness.apply(each)
        whole.apply(each)
        again.apply(each)
    assert again.pressures(at_us) == whole.pressures(at_us) != []
    assert again.dump() == whole.dump()
