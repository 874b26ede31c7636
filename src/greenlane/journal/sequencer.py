"""The one place where the order of everything is decided.

Used from one thread, with no await between `now` and `append`: so a decision knows exactly the entries before its seq.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from greenlane.errors import Conflict, InputError, JournalError
from greenlane.journal import past
from greenlane.journal.draft import BITS_OF_KIND, WAITING_DECODER, WAITING_ENCODER, Draft, emitted
from greenlane.journal.names import Names
from greenlane.journal.writer import Writer
from greenlane.payments.facts import Facts
from greenlane.ports.clock import Clock
from greenlane.ports.journal import Entry, JournalStore, Position, Row

AHEAD_US_MAX: Final = 5_000_000
"""How far the journal may be ahead of the clock; more means that one of the two is wrong."""

LINK_PREFIX: Final = "link "
"""Before the event id of a link entry. No event id has a space in it, so a link's dedup key is never anyone else's."""


class Fold(Protocol):
    """State made of entries: the same entries in the same order give the same state."""

    def apply(self, entry: Entry) -> None: ...


F = TypeVar("F", bound=Fold)


class Moment(Struct, frozen=True, gc=False):
    """The right edge of what is known: the position of the last entry, and the ingest time of the next."""

    ingest_us: int
    position: Position

    @property
    def next(self) -> Position:
        """Where the entry goes that is appended at this moment."""
        return Position(self.position.generation, self.position.seq + 1)


class Sequencer:
    """Opens the store, gives every entry its place, tells the folds, and hands it to the writer thread.

    >>> from greenlane.journal.memory import MemoryJournal
    >>> from greenlane.ports.clock import FakeClock
    >>> journal = Sequencer(MemoryJournal(), FakeClock(7), [])
    >>> journal.append(Draft(kind="control", source="console", event_id="1", body_hash=b"")).position
    Position(generation=1, seq=1)
    >>> journal.close()

    After `open` and before the first append, whoever holds the folds brings them up to the store (`folded`).
    Any failure to commit, or of a fold, poisons the sequencer: every later call raises; the way back is to open again.
    """

    def __init__(
        self,
        store: JournalStore,
        clock: Clock,
        folds: Sequence[Fold],
        *,
        importing: bool = False,
        simulated: bool = False,
        before_commit: Callable[[], None] = lambda: None,
        before_sync: Callable[[], None] = lambda: None,
    ):
        """What entries name: `before_commit` writes it, `before_sync` makes it durable; both as `Writer` has them."""
        self._store, self._clock, self._folds = store, clock, tuple(folds)
        self._importing = importing
        self._generation, self._seq, self._ingest_us = store.open(simulated=simulated)
        if not simulated:
            self._refuse_future()
        self._names = Names(store)
        self._poison: JournalError | None = None
        self._held: list[Row] | None = None
        self.writer = Writer(
            store, durable_seq=self._seq, importing=importing, before_commit=before_commit, before_sync=before_sync
        )

    @property
    def position(self) -> Position:
        """Of the last entry."""
        return Position(self._generation, self._seq)

    @property
    def last_ingest_us(self) -> int:
        """Of the last entry; 0 in an empty journal."""
        return self._ingest_us

    @property
    def ahead_us(self) -> int:
        """How far the last ingest is ahead of the clock: an alarm belongs on AHEAD_US_MAX."""
        return self._ingest_us - self._clock.now_us()

    def now(self) -> Moment:
        self._check()
        return Moment(max(self._ingest_us, self._clock.now_us()), self.position)

    def stored(self, source: str, event_id: str) -> Entry | None:
        """The entry under this dedup key, durable or not yet."""
        self._check()
        rows = self._names.rows("event", source, event_id)
        return rows[0].entry if rows else None

    def entries(self, space: str, name: str) -> list[Entry]:
        """Those under a name, durable or not yet, in order.

        "payment": all about it. "attempt": its first, the one that counts it, its live decisions. "decision": itself.
        """
        self._check()
        return [row.entry for row in self._names.rows(space, name)]

    def payment_us(self, payment_id: str) -> int | None:
        """The frozen time of a known payment, for `freeze`; None for a new one."""
        self._check()
        return past.payment_us(payment_id, self._names)

    def append(self, draft: Draft, *, moment: Moment | None = None) -> Entry:
        """The entry, in its place; or the stored one, when the same body came before under the same key.

        `moment` is the one a decision was read at: the entry carries its ingest. An outcome that waited for this
        entry's payment becomes a link right behind it.
        """
        self._check()
        earlier = self._names.rows("event", draft.source, draft.event_id)
        if earlier:
            return _same_body(earlier[0].entry, draft)
        past.refuse_contradiction(draft, self._names)
        past.refuse_endless(draft, self._names)
        ingest_us = self._ingest_of(draft, moment)
        self.writer.check_room()
        try:
            return self._sequence(draft, ingest_us=ingest_us)
        except Exception as error:  # a fold may have seen the entry, so the state is no longer the journal's
            self._poison = JournalError(
                f"appending failed half-way: {error!r}", hint="restart: the journal is replayed"
            )
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is appended inside becomes durable at once or not at all: one commit, however long it takes to decide.

        >>> from greenlane.journal.memory import MemoryJournal
        >>> from greenlane.ports.clock import FakeClock
        >>> journal = Sequencer(MemoryJournal(), FakeClock(7), [])
        >>> with journal.together():
        ...     seqs = [journal.append(Draft(kind="control", source="a", event_id=n, body_hash=b"")).seq for n in "12"]
        >>> journal.close()
        >>> seqs, journal.writer.durable_seq
        ([1, 2], 2)
        """
        held: list[Row] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            if held:
                self.writer.submit(held)

    def close(self) -> None:
        """Everything accepted is durable when this returns."""
        try:
            self.writer.close()
        finally:
            self._store.close()

    def _sequence(self, draft: Draft, *, ingest_us: int) -> Entry:
        rows: list[Row] = []
        free: dict[int, Row] = {}
        self._place(draft, self._row(draft, ingest_us=ingest_us, kind=draft.kind), rows, free)
        while free:
            self._link(free.pop(min(free)), rows, free)
        if self._held is None:
            self.writer.submit(rows)
        else:
            self._held += rows
        self._names.settle(self.writer.durable_seq)
        return rows[0].entry

    def _place(self, draft: Draft, row: Row, rows: list[Row], free: dict[int, Row]) -> None:
        """Put the row at the end of `rows`, and what it sets free, by seq, into `free`: links come in that order."""
        freed = past.set_free(draft, row.entry.facts, self._names)
        self._seq, self._ingest_us = row.entry.seq, row.entry.ingest_us
        self._names.add(row)
        rows.append(row)
        for fold in self._folds:
            fold.apply(row.entry)
        free.update((waiting.entry.seq, waiting) for waiting in freed)

    def _link(self, waiting: Row, rows: list[Row], free: dict[int, Row]) -> None:
        outcome = waiting.entry
        event_id = LINK_PREFIX + outcome.event_id
        if self._names.rows("event", outcome.source, event_id):
            return
        draft = replace(
            WAITING_DECODER.decode(waiting.waiting),
            event_id=event_id,
            occurred_us=outcome.occurred_us,
            payload=outcome.payload,
        )
        row = self._row(draft, ingest_us=self._ingest_us, kind="link")
        if not row.waiting:
            self._place(draft, row, rows, free)

    def _row(self, draft: Draft, *, ingest_us: int, kind: str) -> Row:
        facts = past.frozen_facts(draft, self._names, ingest_us=ingest_us)
        emits, sign = 0, 1
        if draft.takes_back and facts:
            taken = past.taken_back(draft.takes_back, facts, self._names)
            if taken:
                facts, emits, sign = taken.facts, taken.emits & BITS_OF_KIND[draft.takes_back], -1
        elif facts:
            emits = emitted(draft, opens_attempt=past.opens_attempt(facts, self._names))
        waits = past.waits(draft, facts, taken=sign < 0)
        entry = self._entry(draft, facts, ingest_us=ingest_us, kind=kind, emits=emits, sign=sign)
        own_name = self._names.ask("event", draft.source, draft.event_id)[0]
        names = (own_name, *past.names_of(draft, facts, self._names, emits=emits, waits=waits))
        return Row(entry, names, WAITING_ENCODER.encode(replace(draft, payload=b"")) if waits else b"")

    def _entry(self, draft: Draft, facts: Facts | None, *, ingest_us: int, kind: str, emits: int, sign: int) -> Entry:
        occurred_us = ingest_us if draft.occurred_us is None else draft.occurred_us
        return Entry(
            self._seq + 1, self._generation, ingest_us, kind, draft.source, draft.event_id, occurred_us, emits, sign,
            draft.body_hash, facts, draft.payload,
        )  # fmt: skip

    def _ingest_of(self, draft: Draft, moment: Moment | None) -> int:
        if moment is not None:
            if moment.position.seq != self._seq:
                raise JournalError("the journal moved between now() and append()", hint="keep the two without an await")
            return moment.ingest_us
        if draft.ingest_us is None:
            return max(self._ingest_us, self._clock.now_us())
        if not self._importing:
            raise JournalError("only an import may say when an entry arrived", code="not_importing")
        if draft.ingest_us < self._ingest_us:
            raise InputError(
                f"{draft.source} {draft.event_id} arrived before the journal's last entry",
                code="import_out_of_order",
                hint="history goes in oldest first and before live traffic: take a fresh directory",
            )
        return draft.ingest_us

    def _check(self) -> None:
        if self._poison is not None:
            raise self._poison
        self.writer.check()

    def _refuse_future(self) -> None:
        ahead_us = self.ahead_us
        if ahead_us > AHEAD_US_MAX:
            self._store.close()
            raise JournalError(
                f"the journal's last entry is {ahead_us / 1e6:.0f} s ahead of this machine's clock",
                code="clock_behind_journal",
                hint="set the clock; entries must not be stamped again with times already used",
            )


def folded(fold: F, entries: Iterable[Entry]) -> F:
    """The fold, brought up to the last of the entries."""
    for entry in entries:
        fold.apply(entry)
    return fold


def _same_body(entry: Entry, draft: Draft) -> Entry:
    if entry.body_hash == draft.body_hash:
        return entry
    raise Conflict(
        f"{draft.source} {draft.event_id} was used before with another body",
        hint="send the same body again for the same answer, or a new key for a new request",
    )
