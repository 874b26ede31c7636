"""The value table against the formulas as they are written in the books, with every division and no shortcut."""

import itertools

import numpy as np
import pytest

from greenlane.merchants.economics import Economics, Fees
from greenlane.merchants.stakes import Stakes, stakes
from greenlane.policy.actions import INTERVENTIONS
from greenlane.policy.value import MICRO, TERMS, VALUE, Authentication, Over, values

PAYER = Authentication(0.6, 0.9, 0.3, 0.06, 0.015)
OVER = Over(0.88, 0.6, 0.91, 0.65, 0.86, 0.59, 0.08, 230.0, 210.0, 5.0, 7.0, -75.0, -3.0, 0.0, 450.0, 0.0013)


def table_of(p, money, *, payer=PAYER, over=OVER):
    """In minor units; probabilities of `over` in 0..1."""
    row = np.array([[*(probability * 1e9 for probability in over[:7]), *over[7:]]])
    return values(round(p * 1e9), money, payer, row)[:, 0] / MICRO


def auth(p, q_g, q_f, loss, s: Stakes, over: Over, *, shifted=0.0, fee=None):
    """q [(1-p_A) good_r - p_A L - S - B] + (1-q) [-c_r + (1-p_D) V_g + p_D V_f]."""
    q = (1 - p) * q_g + p * q_f
    p_a = p * q_f / q if q else 0.0
    p_d = p * (1 - q_f) / (1 - q) if q < 1 else 0.0
    good = s.margin - (over.fee if fee is None else fee) - s.dispute
    disputes = (1 - p_a) * s.dispute_share + p_a * (1 - shifted) * s.fraud_disputed
    programme = p_a * s.report_price + disputes * s.dispute_price
    band = over.band_price * (p_a - over.band_rate)
    approved = (1 - p_a) * good - p_a * loss - programme - band
    return q * approved + (1 - q) * (-over.declined + (1 - p_d) * over.worth_good + p_d * over.worth_fraud)


def loss_of(s: Stakes, fee: float) -> float:
    return s.loss + s.unrefunded * fee


def allow(p, s, over, payer):
    return auth(p, over.good, over.fraud, loss_of(s, over.fee), s, over)


def challenge(p, s, over, payer):
    phi_g, s_g, phi_f, s_f, u = payer
    omega = s.shifted_by_challenge
    y_good = (1 - u) * (phi_g + (1 - phi_g) * s_g)
    y_fraud = (1 - u) * (phi_f + (1 - phi_f) * s_f)
    y = (1 - p) * y_good + p * y_fraud
    n = 1 - u - y
    p_y = p * y_fraud / y if y else 0.0
    p_n = p * (1 - u - y_fraud) / n if n > 1e-15 else 0.0
    shifted_loss = (1 - omega) * loss_of(s, over.fee_3ds) + omega * s.handling
    return (
        -over.challenge
        + y * auth(p_y, over.good_3ds, over.fraud_3ds, shifted_loss, s, over, shifted=omega, fee=over.fee_3ds)
        + u * auth(p, over.good, over.fraud, loss_of(s, over.fee), s, over)
        - n * (1 - p_n) * s.abandonment
    )


def exempt(p, s, over, payer):
    loss = (1 - over.shifted_exempt) * loss_of(s, over.fee) + over.shifted_exempt * s.handling
    heard = auth(p, over.good_exempt, over.fraud_exempt, loss, s, over, shifted=over.shifted_exempt)
    asked = payer._replace(frictionless_good=0.0, frictionless_fraud=0.0)
    if s.challengeable:
        soft = -s.soft_decline - over.declined + challenge(p, s, over, asked)
    else:
        soft = auth(p, 0.0, 0.0, 0.0, s, over)
    return (1 - over.soft_decline) * heard + over.soft_decline * soft


def review(p, s, over, payer):
    good_r = s.margin - over.fee - s.dispute - s.dispute_share * s.dispute_price + over.band_price * over.band_rate
    g_r = over.good * good_r + (1 - over.good) * (-over.declined + over.worth_good)
    stayed = (1 - s.cancel_share) * (s.true_negative * g_r - (1 - s.true_negative) * s.false_decline)
    missed = p * (1 - s.true_positive)
    items = s.report_price + s.fraud_disputed * s.dispute_price + over.band_price * (1 - over.band_rate)
    loss = over.fraud * (loss_of(s, over.fee) + items) + (1 - over.fraud) * (over.declined - over.worth_fraud)
    return -(s.review + s.review_price) + (1 - p) * (stayed - s.cancel_share * s.review_cancel) - missed * loss


def block(p, s, over, payer):
    return -(1 - p) * (s.false_decline - s.other_method)


BOOKS = (allow, exempt, challenge, review, block)


@pytest.mark.parametrize("perspective", ["merchant", "psp"])
@pytest.mark.parametrize("p", [0.0, 0.001, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("amount", [0, 500, 25_000])
@pytest.mark.parametrize("challengeable", [0.0, 1.0])
def test_values_are_those_of_the_formulas(perspective, p, amount, challengeable):
    money = stakes(Economics(), amount, perspective)._replace(report_price=70.0, dispute_price=30.0, review_price=40.0)
    money, over = money._replace(challengeable=challengeable), OVER._replace(shifted_exempt=0.9)
    table = table_of(p, money, over=over)
    expected = [formula(p, money, over, PAYER) for formula in BOOKS]
    assert table[:, VALUE] == pytest.approx(expected, abs=1e-4)


def test_extremes_of_approval_and_authentication_divide_by_nothing():
    certain = [0.0, 1.0]
    money = stakes(Economics(), 10_000, "merchant")
    for q_g, q_f, phi, p in itertools.product(certain, repeat=4):
        over = OVER._replace(good=q_g, fraud=q_f, good_3ds=q_g, fraud_3ds=q_f, good_exempt=q_g, fraud_exempt=q_f)
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
    certain = dict.fromkeys(Over._fields[:6], 1.0)
    over = OVER._replace(**certain, fee=merchant.fees.approved_minor(amount * 100), band_price=0.0)

    def gap(p):
        table = table_of(p, money, over=over)
        return table[0, VALUE] - table[-1, VALUE]

    at_zero, at_one = gap(0.0), gap(1.0)
    assert round(at_zero / (at_zero - at_one), 2) == break_even


def test_rounding_is_half_to_even_in_micro_minor_units():
    nothing, certain = Stakes(*[0.0] * len(Stakes._fields)), np.zeros((1, len(Over._fields)))
    certain[0, 0] = 1e9
    rounded = [values(0, nothing._replace(margin=micro / MICRO), PAYER, certain)[0, 0, 0] for micro in (0.5, 1.5, 2.5)]
    assert rounded == [0, 2, 2]


def test_the_table_is_the_same_every_time():
    money = stakes(Economics(), 12_345, "merchant")
    assert len({table_of(0.0123, money).tobytes() for _ in range(20)}) == 1


def test_a_shape_for_every_intervention_route_and_term():
    table = values(10**7, stakes(Economics(), 100, "merchant"), PAYER, np.full((8, len(Over._fields)), 0.5))
    assert table.shape == (len(INTERVENTIONS), 8, len(TERMS) + 1)
