"""Which versions were in force: a control entry per change, so that a decision names them by one short digest."""

import hashlib
from typing import Final

import msgspec

from greenlane.decisions.answer import Versions
from greenlane.decisions.control import ControlRecord, control_of
from greenlane.errors import JournalError
from greenlane.ports.journal import Entry

SUBJECT: Final = "release"


def digest_of(versions: Versions) -> str:
    return hashlib.blake2b(msgspec.json.encode(versions, order="sorted"), digest_size=6).hexdigest()


class Releases:
    """A fold: every release the journal knows.

    >>> versions = Versions(engine="0.1.0", runtime="r", models={"fraud": "mdl_1"}, features="f", policy="p")
    >>> Releases.change(versions).id == digest_of(versions)
    True
    """

    def __init__(self) -> None:
        self.known: dict[str, Versions] = {}

    def apply(self, entry: Entry) -> None:
        if entry.kind == "control":
            record = control_of(entry)
            if record.subject == SUBJECT:
                self.known[record.id] = msgspec.convert(record.after, Versions)

    def versions(self, digest: str) -> Versions:
        known = self.known.get(digest)
        if known is None:
            raise JournalError(
                f"the journal has no release {digest}", hint="its control entry was lost: restore the day file"
            )
        return known

    @staticmethod
    def change(versions: Versions) -> ControlRecord:
        return ControlRecord(
            SUBJECT, digest_of(versions), "engine", "versions in force", None, msgspec.to_builtins(versions)
        )
