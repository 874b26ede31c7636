"""Whether a name was ever seen, answered from memory: "no" is certain, "yes" is confirmed elsewhere."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

SHARDS: Final = 256
FIRST_SLOTS: Final = 16


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


@njit(cache=True)
def _has(table: NDArray[np.int64], key: int) -> bool:
    mask = len(table) - 1
    at = (key >> 8) & mask
    while table[at] != 0:
        if table[at] == key:
            return True
        at = (at + 1) & mask
    return False


class FingerprintSet:
    """The first 8 bytes of 16-byte names, in open-addressed tables of at most 3/4 load: 11 to 22 bytes a name.

    256 tables grow one at a time, so that no single append pays for the growth of the whole.

    >>> seen = FingerprintSet()
    >>> seen.add(b"0123456789abcdef")
    >>> b"0123456789abcdef" in seen, b"fedcba9876543210" in seen
    (True, False)
    """

    def __init__(self) -> None:
        self._tables = [np.zeros(FIRST_SLOTS, np.int64) for _ in range(SHARDS)]
        self._counts = [0] * SHARDS
        self._one = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return sum(self._counts)

    def __contains__(self, name: bytes) -> bool:
        key = int.from_bytes(name[:8], "little", signed=True) or 1
        return bool(_has(self._tables[key & 255], key))

    def add(self, name: bytes) -> None:
        key = int.from_bytes(name[:8], "little", signed=True) or 1
        self._one[0] = key
        self._insert(key & 255, self._one)

    def add_all(self, names: bytes) -> None:
        """Many names of 16 bytes, one after the other."""
        keys = np.frombuffer(names, "<i8")[::2].copy()
        keys[keys == 0] = 1
        keys = keys[np.argsort(keys & 255, kind="stable")]
        ends = np.searchsorted(keys & 255, np.arange(1, SHARDS))
        for shard, part in enumerate(np.split(keys, ends)):
            self._insert(shard, part)

    def _insert(self, shard: int, keys: NDArray[np.int64]) -> None:
        table = self._tables[shard]
        needed = self._counts[shard] + len(keys)
        if 4 * needed > 3 * len(table):
            table = np.zeros(1 << (4 * needed // 3).bit_length(), np.int64)
            old = self._tables[shard]
            _add(table, old[old != 0])
            self._tables[shard] = table
        self._counts[shard] += int(_add(table, keys))
