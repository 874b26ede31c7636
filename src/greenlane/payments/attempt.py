"""What a caller asks about: a payment and one attempt at it, in the words of the API.

These structs are at once the wire format, the log format and the domain types. They are immutable and refuse unknown
fields, so a misspelt field is an error with a path and never a silently missing feature.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2, upper case")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217, upper case")]
AmountMinor = Annotated[int, Meta(ge=0, le=10**13, description="integer minor units of the currency")]
Timestamp = Annotated[str, Meta(max_length=40, description="RFC 3339, UTC", examples=["2026-11-21T20:55:01.123456Z"])]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=32)
]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
AvsResult = Annotated[str, Meta(max_length=2)]
CvvResult = Annotated[str, Meta(max_length=1, description="the issuer's one-letter answer, never the code")]
Signal = Annotated[str, Meta(max_length=256)] | Whole | float | bool

Stage = Literal["pre_authentication", "pre_authorization", "post_authorization"]
Channel = Literal["ecommerce", "moto", "in_app", "pos"]
Initiator = Literal["cit", "mit"]
MitReason = Literal[
    "recurring", "installment", "unscheduled", "resubmission", "delayed_charge", "no_show", "incremental"
]
Network = Literal[
    "visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "elo", "maestro", "cartes_bancaires", "other"
]
Funding = Literal["credit", "debit", "prepaid", "charge", "unknown"]
Credential = Literal["pan", "network_token"]
Exemption = Literal["trusted_beneficiary", "secure_corporate", "recurring", "low_value", "transaction_risk_analysis"]
MethodType = Literal["card", "pix", "ideal", "sepa_debit", "upi", "us_bank_account", "blik"]


class Frozen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The manner of every word here: immutable, keyword-only, strict."""


class NetworkToken(Frozen, frozen=True):
    """The network token that stands beside a card's number: over each route either may be sent."""

    state: Literal["active", "suspended", "deleted"] = "active"
    cryptogram_available: bool = True
    """A payer-initiated payment needs one."""
    requestor: Id | None = None
    """Whose token it is: a route may accept those of some requestors only."""


class Card(Frozen, frozen=True):
    """A card without its number: the caller's vault computes the fingerprint (a keyed hash of the full number)."""

    fingerprint: Id
    par: Id | None = None
    bin: Annotated[str, Meta(pattern=r"^([0-9]{6}|[0-9]{8})$")] | None = None
    last4: Annotated[str, Meta(pattern=r"^[0-9]{4}$")] | None = None
    network: Network = "other"
    funding: Funding = "unknown"
    issuer_id: Id | None = None
    issuer_country: Country | None = None
    credential: Credential = "pan"
    """What the caller has: the number, or only a network token."""
    token: NetworkToken | None = None
    """The card's network token where its state is known; with credential "pan" it may be sent instead."""
    exp_bucket: Annotated[str, Meta(max_length=16)] | None = None


class LocalMethod(Frozen, frozen=True):
    """A non-card instrument, carried as data."""

    fingerprint: Id
    bank_country: Country | None = None
    mandate_id: Id | None = None


class PaymentMethod(Frozen, frozen=True):
    """One instrument: exactly the member that `type` names is set (checked by `payments.checks`)."""

    type: MethodType = "card"
    card: Card | None = None
    pix: LocalMethod | None = None
    ideal: LocalMethod | None = None
    sepa_debit: LocalMethod | None = None
    upi: LocalMethod | None = None
    us_bank_account: LocalMethod | None = None
    blik: LocalMethod | None = None


class Customer(Frozen, frozen=True):
    id: Id | None = None
    email_hash: Id | None = None
    email_domain: Annotated[str, Meta(max_length=128)] | None = None
    phone_hash: Id | None = None
    account_created: Timestamp | None = None


class Device(Frozen, frozen=True):
    id: Id | None = None
    ip: Annotated[str, Meta(max_length=45)] | None = None
    ip_country: Country | None = None
    asn: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    is_proxy: bool | None = None
    user_agent_hash: Id | None = None


class Payment(Frozen, frozen=True):
    """What the payer wants to pay, once."""

    id: Id
    amount: AmountMinor
    currency: Currency
    merchant_id: Id
    payment_method: PaymentMethod
    created: Timestamp | None = None
    mcc: Annotated[str, Meta(pattern=r"^[0-9]{4}$")] | None = None
    channel: Channel = "ecommerce"
    initiator: Initiator = "cit"
    mit_reason: MitReason | None = None
    network_transaction_id: Id | None = None
    customer: Customer | None = None
    device: Device | None = None
    billing_country: Country | None = None
    shipping_hash: Id | None = None
    metadata: Metadata = {}


class ThreeDS(Frozen, frozen=True):
    """The answer of a 3-D Secure authentication, in EMVCo's letters."""

    trans_status: Literal["Y", "A", "N", "R", "U", "I", "C", "D"] | None = None
    eci: Annotated[str, Meta(pattern=r"^[0-9]{2}$")] | None = None
    flow: Literal["frictionless", "challenge"] | None = None
    liability_shift: bool | None = None


class Verification(Frozen, frozen=True):
    avs_result: AvsResult | None = None
    cvv_result: CvvResult | None = None
    three_ds: ThreeDS | None = None


class Route(Frozen, frozen=True):
    """Acquirer + merchant account + network, with the credentials it accepts."""

    id: Id
    acquirer: Id | None = None
    merchant_account: Id | None = None
    network: Network | None = None
    credentials: Annotated[tuple[Credential, ...], Meta(min_length=1, max_length=2)] = ("pan", "network_token")


class Constraints(Frozen, frozen=True):
    """What the caller rules out for this attempt."""

    challenge_allowed: bool = True
    review_allowed: bool = True
    exemptions: tuple[Exemption, ...] = ()
    """Those whose conditions only the caller can know to be met: recurring, trusted_beneficiary, secure_corporate."""


class Attempt(Frozen, frozen=True):
    """One authorisation request over one route, about to be made: the body of `POST /v1/decisions`.

    >>> body = b'''{"attempt_id": "att_1", "payment": {"id": "pay_1", "amount": 1999, "currency": "EUR",
    ...   "merchant_id": "shop_1", "payment_method": {"card": {"fingerprint": "fp_1"}}}}'''
    >>> msgspec.json.decode(body, type=Attempt).payment.amount
    1999
    """

    attempt_id: Id
    payment: Payment
    stage: Stage = "pre_authorization"
    verification: Verification | None = None
    signals: Annotated[dict[Annotated[str, Meta(max_length=64)], Signal], Meta(max_length=64)] = {}
    eligible_routes: Annotated[tuple[Route, ...], Meta(max_length=32)] = ()
    constraints: Constraints = Constraints()
    deadline_ms: Annotated[int, Meta(ge=1, le=60_000)] | None = None
    mode: Literal["live", "shadow"] = "live"
    at: Timestamp | None = None


ATTEMPT_DECODER = msgspec.json.Decoder(Attempt)
