"""Mandated strong customer authentication: where an unauthenticated approval would break the law.

EEA (PSD2), UK (FCA) and India (RBI, two factors for every digital payment) mandate it for remote card payments that the
payer starts, when issuer and merchant lie in the same region (two legs in). Merchant-initiated payments, mail and
telephone orders and one-leg-out payments are out of scope. The mandate binds Greenlane only where the merchant's
configuration says so (`sca_mandated`): elsewhere the acquirer or another system applies exemptions, and the issuer's
soft decline is the safeguard. A bound payment is exempted (`exemptions.py`), challenged or blocked.

Fails closed: an issuer whose country is unknown counts as one in the merchant's region.
"""

from greenlane.merchants.regions import SCA_REGIONS
from greenlane.payments.attempt import Attempt


def sca_required(attempt: Attempt, merchant_country: str | None) -> bool:
    """Does the law ask for authentication of this payment, going by what is known of both ends?

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> def paid_with(issuer_country, **more):
    ...     card = Card(fingerprint="fp_1", issuer_country=issuer_country)
    ...     return Attempt(attempt_id="a", payment=Payment(id="p", amount=1, currency="EUR", merchant_id="m",
    ...                    payment_method=PaymentMethod(card=card), **more))
    >>> sca_required(paid_with("FR"), "DE"), sca_required(paid_with("US"), "DE")
    (True, False)
    >>> sca_required(paid_with("FR", initiator="mit"), "DE"), sca_required(paid_with(None), "DE")
    (False, True)
    """
    payment = attempt.payment
    card = payment.payment_method.card
    if card is None or payment.initiator == "mit" or payment.channel not in ("ecommerce", "in_app"):
        return False
    region = SCA_REGIONS.get(merchant_country or "")
    return region is not None and (card.issuer_country is None or SCA_REGIONS.get(card.issuer_country) == region)
