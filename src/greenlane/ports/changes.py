"""The payload of a control entry, as rooms below `decisions` read it: who changed what, and to what."""

from typing import Final

import msgspec
from msgspec import Raw, Struct


class Change(Struct, frozen=True, array_like=True, gc=False):
    """`after` stays bytes until whoever owns the subject decodes it."""

    subject: str
    id: str
    who: str
    why: str
    before: Raw
    after: Raw


CHANGE_DECODER: Final = msgspec.msgpack.Decoder(Change)
