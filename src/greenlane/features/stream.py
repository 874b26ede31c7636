"""The stream engine: folds the journal, entry by entry, and answers every column for a payment at once."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, Final

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT, EVICTED, MARK_MAX, WARMING, FeatureSet
from greenlane.features.inputs import INPUTS, inputs
from greenlane.features.program import layout_of, program_of
from greenlane.features.where import compile_where
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.ports.spill import SpillStore

CHUNK_ROWS: Final = 2048
TEXTS_CACHED_MAX: Final = 1 << 18
COLDEST_OF: Final = 32
"""How many records are looked at to find a cold one."""


class TextKeys(dict[str, int]):
    """The 64-bit word of each text of one fact: a stable hash, "" being absent; bounded, refilled when full.

    >>> TextKeys("merchant_id")["shop_1"] == TextKeys("merchant_id")["shop_1"] != TextKeys("route_id")["shop_1"]
    True
    """

    def __init__(self, fact: str):
        super().__init__({"": ABSENT})
        self._fact = fact

    def __missing__(self, text: str) -> int:
        if len(self) >= TEXTS_CACHED_MAX:
            self.clear()
            self[""] = ABSENT
        digest = hashlib.blake2b(f"{self._fact}\0{text}".encode(), digest_size=8).digest()
        word = self[text] = int.from_bytes(digest, "little", signed=True)
        return word


def tuple_getter(names: tuple[str, ...]) -> Callable[[Facts], tuple[Any, ...]]:
    """Like attrgetter, but always a tuple."""
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda facts: (one(facts),)
    return attrgetter(*names) if names else lambda _facts: ()


class RowWriter:
    """Writes entries and questions as rows of words that the kernels understand."""

    def __init__(self, features: FeatureSet):
        self.layout = layout = layout_of(features)
        self.words = layout.inputs_at + len(INPUTS)
        self._sources = 0
        self._where_sources = 0
        for a in features.aggregations:
            self._sources |= SOURCE_BIT[a.source]
            self._where_sources |= SOURCE_BIT[a.source] if a.where else 0
        self._wheres = [compile_where(text) for text in layout.wheres]
        self._no_flags = (0,) * len(self._wheres)
        self._integers, self._texts = tuple_getter(layout.integers), tuple_getter(layout.texts)
        self._caches = [TextKeys(fact) for fact in layout.texts]
        self._pack_head = struct.Struct(f"{k.ROW_HEAD}q").pack_into
        self._pack = struct.Struct(f"{layout.inputs_at}q").pack_into
        self._pack_inputs = partial(struct.Struct(f"{len(INPUTS)}q").pack_into)

    def question(self, buffer: memoryview, facts: Facts, ingest_us: int) -> None:
        """Row 0 asks for the columns of `facts`."""
        self._write(buffer, 0, (ingest_us, k.READ_ONLY, 0, 0, 0, 0), self._no_flags, facts)
        self._pack_inputs(buffer, 8 * self.layout.inputs_at, *inputs(facts, ingest_us))

    def entry(self, buffer: memoryview, row: int, entry: Entry, wanted: int = -1) -> None:
        """Row `row` is `entry`, to be answered before it is applied where `wanted` is a row of the answer."""
        at, facts = 8 * row * self.words, entry.facts
        emits = entry.emits & self._sources if facts is not None else 0
        if facts is None or (emits == 0 and wanted < 0):
            self._pack_head(buffer, at, entry.ingest_us, 0, 0, 0, 0, -1)
            return
        flags = [test(facts) for test in self._wheres] if emits & self._where_sources else self._no_flags
        head = (entry.ingest_us, emits, entry.sign, entry.occurred_us, facts.payment_us, wanted)
        self._write(buffer, at, head, flags, facts)
        if wanted >= 0:
            inputs_at = at + 8 * self.layout.inputs_at
            self._pack_inputs(buffer, inputs_at, *inputs(facts, entry.ingest_us))

    def _write(self, buffer: memoryview, at: int, head: tuple[int, ...], flags: Iterable[int], facts: Facts) -> None:
        texts = [cache[text] for cache, text in zip(self._caches, self._texts(facts), strict=True)]
        self._pack(buffer, at, *head, *flags, *self._integers(facts), *texts)


class StreamEngine:
    """State of every column of a feature set, folded from entries in their order.

    >>> from greenlane.features.definition import Aggregation, Count, Entity
    >>> velocity = Aggregation("velocity", Entity("card", "card"), "attempts", (Count(),), ("1h/1m",))
    >>> engine = StreamEngine(FeatureSet((velocity,)), first_complete_us=0)
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, card=7)
    >>> noon = 12 * 3_600_000_000
    >>> engine.apply(Entry(1, 1, noon, "decision", "api", "e1", noon, SOURCE_BIT["attempts"], 1, b"", facts, b""))
    >>> int(engine.read(facts, noon)[-1])
    1

    `capacity_records` bounds the histories held in memory: beyond it the coldest go to `spill` and come back when next
    touched; without a `spill` they are dropped, and their columns read EVICTED for as long as their events would count.
    """

    def __init__(
        self,
        features: FeatureSet,
        *,
        first_complete_us: int | None = None,
        capacity_records: int | None = None,
        spill: SpillStore | None = None,
    ):
        self.features = features.check()
        self.program = program_of(features, layout_of(features))
        self.capacity_records = capacity_records
        self.spill = spill
        self.dropped: dict[int, int] = {}
        """Where nothing is spilled: hash of (entity, key) -> until when its columns read EVICTED."""
        self.evicted = 0
        """Columns that were answered EVICTED so far."""
        self._writer = RowWriter(features)
        self._rows = np.zeros((CHUNK_ROWS, self._writer.words), np.int64)
        self._buffer = self._rows.data.cast("B")
        self._row = self._rows[:1]
        self._width = len(INPUTS) + len(features.columns)
        self._no_answer = np.empty((0, self._width), np.int64)
        self.state = empty_state(self.program)
        if first_complete_us is not None:
            self.state.head[k.FIRST_COMPLETE] = first_complete_us
        self._started = first_complete_us is not None

    # ---- the online path

    def read(self, facts: Facts, ingest_us: int) -> k.Ints:
        """int64[k]: inputs, then columns in the order of `FeatureSet.columns`, for a payment that arrives now."""
        answer = np.empty((1, self._width), np.int64)
        self._writer.question(self._buffer, facts, ingest_us)
        if self.capacity_records is not None:
            self._bring_back()
        k.fold(self.program, self.state, self._row, answer, 0)
        if self.capacity_records is not None:
            self._after(answer)
        return answer.reshape(-1)

    def apply(self, entry: Entry) -> None:
        if not self._started:
            self._start(entry)
        self._writer.entry(self._buffer, 0, entry)
        self._fold(1, self._no_answer)

    # ---- the same, for many

    def apply_many(self, entries: Iterable[Entry]) -> None:
        for _ in self._answered(entries, lambda _entry: False):
            pass

    def fold_and_read(self, entries: Iterable[Entry], wanted: Callable[[Entry], bool]) -> tuple[k.Ints, k.Ints]:
        """(int64[n] seqs, int64[n, k] vectors) of the wanted entries, each read before it is applied."""
        answered = list(self._answered(entries, wanted))
        seqs = np.array([seq for part, _ in answered for seq in part], np.int64)
        return seqs, np.concatenate([self._no_answer, *(vectors for _, vectors in answered)])

    def _answered(
        self, entries: Iterable[Entry], wanted: Callable[[Entry], bool]
    ) -> Iterator[tuple[list[int], k.Ints]]:
        size = CHUNK_ROWS if self.capacity_records is None else 1
        written, seqs = 0, list[int]()
        for entry in entries:
            if not self._started:
                self._start(entry)
            asks = entry.facts is not None and wanted(entry)
            self._writer.entry(self._buffer, written, entry, len(seqs) if asks else -1)
            written += 1
            if asks:
                seqs.append(entry.seq)
            if written == size:
                yield seqs, self._fold(written, np.empty((len(seqs), self._width), np.int64))
                written, seqs = 0, []
        if written:
            yield seqs, self._fold(written, np.empty((len(seqs), self._width), np.int64))

    def _start(self, entry: Entry) -> None:
        """The journal is complete from its first entry on, where no import declared an earlier instant."""
        self._started = True
        if self.state.head[k.FIRST_COMPLETE] == k.UNKNOWN:
            self.state.head[k.FIRST_COMPLETE] = entry.ingest_us

    def _fold(self, count: int, answers: k.Ints) -> k.Ints:
        rows = self._rows[:count]
        if self.capacity_records is not None:
            self._bring_back()
        done = k.fold(self.program, self.state, rows, answers, 0)
        while done < count:
            self._grow()
            done = k.fold(self.program, self.state, rows, answers, done)
        if self.capacity_records is not None:
            self._after(answers)
        return answers

    def _grow(self, words: int = 0) -> None:
        """Twice the arena or twice the table, whichever is short."""
        program, state = self.program, self.state
        arena, keys, refs, head = state
        needed = int(head[k.TOP]) + k.room_needed(program, state) + words
        if needed > arena.size:
            arena = np.empty(max(2 * state.arena.size, needed), np.int64)
            arena[: head[k.TOP]] = state.arena[: head[k.TOP]]
        if 4 * (head[k.RECORDS] + len(program.entities)) > 3 * keys.size:
            keys, refs = np.zeros(2 * keys.size, np.int64), np.zeros(2 * keys.size, np.int64)
            k.rehash(state, keys, refs)
        self.state = k.State(arena, keys, refs, head)

    # ---- capacity

    def _keys(self) -> list[tuple[int, int]]:
        """(entity, key) of row 0, absent ones left out."""
        row = self._rows[0]
        keys = [(e, int(k.key_of(self.program, row, e))) for e in range(len(self.program.entities))]
        return [(e, key) for e, key in keys if key != ABSENT]

    def _bring_back(self) -> None:
        """Every spilled history that row 0 touches, into the arena again."""
        row = self._rows[0]
        if self.spill is None or (row[k.EMITS] == 0 and row[k.WANTED] < 0):
            return
        for entity, key in self._keys():
            if k.find(self.state, entity, key) < 0 and (blob := self.spill.take(entity, key)):
                words = np.frombuffer(blob, np.int64)
                self._grow(words=2 * words.size)
                k.unpack(self.program, self.state, words, int(row[k.INGEST]))

    def _after(self, answers: k.Ints) -> None:
        """Mark what was lost in the answer to row 0, then put the coldest records away."""
        if self.dropped:
            for found in answers:
                self._mark_evicted(found)
        now = int(self.state.head[k.NOW])
        while self.capacity_records is not None and self.state.head[k.RECORDS] > self.capacity_records:
            slot = k.coldest(self.state, COLDEST_OF)
            words = self._packed(int(self.state.refs[slot]), now)
            entity, key, expires_us = (int(word) for word in words[:3])
            k.drop_record(self.program, self.state, slot)
            if expires_us < now:
                continue
            if self.spill is not None:
                self.spill.put(entity, key, words.tobytes(), expires_us)
            else:
                self.dropped[dropped_word(entity, key)] = expires_us

    def _mark_evicted(self, found: k.Ints) -> None:
        """EVICTED over every column of a dropped history that is neither ABSENT nor WARMING."""
        now, aggregations = int(self._rows[0, k.INGEST]), self.program.aggregations
        for entity, key in self._keys():
            if self.dropped.get(dropped_word(entity, key), now - 1) < now:
                continue
            begin, end = self.program.entities[entity, k.AGG_FROM : k.AGG_TO + 1]
            for a in range(begin, end):
                span = slice(*(len(INPUTS) + aggregations[a, k.A_COLUMN_FROM : k.A_COLUMN_TO + 1]))
                lost = (found[span] > MARK_MAX) | ((found[span] != ABSENT) & (found[span] != WARMING))
                found[span][lost] = EVICTED
                self.evicted += int(lost.sum())

    # ---- the state as bytes

    def _packed(self, record: int, now: int) -> k.Ints:
        words = np.empty(k.packed_size(self.program, self.state, record), np.int64)
        return words[: k.pack(self.program, self.state, record, now, words)]

    def canonical(self) -> bytes:
        """Everything a later read can see, in an order that only the entries determine (for comparing engines)."""
        now = int(self.state.head[k.NOW])
        held = [self._packed(int(ref), now).tobytes() for ref in self.state.refs[self.state.refs != 0]]
        if self.spill is not None:
            held += [self._repacked(blob, now) for _, _, blob, _ in self.spill.items()]
        live = [blob for blob in held if struct.unpack_from("q", blob, 16)[0] >= now]
        dropped = sorted((word, until) for word, until in self.dropped.items() if until >= now)
        head = struct.pack("2q", now, self.state.head[k.FIRST_COMPLETE])
        return b"".join([head, *sorted(live, key=entity_and_key), repr(dropped).encode() if dropped else b""])

    def _repacked(self, blob: bytes, now: int) -> bytes:
        """A spilled record as it would be packed at `now`."""
        words = np.frombuffer(blob, np.int64)
        apart = empty_state(self.program, words=2 * words.size)
        k.unpack(self.program, apart, words, now)
        packed = np.empty(words.size, np.int64)
        return packed[: k.pack(self.program, apart, int(apart.refs.max()), now, packed)].tobytes()


def empty_state(program: k.Program, *, words: int = 0) -> k.State:
    head = np.zeros(k.HEAD_WORDS, np.int64)
    head[k.TOP], head[k.NOW], head[k.FIRST_COMPLETE] = 8, k.UNKNOWN, k.UNKNOWN
    head[k.LARGEST] = k.class_for(max(program.stores[:, k.S_WORDS], default=1))
    table = np.zeros((2, 1 << 10), np.int64)
    state = k.State(np.empty(0, np.int64), table[0].copy(), table[1].copy(), head)
    size = 8 + words + k.room_needed(program, state)
    return k.State(np.empty(max(size, 1 << 12), np.int64), state.keys, state.refs, head)


def entity_and_key(blob: bytes) -> tuple[int, int]:
    entity, key = struct.unpack_from("2q", blob)
    return entity, key


def dropped_word(entity: int, key: int) -> int:
    """One word for (entity, key), so that a million dropped keys stay a plain dict of integers."""
    return int(k.home_of(entity, key))
