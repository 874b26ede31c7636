"""The attempt as it is kept: everything the choice looks at, and nothing that points at a person.

`metadata` is the caller's own free text: it is accepted, and never kept.
"""

from greenlane.payments.attempt import Attempt, Customer, Device, Payment, PaymentMethod
from greenlane.payments.facts import Facts


def redacted(attempt: Attempt, facts: Facts) -> Attempt:
    """The same attempt, pseudonyms for identifiers. The choice is made from this one, so replay sees the same bytes.

    >>> from greenlane.payments.attempt import Card
    >>> method = PaymentMethod(card=Card(fingerprint="fp_secret", network="visa"))
    >>> payment = Payment(id="p", amount=5, currency="EUR", merchant_id="m", payment_method=method,
    ...                   customer=Customer(id="anna", email_domain="mail.example"))
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, card=255)
    >>> kept = redacted(Attempt(attempt_id="a", payment=payment), facts)
    >>> kept.payment.payment_method.card.fingerprint, kept.payment.customer
    ('ff', Customer(id=None, ... email_domain='mail.example', ...))
    """
    payment = attempt.payment
    kept = Payment(
        id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        merchant_id=payment.merchant_id,
        payment_method=_method(payment.payment_method, facts),
        created=payment.created,
        mcc=payment.mcc,
        channel=payment.channel,
        initiator=payment.initiator,
        mit_reason=payment.mit_reason,
        network_transaction_id=payment.network_transaction_id,
        customer=_customer(payment.customer),
        device=_device(payment.device),
        billing_country=payment.billing_country,
    )
    return Attempt(
        attempt_id=attempt.attempt_id,
        payment=kept,
        stage=attempt.stage,
        verification=attempt.verification,
        signals=attempt.signals,
        eligible_routes=attempt.eligible_routes,
        constraints=attempt.constraints,
        deadline_ms=attempt.deadline_ms,
        mode=attempt.mode,
    )


def _method(method: PaymentMethod, facts: Facts) -> PaymentMethod:
    pseudonym = f"{facts.card & 0xFFFF_FFFF_FFFF_FFFF:x}"
    if method.card is not None:
        card = method.card
        kept = type(card)(
            fingerprint=pseudonym,
            bin=card.bin,
            network=card.network,
            funding=card.funding,
            issuer_id=card.issuer_id,
            issuer_country=card.issuer_country,
            credential=card.credential,
            token=card.token,
            exp_bucket=card.exp_bucket,
        )
        return PaymentMethod(type=method.type, card=kept)
    local = getattr(method, method.type)
    return PaymentMethod(
        type=method.type, **{method.type: type(local)(fingerprint=pseudonym, bank_country=local.bank_country)}
    )


def _customer(customer: Customer | None) -> Customer | None:
    if customer is None:
        return None
    return Customer(email_domain=customer.email_domain)


def _device(device: Device | None) -> Device | None:
    if device is None:
        return None
    return Device(ip_country=device.ip_country, asn=device.asn, is_proxy=device.is_proxy)
