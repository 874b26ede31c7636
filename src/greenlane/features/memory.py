"""The stream engine's state with its program: the arrays, made larger when they are full, and records as bytes."""

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT


class Memory:
    """Everything the kernels work on. `state` is replaced by a larger copy when it is full."""

    def __init__(self, program: k.Ints):
        self.program = program
        self.tables = k.tables(program)
        arena = np.zeros(k.HEAD_WORDS, np.int64)
        arena[k.TOP], arena[k.NOW], arena[k.FIRST_COMPLETE] = k.HEAD_WORDS, k.UNKNOWN, k.UNKNOWN
        arena[k.LARGEST] = max(6, k.class_for(int(self.tables.stores[:, k.S_WORDS].max(initial=1))))
        new = (*self.tables.entities[:, k.RECORD_CLASS], *self.tables.aggregations[:, k.A_CLASS])
        arena[k.NEW_WORDS] = sum(1 << int(size_class) for size_class in new)
        self.state = k.State(arena, np.zeros((1 << 10, 2), np.int64))
        self.grow()

    @property
    def addresses(self) -> list[int]:
        """Of all records."""
        refs: list[int] = self.state.table[:, k.REF].tolist()
        return [ref for ref in refs if ref]

    @property
    def now_us(self) -> int:
        """Ingest time of the latest entry applied."""
        return int(self.state.arena[k.NOW])

    @property
    def records(self) -> int:
        return int(self.state.arena[k.RECORDS])

    def fold(self, rows: k.Ints, answers: k.Ints) -> None:
        """Answer and apply `rows` in order."""
        count = len(rows)
        done = k.fold(self.program, self.state, rows, answers, 0)
        while done < count:
            self.grow()
            done = k.fold(self.program, self.state, rows, answers, done)

    def grow(self, words: int = 0) -> None:
        """Twice the arena or twice the table, whichever is short of one more entry (and `words` on top)."""
        arena, table = self.state
        top = int(arena[k.TOP])
        needed = top + words + int(k.room_needed(self.tables, self.state))
        if needed > arena.size:
            arena = np.empty(max(2 * arena.size, needed), np.int64)
            arena[:top] = self.state.arena[:top]
        if 4 * (self.records + len(self.tables.entities)) > 3 * len(table):
            table = np.zeros((2 * len(table), 2), np.int64)
            k.rehash(self.state, table)
        self.state = k.State(arena, table)

    def keys_of(self, row: k.Ints) -> list[tuple[int, int]]:
        """(entity, key) of a row, absent ones left out."""
        keys = [(e, int(k.key_of(self.tables, row, e))) for e in range(len(self.tables.entities))]
        return [(e, key) for e, key in keys if key != ABSENT]

    def packed(self, record: int, now_us: int) -> k.Ints:
        """A record as words: all that a read at `now_us` or later can see, free of where it lies."""
        words = np.empty(k.packed_size(self.tables, self.state, record), np.int64)
        return words[: k.pack(self.tables, self.state, record, now_us, words)]

    def unpack(self, words: k.Ints, now_us: int) -> None:
        self.grow(words=2 * words.size)
        k.unpack(self.tables, self.state, words, now_us)

    def repacked(self, words: k.Ints, now_us: int) -> k.Ints:
        """Words packed earlier, as they would be packed at `now_us`."""
        apart = Memory(self.program)
        apart.unpack(words, now_us)
        return apart.packed(int(apart.state.table[:, k.REF].max()), now_us)
