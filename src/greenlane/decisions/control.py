"""What a control entry remembers: who changed what in the running system, why, and what it was before and after."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from greenlane.journal.draft import Draft
from greenlane.ports.journal import Entry, name_of


class ControlRecord(Struct, frozen=True, array_like=True, gc=False):
    """`subject` is what kind of thing changed (features, import, model, ...), `id` which one; the rest is plain JSON.

    >>> change = ControlRecord("features", "9f3c", "import", "the first of this directory", None, {"derived": []})
    >>> entry = Entry(1, 1, 0, "control", "import", "1", 0, 0, 1, b"", None, RECORD_ENCODER.encode(change))
    >>> control_of(entry) == change
    True
    """

    subject: str
    id: str
    who: str
    why: str
    before: Any
    after: Any


RECORD_ENCODER: Final = msgspec.msgpack.Encoder()
RECORD_DECODER: Final = msgspec.msgpack.Decoder(ControlRecord)


def control_draft(record: ControlRecord, *, source: str, event_id: str, ingest_us: int | None = None) -> Draft:
    """The entry to append; the same change under the same key is the same entry."""
    payload = RECORD_ENCODER.encode(record)
    return Draft(
        kind="control",
        source=source,
        event_id=event_id,
        body_hash=name_of("control", payload.hex()),
        payload=payload,
        ingest_us=ingest_us,
    )


def same_change(one: ControlRecord, other: ControlRecord) -> bool:
    """Whatever was in force before.

    >>> change = ControlRecord("model", "fraud/champion", "anna", "better", None, "mdl_1")
    >>> same_change(change, replace(change, before="mdl_0")), same_change(change, replace(change, after="mdl_2"))
    (True, False)
    """
    first, second = (RECORD_ENCODER.encode(replace(record, before=None)) for record in (one, other))
    return first == second


def control_of(entry: Entry) -> ControlRecord:
    return RECORD_DECODER.decode(entry.payload)
