"""What the world answers later about a payment, in the words of the API: the body of `POST /v1/outcomes`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from greenlane.payments.attempt import AmountMinor, Credential, Frozen, Id, Network, Payment, Timestamp

OutcomeType = Literal[
    "authorization",
    "authentication",
    "capture",
    "reversal",
    "refund",
    "settlement",
    "not_sent",
    "abandoned",
    "fraud_report",
    "alert",
    "dispute",
    "return",
    "review",
]


class Executed(Frozen, frozen=True):
    """What was really sent to the acquirer, where it may differ from what was decided."""

    route: Id | None = None
    intervention: Literal["allow", "exempt", "challenge", "review", "block"] | None = None
    credential: Credential | None = None
    sent_at: Timestamp | None = None
    overridden: bool = False


class Outcome(Frozen, frozen=True):
    """One thing that happened to a payment or an attempt; idempotent by (`source`, `event_id`).

    It names what it is about by `decision_id`, `attempt_id`, `payment_id`, or brings a whole `payment` that Greenlane
    never saw. `occurred_at` is the world's time; the time it was observed is our ingest. A `reversal` names in
    `reverses` the type it takes back.

    >>> body = b'{"type": "fraud_report", "source": "issuer", "event_id": "tc40-1", "payment_id": "pay_1"}'
    >>> msgspec.json.decode(body, type=Outcome).type
    'fraud_report'
    """

    type: OutcomeType
    source: Id
    event_id: Id
    decision_id: Id | None = None
    attempt_id: Id | None = None
    payment_id: Id | None = None
    payment: Payment | None = None
    occurred_at: Timestamp | None = None
    result: (
        Literal["approved", "declined", "partially_approved", "unknown", "succeeded", "failed", "won", "lost", "opened"]
        | None
    ) = None
    """Of an authorization: approved, declined, partially_approved, unknown. Of others: succeeded, failed, opened, won,
    lost."""
    network: Network | None = None
    network_response_code: Annotated[str, Meta(max_length=8)] | None = None
    merchant_advice_code: Annotated[str, Meta(max_length=8)] | None = None
    acquirer_code: Annotated[str, Meta(max_length=64)] | None = None
    trans_status: Literal["Y", "A", "N", "R", "U", "I", "C", "D"] | None = None
    eci: Annotated[str, Meta(pattern=r"^[0-9]{2}$")] | None = None
    liability_shift: bool | None = None
    amount: AmountMinor | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] | None = None
    reason: Annotated[str, Meta(max_length=128)] | None = None
    reverses: OutcomeType | None = None
    executed: Executed | None = None


class OutcomeRecord(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What an outcome said, without the identifiers of the payment: those are frozen in the entry's facts."""

    type: str
    result: str | None = None
    network: str | None = None
    network_response_code: str | None = None
    merchant_advice_code: str | None = None
    acquirer_code: str | None = None
    trans_status: str | None = None
    eci: str | None = None
    liability_shift: bool | None = None
    amount_minor: int | None = None
    currency: str | None = None
    reason: str | None = None
    reverses: str | None = None
    executed_route: str | None = None
    executed_intervention: str | None = None
    executed_credential: str | None = None
    sent_at: str | None = None
    overridden: bool = False
    decision_id: str | None = None
    attempt_id: str | None = None
    payment_id: str | None = None


OUTCOME_DECODER = msgspec.json.Decoder(Outcome)
OUTCOMES_DECODER = msgspec.json.Decoder(Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=1000)])
RECORD_DECODER = msgspec.msgpack.Decoder(OutcomeRecord)
