"""The models' index in one small SQLite file: whoever reads it brings it up to date first, and it may be deleted."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from greenlane.adapters.sqlite import transaction
from greenlane.ports.journal import Position
from greenlane.ports.registry import NOWHERE, Move, Registered

VERSION: Final = 2
SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS models (id TEXT PRIMARY KEY, kind TEXT, registered_us INTEGER, record BLOB);
    CREATE TABLE IF NOT EXISTS moves (
        seq INTEGER, alias TEXT, model TEXT, before TEXT, record BLOB, PRIMARY KEY (seq, alias)
    );
    CREATE TABLE IF NOT EXISTS upto (generation INTEGER, seq INTEGER);
"""


class SqliteRegistry:
    """
    >>> registry = SqliteRegistry(":memory:")
    >>> [registry.take([], [], seen=NOWHERE, upto=Position(1, seq)) for seq in (3, 2)]
    [True, False]
    >>> registry.upto().seq, registry.models()
    (3, [])
    """

    def __init__(self, path: Path | str):
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            self._db.executescript("".join(f"DROP TABLE IF EXISTS {table};" for table in ("models", "moves", "upto")))
        self._db.executescript(f"{SCHEMA} PRAGMA user_version = {VERSION};")

    def upto(self) -> Position:
        found = self._db.execute("SELECT generation, seq FROM upto").fetchone()
        return Position(*found) if found else NOWHERE

    def take(
        self, models: Sequence[Registered], moves: Sequence[Move], *, seen: Position, upto: Position, anew: bool = False
    ) -> bool:
        encode = msgspec.msgpack.encode
        with transaction(self._db):
            if self.upto() != seen:
                return False
            for table in ("models", "moves") if anew else ():
                self._db.execute(f"DELETE FROM {table}")
            self._db.executemany(
                "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)",
                [(m.id, m.kind, m.registered_us, encode(m)) for m in models],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO moves VALUES (?, ?, ?, ?, ?)",
                [(m.seq, m.alias, m.model, m.before, encode(m)) for m in moves],
            )
            self._db.execute("DELETE FROM upto")
            self._db.execute("INSERT INTO upto VALUES (?, ?)", (upto.generation, upto.seq))
        return True

    def models(self, *, kind: str = "") -> list[Registered]:
        rows = self._db.execute(
            "SELECT record FROM models WHERE ? IN ('', kind) ORDER BY registered_us, id", (kind,)
        ).fetchall()
        return [msgspec.msgpack.decode(record, type=Registered) for (record,) in rows]

    def moves(self, *, model: str = "", limit: int = 1_000) -> list[Move]:
        rows = self._db.execute(
            "SELECT record FROM moves WHERE ? IN ('', model, before) ORDER BY seq DESC, alias DESC LIMIT ?",
            (model, limit),
        ).fetchall()
        return [msgspec.msgpack.decode(record, type=Move) for (record,) in reversed(rows)]

    def close(self) -> None:
        self._db.close()
