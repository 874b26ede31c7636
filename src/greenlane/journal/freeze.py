"""What is kept of an attempt for ever: its facts, with people as pseudonyms and money in one currency."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from greenlane.errors import InputError
from greenlane.payments.attempt import Attempt, Card, Customer, Device, Payment
from greenlane.payments.facts import Facts
from greenlane.payments.money import to_reporting_minor
from greenlane.payments.times import parse_rfc3339
from greenlane.ports.subjects import SubjectMap
from greenlane.settings import Rate

NO_CARD = Card(fingerprint="-")
NO_CUSTOMER = Customer()
NO_DEVICE = Device()


class Reporting(Struct, frozen=True):
    """The currency that features count money in, and what the others were worth in it, on which date."""

    currency: str
    rates: Mapping[str, Rate] = {}

    def minor(self, amount_minor: int, currency: str, *, param: str = "$.payment.currency") -> int:
        """In minor units of the reporting currency, half to even.

        >>> Reporting("EUR", {"USD": Rate(rate_e12=920_000_000_000, date="2026-11-21")}).minor(1050, "USD")
        966
        """
        if currency == self.currency:
            return amount_minor
        rate = self.rates.get(currency)
        if rate is None:
            raise InputError(
                f"there is no rate from {currency} to {self.currency}",
                code="currency_not_configured",
                param=param,
                hint=f"add [rates.{currency}] to greenlane.toml; known: {', '.join((self.currency, *self.rates))}",
            )
        return to_reporting_minor(amount_minor, currency, reporting_currency=self.currency, rate_e12=rate.rate_e12)


def freeze(
    attempt: Attempt,
    *,
    subjects: SubjectMap,
    reporting: Reporting,
    ingest_us: int,
    payment_us: int | None = None,
) -> Facts:
    """The facts of an attempt that is about to be decided.

    `payment_us` is the frozen time of a payment already known (`Sequencer.payment_us`); a new one is frozen now.
    """
    return freeze_payment(
        attempt.payment,
        subjects=subjects,
        reporting=reporting,
        payment_us=ingest_us if payment_us is None else payment_us,
        attempt_id=attempt.attempt_id,
    )


def freeze_payment(
    payment: Payment, *, subjects: SubjectMap, reporting: Reporting, payment_us: int, attempt_id: str = ""
) -> Facts:
    """The facts of a whole payment, as an outcome brings one that was never decided here."""
    method = payment.payment_method
    card, customer, device = method.card or NO_CARD, payment.customer or NO_CUSTOMER, payment.device or NO_DEVICE
    instrument = method.card or getattr(method, method.type)
    people = {
        "card": (method.type, instrument.fingerprint if instrument else None),
        "par": ("par", card.par),
        "customer": ("customer", customer.id),
        "email": ("email", customer.email_hash),
        "phone": ("phone", customer.phone_hash),
        "device": ("device", device.id),
        "ip": ("ip", device.ip),
        "shipping": ("shipping", payment.shipping_hash),
    }
    named = {field: (kind, identifier) for field, (kind, identifier) in people.items() if identifier}
    number: dict[str, Any] = dict(zip(named, subjects.pseudonyms(list(named.values())), strict=True))
    return Facts(
        payment_id=payment.id,
        payment_us=payment_us,
        amount_minor=payment.amount,
        currency=payment.currency,
        amount_reporting_minor=reporting.minor(payment.amount, payment.currency),
        attempt_id=attempt_id,
        merchant_id=payment.merchant_id,
        mcc=payment.mcc or "",
        channel=payment.channel,
        initiator=payment.initiator,
        method=method.type,
        **number,
        bin8=card.bin or "",
        network=card.network if method.card else "",
        funding=card.funding if method.card else "",
        credential=card.credential if method.card else "",
        issuer_id=card.issuer_id or "",
        issuer_country=card.issuer_country or getattr(instrument, "bank_country", None) or "",
        ip24=subjects.digest("ip24", network_of(device.ip)) if device.ip else "",
        asn=device.asn or 0,
        ip_country=device.ip_country or "",
        is_proxy=-1 if device.is_proxy is None else int(device.is_proxy),
        email_domain=(customer.email_domain or "").lower(),
        billing_country=payment.billing_country or "",
        account_age_us=_age_us(customer.account_created, payment_us),
    )


@lru_cache(maxsize=65_536)
def network_of(ip: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 one; a text that is no address stands for itself.

    >>> network_of("203.0.113.77"), network_of("2001:db8:1:2::3")
    ('203.0.113', '2001:0db8:0001')
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return address.exploded[:14]
    return str(getattr(address, "ipv4_mapped", None) or address).rpartition(".")[0]


def _age_us(created: str | None, payment_us: int) -> int:
    """An account made after its payment, by its owner's clock, is new."""
    if created is None:
        return -1
    return max(0, payment_us - parse_rfc3339(created, param="$.payment.customer.account_created"))
