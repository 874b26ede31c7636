"""The journal's entry, and what a place that keeps entries must be able to do."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from greenlane.payments.facts import Facts

KINDS: Final = (
    "decision", "authorization", "authentication", "capture", "reversal", "refund", "settlement", "not_sent", "abandoned",
    "fraud_report", "alert", "dispute", "return", "review", "link", "control",
)  # fmt: skip

SOURCES: Final = ("attempts", "approvals", "declines", "authentications", "fraud_reports", "disputes", "refunds")
"""The streams of events that features are declared over. An entry says which of them it is an event of (`emits`)."""

SOURCE_BIT: Final = {name: 1 << i for i, name in enumerate(SOURCES)}


class Position(Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where in the journal: numbers of a lost tail may be used again, so a number alone is not a position."""

    generation: int
    seq: int


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened, as it is remembered for ever.

    `facts` is None for control entries and for outcomes whose payment is not known yet. `payload` is the msgpack of the
    record of the room that owns the kind (decisions, outcomes, ...); the journal never looks inside.
    """

    seq: int
    generation: int
    ingest_us: int
    kind: str
    source: str
    event_id: str
    occurred_us: int
    emits: int
    """Bits of SOURCE_BIT: the feature events this entry is."""
    sign: int
    """+1, or -1 for an entry that takes an earlier one back (Count and Sum subtract it)."""
    body_hash: bytes
    """16 bytes over the body as it was sent: a duplicate key with another body is refused."""
    facts: Facts | None
    payload: bytes

    @property
    def position(self) -> Position:
        return Position(self.generation, self.seq)


class JournalStore(Protocol):
    """Keeps entries durably, in order. Commits are all or nothing; the store always holds a prefix of the sequence."""

    def open(self) -> tuple[int, int, int]:
        """Raise and return the generation, with the last seq and the last ingest_us held (0, 0 when empty)."""
        ...

    def commit(self, batch: Sequence[Entry]) -> None:
        """Durable when this returns."""
        ...

    def read(self, *, after_seq: int = 0, upto_seq: int | None = None) -> Iterator[Entry]:
        """Durable entries in order."""
        ...

    def find(self, source: str, event_id: str) -> Entry | None:
        """The entry under this dedup key."""
        ...

    def of_payment(self, payment_id: str) -> list[Entry]:
        """All entries about one payment, in order, links and outcomes that name it included."""
        ...

    def close(self) -> None: ...


ENCODER: Final = msgspec.msgpack.Encoder()
FACTS_DECODER: Final = msgspec.msgpack.Decoder(Facts)
