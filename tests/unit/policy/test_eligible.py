"""Hard constraints: what may be done at all."""

import pytest

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import Attempt, Card, Constraints, LocalMethod, Payment, PaymentMethod, Route
from greenlane.policy.actions import BLOCK, Way
from greenlane.policy.eligible import IMPLIED_ROUTE, eligible, eligible_ways
from greenlane.policy.given import Given
from greenlane.policy.history import History

EVERYTHING = ("allow", "challenge", "review", "block")


def attempt(*, card=None, method=None, routes=(), constraints=None, **payment):
    method = method or PaymentMethod(card=card or Card(fingerprint="fp_1", issuer_country="FR", network="visa"))
    told = {"id": "p", "amount": 100, "currency": "EUR", "merchant_id": "m", **payment}
    return Attempt(
        attempt_id="a",
        payment=Payment(payment_method=method, **told),
        eligible_routes=tuple(routes),
        constraints=constraints or Constraints(),
    )


def may(tried, economics=None, *, history=None, **more):
    given = Given(amount_minor=100, fraud_probability_e9=0, **more)
    return eligible(tried, given, economics=economics or Economics(), history=history or History())


def routes_of(tried, economics):
    return tuple(way.route for way in eligible_ways(tried, economics))


def test_a_plain_card_payment_may_take_every_way():
    found = may(attempt())
    assert (found.interventions, found.ways, found.stops) == (EVERYTHING, (Way(IMPLIED_ROUTE.id, "pan"),), ())


@pytest.mark.parametrize(
    ("tried", "name"),
    [
        (attempt(initiator="mit", mit_reason="recurring"), "no_payer_present"),
        (attempt(channel="moto"), "channel_without_3ds"),
        (attempt(channel="pos"), "channel_without_3ds"),
        (attempt(constraints=Constraints(challenge_allowed=False)), "caller_refuses_challenge"),
        (attempt(method=PaymentMethod(type="pix", pix=LocalMethod(fingerprint="fp_1"))), "not_a_card"),
    ],
)
def test_no_challenge_where_nobody_can_answer_one(tried, name):
    found = may(tried)
    assert found.interventions == ("allow", "review", "block")
    assert found.stops == (name,)


@pytest.mark.parametrize("status", ["Y", "A", "N", "U", "I"])
def test_a_challenge_is_asked_once(status):
    assert "challenge" not in may(attempt(), history=History(status)).interventions


@pytest.mark.parametrize("more", [{"review_open": False}, {}])
def test_review_needs_room_and_the_callers_consent(more):
    consents = Constraints(review_allowed=bool(more))
    assert may(attempt(constraints=consents), **more).interventions == ("allow", "challenge", "block")


@pytest.mark.parametrize(
    ("merchant_country", "issuer_country", "bound"),
    [
        ("DE", "FR", True),
        ("GB", "GB", True),
        ("IN", "IN", True),
        ("DE", "GB", False),
        ("US", "US", False),
        ("DE", None, True),
    ],
)
def test_mandated_authentication_binds_within_a_region_and_when_in_doubt(merchant_country, issuer_country, bound):
    merchant = Economics(country=merchant_country, sca_mandated=True)
    found = may(attempt(card=Card(fingerprint="fp_1", issuer_country=issuer_country)), merchant)
    assert found.interventions == (("challenge", "block") if bound else EVERYTHING)


def test_the_mandate_binds_only_merchants_that_leave_it_to_us():
    assert may(attempt(), Economics(country="DE")).interventions == EVERYTHING


@pytest.mark.parametrize("status", ["Y", "A", "U", "I"])
def test_an_answered_authentication_settles_the_mandate(status):
    merchant = Economics(country="DE", sca_mandated=True)
    assert "allow" in may(attempt(), merchant, history=History(status)).interventions


def test_a_failed_authentication_does_not_settle_the_mandate():
    merchant = Economics(country="DE", sca_mandated=True)
    assert may(attempt(), merchant, history=History("N")).interventions == ("block",)


@pytest.mark.parametrize(
    ("economics", "history", "stops", "name"),
    [
        (Economics(amount_max_minor=99), History(), (), "amount_above_merchant_limit"),
        (Economics(), History("R"), (), "authentication_rejected"),
        (Economics(), History(), ("list:stolen",), "list:stolen"),
    ],
)
def test_hard_stops_leave_only_the_block(economics, history, stops, name):
    found = may(attempt(), economics, history=history, stops=stops)
    assert found.interventions == ("block",)
    assert name in found.stops


def test_the_amount_limit_itself_still_passes():
    assert may(attempt(), Economics(amount_max_minor=100)).interventions == EVERYTHING


def test_routes_are_the_callers_else_the_merchants_else_the_implied_one():
    merchant = Economics(routes=(RouteTerms(id="theirs"),))
    assert routes_of(attempt(routes=[Route(id="b"), Route(id="a")]), merchant) == ("a", "b")
    assert routes_of(attempt(), merchant) == ("theirs",)
    assert routes_of(attempt(), Economics()) == ("default",)


def test_a_route_must_take_the_network_and_the_credential():
    routes = [Route(id="mc", network="mastercard"), Route(id="token", credentials=("network_token",)), Route(id="any")]
    assert routes_of(attempt(routes=routes), Economics()) == ("any",)
    unnamed = Card(fingerprint="fp_1")
    assert routes_of(attempt(card=unnamed, routes=routes), Economics()) == ("any", "mc")


def test_without_a_route_there_is_only_the_block():
    found = may(attempt(routes=[Route(id="mc", network="mastercard")]))
    assert (found.interventions, found.stops) == (("block",), ("no_eligible_route",))
    assert found.size == 1 and found.action(0) == BLOCK
