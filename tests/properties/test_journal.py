"""The journal against the obviously correct one: a list that is searched from the start for everything."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.errors import Conflict, JournalError
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer
from greenlane.payments.facts import Facts
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import SOURCE_BIT, Entry, JournalStore, Row

BITS = {
    "authorization": SOURCE_BIT["approvals"] | SOURCE_BIT["declines"],
    "fraud_report": SOURCE_BIT["fraud_reports"],
    "refund": SOURCE_BIT["refunds"],
}
TOLD = ("code", "amount_reporting_minor")
AFTER_APPROVAL = ("capture", "reversal", "fraud_report", "refund")


class Naive:
    """Entries and the drafts they came from, in a list. No index, no cache, no disk."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.entries: list[Entry] = []
        self.generation = 1

    def append(self, draft: Draft, ingest_us: int) -> None:
        self._place(draft, ingest_us, draft.kind, draft.event_id)
        self._link(ingest_us)

    def truncate(self, seq: int) -> None:
        del self.drafts[seq:], self.entries[seq:]

    def _link(self, ingest_us: int) -> None:
        for draft, entry in list(zip(self.drafts, self.entries, strict=True)):
            event_id = "link " + draft.event_id
            if entry.kind == "link" or not self._waits(draft, entry) or event_id in {e.event_id for e in self.entries}:
                continue
            linked = replace(draft, occurred_us=entry.occurred_us)
            facts, _, sign = self._judge(linked, ingest_us)
            if facts is not None and (draft.takes_back is None or sign < 0):
                self._place(linked, ingest_us, "link", event_id)
                self._link(ingest_us)
                return

    def _waits(self, draft: Draft, entry: Entry) -> bool:
        if draft.kind == "decision":
            return False
        return entry.facts is None or (draft.takes_back is not None and entry.sign > 0)

    def _place(self, draft: Draft, ingest_us: int, kind: str, event_id: str) -> None:
        facts, emits, sign = self._judge(draft, ingest_us)
        occurred_us = ingest_us if draft.occurred_us is None else draft.occurred_us
        self.entries.append(
            Entry(
                len(self.entries) + 1, self.generation, ingest_us, kind, draft.source, event_id, occurred_us,
                emits, sign, draft.body_hash, facts, draft.payload,
            )
        )  # fmt: skip
        self.drafts.append(draft)

    def _judge(self, draft: Draft, ingest_us: int) -> tuple[Facts | None, int, int]:
        facts = self._facts(draft, ingest_us)
        if facts is None:
            return None, 0, 1
        if draft.takes_back is not None:
            taken = self._taken(draft.takes_back, facts)
            return (taken.facts, taken.emits & BITS[draft.takes_back], -1) if taken else (facts, 0, 1)
        return facts, self._emits(draft, facts), 1

    def _emits(self, draft: Draft, facts: Facts) -> int:
        if draft.shadow:
            return 0
        counted = any(e.emits & 1 and e.facts and e.facts.attempt_id == facts.attempt_id for e in self.entries)
        first = draft.kind in ("decision", "authorization") and bool(facts.attempt_id) and not counted
        own = {True: SOURCE_BIT["approvals"], False: SOURCE_BIT["declines"], None: 0}[draft.approved]
        return first + (own if draft.kind == "authorization" else BITS.get(draft.kind, 0))

    def _taken(self, kind: str, facts: Facts) -> Entry | None:
        same = attrgetter("payment_id", "attempt_id") if kind == "authorization" else attrgetter("payment_id")
        standing: list[Entry] = []
        for e in self.entries:
            if e.emits & BITS[kind] and e.facts and same(e.facts) == same(facts):
                standing = [*standing, e] if e.sign > 0 else standing[:-1]
        return standing[-1] if standing else None

    def _facts(self, draft: Draft, ingest_us: int) -> Facts | None:
        facts = self._referred(draft.refers_to or Reference(), draft.kind)
        attempt_id = (draft.refers_to or Reference()).attempt_id
        if draft.facts and (facts is None or (attempt_id and attempt_id != facts.attempt_id)):
            known = self._of_payment(draft.facts.payment_id)
            facts = replace(draft.facts, payment_us=known[0].payment_us if known else ingest_us)
        if facts is None:
            return None
        reference = draft.refers_to or Reference()
        if not facts.attempt_id and (reference.attempt_id or draft.kind == "authorization"):
            facts = replace(facts, attempt_id=reference.attempt_id or f"{facts.payment_id}/{reference.attempt_no or 1}")
        for name in TOLD:
            if getattr(draft, name) is not None:
                facts = replace(facts, **{name: getattr(draft, name)})
        return facts

    def _referred(self, reference: Reference, kind: str) -> Facts | None:
        for draft, entry in zip(self.drafts, self.entries, strict=True):
            if draft.decision_id and draft.decision_id == reference.decision_id:
                return entry.facts
        return self._of_attempt(reference.attempt_id) or self._of_reference(reference, kind)

    def _of_attempt(self, attempt_id: str) -> Facts | None:
        mine = [
            (draft, e.facts)
            for draft, e in zip(self.drafts, self.entries, strict=True)
            if attempt_id and e.facts and e.facts.attempt_id == attempt_id
        ]
        if not mine:
            return None
        # a shadow decision counts only where it was the attempt's first entry
        decided = [
            facts for i, (draft, facts) in enumerate(mine) if draft.kind == "decision" and not (draft.shadow and i)
        ]
        return decided[-1] if decided else mine[0][1]

    def _of_payment(self, payment_id: str) -> list[Facts]:
        return [e.facts for e in self.entries if e.facts and e.facts.payment_id == payment_id]

    def _of_reference(self, reference: Reference, kind: str) -> Facts | None:
        known = self._of_payment(reference.payment_id)
        if not known:
            return None
        attempts = list(dict.fromkeys(f.attempt_id for f in known if f.attempt_id))
        number = reference.attempt_no or len(attempts)
        if reference.attempt_id or not attempts or number > len(attempts):
            return replace(known[-1], attempt_id="", code="")
        approved = [
            e.facts.attempt_id
            for e in self.entries
            if e.facts
            and e.facts.payment_id == reference.payment_id
            and e.emits & SOURCE_BIT["approvals"]
            and e.sign > 0
        ]
        if kind in AFTER_APPROVAL and not reference.attempt_no and approved:
            return self._of_attempt(approved[-1])
        return self._of_attempt(attempts[number - 1])


