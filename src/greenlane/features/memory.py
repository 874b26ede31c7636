"""The stream engine's state with its program: the arrays, made larger when they are full, and records as bytes."""

import struct

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT


class Memory:
    """Everything the kernels work on. `state` is replaced by a larger copy when it is full."""

    def __init__(self, program: k.Program):
        self.program = program
        head = np.zeros(k.HEAD_WORDS, np.int64)
        head[k.TOP], head[k.NOW], head[k.FIRST_COMPLETE] = 8, k.UNKNOWN, k.UNKNOWN
        head[k.LARGEST] = k.class_for(int(program.stores[:, k.S_WORDS].max(initial=1)))
        arena, table = np.zeros(8, np.int64), np.zeros((2, 1 << 10), np.int64)
        self.state = k.State(arena, table[0].copy(), table[1].copy(), head)
        self.grow()

    @property
    def now_us(self) -> int:
        """Ingest time of the latest entry applied."""
        return int(self.state.head[k.NOW])

    @property
    def records(self) -> int:
        return int(self.state.head[k.RECORDS])

    def fold(self, rows: k.Ints, answers: k.Ints) -> None:
        """Answer and apply `rows` in order."""
        done = k.fold(self.program, self.state, rows, answers, 0)
        while done < len(rows):
            self.grow()
            done = k.fold(self.program, self.state, rows, answers, done)

    def grow(self, words: int = 0) -> None:
        """Twice the arena or twice the table, whichever is short of one more entry (and `words` on top)."""
        arena, keys, refs, head = self.state
        top = int(head[k.TOP])
        needed = top + words + k.room_needed(self.program, self.state)
        if needed > arena.size:
            arena = np.empty(max(2 * arena.size, needed, 1 << 12), np.int64)
            arena[:top] = self.state.arena[:top]
        if 4 * (self.records + len(self.program.entities)) > 3 * keys.size:
            keys, refs = np.zeros(2 * keys.size, np.int64), np.zeros(2 * keys.size, np.int64)
            k.rehash(self.state, keys, refs)
        self.state = k.State(arena, keys, refs, head)

    def keys_of(self, row: k.Ints) -> list[tuple[int, int]]:
        """(entity, key) of a row, absent ones left out."""
        keys = [(e, int(k.key_of(self.program, row, e))) for e in range(len(self.program.entities))]
        return [(e, key) for e, key in keys if key != ABSENT]

    def packed(self, record: int, now_us: int) -> k.Ints:
        """A record as words: all that a read at `now_us` or later can see, free of where it lies."""
        words = np.empty(k.packed_size(self.program, self.state, record), np.int64)
        return words[: k.pack(self.program, self.state, record, now_us, words)]

    def unpack(self, words: k.Ints, now_us: int) -> None:
        self.grow(words=2 * words.size)
        k.unpack(self.program, self.state, words, now_us)

    def repacked(self, words: k.Ints, now_us: int) -> k.Ints:
        """Words packed earlier, as they would be packed at `now_us`."""
        apart = Memory(self.program)
        apart.unpack(words, now_us)
        return apart.packed(int(apart.state.refs.max()), now_us)


def expires_us(packed: bytes) -> int:
    return int(struct.unpack_from("q", packed, 16)[0])


def entity_and_key(packed: bytes) -> tuple[int, int]:
    entity, key = struct.unpack_from("2q", packed)
    return entity, key
