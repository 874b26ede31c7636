"""The stream engine: folds the journal, entry by entry, and answers every column for a payment at once."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.capacity import Capacity
from greenlane.features.definition import FeatureSet
from greenlane.features.inputs import INPUTS
from greenlane.features.memory import Memory
from greenlane.features.program import program_of
from greenlane.features.rows import RowWriter
from greenlane.payments.facts import Facts
from greenlane.ports.journal import Entry
from greenlane.ports.spill import SpillStore

CHUNK_ROWS: Final = 2048


class StreamEngine:
    """State of every column of a feature set, folded from entries in their order.

    >>> from greenlane.features.definition import Aggregation, Count, Entity
    >>> from greenlane.ports.journal import SOURCE_BIT
    >>> velocity = Aggregation("velocity", Entity("card", "card"), "attempts", (Count(),), ("1h/1m",))
    >>> engine = StreamEngine(FeatureSet((velocity,)), first_complete_us=0)
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, card=7)
    >>> noon = 12 * 3_600_000_000
    >>> engine.apply(Entry(1, 1, noon, "decision", "api", "e1", noon, SOURCE_BIT["attempts"], 1, b"", facts, b""))
    >>> int(engine.read(facts, noon)[-1])
    1

    `first_complete_us`: since when the journal is complete; where it is not given, since its first entry.
    `capacity_records` bounds the histories held in memory: beyond it the coldest go to `spill` and come back when next
    touched; without a `spill` they are dropped, and their columns read EVICTED for as long as their events would count.
    One thread uses an engine.
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
        self.capacity = None if capacity_records is None else Capacity(capacity_records, spill)
        self._writer = RowWriter(features, CHUNK_ROWS)
        self._rows = self._writer.rows
        self.memory = Memory(program_of(features))
        self._width = len(INPUTS) + len(features.columns)
        self._no_answer = np.empty((0, self._width), np.int64)
        self._started = first_complete_us is not None
        if first_complete_us is not None:
            self.memory.state.arena[k.FIRST_COMPLETE] = first_complete_us
        self.memory.fold(self._rows[:0], self._no_answer)  # compiles now, not at the first payment

    @property
    def first_complete_us(self) -> int:
        """Since when the journal is complete: declared, or learned from its first entry."""
        return int(self.memory.state.arena[k.FIRST_COMPLETE])

    @property
    def evicted(self) -> int:
        """Columns answered EVICTED so far."""
        return self.capacity.evicted if self.capacity else 0

    def close(self) -> None:
        """Let go of what was spilled: another engine may use its place."""
        if self.capacity is not None and self.capacity.spill is not None:
            self.capacity.spill.close()

    # ---- one at a time: the online path

    def read(self, facts: Facts, ingest_us: int) -> k.Ints:
        """int64[k]: inputs, then columns in the order of `FeatureSet.columns`, for a payment that arrives now."""
        answer = np.empty((1, self._width), np.int64)
        self._writer.question(facts, ingest_us)
        self._fold(1, answer)
        return answer.reshape(-1)

    def apply(self, entry: Entry) -> None:
        if not self._started:
            self._start(entry)
        self._writer.entry(0, entry)
        self._fold(1, self._no_answer)

    # ---- many at once: recovery and backfill

    def apply_many(self, entries: Iterable[Entry]) -> None:
        for _ in self._answered(entries, lambda _entry: False):
            pass

    def fold_and_read(self, entries: Iterable[Entry], wanted: Callable[[Entry], bool]) -> tuple[k.Ints, k.Ints]:
        """(int64[n] seqs, int64[n, k] vectors) of the wanted entries, each read before it is applied.

        Entries without facts have nothing to read.
        """
        answered = list(self._answered(entries, wanted))
        seqs = np.array([seq for part, _ in answered for seq in part], np.int64)
        return seqs, np.concatenate([self._no_answer, *(vectors for _, vectors in answered)])

    def _answered(
        self, entries: Iterable[Entry], wanted: Callable[[Entry], bool]
    ) -> Iterator[tuple[list[int], k.Ints]]:
        size, written, seqs = self._chunk(), 0, list[int]()
        for entry in entries:
            if not self._started:
                self._start(entry)
            asks = entry.facts is not None and wanted(entry)
            self._writer.entry(written, entry, wanted=len(seqs) if asks else -1)
            written += 1
            if asks:
                seqs.append(entry.seq)
            if written == size:
                yield seqs, self._fold(written, np.empty((len(seqs), self._width), np.int64))
                size, written, seqs = self._chunk(), 0, []
        if written:
            yield seqs, self._fold(written, np.empty((len(seqs), self._width), np.int64))

    def _start(self, entry: Entry) -> None:
        self._started = True
        head = self.memory.state.arena
        if head[k.FIRST_COMPLETE] == k.UNKNOWN:
            head[k.FIRST_COMPLETE] = entry.ingest_us

    def _chunk(self) -> int:
        """How many entries are folded at once: one at a time as soon as the bound on records could matter."""
        if self.capacity is None:
            return CHUNK_ROWS
        records = self.memory.records + CHUNK_ROWS * len(self.memory.tables.entities)
        return CHUNK_ROWS if self.capacity.is_far(records) else 1

    def _fold(self, count: int, answers: k.Ints) -> k.Ints:
        if self.capacity is None or count > 1:
            self.memory.fold(self._rows[:count], answers)
            return answers
        row = self._rows[0]
        self.capacity.bring_back(self.memory, row)
        self.memory.fold(self._rows[:1], answers)
        for answer in answers:
            self.capacity.mark(self.memory, row, answer[len(INPUTS) :])
        self.capacity.make_room(self.memory)
        return answers

    # ---- for comparing engines

    def canonical(self) -> bytes:
        """Everything a later read can see, in an order that only the entries determine."""
        memory, now = self.memory, self.memory.now_us
        held = [memory.packed(record, now) for record in memory.addresses]
        spill = self.capacity.spill if self.capacity else None
        for _, _, blob, _ in spill.items() if spill else ():
            held.append(memory.repacked(np.frombuffer(blob, np.int64), now))
        live = sorted((words for words in held if words[2] >= now), key=lambda words: (words[0], words[1]))
        dropped = sorted(self.capacity.dropped.items()) if self.capacity else []
        lost = [pair for pair in dropped if pair[1] >= now]
        head = np.array([now, memory.state.arena[k.FIRST_COMPLETE]])
        return b"".join(part.tobytes() for part in (head, *live, np.array(lost, np.int64)))
