"""Which feature events an entry is: decided once, at append, and stored."""

from typing import Final

from greenlane.journal.draft import Draft
from greenlane.ports.journal import SOURCE_BIT

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
