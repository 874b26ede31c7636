"""What was appended and is not committed yet, in a file mapped into memory: it outlives a process that is killed.

A ring of groups of rows, and a table that says where the group with a given first seq begins. Nothing here waits for a
disk, and nothing here survives a power cut for sure. Whatever was half-written, overwritten or written by an earlier
life of the journal does not fit its checksum, its seq or its generation.
"""

import mmap
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from greenlane.errors import JournalError
from greenlane.ports.journal import ENCODER, Row

FORMAT: Final = 1
"""Seeds the checksums: another format's groups are none."""
SLOT: Final = Struct("<III")
"""Of a group: where in the ring it begins, its bytes, its checksum."""
SLOTS: Final = 16_384
TABLE_BYTES: Final = SLOTS * SLOT.size
RING_BYTES: Final = 2 << 20
"""Some 700 decisions: far more than wait for a commit."""
DECODER: Final = msgspec.msgpack.Decoder(list[Row])


class JournalTail:
    """Put by the thread that appends, told of commits by the one that commits."""

    def __init__(self, path: Path):
        """JournalError where the disk has no room for the whole file: later that would be a SIGBUS."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, TABLE_BYTES + RING_BYTES)
            self._map = mmap.mmap(fd, TABLE_BYTES + RING_BYTES)
        except OSError as error:
            raise JournalError(f"{path} cannot be laid out: {error}", hint="free or repair the disk") from error
        finally:
            os.close(fd)
        self._path = path
        self._head = 0
        self._open: deque[tuple[int, int, int]] = deque()
        """(first seq, last seq, start in the ring) of the groups that may not be overwritten yet."""
        self.committed_seq = 0

    def put(self, rows: Sequence[Row]) -> bool:
        """Whether the group is safe from a crash of this process now; not where there is no room for it."""
        data, first = ENCODER.encode(rows), rows[0].entry.seq
        start = self._room(len(data), first)
        if start is None:
            return False
        self._map[TABLE_BYTES + start : TABLE_BYTES + start + len(data)] = data
        SLOT.pack_into(self._map, first % SLOTS * SLOT.size, start, len(data), crc32(data, FORMAT))
        self._open.append((first, rows[-1].entry.seq, start))
        self._head = start + len(data)
        return True

    def after(self, seq: int, *, generation: int) -> Iterator[list[Row]]:
        """The groups of a generation that follow a seq without a gap."""
        while rows := self._group(seq + 1, generation):
            yield rows
            seq = rows[-1].entry.seq

    def forget(self) -> None:
        """What earlier lives put, once the generation is raised: the journal of a backup may come to theirs again."""
        self._map[:TABLE_BYTES] = bytes(TABLE_BYTES)

    def close(self) -> None:
        """What could not be committed stays for the next life; else the file goes."""
        self._map.close()
        if not self._open or self._open[-1][1] <= self.committed_seq:
            self._path.unlink()

    def _room(self, size: int, first: int) -> int | None:
        """Where the bytes fit: behind the last group or at the beginning again, and never over one that is needed."""
        while self._open and self._open[0][1] <= self.committed_seq:
            self._open.popleft()
        if not self._open:
            return 0 if size <= RING_BYTES else None
        oldest_seq, _, oldest = self._open[0]
        if first - oldest_seq >= SLOTS:
            return None
        head = self._head
        if head <= oldest:
            return head if head + size < oldest else None
        if head + size <= RING_BYTES:
            return head
        return 0 if size < oldest else None

    def _group(self, seq: int, generation: int) -> list[Row]:
        start, size, checksum = SLOT.unpack_from(self._map, seq % SLOTS * SLOT.size)
        data = self._map[TABLE_BYTES + start : TABLE_BYTES + start + size]
        if not data or crc32(data, FORMAT) != checksum:
            return []
        try:
            rows = DECODER.decode(data)
        except msgspec.MsgspecError as error:
            hint = "start the build that wrote it once, which commits it; then this one"
            raise JournalError(f"{self._path} holds entries of another build: {error}", hint=hint) from error
        entry = rows[0].entry
        return rows if (entry.seq, entry.generation) == (seq, generation) else []
