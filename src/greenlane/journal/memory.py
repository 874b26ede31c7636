"""A journal that lives as long as its object: for tests, examples and simulated worlds."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from greenlane.errors import JournalError
from greenlane.ports.journal import Entry, JournalStore, Row


class MemoryJournal(JournalStore):
    """The in-memory twin of the journal's stores. It survives close and open, as a disk would."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._retired: dict[int, Row] = {}
        self._by_name: dict[bytes, list[int]] = {}
        self._generation = self._seq = self._ingest_us = 0
        self._simulated: bool | None = None
        self._is_open = False

    def open(self, *, simulated: bool = False) -> tuple[int, int, int]:
        if self._is_open:
            raise JournalError("another process writes this journal", code="journal_locked")
        if self._simulated not in (None, simulated):
            raise JournalError("simulated and live time never mix in one journal", code="journal_clock")
        self._simulated, self._is_open = simulated, True
        self._generation += 1
        return self._generation, self._seq, self._ingest_us

    def commit(self, batch: Sequence[Row]) -> None:
        if batch[0].entry.seq != self._seq + 1:
            raise JournalError(f"entry {batch[0].entry.seq} does not follow {self._seq}")
        for row in batch:
            self._rows[row.entry.seq] = replace(row, names=())
            for name in row.names:
                self._by_name.setdefault(name, []).append(row.entry.seq)
        self._seq, self._ingest_us = batch[-1].entry.seq, batch[-1].entry.ingest_us

    def span(self) -> tuple[int, int]:
        return self._seq - len(self._rows) + 1, self._seq

    def read(self, *, after_seq: int = 0, upto_seq: int | None = None) -> Iterator[Entry]:
        first, last = self.span()
        if after_seq + 1 < first:
            raise JournalError(
                f"entries before {first} have retired", code="entries_retired", hint="read the day files"
            )
        for seq in range(after_seq + 1, (last if upto_seq is None else min(last, upto_seq)) + 1):
            yield self._rows[seq].entry

    def controls(self, *, after_seq: int = 0) -> Iterator[Entry]:
        rows = (self._retired | self._rows).values()
        yield from [row.entry for row in rows if row.entry.kind == "control" and row.entry.seq > after_seq]

    def named(self, name: bytes) -> list[Row]:
        return [self._rows.get(seq) or self._retired[seq] for seq in self._by_name.get(name, ())]

    def names(self) -> Iterator[bytes]:
        yield b"".join(self._by_name)

    def retire(self, before_seq: int, *, forget_before_seq: int = 0) -> None:
        for seq in [seq for seq in self._rows if seq < before_seq]:
            row = self._rows.pop(seq)
            kept = row.entry if row.entry.kind == "control" else replace(row.entry, payload=b"")
            self._retired[seq] = replace(row, entry=kept)
        self._retired = {
            seq: row for seq, row in self._retired.items() if seq >= forget_before_seq or row.entry.kind == "control"
        }
        remembered = {name: [seq for seq in seqs if seq >= forget_before_seq] for name, seqs in self._by_name.items()}
        self._by_name = {name: seqs for name, seqs in remembered.items() if seqs}

    def close(self) -> None:
        self._is_open = False
