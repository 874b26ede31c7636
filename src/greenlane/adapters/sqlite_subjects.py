"""The map from people's identifiers to pseudonyms, in one encrypted SQLite file: all of the journal that can change.

A row is found by a keyed hash of (kind, identifier) and holds the pseudonym sealed with AES-256-GCM. Without the key
file, the map and the journal together say nothing about anybody; without its row, neither do they with the key.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from greenlane.adapters.sqlite import (
    RANDOM_PAGE_BYTES,
    Checkpoints,
    Wal,
    connect,
    create,
    fold,
    insert_whole,
    transaction,
)
from greenlane.errors import SettingsError
from greenlane.journal.fingerprints import FingerprintSet
from greenlane.ports.subjects import SubjectMap

SCHEMA: Final = "CREATE TABLE subjects (row BLOB PRIMARY KEY, sealed BLOB) WITHOUT ROWID;"
CACHE_MAX: Final = 500_000
PSEUDONYM_BYTES: Final = 8
DRAWN_AT_ONCE: Final = 512
"""Pseudonyms: a call to the kernel costs as much as all else that a new subject needs."""
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

Value = TypeVar("Value", int, str)


class SqliteSubjects(SubjectMap):
    """New pseudonyms wait in memory until `flush`. Opened by the process that holds the journal's lock."""

    def __init__(self, path: Path):
        self._path = path
        key = self._key = _key(path.with_suffix(".key"), new=not path.exists())
        self._row_key, self._digest_key, self._body_key = (
            blake2b(key, person=use).digest() for use in (b"row", b"digest", b"body")
        )
        self._cipher = AESGCM(blake2b(key, person=b"seal", digest_size=32).digest())
        if not path.exists():
            create(path, SCHEMA, page_bytes=RANDOM_PAGE_BYTES)
        self._reader, self._writer = connect(path, read_only=True), connect(path, read_only=False, synchronous="NORMAL")
        self._writer.execute("PRAGMA secure_delete = ON")
        self._checkpoints, self._wal = Checkpoints(path), Wal(path)
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, int] = OrderedDict()  # a plain dict is slow to tell its oldest
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._pending: dict[bytes, int] = {}
        self._unsynced = True  # a process that was killed may have flushed what no disk has yet
        self._drawn = b""
        self._seen = FingerprintSet()
        self._seen.add_packed(b"".join(row for (row,) in self._reader.execute("SELECT row FROM subjects")))

    def pseudonym(self, kind: str, identifier: str) -> int:
        return self.pseudonyms([(kind, identifier)])[0]

    def pseudonyms(self, named: Sequence[tuple[str, str]]) -> list[int]:
        names = [f"{kind}\0{identifier}" for kind, identifier in named]
        found = [self._cache.get(name, 0) for name in names]
        if 0 in found:
            unknown = {self._row(name): name for name, number in zip(names, found, strict=True) if not number}
            held = {row: number for row in unknown if (number := self._pending.get(row))}
            held |= self._recall([row for row in unknown if row not in held and row in self._seen])
            told = {name: held.get(row) or self._new(row) for row, name in unknown.items()}
            for name, number in told.items():
                _remember(self._cache, name, number)
            found = [number or told[name] for name, number in zip(names, found, strict=True)]
        return found

    def digest(self, kind: str, value: str) -> str:
        name = f"{kind}\0{value}"
        known = self._digests.get(name)
        if known is None:
            known = blake2b(name.encode(), digest_size=8, key=self._digest_key).hexdigest()
            _remember(self._digests, name, known)
        return known

    def fingerprint(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=16, key=self._body_key).digest()

    def secret(self, purpose: str) -> bytes:
        return secret_of(self._path, purpose)

    def erase(self, kind: str, identifier: str) -> bool:
        name = f"{kind}\0{identifier}"
        row = self._row(name)
        with self._lock:
            self._cache.pop(name, None)
            waited = self._pending.pop(row, None) is not None
            with transaction(self._writer):
                held = self._writer.execute("DELETE FROM subjects WHERE row = ?", (row,)).rowcount > 0
            fold(self._writer)  # the WAL must forget it too
        return waited or held

    def flush(self) -> None:
        with self._lock:
            pending = list(self._pending.items())
            if not pending:
                return
            values = [value for row, pseudonym in pending for value in (row, self._sealed(row, pseudonym))]
            insert_whole(self._writer, "subjects", values, columns=2)
            self._unsynced = True
            for row, _ in pending:
                del self._pending[row]

    def sync(self) -> None:
        if self._unsynced:
            self._unsynced = False  # before, not after: what is flushed meanwhile is for the next time
            self._wal.sync()

    def close(self) -> None:
        self.flush()
        self._checkpoints.close()
        self._wal.close()
        self._reader.close()
        self._writer.close()

    def _recall(self, rows: list[bytes]) -> dict[bytes, int]:
        """Those that are stored, with one question to the file."""
        if not rows:
            return {}
        asked = f"SELECT row, sealed FROM subjects WHERE row IN ({', '.join('?' * len(rows))})"
        return {row: self._opened(row, sealed) for row, sealed in self._reader.execute(asked, rows)}

    def _row(self, name: str) -> bytes:
        return blake2b(name.encode(), digest_size=16, key=self._row_key).digest()

    def _new(self, row: bytes) -> int:
        if not self._drawn:
            self._drawn = os.urandom(PSEUDONYM_BYTES * DRAWN_AT_ONCE)
        drawn, self._drawn = self._drawn[:PSEUDONYM_BYTES], self._drawn[PSEUDONYM_BYTES:]
        pseudonym = int.from_bytes(drawn, "little", signed=True) or 1
        self._seen.add(row)
        self._pending[row] = pseudonym
        return pseudonym

    def _sealed(self, row: bytes, pseudonym: int) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, pseudonym.to_bytes(PSEUDONYM_BYTES, "little", signed=True), row)

    def _opened(self, row: bytes, sealed: bytes) -> int:
        plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row)
        return int.from_bytes(plain, "little", signed=True)


def _remember(cache: OrderedDict[str, Value], name: str, value: Value) -> None:
    if len(cache) >= CACHE_MAX:
        cache.popitem(last=False)
    cache[name] = value


def secret_of(path: Path, purpose: str) -> bytes:
    """Of the map at this path, for whoever does not open it."""
    return blake2b(purpose.encode(), key=_key(path.with_suffix(".key"), new=False), person=b"purpose").digest()


def _key(path: Path, *, new: bool) -> bytes:
    """From a file that only its owner reads; made together with the map, and never again."""
    if not path.exists():
        if not new:
            raise SettingsError(
                f"the key {path} is missing", hint="restore it: the subject map cannot be read without it"
            )
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(fd, os.urandom(KEY_BYTES))
        os.fsync(fd)
        os.close(fd)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{path} is not a key of {KEY_BYTES} bytes", hint="restore it from a backup")
    return key
