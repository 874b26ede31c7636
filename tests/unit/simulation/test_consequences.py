"""What a decision leads to: the right outcomes at the right times, and on average the stated value."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.merchants.economics import Economics
from greenlane.payments.outcome import OUTCOME_DECODER
from greenlane.simulation.answers import Sent
from greenlane.simulation.consequences import bringing, settle
from greenlane.simulation.living import Course, Living
from greenlane.simulation.response import TOKEN_WORKS
from greenlane.simulation.world import World
from greenlane.simulation.worth import VALUES, money_of

INTERVENTIONS = ("allow", "challenge", "review", "block")
WORLD = World.load("shop")
LIVING = Living(WORLD, 5, start_us=0)
"""At rest: nothing is sent in it, so it remembers nothing; nothing breaks in this world."""
ARRIVALS = list(LIVING.arrivals(6000))
FRAUDS = [a for a in ARRIVALS if a.truth.fraud]


def kinds(happened):
    return [outcome.type for _, outcome in happened]


def told(arrival, intervention, route=None, **changed):
    """The story of one action, with chances or luck changed."""
    credential = "network_token" if arrival.truth.case.row[TOKEN_WORKS] else "pan"
    sent = Sent(route or arrival.attempt.eligible_routes[0].id, credential, intervention, at_us=arrival.at_us)
    story = LIVING._story(arrival, sent, Course())
    for part, fields in changed.items():
        story = story._replace(**{part: getattr(story, part)._replace(**fields)})
    return story


def consequences(arrival, intervention, route=None, **changed):
    return settle(told(arrival, intervention, route, **changed)).outcomes


def true_value_minor(arrival, intervention, economics, **chances):
    story = told(arrival, intervention, chances=chances)
    money = money_of(arrival.attempt, arrival.truth, story.chances, economics, route=story.sent.route)
    terms = VALUES[intervention](money)
    return terms.value + terms.declined * terms.stop


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_outcomes_are_valid_in_time_order_after_the_payment_and_always_the_same(intervention):
    for arrival in ARRIVALS[:300] + FRAUDS[:100]:
        happened = consequences(arrival, intervention, "acq_west")
        assert happened == consequences(arrival, intervention, "acq_west")
        assert all(a <= b for (a, _), (b, _) in pairwise(happened))
        assert all(at_us > arrival.at_us for at_us, _ in happened)
        for _, outcome in happened:
            assert OUTCOME_DECODER.decode(msgspec.json.encode(outcome)) == outcome
        assert len({o.event_id for _, o in happened}) == len(happened)


def test_a_block_leads_to_nothing():
    assert all(consequences(a, "block") == [] for a in FRAUDS)


def test_an_allowed_payment_is_approved_or_declined_with_a_code_of_the_mix():
    codes = {}
    for arrival in ARRIVALS:
        answer = consequences(arrival, "allow", "acq_north")[0][1]
        assert answer.executed.route == "acq_north"
        codes.setdefault(arrival.truth.typology, []).append(answer.network_response_code)
    mix = WORLD.parameters.declines
    assert set(codes[""]) <= {"00", *mix.good}
    assert set(codes["card_testing"]) <= {"00", *mix.card_testing}
    good = [code for code in codes[""] if code != "00"]
    assert 0.22 < good.count("51") / len(good) < 0.42


def test_only_approved_fraud_is_reported_and_then_as_the_truth_says():
    for arrival in FRAUDS:
        happened = consequences(arrival, "allow")
        approved = happened[0][1].result == "approved"
        expected = {"report": {"fraud_report"}, "dispute": {"dispute"}, "both": {"fraud_report", "dispute"}}
        later = set(kinds(happened[1:]))
        assert later == (expected[arrival.truth.brings] if approved and arrival.truth.would_be_reported else set())


def test_a_challenge_stops_most_fraudsters_and_few_good_payers():
    def passed(arrivals):
        stories = [kinds(consequences(a, "challenge")) for a in arrivals]
        assert all(story[0] == "authentication" for story in stories)
        return sum("authorization" in story for story in stories) / len(stories)

    assert passed(FRAUDS) < 0.4
    assert passed([a for a in ARRIVALS if not a.truth.fraud]) > 0.85


def test_a_shifted_dispute_never_reaches_the_shop_but_the_report_does():
    fraud = FRAUDS[0]._replace(truth=FRAUDS[0].truth._replace(would_be_reported=True, brings="both"))
    luck = {"unavailable": 0.9, "frictionless": 0.0, "shift": 0.0, "authorization": 0.0}
    shifted = kinds(consequences(fraud, "challenge", luck=luck))
    assert shifted == ["authentication", "authorization", "fraud_report"]
    assert kinds(consequences(fraud, "challenge", luck=luck | {"shift": 0.99}))[-1] == "dispute"


def test_a_review_ends_in_release_refusal_or_a_payer_who_left():
    ends = {"authorization": 0, "review": 0, "abandoned": 0}
    good = [a for a in ARRIVALS if not a.truth.fraud]
    for arrival in good:
        story = kinds(consequences(arrival, "review"))
        ends[next(kind for kind in ("authorization", "abandoned", "review") if kind in story)] += 1
    share = {kind: n / len(good) for kind, n in ends.items()}
    assert share["abandoned"] == pytest.approx(0.03, abs=0.01)
    assert share["review"] == pytest.approx(0.97 * 0.05, abs=0.015)


def test_history_brings_the_whole_payment_once():
    for arrival in ARRIVALS[:50] + FRAUDS[:50]:
        first, *later = bringing(arrival, consequences(arrival, "allow"))
        assert first[1].payment == arrival.attempt.payment
        assert all(outcome.payment is None for _, outcome in later)


def test_interventions_meet_the_same_luck():
    """Who is approved when allowed is approved when released from review: only the decision differs."""
    for arrival in ARRIVALS[:500]:
        allowed = consequences(arrival, "allow")
        reviewed = consequences(arrival, "review")
        if "authorization" in kinds(reviewed):
            assert reviewed[1][1].result == allowed[0][1].result


# --- true value ---


def test_blocking_costs_nothing_if_the_payer_is_a_fraudster():
    assert true_value_minor(FRAUDS[0], "block", Economics()) == 0


def test_an_allowed_good_payment_is_worth_its_margin_less_its_fees():
    sure = ARRIVALS[0]._replace(truth=ARRIVALS[0].truth._replace(friendly_probability=0.0))
    economics = Economics(margin_ppm=400_000)
    amount = sure.attempt.payment.amount
    assert true_value_minor(sure, "allow", economics, plain=1.0) == pytest.approx(0.38 * amount - 30)


def test_an_allowed_fraud_loses_goods_dispute_fee_handling_and_fees():
    sure = FRAUDS[0]._replace(truth=FRAUDS[0].truth._replace(report_probability=1.0))
    economics = Economics(margin_ppm=400_000)
    amount = sure.attempt.payment.amount
    assert true_value_minor(sure, "allow", economics, plain=1.0) == pytest.approx(
        -(0.6 * amount + 2000 + 0.02 * amount + 30)
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ARRIVALS), st.integers(0, 900_000))
def test_a_frictionless_free_unshifted_challenge_is_worth_as_much_as_allowing(arrival, margin):
    free = {"unavailable": 0.0, "frictionless": 1.0, "authenticated": told(arrival, "allow").chances.plain}
    economics = Economics(margin_ppm=margin, challenge_minor=0, shifted_ppm=0)
    allowed, challenged = (true_value_minor(arrival, i, economics, **free) for i in ("allow", "challenge"))
    assert challenged == pytest.approx(allowed, rel=1e-12, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([a for a in ARRIVALS if not a.truth.fraud]), st.sampled_from(INTERVENTIONS[:3]))
def test_the_value_of_a_good_payer_grows_with_the_margin(arrival, intervention):
    values = [true_value_minor(arrival, intervention, Economics(margin_ppm=m)) for m in (100_000, 400_000, 800_000)]
    assert values == sorted(values)


def coin_value_minor(arrival, intervention, economics):
    """The money of one draw, counted from the outcomes alone: what the true value must be the mean of."""
    truth, amount = arrival.truth, arrival.attempt.payment.amount
    goods = economics.unrecoverable_ppm * (10**6 - economics.margin_ppm) * amount / 1e12
    fee, margin = economics.fees.approved_minor(amount), economics.margin_ppm * amount / 1e6
    happened = consequences(arrival, intervention)
    story, by_kind = kinds(happened), {o.type: o for _, o in happened}
    good = 0.0 if truth.fraud else 1.0
    value = {"challenge": -economics.challenge_minor, "review": -economics.review_minor}.get(intervention, 0.0)
    if intervention == "block":
        return good * (economics.other_method_value_ppm * margin / 1e6 - economics.false_decline_minor)
    if "abandoned" in story:
        return value - good * economics.review_cancel_minor
    if "authorization" not in story:
        return value - good * (
            economics.abandonment_minor if intervention == "challenge" else economics.false_decline_minor
        )
    if by_kind["authorization"].result == "declined":
        stop = economics.payer_retry_ppm * economics.payer_retry_value_ppm * margin / 1e12 - economics.lost_sale_minor
        return value + good * stop - economics.fees.declined_minor
    if not (truth.fraud and truth.would_be_reported):
        dispute = margin + goods + economics.dispute_fee_minor + economics.handling_minor
        return value + margin - fee - (dispute if "dispute" in story else 0.0)
    authenticated = intervention == "challenge" and by_kind["authentication"].trans_status == "Y"
    shifted = authenticated and told(arrival, intervention).luck.shift < economics.shifted_ppm / 1e6
    own = goods + economics.dispute_fee_minor + fee + economics.handling_minor
    return value - (economics.handling_minor if shifted else own)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_the_true_value_is_the_mean_of_what_happens(intervention):
    """Paired over many payments, whose luck is drawn once each."""
    economics = WORLD.economics["apparel"]
    pairs = np.array(
        [
            (coin_value_minor(a, intervention, economics), true_value_minor(a, intervention, economics))
            for a in ARRIVALS[:3000] + FRAUDS
        ]
    )
    difference = pairs[:, 0] - pairs[:, 1]
    assert abs(difference.mean()) <= 4 * difference.std() / np.sqrt(len(difference)) + 1e-9
