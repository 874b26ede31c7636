"""What a room hands to the sequencer: an entry but for its place and frozen facts; and which feature events it is."""

from typing import Final

import msgspec
from msgspec import Struct

from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT


class Reference(Struct, frozen=True, array_like=True, gc=False):
    """Which payment an outcome speaks of. The first that is given and known counts, in this order:

    the decision, the attempt, the `attempt_no`-th attempt of the payment, its latest attempt. Where only an approved
    attempt can be meant (`past.AFTER_APPROVAL`) and there is one, that one comes before the latest.
    """

    decision_id: str = ""
    attempt_id: str = ""
    payment_id: str = ""
    attempt_no: int = 0


class Draft(Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """An entry about to be appended. Times in UTC microseconds.

    A decision brings its facts. An outcome refers to a payment; one about a payment Greenlane never saw brings the
    facts of the whole payment too. What is not None below `facts` replaces the same fact of the payment referred to.

    >>> Draft(kind="refund", source="acquirer", event_id="re_1", body_hash=b"", amount_reporting_minor=500,
    ...       refers_to=Reference(payment_id="pay_1")).refers_to.payment_id
    'pay_1'
    """

    kind: str
    source: str
    event_id: str
    body_hash: bytes
    payload: bytes = b""
    occurred_us: int | None = None
    """When the outcome happened, by its sender's clock; None is the time of append."""
    ingest_us: int | None = None
    """Only an import of history says this."""
    shadow: bool = False
    """A decision nobody acts on: it feeds no feature."""
    decision_id: str = ""
    """Of the decision this entry is."""
    refers_to: Reference | None = None
    takes_back: str | None = None
    """The kind this entry reverses: the payment's latest fraud_report, dispute, refund, ... not yet taken back."""
    approved: bool | None = None
    """Of an authorization; None when the answer never came."""
    facts: Facts | None = None

    code: str | None = None
    decline_class: str | None = None
    route_id: str | None = None
    intervention: str | None = None
    amount_reporting_minor: int | None = None
    """A refund's own amount."""


WAITING_ENCODER: Final = msgspec.msgpack.Encoder()
WAITING_DECODER: Final = msgspec.msgpack.Decoder(Draft)


ATTEMPTS: Final = SOURCE_BIT["attempts"]
APPROVALS: Final = SOURCE_BIT["approvals"]
DECLINES: Final = SOURCE_BIT["declines"]

BITS_OF_KIND: Final = {
    "authorization": APPROVALS | DECLINES,
    "authentication": SOURCE_BIT["authentications"],
    "fraud_report": SOURCE_BIT["fraud_reports"],
    "dispute": SOURCE_BIT["disputes"],
    "refund": SOURCE_BIT["refunds"],
}


def emitted(draft: Draft, *, opens_attempt: bool) -> int:
    """The bits of an entry that takes nothing back.

    An attempt is one event: its first live decision, else the first authorization of an attempt never decided here.

    >>> emitted(Draft(kind="authorization", source="a", event_id="1", body_hash=b"", approved=True), opens_attempt=True)
    3
    """
    if draft.shadow:
        return 0
    attempts = ATTEMPTS if opens_attempt and draft.kind in ("decision", "authorization") else 0
    if draft.kind != "authorization":
        return attempts | BITS_OF_KIND.get(draft.kind, 0)
    if draft.approved is None:
        return attempts
    return attempts | (APPROVALS if draft.approved else DECLINES)
