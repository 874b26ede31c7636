"""Exemptions from strong authentication (RTS 2018/389): which one could be asked for over a way.

    exemption                  condition we check                        who knows          fraud is borne by
    transaction_risk_analysis  amount within the acquirer's band         band of the route  whoever asked: merchant
    low_value                  amount <= EUR 30                          the issuer counts  merchant
    recurring                  same amount and payee, first with SCA     the caller         merchant
    secure_corporate           a dedicated corporate process             the caller         merchant
    trusted_beneficiary        the payer listed the merchant             the caller         issuer

An acquirer asks only for those that its route's terms name. Merchant-initiated, mail-order and one-leg-out payments are
out of scope (`mandate.sca_required`) and need none. A refused exemption comes back as a soft decline (1A, 65).
"""

from typing import Final

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.merchants.regions import SCA_REGIONS
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import EXEMPTIONS

REGIONS: Final = ("EEA", "UK")
"""India's mandate knows none of these."""

BORNE_BY_ISSUER: Final = frozenset({"trusted_beneficiary"})


def exemption_over(terms: RouteTerms | None, attempt: Attempt, economics: Economics, *, amount_minor: int) -> str:
    """The preferred exemption that may be asked for over a route, or "". `amount_minor` in the reporting currency.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> payment = Payment(id="p", amount=5_000, currency="EUR", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=Card(fingerprint="fp_1", issuer_country="FR")))
    >>> north = RouteTerms(id="north", exemptions=("low_value", "transaction_risk_analysis"))
    >>> german = Economics(country="DE")
    >>> exemption_over(north, Attempt(attempt_id="a", payment=payment), german, amount_minor=5_000)
    'transaction_risk_analysis'
    """
    if terms is None or not terms.exemptions or SCA_REGIONS.get(economics.country or "") not in REGIONS:
        return ""
    vouched = attempt.constraints.exemptions
    for exemption in EXEMPTIONS:
        if exemption not in terms.exemptions:
            continue
        if exemption == "low_value":
            met = amount_minor <= economics.low_value_max_minor
        elif exemption == "transaction_risk_analysis":
            met = amount_minor <= terms.tra_band.amount_max_minor
        else:
            met = exemption in vouched
        if met:
            return exemption
    return ""
