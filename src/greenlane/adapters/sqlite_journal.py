"""The journal in SQLite: batches in WAL mode, synced beside the next commit, found by name, read in order.

entries  what happened, by seq, until its day is a file of its own
retired  the same without payload: facts and body hashes are kept for late outcomes and duplicates
about    generation, kind of clock, first seq not retired

A second file is the index: (16-byte name, seq) for dedup keys, payments, attempts, decisions. Names are random, so each
touches a page of its own: small pages, a transaction for many entries, and no waiting for the disk, because what a
crash takes from the index is made again from the entries. A third, `journal_tail`, keeps what waits for its commit.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from msgspec.structs import astuple

from greenlane.adapters.entry_packing import packed, unpacked
from greenlane.adapters.journal_tail import JournalTail
from greenlane.adapters.sqlite import (
    RANDOM_PAGE_BYTES,
    Checkpoints,
    Wal,
    connect,
    create,
    fold,
    insert,
    insert_whole,
    lock,
    transaction,
)
from greenlane.errors import JournalError
from greenlane.ports.journal import ENCODER, FACTS_DECODER, Entry, JournalStore, Row

FORMAT: Final = 4
NAME_BYTES: Final = 16
PLAIN: Final = 10
"""Fields of an entry before its facts: columns as they are."""
INDEXED_AT_ONCE: Final = 50_000
UNINDEXED_MAX: Final = 64
"""Names that wait in memory at least: a transaction for several entries."""
RETIRE_ROWS: Final = 1000
"""Retired in one transaction, so that commits between two of them wait for a few milliseconds at most."""

COLUMNS: Final = (
    "seq, generation, ingest_us, kind, source, event_id, occurred_us, emits, sign, body_hash, facts, waiting, payload"
)
SCHEMA: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entries (
  seq INTEGER PRIMARY KEY, generation INTEGER, ingest_us INTEGER, kind TEXT, source TEXT, event_id TEXT,
  occurred_us INTEGER, emits INTEGER, sign INTEGER, body_hash BLOB, facts BLOB, waiting BLOB, payload BLOB,
  names BLOB
);
CREATE TABLE retired (
  seq INTEGER PRIMARY KEY, generation INTEGER, ingest_us INTEGER, kind TEXT, source TEXT, event_id TEXT,
  occurred_us INTEGER, emits INTEGER, sign INTEGER, body_hash BLOB, facts BLOB, waiting BLOB, payload BLOB
);
CREATE INDEX entries_controls ON entries (seq) WHERE kind = 'control';
CREATE INDEX retired_controls ON retired (seq) WHERE kind = 'control';
INSERT INTO about VALUES ('format', 4), ('generation', 0), ('first_seq', 1), ('clock', NULL);
"""
INDEX: Final = """
CREATE TABLE names (name BLOB, seq INTEGER, PRIMARY KEY (name, seq)) WITHOUT ROWID;
CREATE TABLE indexed (seq INTEGER);
INSERT INTO indexed VALUES (0);
"""
READ_ROWS: Final = 1024
"""Fetched at once: a reader that takes its time between two entries holds no snapshot, so the WAL can be folded."""
READ_NAMES: Final = "SELECT seq, names FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
READ: Final = f"SELECT {COLUMNS} FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
CONTROLS: Final = f"""
SELECT {COLUMNS} FROM retired WHERE kind = 'control' AND seq > :after_seq UNION ALL
SELECT {COLUMNS} FROM entries WHERE kind = 'control' AND seq > :after_seq ORDER BY seq
"""
RETIRE: Final = f"""
INSERT INTO retired SELECT {COLUMNS.replace("facts, waiting, payload", "facts_of(facts, payload), waiting")},
CASE kind WHEN 'control' THEN payload END FROM entries WHERE seq < ?
"""


