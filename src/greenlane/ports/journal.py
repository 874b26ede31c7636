"""The journal's entry, and what a place that keeps entries must be able to do."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from greenlane.payments.facts import Facts

KINDS: Final = (
    "decision", "authorization", "authentication", "capture", "reversal", "refund", "settlement", "not_sent",
    "abandoned", "fraud_report", "alert", "dispute", "return", "review", "link", "control",
)  # fmt: skip

SOURCES: Final = ("attempts", "approvals", "declines", "authentications", "fraud_reports", "disputes", "refunds")
"""The streams of events that features are declared over. An entry says which of them it is an event of (`emits`)."""

SOURCE_BIT: Final = {name: 1 << i for i, name in enumerate(SOURCES)}


class Position(Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where in the journal: numbers of a lost tail may be used again, so a number alone is not a position."""

    generation: int
    seq: int

    def __str__(self) -> str:
        return f"{self.generation}/{self.seq}"


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


class Row(Struct, frozen=True, array_like=True, gc=False):
    """An entry with the names it is found by, as the sequencer hands it to a store."""

    entry: Entry
    names: tuple[bytes, ...]
    waiting: bytes = b""
    """What an outcome needs to become a link once its payment comes; empty for all others."""


def name_of(space: str, *parts: str) -> bytes:
    """The 16 bytes an entry is found by: of its dedup key ("event"), its payment, attempt, decision, ...

    >>> name_of("event", "acquirer", "1") == name_of("event", "acquirer1", "")
    False
    """
    return blake2b("\0".join((space, *parts)).encode(), digest_size=16).digest()


class JournalStore(Protocol):
    """Keeps rows durably, in order. Commits are all or nothing; the store always holds a prefix of the sequence.

    One thread commits, one waits for the disk (`sync`), one other does all else. A name outlives its entry: it stays
    until it is forgotten.
    """

    def open(self, *, simulated: bool = False) -> tuple[int, int, int]:
        """Raise and return the generation, with the last seq and the last ingest_us held (0, 0 when empty).

        A journal keeps the kind of clock it was first opened with: simulated and live time never mix.
        """
        ...

    def commit(self, batch: Sequence[Row]) -> None:
        """Written when this returns: no crash of this process loses it. JournalError, and nothing kept, when it fails.

        What a store that is open for reading only gives out is durable."""
        ...

    def hold(self, rows: Sequence[Row]) -> bool:  # noqa: ARG002 - for stores that have to
        """Keep a group from a crash of this process until it is committed; at once, by the thread that appends. False
        where there is no room for it. For stores that live no longer than the process there is nothing to do.
        """
        return True

    def sync(self) -> None:
        """Everything committed before is durable when this returns; by a third thread. For stores that commit so anyway
        there is nothing to do.
        """
        return

    def index_names(self) -> None:
        """Work for names that could wait until here; by the same third thread, after whoever waited for it was told."""
        return

    def span(self) -> tuple[int, int]:
        """The first and the last seq that `read` can give; (last + 1, last) when there is none."""
        ...

    def read(self, *, after_seq: int = 0, upto_seq: int | None = None) -> Iterator[Entry]:
        """Durable entries in order. JournalError when entries just after `after_seq` have retired."""
        ...

    def controls(self, *, after_seq: int = 0) -> Iterator[Entry]:
        """The durable control entries in order, whole: they never retire."""
        ...

    def named(self, name: bytes) -> list[Row]:
        """All durable rows under a name, in order, `names` left out; retired entries come without their payload."""
        ...

    def names(self) -> Iterator[bytes]:
        """All names held, concatenated in pieces of a convenient size."""
        ...

    def retire(self, before_seq: int, *, forget_before_seq: int = 0) -> None:
        """Drop the entries before a seq, which day files hold now; forget even the names before another."""
        ...

    def close(self) -> None: ...

    def find(self, source: str, event_id: str) -> Entry | None:
        """The durable entry under this dedup key."""
        return next((row.entry for row in self.named(name_of("event", source, event_id))), None)

    def of_payment(self, payment_id: str) -> list[Entry]:
        """All durable entries about one payment, in order, links and outcomes that name it included."""
        return [row.entry for row in self.named(name_of("payment", payment_id))]


ENCODER: Final = msgspec.msgpack.Encoder()
FACTS_DECODER: Final = msgspec.msgpack.Decoder(Facts)


class Change(Struct, frozen=True, array_like=True, gc=False):
    """The payload of a control entry, as rooms below `decisions` read it: who changed what, and to what.

    `after` stays bytes until whoever owns the subject decodes it.
    """

    subject: str
    id: str
    who: str
    why: str
    before: Raw
    after: Raw


CHANGE_DECODER: Final = msgspec.msgpack.Decoder(Change)
