"""Whether a name was ever seen, answered from memory: "no" is certain, "yes" is confirmed elsewhere."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

SHARDS: Final = 256
FIRST_SLOTS: Final = 16
first_word: Final = Struct("<q").unpack_from


@njit(cache=True)
def _add(table: NDArray[np.int64], keys: NDArray[np.int64]) -> int:
    mask, added = len(table) - 1, 0
    for key in keys:
        at = (key >> 8) & mask
        while table[at] != 0 and table[at] != key:
            at = (at + 1) & mask
        added += table[at] == 0
        table[at] = key
    return added


class FingerprintSet:
    """The first 8 bytes of 16-byte names, in open-addressed tables of at most 3/4 load: 11 to 22 bytes a name.

    256 tables grow one at a time, so that no single append pays for the growth of the whole. Single names are looked
    for in Python: one probe costs less than a call into compiled code.

    >>> seen = FingerprintSet()
    >>> seen.add(b"0123456789abcdef")
    >>> b"0123456789abcdef" in seen, b"fedcba9876543210" in seen
    (True, False)
    """

    def __init__(self) -> None:
        self._tables = [np.zeros(FIRST_SLOTS, np.int64) for _ in range(SHARDS)]
        self._slots = [table.data for table in self._tables]
        self._counts = [0] * SHARDS

    def __len__(self) -> int:
        return sum(self._counts)

    def __contains__(self, name: bytes) -> bool:
        key = first_word(name)[0] or 1
        slots = self._slots[key & 255]
        mask = len(slots) - 1
        at = (key >> 8) & mask
        while held := slots[at]:
            if held == key:
                return True
            at = (at + 1) & mask
        return False

    def add(self, name: bytes) -> None:
        key = first_word(name)[0] or 1
        shard = key & 255
        if 4 * self._counts[shard] + 4 > 3 * len(self._slots[shard]):
            self._grow(shard, self._counts[shard] + 1)
        slots = self._slots[shard]
        mask = len(slots) - 1
        at = (key >> 8) & mask
        while (held := slots[at]) and held != key:
            at = (at + 1) & mask
        if not held:
            self._counts[shard] += 1
            slots[at] = key

    def update(self, names: Sequence[bytes]) -> None:
        if len(names) > SHARDS:
            self.add_packed(b"".join(names))
        else:
            for name in names:
                self.add(name)

    def add_packed(self, names: bytes) -> None:
        """Many names of 16 bytes, one after the other."""
        keys = np.frombuffer(names, "<i8")[::2]
        keys = np.where(keys == 0, 1, keys)
        shards = (keys & 255).astype(np.uint8)
        order = np.argsort(shards, kind="stable")
        ends = np.searchsorted(shards[order], np.arange(1, SHARDS))
        for shard, part in enumerate(np.split(keys[order], ends)):
            self._insert(shard, part)

    def _insert(self, shard: int, keys: NDArray[np.int64]) -> None:
        needed = self._counts[shard] + len(keys)
        if 4 * needed > 3 * len(self._tables[shard]):
            self._grow(shard, needed)
        self._counts[shard] += int(_add(self._tables[shard], keys))

    def _grow(self, shard: int, needed: int) -> None:
        old = self._tables[shard]
        table = np.zeros(1 << (4 * needed // 3).bit_length(), np.int64)
        _add(table, old[old != 0])
        self._tables[shard], self._slots[shard] = table, table.data
