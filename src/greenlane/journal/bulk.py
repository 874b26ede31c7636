"""The sequencer of an import: the same journal as one `append` after the other, several times as fast.

Nearly every row of a history is a payment that nobody named before. Then there is nothing to look up, nothing waits for
it, and its facts are as the row has them. All other rows take the ordinary way.
"""

from collections.abc import Sequence

from greenlane.errors import Conflict
from greenlane.journal.draft import Draft, emitted
from greenlane.journal.sequencer import Sequencer
from greenlane.ports.journal import Entry, Row, name_of


class BulkSequencer(Sequencer):
    """
    >>> from greenlane.journal.memory import MemoryJournal
    >>> from greenlane.ports.clock import FakeClock
    >>> journal = BulkSequencer(MemoryJournal(), FakeClock(9), [], importing=True)
    >>> rows = [Draft(kind="control", source="console", event_id=name, body_hash=b"", ingest_us=5) for name in "ab"]
    >>> [entry.seq for entry in journal.append_all(rows)]
    [1, 2]
    >>> journal.close()
    """

    def append_all(self, drafts: Sequence[Draft]) -> list[Entry | Conflict]:
        """What `append` gives for each draft, or why its key was refused. Other errors leave all before in place."""
        self._check()
        self.writer.check_room()
        entries: list[Entry | Conflict] = []
        group: list[Row] = []
        try:
            for draft in drafts:
                row = self._new_payment(draft)
                if row is None:
                    group = self._submit(group)
                    entries.append(self._append_one(draft))
                else:
                    group.append(row)
                    entries.append(row.entry)
        finally:
            self._submit(group)
        return entries

    def _append_one(self, draft: Draft) -> Entry | Conflict:
        try:
            return self.append(draft)
        except Conflict as conflict:
            return conflict

    def _new_payment(self, draft: Draft) -> Row | None:
        """The row of an authorization that brings a payment and an attempt of new names; None for all else."""
        facts = draft.facts
        if facts is None or draft.kind != "authorization" or draft.refers_to is not None or not facts.attempt_id:
            return None
        names = (
            name_of("event", draft.source, draft.event_id),
            name_of("payment", facts.payment_id),
            name_of("attempt", facts.attempt_id),
        )
        look = self._names._look
        if look(names[0]) or look(names[1]) or look(names[2]) or facts.payment_us != draft.ingest_us:
            return None
        ingest_us = self._ingest_of(draft, None)
        emits = emitted(draft, opens_attempt=True)
        entry = self._entry(draft, facts, ingest_us=ingest_us, kind=draft.kind, emits=emits, sign=1)
        row = Row(entry, names)
        self._seq, self._ingest_us = entry.seq, ingest_us
        self._names.add(row)
        for fold in self._folds:
            fold.apply(entry)
        return row

    def _submit(self, group: list[Row]) -> list[Row]:
        if group:
            self.writer.submit(group)
            self._names.settle(self.writer.durable_seq)
        return []
