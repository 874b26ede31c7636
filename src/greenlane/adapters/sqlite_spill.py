"""Cold histories of the stream engine in one SQLite file, which is scratch: a snapshot is what survives."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path


class SqliteSpill:
    """A SpillStore on disk. The file is emptied at opening: what it held belonged to an engine that is gone.

    >>> spill = SqliteSpill(":memory:")
    >>> spill.put(0, 7, b"history", expires_us=5)
    >>> spill.take(0, 7), spill.take(0, 7)
    (b'history', None)
    """

    def __init__(self, path: Path | str):
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
            DROP TABLE IF EXISTS spilled;
            CREATE TABLE spilled (
                entity INTEGER, key INTEGER, expires_us INTEGER, blob BLOB, PRIMARY KEY (entity, key)
            ) WITHOUT ROWID;
            CREATE INDEX spilled_expires ON spilled (expires_us);
            """
        )

    def put(self, entity: int, key: int, blob: bytes, expires_us: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO spilled VALUES (?, ?, ?, ?)", (entity, key, expires_us, blob))

    def take(self, entity: int, key: int) -> bytes | None:
        rows = self._db.execute(
            "DELETE FROM spilled WHERE entity = ? AND key = ? RETURNING blob", (entity, key)
        ).fetchall()
        return rows[0][0] if rows else None

    def forget(self, before_us: int) -> None:
        self._db.execute("DELETE FROM spilled WHERE expires_us < ?", (before_us,))

    def items(self) -> Iterator[tuple[int, int, bytes, int]]:
        yield from self._db.execute("SELECT entity, key, blob, expires_us FROM spilled ORDER BY entity, key")

    def clear(self) -> None:
        self._db.execute("DELETE FROM spilled")

    def close(self) -> None:
        self._db.close()
