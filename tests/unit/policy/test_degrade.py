"""The ladder: which rung, what it answers, and that hard stops hold on each."""

import pytest

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import Attempt, Card, Constraints, Payment, PaymentMethod, Route, ThreeDS, Verification
from greenlane.policy.choose import choose
from greenlane.policy.degrade import FAILS, NEEDS_US, rung_of
from greenlane.policy.distribution import TOTAL
from greenlane.policy.given import Given
from greenlane.policy.parameters import Policy

RUNGS = tuple(NEEDS_US)
BELOW_THE_MODEL = ("static", "merchant_default")


def answered(rung, *, economics=None, p=10_000_000, amount=3_000, stops=(), issuer_country="US", **told):
    card = Card(fingerprint="fp_1", issuer_country=issuer_country)
    payment = Payment(id="p", amount=amount, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=card))
    return choose(
        Attempt(attempt_id="a", payment=payment, **told),
        Given(amount_minor=amount, fraud_probability_e9=p, rung=rung, stops=stops, review_open=False),
        economics=economics or Economics(),
        policy=Policy(perspective="merchant"),
    )


@pytest.mark.parametrize(
    ("features", "model", "remaining_us", "rung"),
    [
        ("fresh", True, 10_000, "full"),
        ("stale", True, 10_000, "stale_features"),
        ("missing", True, 10_000, "static"),
        ("fresh", False, 10_000, "static"),
        ("fresh", True, NEEDS_US["full"] - 1, "static"),
        ("stale", True, NEEDS_US["static"] - 1, "merchant_default"),
        ("missing", False, 0, "merchant_default"),
        ("fresh", True, -5, "merchant_default"),
    ],
)
def test_the_highest_rung_within_reach(features, model, remaining_us, rung):
    assert rung_of(features=features, model=model, remaining_us=remaining_us) == rung


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_answers_with_a_distribution_and_says_where_it_stood(rung):
    chosen = answered(rung)
    assert chosen.rung == rung
    assert chosen.degraded == (() if rung == "full" else (rung,))
    assert sum(chosen.distribution) == TOTAL == chosen.propensity


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(
    "told",
    [
        {"stops": ("list:stolen",)},
        {"economics": Economics(amount_max_minor=2_999)},
        {"verification": Verification(three_ds=ThreeDS(trans_status="R"))},
        {"eligible_routes": (Route(id="r", credentials=("network_token",)),)},
        {
            "economics": Economics(country="DE", sca_mandated=True),
            "issuer_country": None,
            "constraints": Constraints(challenge_allowed=False),
        },
    ],
    ids=["list", "amount", "rejected", "route", "mandate"],
)
def test_hard_stops_hold_on_every_rung(rung, told):
    chosen = answered(rung, **told)
    assert chosen.action.intervention == "block"
    assert chosen.stops


@pytest.mark.parametrize("rung", BELOW_THE_MODEL)
def test_nothing_is_valued_without_a_model(rung):
    chosen = answered(rung)
    assert (chosen.values_micro, chosen.probabilities, chosen.runner_up) == ((), None, None)
    assert not any(chosen.terms_micro)


@pytest.mark.parametrize("rung", BELOW_THE_MODEL)
def test_a_payment_may_pass_unscored_up_to_the_cap_and_proves_itself_above(rung):
    merchant = Economics(unscored_amount_max_minor=3_000)
    assert answered(rung, economics=merchant).action.intervention == "allow"
    assert answered(rung, economics=merchant, amount=3_001).action.intervention == "challenge"
    without = Constraints(challenge_allowed=False)
    assert answered(rung, economics=merchant, amount=3_001, constraints=without).action.intervention == "block"


def test_a_missing_probability_leads_to_the_static_rung():
    assert answered("full", p=None).rung == "static"
    assert answered("merchant_default", p=None).rung == "merchant_default"


@pytest.mark.parametrize("default", ["allow", "challenge", "block"])
def test_the_declared_default_is_the_answer_when_it_is_admissible(default):
    merchant = Economics(default_intervention=default)
    assert answered("merchant_default", economics=merchant).action.intervention == default


def test_an_inadmissible_default_gives_way_to_more_safety_never_less():
    merchant = Economics(default_intervention="review")
    assert answered("merchant_default", economics=merchant).action.intervention == "challenge"


def test_static_routes_follow_the_merchants_priority_then_the_callers():
    merchant = Economics(routes=(RouteTerms(id="z"), RouteTerms(id="a")))
    assert answered("static", economics=merchant).action.route == "z"
    offered = (Route(id="n"), Route(id="m"))
    assert answered("static", economics=merchant, eligible_routes=offered).action.route == "n"


def test_stale_features_change_the_mark_and_not_the_choice():
    full, stale = answered("full"), answered("stale_features")
    assert (full.action, full.values_micro) == (stale.action, stale.values_micro)


def test_every_control_states_how_it_fails():
    assert set(FAILS.values()) == {"open", "closed"}
    assert all(FAILS[control] == "closed" for control in ("lists_and_blocking_rules", "sca_mandate", "amount_limit"))
    assert all(FAILS[control] == "open" for control in ("fraud_model", "features", "deadline"))
