"""What authentication and approval so far say about fraud."""

import pytest

from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, ThreeDS, Verification
from greenlane.policy.history import History, fraud_given_history_e9, history_of
from greenlane.policy.priors import Priors, authentication

PAYER = authentication(Priors(), "DE")
P = 100_000_000


def told(stage="pre_authorization", **three_ds):
    payment = Payment(
        id="p", amount=1, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=Card(fingerprint="f"))
    )
    verification = Verification(three_ds=ThreeDS(**three_ds)) if three_ds else None
    return history_of(Attempt(attempt_id="a", payment=payment, stage=stage, verification=verification))


def p_h(history):
    return fraud_given_history_e9(P, history, payer=PAYER, priors=Priors())


def test_a_payment_without_a_past_keeps_its_probability():
    assert p_h(told()) == P


def test_a_pending_challenge_is_no_answer():
    assert told(trans_status="C") == told() == History()


@pytest.mark.parametrize("status", ["A", "U", "I"])
def test_an_answer_about_the_system_says_nothing_about_the_payer(status):
    assert p_h(told(trans_status=status)) == P


def test_passing_lowers_fraud_and_a_passed_challenge_lowers_it_more_than_no_friction():
    frictionless = p_h(told(trans_status="Y", flow="frictionless"))
    challenged = p_h(told(trans_status="Y", flow="challenge"))
    unsaid = p_h(told(trans_status="Y"))
    assert challenged < unsaid < frictionless < P


@pytest.mark.parametrize("status", ["N", "R"])
def test_failing_raises_fraud(status):
    assert p_h(told(trans_status=status)) > 5 * P // 2


def test_an_issuers_approval_lowers_fraud():
    assert p_h(told(stage="post_authorization")) < P


def test_liability_is_shifted_by_y_and_a_unless_the_caller_knows_better():
    shifted = [told(trans_status=status).liability_shifted for status in "YANRUI"]
    assert shifted == [True, True, False, False, False, False]
    assert not told(trans_status="Y", liability_shift=False).liability_shifted
    assert told(trans_status="I", liability_shift=True).liability_shifted
