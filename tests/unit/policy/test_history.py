"""What authentication and approval so far say about fraud."""

import pytest

from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, ThreeDS, Verification
from greenlane.policy.history import History, Tried, fraud_given_history_e9, history_of
from greenlane.policy.priors import Priors, authentication

PAYER = authentication(Priors(), "DE")
P = 100_000_000


def told(stage="pre_authorization", avs=None, cvv=None, **three_ds):
    payment = Payment(
        id="p", amount=1, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=Card(fingerprint="f"))
    )
    asked = ThreeDS(**three_ds) if three_ds else None
    verification = Verification(avs_result=avs, cvv_result=cvv, three_ds=asked)
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


def declined(*codes, network="visa"):
    return History(
        tried=tuple(Tried(f"a{at}", at, "r", answer="declined", network=network, code=c) for at, c in enumerate(codes))
    )


def test_a_decline_speaks_of_fraud_as_its_code_does():
    funds, honour, stolen, number = (p_h(declined(code)) for code in ("51", "05", "43", "14"))
    assert P == funds < honour < number < stolen


def test_declines_of_one_payment_repeat_one_another():
    assert p_h(declined("05", "05", "05")) == p_h(declined("05"))
    assert p_h(declined("51", "59", "05")) == p_h(declined("59"))


def test_what_was_not_sent_or_timed_out_says_nothing():
    unheard = tuple(Tried("a", 1, "r", answer=answer, code="59") for answer in ("not_sent", "unknown", "pending"))
    assert p_h(History(tried=unheard)) == P


def test_the_security_code_and_the_address_speak_at_every_stage():
    for stage in ("pre_authorization", "post_authorization"):
        plain = p_h(told(stage))
        assert p_h(told(stage, cvv="N")) > p_h(told(stage, avs="N")) > plain
        assert p_h(told(stage, avs="Y", cvv="M")) < p_h(told(stage, cvv="M")) < plain
        assert p_h(told(stage, avs="U", cvv="P")) == plain


def test_a_soft_decline_is_open_until_the_payer_has_authenticated():
    refused = (Tried("a", 1, "r", answer="declined", decline_class="sca"),)
    assert History(tried=refused).soft_declined
    assert History(tried=(*refused, Tried("b", 2, "r", answer="not_sent"))).soft_declined
    assert not History("Y", tried=refused).soft_declined
    assert not History(tried=(*refused, Tried("b", 2, "r", answer="approved"))).soft_declined
