"""How an entry's facts and payload stand in the journal's file: packed together by zstd, with a dictionary of ours.

The dictionary is part of the format: never change it, add another (`benchmarks/entry_dictionary.py` trained it).
"""

import threading
from importlib.resources import files
from typing import Final

from zstandard import DICT_TYPE_FULLDICT, ZstdCompressionDict, ZstdCompressor, ZstdDecompressor

PACK_BYTES_MIN: Final = 96
LEVEL: Final = 1
FACTS_LENGTH_BYTES: Final = 4
RAW, PACKED = b"\0", b"\1"


class _Packers(threading.local):
    """One pair a thread: they let go of the interpreter while they work."""

    def __init__(self) -> None:
        dictionary = ZstdCompressionDict(
            files("greenlane.adapters").joinpath("entries.zdict").read_bytes(), DICT_TYPE_FULLDICT
        )
        dictionary.precompute_compress(level=LEVEL)
        self.pack = ZstdCompressor(LEVEL, dict_data=dictionary, write_dict_id=False).compress
        self.unpack = ZstdDecompressor(dict_data=dictionary).decompress


PACKERS: Final = _Packers()


def packed(facts: bytes | None, payload: bytes) -> tuple[bytes | None, bytes | None]:
    """The columns `facts` and `payload`; the facts go into the payload where that is long enough to be packed.

    >>> columns = packed(b"facts", b"payload " * 100)
    >>> columns[0], len(columns[1]) < 60, unpacked(*columns) == (b"facts", b"payload " * 100)
    (None, True, True)
    """
    if len(payload) < PACK_BYTES_MIN:
        return facts, RAW + payload if payload else None
    return None, PACKED + PACKERS.pack(plain(facts, payload))


def unpacked(facts: bytes | None, stored: bytes | None) -> tuple[bytes | None, bytes]:
    """(facts, payload)."""
    if stored is None or stored[:1] == RAW:
        return facts, b"" if stored is None else stored[1:]
    found = PACKERS.unpack(stored[1:])
    end = FACTS_LENGTH_BYTES + int.from_bytes(found[:FACTS_LENGTH_BYTES])
    return found[FACTS_LENGTH_BYTES:end] or None, found[end:]


def plain(facts: bytes | None, payload: bytes) -> bytes:
    facts = facts or b""
    return len(facts).to_bytes(FACTS_LENGTH_BYTES) + facts + payload
