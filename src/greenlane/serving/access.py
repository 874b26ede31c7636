"""API keys: who may do what. Keys are stored hashed in `keys.json`, and a changed file is noticed without a restart."""

import hashlib
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from greenlane.errors import InputError, SettingsError
from greenlane.settings import write_whole

Grant = Literal["decide", "report", "read", "review", "admin"]
GRANTS: Final[tuple[str, ...]] = get_args(Grant)
RELOAD_S: Final = 1.0


class StoredKey(Struct, frozen=True):
    """What is kept of a key: never the key itself."""

    id: str
    sha256: str
    scopes: tuple[Grant, ...]
    created: str = ""


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


HEARD_MAX: Final = 1_024
KEY_HINT: Final = "send `Authorization: Bearer glk_...`; `greenlane keys create` makes a key"


class KeyFile:
    """The keys of one data directory.

    >>> import tempfile
    >>> keys = KeyFile(Path(tempfile.mkdtemp()) / "keys.json")
    >>> key = keys.create(("decide",), created="2026-11-21")
    >>> keys.allow(f"Bearer {key}", "decide").scopes
    ('decide',)
    """

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, StoredKey] = {}
        self.mine: dict[str, StoredKey] = {}
        self.heard: dict[str, StoredKey] = {}
        """By the header that brought a good key lately."""
        self.read_at = self.changed_at = 0.0

    def stored(self) -> list[StoredKey]:
        if not self.path.exists():
            return []
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[StoredKey])
        except msgspec.DecodeError as error:
            raise SettingsError(f"{self.path} cannot be read: {error}", hint="restore it, or make new keys") from error

    def create(self, scopes: tuple[str, ...], *, created: str) -> str:
        """A new key, shown once."""
        unknown = [s for s in scopes if s not in GRANTS]
        if unknown or not scopes:
            raise SettingsError(f"unknown scope {', '.join(unknown) or '(none)'}", hint=f"of {', '.join(GRANTS)}")
        key = f"glk_{secrets.token_urlsafe(24)}"
        fresh = StoredKey(
            f"key_{secrets.token_hex(4)}", hashed(key), msgspec.convert(scopes, tuple[Grant, ...]), created
        )
        self.write([*self.stored(), fresh])
        return key

    def local(self, scope: Grant) -> str:
        """A key that lives as long as this process, for its own children; the key file never holds it."""
        key = f"glk_{secrets.token_urlsafe(24)}"
        self.mine = {hashed(key): StoredKey("key_local", hashed(key), (scope,))}
        self.heard.clear()
        return key

    def revoke(self, key_id: str) -> None:
        kept = [k for k in self.stored() if k.id != key_id]
        if len(kept) == len(self.stored()):
            raise SettingsError(f"there is no key {key_id}", hint="see `greenlane keys list`")
        self.write(kept)

    def write(self, keys: list[StoredKey]) -> None:
        write_whole(self.path, msgspec.json.format(msgspec.json.encode(keys)))

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self.read_at < RELOAD_S:
            return
        self.read_at = now
        changed_at = self.path.stat().st_mtime if self.path.exists() else -1.0
        if changed_at != self.changed_at:
            self.changed_at = changed_at
            with suppress(SettingsError):  # a file damaged while we serve: the keys we know stay good
                self.known, self.heard = {k.sha256: k for k in self.stored()}, {}

    def allow(self, authorization: str, scope: Grant) -> StoredKey:
        """The key, or an InputError of status 401 (unknown) or 403 (known, but not for this)."""
        self.refresh()
        stored = self.heard.get(authorization) or self.recognised(authorization)
        if scope not in stored.scopes and "admin" not in stored.scopes:
            raise refused(403, "missing_scope", f"this key may not {scope}", f"use a key with the scope {scope!r}")
        return stored

    def recognised(self, authorization: str) -> StoredKey:
        heard = self.heard  # before a key is looked up: where another thread reads the file, this one is let go
        bearer, _, key = authorization.partition(" ")
        digest = hashed(key) if bearer.lower() == "bearer" else ""
        stored = self.known.get(digest) or self.mine.get(digest)
        if stored is None:
            raise refused(401, "invalid_key", "no valid API key", KEY_HINT)
        if len(heard) >= HEARD_MAX:
            heard.clear()
        heard[authorization] = stored
        return stored


def refused(status: int, code: str, message: str, hint: str) -> InputError:
    error = InputError(message, code=code, hint=hint)
    error.status = status
    return error
