"""How we use SQLite: WAL, every commit on disk before it is acknowledged, one owner per directory."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from greenlane.errors import JournalError

PAGE_BYTES: Final = 8192
CACHE_KIB: Final = 65_536
CHECKPOINT_PAGES: Final = 4000
ROWS_PER_STATEMENT: Final = 256
"""One statement is one release of the interpreter lock: a thread that appends is disturbed once, not once a row."""


def create(path: Path, schema: str) -> None:
    """A new file, whole or not at all: made beside its place, then linked into it. One that got there first stays."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part)
    db.executescript(f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; {schema}")
    db.close()
    part.chmod(0o600)
    with suppress(FileExistsError):
        path.hardlink_to(part)
    part.unlink()


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
    )
    db.executescript(
        f"PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    )
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def insert(db: sqlite3.Connection, table: str, values: Sequence[Any], *, columns: int) -> None:
    """Rows given as one flat sequence of values."""
    one = f"({', '.join('?' * columns)})"
    at, left, size = 0, len(values) // columns, ROWS_PER_STATEMENT
    while left:
        while size > left:
            size //= 2
        db.execute(
            f"INSERT INTO {table} VALUES {', '.join([one] * size)}",
            values[at : at + size * columns],
        )
        at += size * columns
        left -= size


def lock(path: Path) -> int:
    """A descriptor that holds the lock until it is closed, so a killed process leaves nothing behind."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(fd, 20, 0).decode() or "of another server"
        os.close(fd)
        raise JournalError(
            f"process {owner} writes the journal in {path.parent}",
            code="journal_locked",
            hint="one server or import per data directory at a time: stop the other one first",
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd
