"""Fraud in the shop is learnable, through history more than through any single payment, and never with certainty."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from greenlane.payments.times import DAY_US, HOUR_US, parse_rfc3339
from greenlane.simulation.world import World

COUNTRIES = ("GB", "DE", "FR", "NL", "ES", "US", "BR")


@pytest.fixture(scope="module")
def arrivals():
    return list(World.load("shop").payments(start_us=1_767_225_600_000_000, n=30_000, seed=3))


@pytest.fixture(scope="module")
def fraud(arrivals):
    return np.array([a.truth.fraud for a in arrivals])


def signals(attempt):
    """What one payment shows on its face."""
    payment, card, device = attempt.payment, attempt.payment.payment_method.card, attempt.payment.device
    age_us = parse_rfc3339(attempt.at) - parse_rfc3339(payment.customer.account_created)
    return {
        "amount": np.log(payment.amount),
        "merchant": int(payment.mcc),
        "issuer": COUNTRIES.index(card.issuer_country),
        "foreign address": card.issuer_country != device.ip_country,
        "foreign billing": card.issuer_country != payment.billing_country,
        "proxy": device.is_proxy,
        "disposable mail": payment.customer.email_domain == "drop.example",
        "prepaid": card.funding == "prepaid",
        "account age": np.log1p(age_us / DAY_US),
        "hour": parse_rfc3339(attempt.at) // HOUR_US % 24,
    }


def histories(arrivals):
    """What went before: counts of an hour and a month, and the gap, by device, card, account, address and shop."""
    seen = defaultdict(list)
    for arrival in arrivals:
        p, row = arrival.attempt.payment, []
        for key in (p.device.id, p.payment_method.card.fingerprint, p.customer.id, p.device.ip, p.shipping_hash):
            times = seen[key]
            row += [sum(t > arrival.at_us - HOUR_US for t in times[-50:]), len(times)]
            row.append((arrival.at_us - times[-1]) / DAY_US if times else -1)
            times.append(arrival.at_us)
        pair = seen[p.customer.id, p.device.id]
        row.append(len(pair))
        pair.append(1)
        yield row


def test_no_single_sign_gives_a_fraudster_away(arrivals, fraud):
    table = [signals(a.attempt) for a in arrivals]
    for sign in ("foreign address", "foreign billing", "proxy", "disposable mail"):
        shown = np.array([row[sign] for row in table])
        assert fraud.mean() * 1.5 < fraud[shown].mean() < 0.35, sign


def test_history_finds_much_more_fraud_than_the_payment_alone_and_not_all(arrivals, fraud):
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is in the train extra")
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the train extra")
    face = np.array([list(signals(a.attempt).values()) for a in arrivals], float)
    both = np.column_stack([face, np.array(list(histories(arrivals)), float)])
    precision = []
    for X in (face, both):
        model = lightgbm.LGBMClassifier(
            n_estimators=150,
            learning_rate=0.05,
            num_leaves=15,
            min_child_samples=30,
            verbose=-1,
            n_jobs=1,
            random_state=0,
        )
        model.fit(X[:20_000], fraud[:20_000])
        score = model.predict_proba(X[20_000:])[:, 1]
        precision.append(metrics.average_precision_score(fraud[20_000:], score))
    assert 0.08 < precision[0] < 0.6
    assert precision[0] + 0.1 < precision[1] < 0.9


def test_card_testing_comes_in_bursts_of_small_amounts_in_one_card_range(arrivals):
    testing = [a for a in arrivals if a.truth.typology == "card_testing"]
    gaps = np.diff([a.at_us for a in testing])
    assert np.median(gaps) < 60_000_000
    assert np.median([a.attempt.payment.amount for a in testing]) < 600
    ranges = [a.attempt.payment.payment_method.card.bin for a in testing]
    same = [a == b for a, b in pairwise(ranges)]
    assert np.mean(same) > 0.5
    assert len({a.attempt.payment.payment_method.card.fingerprint for a in testing}) == len(testing)


def test_a_taken_over_account_is_old_and_known_and_its_device_is_new(arrivals):
    devices = defaultdict(set)
    new, known, old = [], [], []
    for a in arrivals:
        account, device = a.attempt.payment.customer, a.attempt.payment.device.id
        if a.truth.typology == "account_takeover":
            new.append(device not in devices[account.id])
            known.append(bool(devices[account.id]))
            old.append(a.at_us - parse_rfc3339(account.account_created) > 25 * DAY_US)
        else:
            devices[account.id].add(device)
    assert all(new)
    assert all(old)
    assert np.mean(known) > 0.5
