"""A bound on the histories held in memory: the coldest are spilled and come back, or are dropped and say so."""

from typing import Final

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT, EVICTED, WARMING
from greenlane.features.memory import Memory
from greenlane.ports.spill import SpillStore

COLDEST_OF: Final = 32
"""How many records are looked at to find a cold one."""
FORGET_EVERY: Final = 1 << 16
"""Evictions between two clean-ups of what has expired outside."""


class Capacity:
    """What the stream engine does beyond `records_max` records.

    With a spill store nothing is ever forgotten. Without one, dropped keys are remembered (a word each) for as long as
    their events would count, and their columns read EVICTED.
    """

    def __init__(self, records_max: int, spill: SpillStore | None):
        self.records_max = records_max
        self.spill = spill
        self.dropped: dict[int, int] = {}
        """Hash of (entity, key) -> until when its columns read EVICTED."""
        self.evicted = 0
        """Columns answered EVICTED so far."""
        self._evictions = 0
        self._all_inside = True

    def is_far(self, records: int) -> bool:
        """Would nothing be outside, now and at so many records?"""
        return self._all_inside and not self.dropped and records <= self.records_max

    def bring_back(self, memory: Memory, row: k.Ints) -> None:
        """Every spilled history that `row` touches, into memory again."""
        if self.spill is None or self._all_inside or (row[k.EMITS] == 0 and row[k.WANTED] < 0):
            return
        for entity, key in memory.keys_of(row):
            if k.find(memory.state, entity, key) < 0 and (blob := self.spill.take(entity, key)):
                memory.unpack(np.frombuffer(blob, np.int64), int(row[k.INGEST]))

    def make_room(self, memory: Memory) -> None:
        while memory.records > self.records_max:
            now = memory.now_us
            slot = k.coldest(memory.state, COLDEST_OF)
            words = memory.packed(int(memory.state.table[slot, k.REF]), now)
            k.drop_record(memory.tables, memory.state, slot)
            if words[2] >= now:
                self.put_away(words)
                self._forget_expired(now)

    def put_away(self, words: k.Ints) -> None:
        self._all_inside = False
        entity, key, expires_us = (int(word) for word in words[:3])
        if self.spill is not None:
            self.spill.put(entity, key, words.tobytes(), expires_us)
        else:
            word = int(k.home_of(entity, key))
            self.dropped[word] = max(expires_us, self.dropped.get(word, expires_us))

    def _forget_expired(self, now: int) -> None:
        self._evictions += 1
        if self._evictions % FORGET_EVERY == 0:
            self.dropped = {word: until for word, until in self.dropped.items() if until >= now}
            if self.spill is not None:
                self.spill.forget(now)

    def mark(self, memory: Memory, row: k.Ints, columns: k.Ints) -> None:
        """EVICTED over every column of a dropped history whose value we cannot know any more."""
        if not self.dropped:
            return
        now, tables = int(row[k.INGEST]), memory.tables
        for entity, key in memory.keys_of(row):
            if self.dropped.get(int(k.home_of(entity, key)), now - 1) < now:
                continue
            for a in range(*tables.entities[entity, k.AGG_FROM : k.AGG_TO + 1]):
                span = slice(*tables.aggregations[a, k.A_COLUMN_FROM : k.A_COLUMN_TO + 1])
                mine, seen = columns[span], tables.columns[span, k.C_OP] == k.SEEN
                lost = np.where(seen, mine != 1, (mine != ABSENT) & (mine != WARMING))
                mine[lost] = EVICTED
                self.evicted += int(lost.sum())
