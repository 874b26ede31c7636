"""The value table against the formulas as they are written in the books, with every division and no shortcut."""

import itertools

import numpy as np
import pytest

from greenlane.merchants.economics import Economics, Fees
from greenlane.merchants.stakes import Stakes, stakes
from greenlane.policy.value import INTERVENTIONS, MICRO, TERMS, VALUE, Authentication, Over, values

PAYER = Authentication(0.6, 0.9, 0.3, 0.06, 0.015)
OVER = Over(0.88, 0.6, 0.91, 0.65, 230.0, 5.0)


def table_of(p, money, *, payer=PAYER, over=OVER):
    """In minor units; probabilities of `over` in 0..1."""
    row = np.array([[*(probability * 1e9 for probability in over[:4]), *over[4:]]])
    return values(round(p * 1e9), money, payer, row)[:, 0] / MICRO


def auth(p, q_g, q_f, loss, s: Stakes, over: Over):
    """q [(1-p_A) good_r - p_A (L + S)] + (1-q) [-c_r + V_stop(p_D)]."""
    q = (1 - p) * q_g + p * q_f
    p_a = p * q_f / q if q else 0.0
    p_d = p * (1 - q_f) / (1 - q) if q < 1 else 0.0
    good = s.margin - over.fee - s.dispute
    return q * ((1 - p_a) * good - p_a * (loss + s.report_price)) + (1 - q) * (-over.declined + (1 - p_d) * s.stop)


def loss_of(s: Stakes, over: Over) -> float:
    return s.loss + s.unrefunded * over.fee


def allow(p, s, over, payer):
    return auth(p, over.good, over.fraud, loss_of(s, over), s, over)


def challenge(p, s, over, payer):
    phi_g, s_g, phi_f, s_f, u = payer
    omega = s.shifted_by_challenge
    y_good = (1 - u) * (phi_g + (1 - phi_g) * s_g)
    y_fraud = (1 - u) * (phi_f + (1 - phi_f) * s_f)
    y = (1 - p) * y_good + p * y_fraud
    n = 1 - u - y
    p_y = p * y_fraud / y if y else 0.0
    p_n = p * (1 - u - y_fraud) / n if n > 1e-15 else 0.0
    shifted_loss = (1 - omega) * loss_of(s, over) + omega * s.handling
    return (
        -s.challenge
        + y * auth(p_y, over.good_3ds, over.fraud_3ds, shifted_loss, s, over)
        + u * auth(p, over.good, over.fraud, loss_of(s, over), s, over)
        - n * (1 - p_n) * s.abandonment
    )


def review(p, s, over, payer):
    good_r = s.margin - over.fee - s.dispute
    g_r = over.good * good_r + (1 - over.good) * (-over.declined + s.stop)
    stayed = (1 - s.cancel_share) * (s.true_negative * g_r - (1 - s.true_negative) * s.false_decline)
    missed = p * (1 - s.true_positive)
    loss = over.fraud * (loss_of(s, over) + s.report_price) + (1 - over.fraud) * over.declined
    return -(s.review + s.review_price) + (1 - p) * (stayed - s.cancel_share * s.review_cancel) - missed * loss


def block(p, s, over, payer):
    return -(1 - p) * (s.false_decline - s.other_method)


BOOKS = (allow, challenge, review, block)


@pytest.mark.parametrize("perspective", ["merchant", "psp"])
@pytest.mark.parametrize("p", [0.0, 0.001, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("amount", [0, 500, 25_000])
def test_values_are_those_of_the_formulas(perspective, p, amount):
    money = stakes(Economics(), amount, perspective)._replace(report_price=70.0, review_price=40.0)
    table = table_of(p, money)
    expected = [formula(p, money, OVER, PAYER) for formula in BOOKS]
    assert table[:, VALUE] == pytest.approx(expected, abs=1e-4)


def test_extremes_of_approval_and_authentication_divide_by_nothing():
    certain = [0.0, 1.0]
    money = stakes(Economics(), 10_000, "merchant")
    for q_g, q_f, phi, p in itertools.product(certain, repeat=4):
        over = OVER._replace(good=q_g, fraud=q_f, good_3ds=q_g, fraud_3ds=q_f)
        payer = Authentication(phi, phi, phi, phi, 0.0)
        expected = [formula(p, money, over, payer) for formula in BOOKS]
        assert table_of(p, money, payer=payer, over=over)[:, VALUE] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("amount", "margin", "kappa", "report", "break_even"),
    [
        (20, 0.35, 1, 0, 0.30),
        (100, 0.35, 1, 0, 0.32),
        (500, 0.10, 1, 0, 0.09),
        (100, 0.80, 1, 0, 0.67),
        (100, 0.80, 1, 50, 0.48),
        (100, 0.35, 1, 50, 0.23),
    ],
)
def test_break_even_fraud_probabilities_of_the_domain_page(amount, margin, kappa, report, break_even):
    """C_fd 8, dispute fee 20, fees 2 % + .30, everybody approved: where allow and block are worth the same."""
    merchant = Economics(
        margin_ppm=round(margin * 1_000_000),
        unrecoverable_ppm=kappa * 1_000_000,
        fees=Fees(pct_ppm=20_000, fixed_minor=30),
        dispute_fee_minor=2_000,
        handling_minor=0,
        dispute_ppm=0,
        false_decline_minor=800,
        other_method_value_ppm=0,
    )
    money = stakes(merchant, amount * 100, "merchant")._replace(report_price=report * 100.0)
    over = Over(1.0, 1.0, 1.0, 1.0, merchant.fees.approved_minor(amount * 100), 5.0)

    def gap(p):
        table = table_of(p, money, over=over)
        return table[0, VALUE] - table[3, VALUE]

    at_zero, at_one = gap(0.0), gap(1.0)
    assert round(at_zero / (at_zero - at_one), 2) == break_even


def test_rounding_is_half_to_even_in_micro_minor_units():
    nothing = Stakes(*[0.0] * 19)
    rounded = [
        values(0, nothing._replace(margin=micro / MICRO), PAYER, np.array([[1e9, 0, 0, 0, 0.0, 0.0]]))[0, 0, 0]
        for micro in (0.5, 1.5, 2.5)
    ]
    assert rounded == [0, 2, 2]


def test_the_table_is_the_same_every_time():
    money = stakes(Economics(), 12_345, "merchant")
    assert len({table_of(0.0123, money).tobytes() for _ in range(20)}) == 1


def test_a_shape_for_every_intervention_route_and_term():
    table = values(10**7, stakes(Economics(), 100, "merchant"), PAYER, np.full((8, 6), 0.5))
    assert table.shape == (len(INTERVENTIONS), 8, len(TERMS) + 1)
