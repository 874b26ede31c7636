"""Laws of the value formulas and of the choice."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from greenlane.merchants.economics import Economics, Fees, RouteTerms
from greenlane.merchants.stakes import Stakes, stakes
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, Route
from greenlane.policy import value
from greenlane.policy.actions import INTERVENTIONS, ROWS, Eligible, Row, Way
from greenlane.policy.believe import ONE_E9, given_e9, mixed_e9
from greenlane.policy.choose import choose
from greenlane.policy.distribution import TOTAL
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import History, Tried
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.policy.priors import Approval
from greenlane.policy.value import TERMS, VALUE, Authentication, Over, values

few = settings(max_examples=60, deadline=None)

ALLOW, EXEMPT, CHALLENGE, REVIEW, BLOCK = range(len(INTERVENTIONS))
ppm = st.integers(0, 1_000_000)
cost = st.integers(0, 20_000)
amounts = st.integers(0, 5_000_000)
shares = st.floats(0, 1)
probabilities = st.integers(0, ONE_E9)
payers = st.builds(Authentication, shares, shares, shares, shares, shares)
fees = st.builds(
    Fees, pct_ppm=st.integers(0, 60_000), fixed_minor=st.integers(0, 100), declined_minor=st.integers(0, 20)
)
economics = st.builds(
    Economics,
    margin_ppm=ppm,
    fees=fees,
    unrecoverable_ppm=ppm,
    dispute_fee_minor=cost,
    handling_minor=cost,
    unrefunded_ppm=ppm,
    dispute_ppm=ppm,
    dispute_cost_minor=st.none() | cost,
    false_decline_minor=cost,
    other_method_value_ppm=ppm,
    lost_sale_minor=cost,
    payer_retry_ppm=ppm,
    payer_retry_value_ppm=ppm,
    challenge_minor=cost,
    abandonment_minor=cost,
    shifted_ppm=ppm,
    review_minor=cost,
    review_cancel_ppm=ppm,
    review_cancel_minor=cost,
    review_true_positive_ppm=ppm,
    review_true_negative_ppm=ppm,
    take_ppm=ppm,
    insolvency_ppm=ppm,
    fines_minor=cost,
)
perspectives = st.sampled_from(["merchant", "psp"])
overs = st.tuples(
    *[probabilities] * 7, st.floats(0, 5_000), st.floats(0, 5_000), st.floats(0, 100), st.floats(0, 100),
    st.floats(-5_000, 5_000), st.floats(-500, 0), st.floats(0, 1), st.floats(0, 10_000), st.floats(0, 0.01),
).map(lambda told: Over(*told))  # fmt: skip


def table_of(p_e9, money, payer, *over):
    return values(p_e9, money, payer, np.array(over, dtype=np.float64))


def attempt_over(routes, *, amount=10_000, issuer_country="US"):
    card = Card(fingerprint="fp_1", issuer_country=issuer_country)
    payment = Payment(
        id="pay_1", amount=amount, currency="EUR", merchant_id="m_1", payment_method=PaymentMethod(card=card)
    )
    return Attempt(attempt_id="att_1", payment=payment, eligible_routes=tuple(Route(id=route) for route in routes))


def chosen_by(p_e9, merchant, routes=("a", "b", "c"), *, amount=10_000, perspective="merchant", **more):
    return choose(
        attempt_over(routes, amount=amount),
        Given(amount_minor=amount, fraud_probability_e9=p_e9, **more),
        economics=merchant,
        policy=Policy(perspective=perspective),
    )


@few
@given(probabilities, economics, amounts, perspectives, payers, overs)
def test_the_compiled_table_is_the_plain_python_table(p, merchant, amount, perspective, payer, over):
    money = stakes(merchant, amount, perspective)
    compiled = table_of(p, money, payer, over)
    with pytest.MonkeyPatch.context() as plain:
        for name in ("auth", "allow", "exempt", "challenge", "review", "block", "rounded"):
            plain.setattr(value, name, getattr(value, name).py_func)
        uncompiled = values.py_func(p, money, payer, np.array([over]))
    assert np.array_equal(compiled, uncompiled)


@few
@given(probabilities, economics, amounts, perspectives, overs, st.floats(0, 1), st.floats(0, 1))
def test_a_free_certain_challenge_that_shifts_nothing_is_an_allow(p, merchant, amount, perspective, over, s_g, s_f):
    merchant = replace(merchant, shifted_ppm=0)
    same_after = over._replace(good_3ds=over.good, fraud_3ds=over.fraud, fee_3ds=over.fee, challenge=0.0)
    table = table_of(p, stakes(merchant, amount, perspective), Authentication(1.0, s_g, 1.0, s_f, 0.0), same_after)
    assert np.array_equal(table[CHALLENGE, 0], table[ALLOW, 0])


@few
@given(probabilities, economics, amounts, perspectives, payers, overs)
def test_an_exemption_that_nobody_refuses_and_that_changes_nothing_is_an_allow(
    p, merchant, amount, perspective, payer, over
):
    same = over._replace(good_exempt=over.good, fraud_exempt=over.fraud, soft_decline=0.0, shifted_exempt=0.0)
    table = table_of(p, stakes(merchant, amount, perspective), payer, same)
    assert np.array_equal(table[EXEMPT, 0], table[ALLOW, 0])


@few
@given(probabilities, economics, amounts, perspectives, payers, overs)
def test_an_exemption_that_everybody_refuses_is_a_challenge_after_a_decline(
    p, merchant, amount, perspective, payer, over
):
    refused, money = over._replace(soft_decline=ONE_E9), stakes(merchant, amount, perspective)
    exempt = table_of(p, money, payer, refused)[EXEMPT, 0, VALUE]
    asked = payer._replace(frictionless_good=0.0, frictionless_fraud=0.0)
    challenge = table_of(p, money, asked, refused)[CHALLENGE, 0, VALUE]
    cost = (over.declined + money.soft_decline) * value.MICRO
    assert exempt == pytest.approx(challenge - cost, abs=2 * len(TERMS))


@few
@given(probabilities, economics, amounts, payers, overs, st.floats(0, 10_000))
def test_a_band_that_is_priced_pays_for_good_payments_and_charges_for_fraud(p, merchant, amount, payer, over, price):
    free, priced = (
        table_of(p, stakes(merchant, amount, "merchant"), payer, over._replace(band_price=band))[:, 0, VALUE]
        for band in (0.0, price)
    )
    change = (priced - free)[[ALLOW, CHALLENGE, REVIEW]]
    if p == 0:
        assert (change >= -2 * len(TERMS)).all()
    if p == ONE_E9:
        assert (change <= 2 * len(TERMS)).all()
    assert priced[BLOCK] == free[BLOCK]


@few
@given(probabilities, economics, amounts, perspectives, payers, overs)
def test_a_free_review_that_passes_everybody_is_an_allow(p, merchant, amount, perspective, payer, over):
    merchant = replace(
        merchant, review_minor=0, review_cancel_ppm=0, review_true_positive_ppm=0, review_true_negative_ppm=1_000_000
    )
    table = table_of(p, stakes(merchant, amount, perspective), payer, over)
    assert np.array_equal(table[REVIEW, 0], table[ALLOW, 0])


@few
@given(probabilities, economics, amounts, ppm, payers, overs)
def test_every_value_rises_with_the_margin(p, merchant, amount, other_margin, payer, over):
    low, high = sorted([merchant.margin_ppm, other_margin])
    worth = [
        table_of(p, stakes(replace(merchant, margin_ppm=margin), amount, "merchant"), payer, over)[:, :, VALUE]
        for margin in (low, high)
    ]
    assert (worth[0] <= worth[1] + len(TERMS)).all()


@few
@given(economics, amounts, perspectives, payers, overs, st.lists(probabilities, min_size=2, max_size=12))
def test_allow_less_block_crosses_zero_at_most_once_and_downward(merchant, amount, perspective, payer, over, ps):
    money = stakes(merchant, amount, perspective)
    tables = [table_of(p, money, payer, over)[:, 0, VALUE] for p in sorted(ps)]
    gaps = [int(worth[ALLOW] - worth[BLOCK]) for worth in tables]
    below = [gap < -2 * len(TERMS) for gap in gaps]
    above = [gap > 2 * len(TERMS) for gap in gaps]
    assert not any(below[i] and any(above[i + 1 :]) for i in range(len(gaps)))


@few
@given(probabilities, economics, amounts, perspectives, payers, overs, overs)
def test_terms_are_whole_and_sum_to_the_value(p, merchant, amount, perspective, payer, over, other):
    table = table_of(p, stakes(merchant, amount, perspective), payer, over, other)
    assert table.dtype == np.int64
    assert np.array_equal(table[:, :, :VALUE].sum(axis=2), table[:, :, VALUE])


@few
@given(probabilities, payers, overs)
def test_money_is_conserved_when_nothing_but_the_sale_is_at_stake(p, payer, over):
    """Every term beside margin is a cost or a loss that somebody configured: none configured, none appears."""
    table = table_of(p, Stakes(100.0, *[0.0] * (len(Stakes._fields) - 1)), payer, (*over[:7], *[0.0] * 9))
    other_terms = [at for at, name in enumerate(TERMS) if name != "margin"]
    assert not table[:, :, other_terms].any()
    assert (table[:, :, 0] >= 0).all() and (table[:, :, 0] <= 100 * value.MICRO).all()


@few
@given(probabilities, economics, perspectives, st.integers(10**12, 10**13))
def test_the_largest_amounts_neither_overflow_nor_lose_the_sum(p, merchant, perspective, amount):
    chosen = chosen_by(p, merchant, amount=amount, perspective=perspective)
    assert all(abs(term) <= value.TERM_MAX for term in chosen.terms_micro)
    assert chosen.value_micro == max(chosen.values_micro)


@few
@given(probabilities, probabilities, probabilities)
def test_fraud_given_approval_and_decline_average_to_fraud(p, q_g, q_f):
    q = mixed_e9(p, good_e9=q_g, fraud_e9=q_f)
    p_a = given_e9(p, good_e9=q_g, fraud_e9=q_f)
    p_d = given_e9(p, good_e9=ONE_E9 - q_g, fraud_e9=ONE_E9 - q_f)
    assert 0 <= p_a <= ONE_E9 and 0 <= p_d <= ONE_E9
    assert abs(q * p_a + (ONE_E9 - q) * p_d - p * ONE_E9) <= 2 * ONE_E9


@few
@given(probabilities, economics, st.permutations(["a", "b", "c", "d"]), st.lists(fees, min_size=4, max_size=4))
def test_the_order_of_routes_changes_nothing(p, merchant, order, costs):
    terms = tuple(RouteTerms(id=route, fees=fee) for route, fee in zip("abcd", costs, strict=True))
    merchant = replace(merchant, routes=terms)
    assert chosen_by(p, merchant, order) == chosen_by(p, merchant, ["a", "b", "c", "d"])


@few
@given(probabilities, economics, st.permutations(["a", "b", "c"]), st.lists(fees, min_size=3, max_size=3, unique=True))
def test_renaming_the_routes_renames_the_choice_and_nothing_else(p, merchant, names, costs):
    def offered(ids):
        routes = tuple(RouteTerms(id=route, fees=fee) for route, fee in zip(ids, costs, strict=True))
        return chosen_by(p, replace(merchant, routes=routes), ids)

    before, after = offered(["a", "b", "c"]), offered(names)
    assert sorted(before.values_micro) == sorted(after.values_micro)
    assert (before.value_micro, before.value_gap_micro) == (after.value_micro, after.value_gap_micro)
    assume(before.value_gap_micro > 0)
    renamed = dict(zip(["a", "b", "c", ""], [*names, ""], strict=True))
    assert (after.action.intervention, after.action.route) == (
        before.action.intervention,
        renamed[before.action.route],
    )


@few
@given(probabilities, economics, st.integers(1, 100), perspectives)
def test_a_dominated_route_is_never_chosen(p, merchant, surcharge, perspective):
    dear = replace(merchant.fees, fixed_minor=merchant.fees.fixed_minor + surcharge)
    routes = (RouteTerms(id="a_dear", fees=dear), RouteTerms(id="b_cheap"))
    chosen = chosen_by(p, replace(merchant, routes=routes), ["a_dear", "b_cheap"], perspective=perspective)
    worth = dict(zip(chosen.actions, chosen.values_micro, strict=True))
    assert all(
        worth[action] <= worth[cheap]
        for action in chosen.actions
        for cheap in chosen.actions
        if action.route == "a_dear" and (cheap.intervention, cheap.route) == (action.intervention, "b_cheap")
    )
    if chosen.action.route == "a_dear":
        assert chosen.value_gap_micro == 0


@few
@given(probabilities, economics, perspectives, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_choice_is_the_best_and_the_whole_mass(p, merchant, perspective, report, review):
    prices = Multipliers(report_minor=report, review_minor=review)
    chosen = chosen_by(p, merchant, perspective=perspective, multipliers=prices)
    assert chosen.value_micro == max(chosen.values_micro)
    assert chosen.value_gap_micro == chosen.value_micro - sorted(chosen.values_micro)[-2] >= 0
    assert len(chosen.values_micro) == len(chosen.distribution) == len(chosen.actions)
    assert sum(chosen.distribution) == TOTAL == chosen.propensity


@few
@given(probabilities, economics, amounts)
def test_scarcer_budgets_never_raise_a_value(p, merchant, amount):
    free = chosen_by(p, merchant, amount=amount)
    priced = chosen_by(p, merchant, amount=amount, multipliers=Multipliers(report_minor=500, review_minor=500))
    assert all(after <= before for before, after in zip(free.values_micro, priced.values_micro, strict=True))


two_to_six = st.integers(2, 6).map(lambda n: tuple(Way(f"r{at}", "pan") for at in range(n)))
approvals = st.builds(Approval, *[probabilities] * 7)


@few
@given(st.data(), two_to_six)
def test_every_eligible_action_has_one_place(data, ways):
    masks = data.draw(st.lists(st.integers(0, 2 ** len(ways) - 1), min_size=len(ROWS), max_size=len(ROWS)))
    rows = tuple(Row(*row, mask) for row, mask in zip(ROWS, masks, strict=True) if mask)
    may = Eligible(rows, ways, ())
    assert may.size == len(may.actions) == len(set(may.actions))
    assert [may.place(action) for action in may.actions] == list(range(may.size))
    assert [may.action(at) for at in range(may.size)] == may.actions


mandated = st.builds(
    lambda merchant, bound: replace(
        merchant,
        country="DE",
        sca_mandated=bound,
        routes=tuple(RouteTerms(id=route, exemptions=("transaction_risk_analysis",)) for route in ("a", "b", "c")),
    ),
    economics,
    st.booleans(),
)


def german_choice(p_e9, merchant, *, history=None, issuer_country="DE", **more):
    given_to = Given(amount_minor=9_000, fraud_probability_e9=p_e9, history=history, **more)
    attempt = attempt_over(("a", "b", "c"), amount=9_000, issuer_country=issuer_country)
    return choose(attempt, given_to, economics=merchant, policy=Policy(perspective="merchant"))


@few
@given(probabilities, mandated, st.lists(approvals, min_size=3, max_size=3), st.permutations(range(3)))
def test_relabelling_routes_relabels_values_whatever_was_learned_of_them(p, merchant, learned, order):
    before = german_choice(p, merchant, approvals=tuple(learned))
    after = german_choice(p, merchant, approvals=tuple(learned[at] for at in order))
    worth = [
        {(a.intervention, a.exemption, a.route): v for a, v in zip(c.actions, c.values_micro, strict=True)}
        for c in (before, after)
    ]
    assert all(
        worth[1][intervention, exemption, route] == worth[0][intervention, exemption, "abc"[order["abc".index(route)]]]
        for intervention, exemption, route in worth[1]
        if route
    )
    assert before.value_micro == after.value_micro


@few
@given(
    probabilities, mandated, st.sets(st.sampled_from("abc")), st.sampled_from(["full", "static", "merchant_default"])
)
def test_what_is_barred_is_never_taken(p, merchant, shut, rung):
    barred = tuple(Barred(route, "pan", "breaker") for route in sorted(shut))
    chosen = german_choice(p, merchant, barred=barred, rung=rung)
    assert chosen.action.route not in shut
    assert bool(chosen.action.route) or chosen.action.intervention == "block"


@few
@given(probabilities, mandated, st.sampled_from(["full", "static", "merchant_default"]))
def test_the_law_holds_on_every_rung(p, merchant, rung):
    chosen = german_choice(p, merchant, rung=rung)
    if merchant.sca_mandated:
        assert chosen.action.intervention in ("exempt", "challenge", "block")
    refused = (Tried("att_0", 1, "a", "pan", "exempt", "low_value", answer="declined", decline_class="sca"),)
    after = german_choice(p, merchant, rung=rung, history=History(tried=refused))
    assert after.action.intervention in ("challenge", "block")


@few
@given(probabilities, mandated, st.integers(0, 10**7), st.integers(0, 10**4))
def test_the_other_perspective_is_what_it_would_have_shown(p, merchant, band, report):
    prices = Multipliers(report_minor=report, band_micro={"a": band})
    chosen = german_choice(p, merchant, multipliers=prices)
    other = choose(
        attempt_over(("a", "b", "c"), amount=9_000, issuer_country="DE"),
        Given(amount_minor=9_000, fraud_probability_e9=p, multipliers=prices),
        economics=merchant,
        policy=Policy(perspective="psp"),
    )
    if chosen.action == other.action and chosen.action.intervention != "block":
        shown = (*chosen.other_terms_micro, *other.other_terms_micro)
        meant = (*other.terms_micro, *chosen.terms_micro)
        assert all(abs(one - same) <= 1 for one, same in zip(shown, meant, strict=True))  # a worth is rounded before it