class SqliteJournal(JournalStore):
    """One writer connection (commit, retire) and one reader connection (everything else).

    `read_only` is for the follower and for people: it sees what is durable, and changes nothing.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self._path, self._index_path = path, path.with_suffix(".names")
        self._lock_fd: int | None = None
        self._read_only = read_only
        self._seq = 0
        self._unindexed: dict[bytes, list[int]] = {}
        """Seqs of names that the index does not hold yet."""
        self._writing, self._indexing, self._wal = threading.Lock(), threading.Lock(), Wal(path)
        self._writer: sqlite3.Connection | None = None
        self._indexer: sqlite3.Connection | None = None
        self._checkpoints: Checkpoints | None = None
        self._tail: JournalTail | None = None
        if not path.exists():
            if read_only:
                raise JournalError(f"there is no journal at {path}", code="no_journal", hint="is --data right?")
            create(self._index_path, INDEX, page_bytes=RANDOM_PAGE_BYTES)
            create(path, SCHEMA)
        if not self._index_path.exists():
            raise JournalError(
                f"{self._index_path} is missing", code="no_index", hint="restore it from the backup of the journal"
            )
        self._reader = connect(path, read_only=True)
        self._check_format()
        self._index = connect(self._index_path, read_only=True)

    def open(self, *, simulated: bool = False) -> tuple[int, int, int]:
        if self._read_only:
            raise JournalError("this journal was opened to be read", code="journal_read_only")
        self._lock_fd = lock(self._path.with_suffix(".lock"))
        clock = "simulated" if simulated else "live"
        if self._about("clock") not in (None, clock):
            self._unlock()
            raise JournalError(
                f"{self._path} was written under the {self._about('clock')} clock",
                code="journal_clock",
                hint="simulated and live time never mix in one journal: use another data directory",
            )
        self._writer = connect(self._path, read_only=False, synchronous="NORMAL")
        self._writer.create_function("facts_of", 2, _facts_of, deterministic=True)
        self._indexer = connect(self._index_path, read_only=False, synchronous="NORMAL")
        self._checkpoints = Checkpoints(self._path, self._index_path)
        self._seq, _ = self._last()
        self._recover_tail()
        with self._transaction() as db:
            db.execute("UPDATE about SET value = ? WHERE key = 'clock'", (clock,))
            db.execute("UPDATE about SET value = value + 1 WHERE key = 'generation'")
        self.sync()  # nobody is answered under a generation that a power cut could take back
        assert self._tail is not None, "laid out just above"
        self._tail.forget()
        self._seq, ingest_us = self._last()
        self._index_missing()
        return int(self._about("generation")), self._seq, ingest_us

    def commit(self, batch: Sequence[Row]) -> None:
        if batch[0].entry.seq != self._seq + 1:
            raise JournalError(f"entry {batch[0].entry.seq} does not follow {self._seq}")
        entries = [value for row in batch for value in _values(row)]
        with self._writing:
            insert_whole(self._open_writer(), "entries", entries, columns=14)
            for row in batch:  # only now: whoever finds a name reads its entry
                for name in row.names:
                    self._unindexed.setdefault(name, []).append(row.entry.seq)
            self._seq = batch[-1].entry.seq
        if self._tail is not None:
            self._tail.committed_seq = self._seq

    def hold(self, rows: Sequence[Row]) -> bool:
        return self._tail is not None and self._tail.put(rows)

    def sync(self) -> None:
        self._wal.sync()

    def index_names(self) -> None:
        """Not while retirement has the index: names can wait for it, the next sync cannot."""
        if len(self._unindexed) >= UNINDEXED_MAX and not self._indexing.locked():
            self._index_names()

    def span(self) -> tuple[int, int]:
        last, _ = self._last()
        return self._first(), last

    def read(self, *, after_seq: int = 0, upto_seq: int | None = None) -> Iterator[Entry]:
        upto_seq = 2**63 - 1 if upto_seq is None else upto_seq
        self._refuse_gap(after_seq, self._first())
        while page := self._reader.execute(READ, (after_seq, upto_seq, READ_ROWS)).fetchall():
            self._refuse_gap(after_seq, page[0][0])
            if self._read_only:
                self.sync()  # whoever writes a file of what it reads must not know more than the disk does
            for values in page:
                yield _row(values).entry
            after_seq = page[-1][0]

    def controls(self, *, after_seq: int = 0) -> Iterator[Entry]:
        """In one statement: what retires meanwhile is in one of the tables as that statement sees them."""
        found = self._reader.execute(CONTROLS, {"after_seq": after_seq}).fetchall()
        if self._read_only and found:
            self.sync()
        yield from [_row(values).entry for values in found]

    def named(self, name: bytes) -> list[Row]:
        waiting = self._unindexed.get(name, [])  # asked first: what waits no more is in the index by then
        if self._read_only:
            waiting = [seq for one, seq in self._not_indexed() if one == name]
        found = self._index.execute("SELECT seq FROM names WHERE name = ? ORDER BY seq", (name,)).fetchall()
        return [self._row_at(seq) for seq in dict.fromkeys([*(seq for (seq,) in found), *waiting])]

    def names(self) -> Iterator[bytes]:
        yield b"".join(self._unindexed)
        rows = self._index.execute("SELECT name FROM names")
        while piece := rows.fetchmany(65_536):
            yield b"".join([name for (name,) in piece])

    def retire(self, before_seq: int, *, forget_before_seq: int = 0) -> None:
        """A retired entry's names are in the index only, so the index is made durable first."""
        if self._indexer is not None:
            self._index_names()
            with self._indexing:
                fold(self._indexer)
        for seq in range(self._first(), before_seq, RETIRE_ROWS):
            upto = min(seq + RETIRE_ROWS, before_seq)
            with self._transaction() as db:
                db.execute(RETIRE, (upto,))
                db.execute("DELETE FROM entries WHERE seq < ?", (upto,))
                db.execute("UPDATE about SET value = ? WHERE key = 'first_seq'", (upto,))
        if forget_before_seq:
            self._forget(min(forget_before_seq, before_seq))

    def close(self) -> None:
        """The writer goes last: the last connection folds the WAL into the file."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._wal.close()
        self._reader.close()
        self._index.close()
        if self._writer is not None and self._indexer is not None:
            with suppress(sqlite3.Error):  # what the index lacks is made again at the next open
                self._index_names()
            self._indexer.close()
            self._writer.close()
            self._writer = self._indexer = None
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        self._unlock()

    def _recover_tail(self) -> None:
        """Commit what a killed process had appended and not committed."""
        tail = JournalTail(self._path.with_suffix(".tail"))
        for group in tail.after(self._seq, generation=int(self._about("generation"))):
            self.commit(group)
        self._unindexed.clear()  # the index is made whole from the entries next
        self._tail = tail

    def _index_names(self) -> None:
        """In the order of the index, so that names which share a page find it at hand. Commits go on meanwhile."""
        assert self._indexer is not None, "only who writes has names to index"
        with self._indexing:
            with self._writing:
                names, upto = sorted((name, seq) for name, seqs in self._unindexed.items() for seq in seqs), self._seq
            with transaction(self._indexer):
                insert(self._indexer, "names", list(chain.from_iterable(names)), columns=2)
                self._indexer.execute("UPDATE indexed SET seq = ?", (upto,))
            with self._writing:
                for name, _ in names:
                    self._unindexed[name] = self._unindexed[name][1:]
                    if not self._unindexed[name]:
                        del self._unindexed[name]

    def _index_missing(self) -> None:
        missing = self._not_indexed()
        while names := list(islice(missing, INDEXED_AT_ONCE)):
            with self._index_transaction() as index:
                index.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", names)
        with self._index_transaction() as index:
            (known,) = index.execute("SELECT seq FROM indexed").fetchone()
            if known > self._seq:  # a power cut took entries whose names were on the disk before them
                index.execute("DELETE FROM names WHERE seq > ?", (self._seq,))
            index.execute("UPDATE indexed SET seq = ?", (self._seq,))

    def _not_indexed(self) -> Iterator[tuple[bytes, int]]:
        """(name, seq) of the entries behind the last one that the index knows: after a power cut there may be some."""
        (after_seq,) = self._index.execute("SELECT seq FROM indexed").fetchone()
        while page := self._reader.execute(READ_NAMES, (after_seq, READ_ROWS)).fetchall():
            for seq, names in page:
                yield from ((names[at : at + NAME_BYTES], seq) for at in range(0, len(names), NAME_BYTES))
            after_seq = page[-1][0]

    def _forget(self, before_seq: int) -> None:
        """Names are spread evenly by their first byte, so each step is about 1/256 of the work."""
        for byte in range(256):
            with self._index_transaction() as index:
                upper = bytes([byte + 1]) if byte < 255 else b"\xff" * 17
                index.execute(
                    "DELETE FROM names WHERE name >= ? AND name < ? AND seq < ?", (bytes([byte]), upper, before_seq)
                )
        with self._transaction() as db:
            db.execute("DELETE FROM retired WHERE seq < ? AND kind <> 'control'", (before_seq,))

    def _refuse_gap(self, after_seq: int, first: int) -> None:
        if after_seq + 1 < first:
            raise JournalError(
                f"entries before {first} have retired", code="entries_retired", hint="read the day files"
            )

    def _row_at(self, seq: int) -> Row:
        for table in ("entries", "retired"):
            values = self._reader.execute(f"SELECT {COLUMNS} FROM {table} WHERE seq = ?", (seq,)).fetchone()
            if values:
                return _row(values)
        raise JournalError(f"entry {seq} has a name but is gone", hint="the file is damaged: restore it and replay")

    def _last(self) -> tuple[int, int]:
        for table in ("entries", "retired"):
            row = self._reader.execute(f"SELECT seq, ingest_us FROM {table} ORDER BY seq DESC LIMIT 1").fetchone()
            if row:
                return int(row[0]), int(row[1])
        return 0, 0

    def _first(self) -> int:
        return int(self._about("first_seq"))

    def _about(self, key: str) -> Any:
        return self._reader.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        writer = self._open_writer()
        with self._writing, transaction(writer):
            yield writer

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise JournalError("the journal is not open for writing", code="journal_closed")
        return self._writer

    @contextmanager
    def _index_transaction(self) -> Iterator[sqlite3.Connection]:
        if self._indexer is None:
            raise JournalError("the journal is not open for writing", code="journal_closed")
        with self._indexing, transaction(self._indexer):
            yield self._indexer

    def _check_format(self) -> None:
        if self._about("format") != FORMAT:
            raise JournalError(
                f"{self._path} has format {self._about('format')}; this engine writes {FORMAT}",
                code="journal_format",
                hint="read it with the engine that wrote it, or import its history into a fresh directory",
            )

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _values(row: Row) -> tuple[Any, ...]:
    entry = row.entry
    facts, payload = packed(None if entry.facts is None else ENCODER.encode(entry.facts), entry.payload)
    return (*astuple(entry)[:PLAIN], facts, row.waiting or None, payload, b"".join(row.names))


def _row(values: tuple[Any, ...]) -> Row:
    *plain, stored_facts, waiting, stored = values
    facts, payload = unpacked(stored_facts, stored)
    return Row(Entry(*plain, facts and FACTS_DECODER.decode(facts), payload), (), waiting or b"")  # type: ignore[call-arg] # ten columns


def _facts_of(facts: bytes | None, stored: bytes | None) -> bytes | None:
    """For SQL: the facts of a row, whose payload is about to go."""
    return unpacked(facts, stored)[0]
