"""Stated priors go the way the published figures go."""

import pytest

from greenlane.policy.priors import FRAUD_APPROVAL_RANGE_PPM, Priors, Situation, approval, authentication

PLAIN = Situation(payer_present=True, chained=False, token=False, cvv_present=False, issuer_country="DE")


def good(country="DE", **changes):
    return approval(Priors(), PLAIN._replace(**changes), acquirer_country=country).good_e9 / 1e9


def test_a_domestic_payer_is_approved_88_times_in_100():
    assert good() == pytest.approx(0.88, abs=1e-3)


def test_cross_border_is_5_to_15_points_lower():
    assert 0.05 <= good() - good("US") <= 0.15


def test_a_token_adds_2_to_4_points_and_the_security_code_helps():
    assert 0.02 <= good(token=True) - good() <= 0.04
    assert good(cvv_present=True) > good()


def test_without_a_payer_18_to_25_in_100_are_declined_and_the_chain_matters():
    chained, unchained = good(payer_present=False, chained=True), good(payer_present=False)
    assert 0.75 <= (chained + unchained) / 2 <= 0.82
    assert chained > unchained


def test_authentication_helps_in_europe_hurts_in_the_us_and_is_neutral_elsewhere():
    after = {
        country: approval(Priors(), PLAIN._replace(issuer_country=country), acquirer_country=None)
        for country in ("DE", "GB", "US", "BR")
    }
    change = {country: prior.good_3ds_e9 - prior.good_e9 for country, prior in after.items()}
    assert change["DE"] == change["GB"] > 0 == change["BR"]
    assert change["US"] / 1e9 == pytest.approx(-0.03, abs=0.002)


def test_an_unknown_country_counts_as_domestic():
    assert good(None) == good("US", issuer_country=None) == good()


def test_fraud_is_approved_less_within_the_stated_range():
    low, high = FRAUD_APPROVAL_RANGE_PPM
    prior = approval(Priors(), PLAIN, acquirer_country="DE")
    assert low <= prior.fraud_e9 * 1_000_000 / prior.good_e9 <= high


def test_fraudsters_fare_worse_in_every_country():
    for country in ("GB", "FR", "US", "JP", "BR", None):
        payer = authentication(Priors(), country)
        assert payer.frictionless_fraud < payer.frictionless_good
        assert payer.success_fraud < payer.success_good
