"""From what the caller says happened to the outcome that is kept."""

import pytest

from greenlane.errors import InputError
from greenlane.outcomes.happened import Approved, Happened, outcome_of
from greenlane.payments.attempt import Attempt, Payment, PaymentMethod

PAYMENT = Payment(id="pay_1", amount=4_999, currency="EUR", merchant_id="shop_1", payment_method=PaymentMethod())


def outcome_after(approval):
    told = Happened(source="acquirer", event_id="1", approval=approval)
    return outcome_of(told, Attempt(attempt_id="att_1", payment=PAYMENT), "dec_1_1")


def test_a_part_that_is_approved_is_kept_with_its_currency():
    found = outcome_after(Approved(partial_amount=4_998))
    assert (found.result, found.amount, found.currency) == ("partially_approved", 4_998, "EUR")


@pytest.mark.parametrize("amount", [4_999, 5_000])
def test_a_part_that_is_no_part_is_refused(amount):
    with pytest.raises(InputError, match="less than the payment's 4999") as refused:
        outcome_after(Approved(partial_amount=amount))
    assert refused.value.param == "$.approval.partial_amount"
