"""Facts: what is frozen about a payment when an entry is appended, and all that a feature may ever look at.

A later outcome carries a copy of the facts of the payment it refers to, so that features never join. People's
identifiers are 64-bit random pseudonyms (0 = absent): erasing a subject's row in the map makes them meaningless, and
features and replay go on.
"""

from msgspec import Struct


class Facts(Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """Times are UTC microseconds, amounts integer minor units; "" and 0 mean absent.

    >>> Facts(payment_id="pay_1", payment_us=5, amount_minor=1999, currency="EUR", amount_reporting_minor=1999).card
    0
    """

    payment_id: str
    payment_us: int
    """The frozen time of the payment: `ingest_us` of the first entry about it."""
    amount_minor: int
    currency: str
    amount_reporting_minor: int
    """In the tenant's reporting currency, half-even, at the rate of the day of append."""
    attempt_id: str = ""
    merchant_id: str = ""
    mcc: str = ""
    channel: str = "ecommerce"
    initiator: str = "cit"
    method: str = "card"

    # subjects: random pseudonyms, signed 64 bit
    card: int = 0
    """The instrument's fingerprint, of any payment method."""
    par: int = 0
    customer: int = 0
    email: int = 0
    phone: int = 0
    device: int = 0
    ip: int = 0
    shipping: int = 0

    # derived values that point at no person
    bin8: str = ""
    network: str = ""
    funding: str = ""
    credential: str = ""
    issuer_id: str = ""
    issuer_country: str = ""
    ip24: str = ""
    """A keyed hash of the first three bytes of the address, not the bytes."""
    asn: int = 0
    ip_country: str = ""
    is_proxy: int = -1
    """1, 0, or -1 when not told."""
    email_domain: str = ""
    billing_country: str = ""
    account_age_us: int = -1
    """`payment_us` less the account's creation, or -1 when not told."""

    # the attempt and what became of it
    route_id: str = ""
    intervention: str = ""
    """Of the decision this entry is, or refers to: allow, challenge, review, block; "" when Greenlane never decided."""
    code: str = ""
    """Network response code of an authorisation, trans_status of an authentication, reason of a dispute."""
    decline_class: str = ""


TEXT_FIELDS = tuple(name for name, kind in Facts.__annotations__.items() if kind is str)
INT_FIELDS = tuple(name for name, kind in Facts.__annotations__.items() if kind is int)