class Unplugged(MemoryJournal):
    """Keeps the first `kept` rows it is given after that is set, by whole commits, and then fails."""

    broken = False

    def commit(self, batch: Sequence[Row]) -> None:
        if self.broken:
            raise OSError("no space left on device")
        super().commit(batch)


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Entry] = []

    def apply(self, entry: Entry) -> None:
        self.seen.append(entry)


PAYMENTS = st.integers(0, 3)
ATTEMPTS = st.integers(0, 2)
EVENTS = st.integers(0, 400)


class Journal(RuleBasedStateMachine):
    store: JournalStore

    def make_store(self) -> JournalStore:
        self.kept = Unplugged()
        return self.kept

    @initialize()
    def start(self) -> None:
        self.naive, self.clock, self.number = Naive(), FakeClock(1000), 0
        self.store = self.make_store()
        self.fold = Recorder()
        self.journal = Sequencer(self.store, self.clock, [self.fold])

    def reopen(self) -> None:
        self.store = self.kept
        self.fold = Recorder()
        self.journal = Sequencer(self.store, self.clock, [self.fold])
        self.naive.generation += 1
        self.fold.seen = list(self.store.read())

    def append(self, draft: Draft) -> None:
        self.number += 1
        before = len(self.naive.entries)
        draft = replace(draft, source="s", event_id=f"e{self.number}", body_hash=b"%16d" % self.number)
        self.naive.append(draft, self.journal.now().ingest_us)
        assert self.journal.append(draft) == self.naive.entries[before]

    def facts(self, payment: int, attempt: int) -> Facts:
        attempt_id = f"att_{payment}_{attempt}" if attempt else ""
        return Facts(
            payment_id=f"pay_{payment}", payment_us=self.clock.now_us(), amount_minor=100 + payment, currency="EUR",
            amount_reporting_minor=100 + payment, attempt_id=attempt_id, card=7 + payment,
        )  # fmt: skip

    @rule(by_us=st.integers(-50, 1000))
    def time_passes(self, by_us: int) -> None:
        self.clock.advance(by_us)

    @rule(payment=PAYMENTS, attempt=st.integers(1, 2), shadow=st.booleans())
    def decide(self, payment: int, attempt: int, shadow: bool) -> None:
        moment = self.journal.now()
        known_us = self.journal.payment_us(f"pay_{payment}")
        facts = replace(self.facts(payment, attempt), payment_us=known_us or moment.ingest_us)
        self.append(
            Draft(kind="decision", source="", event_id="", body_hash=b"", facts=facts, shadow=shadow,
                  decision_id=f"dec_{moment.next.seq}")
        )  # fmt: skip

    @rule(
        kind=st.sampled_from(["authorization", "authorization", "fraud_report", "refund", "reversal", "capture"]),
        takes_back=st.sampled_from(["fraud_report", "refund", "authorization"]),
        by=st.sampled_from(["decision", "attempt", "payment", "number", "both"]),
        payment=PAYMENTS,
        attempt=st.integers(1, 3),
        approved=st.sampled_from([True, False, None]),
        whole=st.booleans(),
        late_us=st.integers(-500, 500),
        code=st.sampled_from([None, "05"]),
    )
    def outcome(
        self, kind: str, takes_back: str, by: str, payment: int, attempt: int, approved: bool | None, whole: bool,
        late_us: int, code: str | None,
    ) -> None:  # fmt: skip
        pay, att = f"pay_{payment}", f"att_{payment}_{attempt}"
        if kind == "reversal" and by in ("attempt", "decision"):
            by = "both"  # without its payment's id an early reversal is linked only by an outcome of the same name
        reference = {
            "decision": Reference(decision_id=f"dec_{1 + 2 * payment}"),
            "attempt": Reference(attempt_id=att),
            "payment": Reference(payment_id=pay),
            "number": Reference(payment_id=pay, attempt_no=attempt),
            "both": Reference(payment_id=pay, attempt_id=att),
        }[by]
        named = by in ("attempt", "both")
        self.append(
            Draft(
                kind=kind, source="", event_id="", body_hash=b"", payload=b"told", refers_to=reference, code=code,
                occurred_us=self.clock.now_us() + late_us,
                approved=approved if kind == "authorization" else None,
                takes_back=takes_back if kind == "reversal" else None,
                amount_reporting_minor=self.number if kind == "refund" else None,
                facts=self.facts(payment, attempt if named else 0) if whole and by != "decision" else None,
            )
        )  # fmt: skip

    @rule(event=EVENTS, other_body=st.booleans())
    def send_again(self, event: int, other_body: bool) -> None:
        if self.number == 0:
            return
        event = event % self.number + 1
        stored = self.journal.stored("s", f"e{event}")
        if stored is None:
            return
        draft = Draft(kind="control", source="s", event_id=f"e{event}", body_hash=stored.body_hash + b"!" * other_body)
        if not other_body:
            assert self.journal.append(draft) == stored
            return
        with pytest.raises(Conflict):
            self.journal.append(draft)

    @rule()
    def wait(self) -> None:
        self.journal.writer.wait(self.journal.position.seq, timeout_s=5)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.reopen()

    @rule(payment=PAYMENTS)
    def crash(self, payment: int) -> None:
        """The disk fails: what was durable stays, all later calls raise, and a restart finds a prefix."""
        if not isinstance(self.kept, Unplugged):
            return
        self.kept.broken = True
        with suppress(JournalError):  # what still waited may fail first
            self.decide(payment, 1, False)
        with pytest.raises(JournalError):
            self.journal.writer.wait(self.journal.position.seq, timeout_s=5)
        for call in (self.journal.now, self.journal.close, lambda: self.journal.stored("s", "e1")):
            with pytest.raises(JournalError):
                call()
        self.kept.broken = False
        self.naive.truncate(self.kept.span()[1])
        self.reopen()

    @invariant()
    def folds_saw_what_the_naive_journal_holds(self) -> None:
        if hasattr(self, "fold"):
            assert self.fold.seen == self.naive.entries

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.kept_is_what_was_sequenced()

    def kept_is_what_was_sequenced(self) -> None:
        self.kept.open()
        assert list(self.kept.read()) == self.naive.entries
        self.kept.close()


class OnDisk(Journal):
    """The same over SQLite, with a new store at each restart."""

    def make_store(self) -> JournalStore:
        self.directory = Path(tempfile.mkdtemp())
        self.kept = SqliteJournal(self.directory / "journal.sqlite")  # type: ignore[assignment] # the twin's place
        return self.kept

    def reopen(self) -> None:
        self.kept = SqliteJournal(self.directory / "journal.sqlite")  # type: ignore[assignment] # the twin's place
        super().reopen()

    def kept_is_what_was_sequenced(self) -> None:
        with_reader = SqliteJournal(self.directory / "journal.sqlite", read_only=True)
        assert list(with_reader.read()) == self.naive.entries


TestJournal = Journal.TestCase
TestJournal.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
