"""How we use SQLite: WAL, one owner per directory, and one `fdatasync` for all commits that wait for the disk."""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from greenlane.errors import JournalError

PAGE_BYTES: Final = 8192
RANDOM_PAGE_BYTES: Final = 1024
"""Where each row dirties a page of its own, a page is what a row costs."""
CACHE_KIB: Final = 65_536
CHECKPOINT_PAGES: Final = 8000
"""So long may a WAL get before a commit itself folds it into the file; `Checkpoints` keeps that short."""
CHECKPOINT_EVERY_S: Final = 5.0
FOLD_TRIES: Final = 200
FOLD_PAUSE_S: Final = 0.01
FEW_ROWS: Final = 16
"""So many are one statement; beyond that statements are of some sizes only, as each has to be prepared."""
ROWS_PER_STATEMENT: Final = 256
"""One statement is one release of the interpreter lock: a thread that appends is disturbed once, not once a row."""


def create(path: Path, schema: str, *, page_bytes: int = PAGE_BYTES) -> None:
    """A new file, whole or not at all: made beside its place, then linked into it. One that got there first stays."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part)
    db.executescript(f"PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = WAL; {schema}")
    db.close()
    part.chmod(0o600)
    with suppress(FileExistsError):
        path.hardlink_to(part)
    part.unlink()


def connect(path: Path, *, read_only: bool, synchronous: str = "FULL") -> sqlite3.Connection:
    """`synchronous` "NORMAL": never torn, but a power cut takes the commits after the last `Wal.sync` or checkpoint."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
    )
    db.executescript(f"PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{CACHE_KIB};")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return db


class Wal:
    """The write-ahead log of a file to which whoever has this holds a connection, so that it stays the same file."""

    def __init__(self, path: Path):
        self._path, self._fd = f"{path}-wal", -1

    def sync(self) -> None:
        """What was committed is on the disk when this returns, whichever connection or process committed it.

        Under `synchronous=NORMAL` a commit only hands its pages to the operating system. SQLite locks nothing on the
        WAL itself, so that opening and closing it here takes no lock away.
        """
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                return  # everything is in the file, folded and synced
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def fold(db: sqlite3.Connection) -> None:
    """When this returns, everything committed is in the file itself and the WAL is empty.

    SQLite answers "busy" at once while another checkpoint runs, whatever the timeout.
    """
    for _ in range(FOLD_TRIES):
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        time.sleep(FOLD_PAUSE_S)
    raise JournalError("a WAL could not be folded into its file", hint="is another process reading it for very long?")


class Checkpoints:
    """Folds the WALs of files into them from a thread of its own, so that hardly any commit has to wait for it."""

    def __init__(self, *paths: Path):
        self._paths, self._closing = paths, threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as open_files:
            files = [open_files.enter_context(closing(connect(path, read_only=False))) for path in self._paths]
            while not self._closing.wait(CHECKPOINT_EVERY_S):
                for file in files:
                    file.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


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
    """Rows given as one flat sequence of values; in a transaction of the caller's."""
    one = f"({', '.join('?' * columns)})"
    at, left, size = 0, len(values) // columns, ROWS_PER_STATEMENT
    while left:
        while size > left > FEW_ROWS:
            size //= 2
        size = min(size, left)
        db.execute(
            f"INSERT INTO {table} VALUES {', '.join([one] * size)}",
            values[at : at + size * columns],
        )
        at += size * columns
        left -= size


def insert_whole(db: sqlite3.Connection, table: str, values: Sequence[Any], *, columns: int) -> None:
    """All of the rows or none: a few are one statement, which needs no transaction around it."""
    if len(values) <= FEW_ROWS * columns:
        insert(db, table, values, columns=columns)
    else:
        with transaction(db):
            insert(db, table, values, columns=columns)


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
