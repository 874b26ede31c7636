"""Where things lie in a data directory, and who holds it."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from greenlane.errors import JournalError, NotFound
from greenlane.settings import write_whole

MODEL_ID = re.compile(r"mdl_[0-9a-f]{16}")


class Places:
    """Where things lie in a data directory."""

    def __init__(self, root: Path):
        self.root = root
        self.journal, self.subjects = root / "journal.sqlite", root / "subjects.sqlite"
        self.keys, self.server = root / "keys.json", root / "server.json"
        self.models, self.snapshots, self.days = root / "models", root / "snapshots", root / "days"

    def report(self, model_id: str) -> Path:
        """How a model was judged when it was made, for people."""
        return self.root / "reports" / f"{model_id}.html"


def day_path(places: Places, name: str) -> Path:
    return places.days / f"{name}.parquet"


def model_path(places: Places, model_id: str) -> Path:
    path = places.models / model_id
    if not MODEL_ID.fullmatch(model_id) or not path.is_dir():
        known = sorted(p.name for p in places.models.glob("mdl_*"))
        raise NotFound(
            f"there is no model {model_id}", param="model_id", hint=f"known: {', '.join(known) or 'none yet'}"
        )
    return path


def is_running(places: Places) -> bool:
    """Does a server hold this directory?"""
    lock = places.journal.with_suffix(".lock")
    if not lock.exists():
        return False
    fd = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def lock_follower(places: Places) -> Iterator[None]:
    """One follower per directory; a killed one leaves nothing behind."""
    fd = os.open(places.root / "follower.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise JournalError(f"another follower runs on {places.root}", hint="one is enough") from error
    finally:
        os.close(fd)


def write_server_file(places: Places, *, url: str, admin_key: str) -> None:
    """Where the running server of this directory is, and the key of its admin door: for its owner's eyes only."""
    write_whole(places.server, msgspec.json.encode({"url": url, "pid": os.getpid(), "admin_key": admin_key}))
