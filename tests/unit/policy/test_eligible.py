"""Hard constraints: what may be done at all."""

import pytest

from greenlane.merchants.economics import Economics, RouteTerms, TraBand
from greenlane.payments.attempt import (
    Attempt,
    Card,
    Constraints,
    LocalMethod,
    NetworkToken,
    Payment,
    PaymentMethod,
    Route,
)
from greenlane.policy.actions import BLOCK, Way
from greenlane.policy.eligible import IMPLIED_ROUTE, eligible, eligible_ways
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import History, Tried

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


def card_with(token=None, **more):
    return Card(fingerprint="fp_1", issuer_country="FR", network="visa", token=token, **more)


def ways(tried, economics=None):
    return [tuple(way) for way in eligible_ways(tried, economics or Economics())]


def test_a_card_with_a_token_can_be_sent_either_way_over_routes_that_take_both():
    routes = [
        Route(id="both"),
        Route(id="pans", credentials=("pan",)),
        Route(id="tokens", credentials=("network_token",)),
    ]
    assert ways(attempt(card=card_with(NetworkToken()), routes=routes)) == [
        ("both", "network_token"), ("both", "pan"), ("pans", "pan"), ("tokens", "network_token"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("token", "initiator", "credentials"),
    [
        (NetworkToken(state="suspended"), "cit", ["pan"]),
        (NetworkToken(state="deleted"), "cit", ["pan"]),
        (NetworkToken(cryptogram_available=False), "cit", ["pan"]),
        (NetworkToken(cryptogram_available=False), "mit", ["network_token", "pan"]),
    ],
)
def test_a_token_is_sent_only_while_it_can_be(token, initiator, credentials):
    assert [credential for _, credential in ways(attempt(card=card_with(token), initiator=initiator))] == credentials


def test_a_card_of_which_there_is_only_a_dead_token_cannot_be_sent():
    dead = card_with(NetworkToken(state="deleted"), credential="network_token")
    assert may(attempt(card=dead)).stops == ("no_eligible_route",)


def test_a_route_may_take_the_tokens_of_some_requestors_only():
    merchant = Economics(routes=(RouteTerms(id="ours", token_requestors=("trid_1",)), RouteTerms(id="any")))
    theirs = attempt(card=card_with(NetworkToken(requestor="trid_2")))
    assert ways(theirs, merchant) == [("any", "network_token"), ("any", "pan"), ("ours", "pan")]


def test_a_chained_payment_goes_where_its_chain_is_accepted():
    merchant = Economics(routes=(RouteTerms(id="old"), RouteTerms(id="new", accepts_network_transaction_id=False)))
    chained = attempt(initiator="mit", network_transaction_id="ntid_1")
    assert ways(chained, merchant) == [("old", "pan")]
    assert ways(attempt(initiator="mit"), merchant) == [("new", "pan"), ("old", "pan")]


def test_a_route_may_be_charged_in_some_currencies_only():
    merchant = Economics(routes=(RouteTerms(id="pounds", currencies=("GBP",)), RouteTerms(id="any")))
    assert ways(attempt(), merchant) == [("any", "pan")]
    assert ways(attempt(currency="GBP"), merchant) == [("any", "pan"), ("pounds", "pan")]


def test_ways_that_were_barred_are_gone_and_say_why():
    routes = [Route(id="a"), Route(id="b")]
    found = may(attempt(routes=routes), barred=(Barred("a", "pan", "breaker"),))
    assert (found.ways, found.stops) == ((Way("b", "pan"),), ("breaker",))
    limited = tuple(Barred(route, "pan", "limit:HOUSE_24H") for route in "ab")
    nothing = may(attempt(routes=routes), barred=limited)
    assert (nothing.interventions, nothing.stops) == (("block",), ("limit:HOUSE_24H",))


EVERY_EXEMPTION = ("trusted_beneficiary", "secure_corporate", "recurring", "low_value", "transaction_risk_analysis")


def german(*terms, **more):
    return Economics(country="DE", sca_mandated=True, routes=terms, **more)


def exempt_over(found):
    return {row.exemption: row.ways for row in found.rows if row.intervention == "exempt"}


def test_in_scope_it_is_exemption_challenge_or_block():
    north = RouteTerms(id="north", exemptions=("transaction_risk_analysis",))
    found = may(attempt(), german(north))
    assert (found.interventions, found.stops) == (("exempt", "challenge", "block"), ("sca_mandated",))


def test_each_acquirer_asks_for_what_its_terms_name_within_its_band():
    wide = TraBand(reference_bps=1, amount_max_minor=50_000)
    routes = (
        RouteTerms(id="a", exemptions=("transaction_risk_analysis",), tra_band=wide),
        RouteTerms(id="b", exemptions=("transaction_risk_analysis",)),
        RouteTerms(id="c"),
    )

    def asked(amount):
        given = Given(amount_minor=amount, fraud_probability_e9=0)
        return exempt_over(eligible(attempt(), given, economics=german(*routes), history=History()))

    assert asked(10_000) == {"transaction_risk_analysis": 0b011}
    assert asked(10_001) == {"transaction_risk_analysis": 0b001}
    assert asked(50_001) == {}


def test_one_exemption_is_asked_for_the_preferred_one_of_those_whose_conditions_are_met():
    merchant = german(RouteTerms(id="a", exemptions=EVERY_EXEMPTION))
    assert exempt_over(may(attempt(), merchant)) == {"low_value": 1}
    assert exempt_over(may(attempt(), german(*merchant.routes, low_value_max_minor=99))) == {
        "transaction_risk_analysis": 1
    }
    vouched = attempt(constraints=Constraints(exemptions=("recurring", "trusted_beneficiary")))
    assert exempt_over(may(vouched, merchant)) == {"trusted_beneficiary": 1}


@pytest.mark.parametrize(
    "told",
    [
        {"initiator": "mit"},
        {"channel": "moto"},
        {"card": Card(fingerprint="fp_1", issuer_country="US")},
    ],
    ids=["merchant initiated", "mail order", "one leg out"],
)
def test_what_is_out_of_scope_needs_no_exemption(told):
    found = may(attempt(**told), german(RouteTerms(id="a", exemptions=EVERY_EXEMPTION)))
    assert "exempt" not in found.interventions and "allow" in found.interventions


def test_indias_mandate_knows_no_exemptions():
    merchant = Economics(country="IN", sca_mandated=True, routes=(RouteTerms(id="a", exemptions=EVERY_EXEMPTION),))
    indian = attempt(card=Card(fingerprint="fp_1", issuer_country="IN"))
    assert may(indian, merchant).interventions == ("challenge", "block")


def soft_declined(status="", **more):
    refused = Tried("att_1", 1, "a", "pan", "exempt", "low_value", answer="declined", code="1A", decline_class="sca")
    return History(status, tried=(refused,), **more)


@pytest.mark.parametrize("mandated", [True, False])
def test_after_a_soft_decline_there_is_the_challenge_and_no_exemption(mandated):
    merchant = Economics(country="DE", sca_mandated=mandated, routes=(RouteTerms(id="a", exemptions=("low_value",)),))
    found = may(attempt(), merchant, history=soft_declined())
    assert (found.interventions, found.stops) == (("challenge", "block"), ("soft_declined",))


def test_a_soft_decline_that_was_answered_goes_on():
    found = may(attempt(), german(RouteTerms(id="a")), history=soft_declined("Y", liability_shifted=True))
    assert found.interventions == ("allow", "review", "block")


def test_a_soft_decline_of_a_payment_without_a_payer_ends_it():
    found = may(attempt(initiator="mit"), history=soft_declined())
    assert found.interventions == ("block",)


def test_what_was_approved_stays_where_it_was_approved():
    sent = History(approved=True, route="b", credential="pan")
    assert may(attempt(routes=[Route(id="a"), Route(id="b")]), history=sent).ways == (Way("b", "pan"),)
    unknown = History(approved=True, route="elsewhere", credential="pan")
    assert may(attempt(routes=[Route(id="a")]), history=unknown).ways == (Way("a", "pan"),)


@pytest.mark.parametrize(
    ("earlier", "stops"),
    [
        (Tried("b", 1, "r"), ("earlier_attempt_pending",)),
        (Tried("b", 1, "r", intervention="exempt"), ("earlier_attempt_pending",)),
        (Tried("b", 1, "r", intervention="challenge"), ()),
        (Tried("b", 1, "r", intervention="review"), ()),
        (Tried("b", 1, "r", answer="not_sent"), ()),
        (Tried("b", 1, "r", answer="declined", code="05"), ()),
        (Tried("a", 1, "r"), ()),
    ],
    ids=("sent", "sent exempted", "challenged", "in review", "not sent", "declined", "the same attempt"),
)
def test_a_second_attempt_waits_for_the_answer_to_the_first(earlier, stops):
    found = may(attempt(), history=History(tried=(earlier,)))
    assert found.stops == stops
    assert found.interventions == (("block",) if stops else EVERYTHING)
