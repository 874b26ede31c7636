"""Long-lived memory in pages of 2 MB: a decision touches so much of it that looking up small ones shows.

Linux alone has the two calls (`MADV_HUGEPAGE`, and since 6.1 `MADV_COLLAPSE`); elsewhere nothing happens.
"""

import ctypes
import re
import sys
from pathlib import Path
from typing import Final

MAPS: Final = Path("/proc/self/maps")
HUGE_BYTES: Final = 2 << 20
MADV_HUGEPAGE: Final = 14
MADV_COLLAPSE: Final = 25
PRIVATE: Final = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) rw-p \S+ \S+ 0\s*(\[heap\])?")
"""A line of /proc/self/maps: memory of ours alone, with no file behind it."""


def hold_in_huge_pages() -> int:
    """Moves what this process has allocated so far; how many bytes of address space were asked for.

    Takes a second for a gigabyte, so that it belongs before the first request. A kernel that does not, or may not, is
    no error: the memory stays where it is.
    """
    if sys.platform != "linux":
        return 0
    try:
        maps = MAPS.read_text()
    except OSError:
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    spans = whole_pages(maps)
    for start, size in spans:
        libc.madvise(start, size, MADV_HUGEPAGE)
        libc.madvise(start, size, MADV_COLLAPSE)
    return sum(size for _, size in spans)


def whole_pages(maps: str) -> list[tuple[int, int]]:
    """(start, bytes) of the 2 MB pages that lie whole in memory of ours.

    >>> maps = '''7f0000100000-7f0000900000 rw-p 00000000 00:00 0
    ... 7f0001000000-7f0002000000 r--p 00000000 08:01 77 /lib/libc.so.6
    ... 7f0003000000-7f0003100000 rw-p 00000000 00:00 0 [heap]'''
    >>> [(hex(start), hex(size)) for start, size in whole_pages(maps)]
    [('0x7f0000200000', '0x600000')]
    """
    found = []
    for line in maps.splitlines():
        if span := PRIVATE.fullmatch(line):
            start = -(-int(span["start"], 16) // HUGE_BYTES) * HUGE_BYTES
            size = int(span["end"], 16) // HUGE_BYTES * HUGE_BYTES - start
            found.append((start, size))
    return [(start, size) for start, size in found if size > 0]
