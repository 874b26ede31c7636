"""Proof on a real journal that what is served equals what is trained on: stream and SQL, value by value."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, Protocol

import numpy as np
from msgspec import Struct

from greenlane.features.definition import EVICTED, MARKS, FeatureSet
from greenlane.features.kernels import Ints
from greenlane.features.sql import features_sql
from greenlane.features.stream import StreamEngine
from greenlane.ports.journal import Entry

CHUNK_ENTRIES: Final = 10_000
SPREAD: Final = 0x9E3779B97F4A7C15
WORD: Final = 2**64 - 1
"""2^64 / golden ratio: neighbouring seqs times this are spread evenly over 64 bits (Knuth, TAOCP 3, 6.4)."""


class EntryTable(Protocol):
    """The relation `entries`: seq, ingest_us, occurred_us, kind, emits, sign, then every fact of `Facts`."""

    def load(self, entries: Iterable[Entry]) -> None:
        """Adds entries; those without facts are no rows of the relation."""
        ...

    def first_ingest_us(self) -> int:
        """Of the first entry held, with facts or without; 0 when there is none."""
        ...

    def read_at(self, query: str, seqs: Sequence[int] | Ints) -> tuple[Ints, Ints]:
        """(int64[n], int64[n, k]): `seqs` as given and what `query` answers over `entries` and `queries` for each."""
        ...


class Mismatch(Struct, frozen=True):
    """One value on which the engines disagree.

    >>> from greenlane.features.definition import NEVER
    >>> print(Mismatch(7, "card_velocity.count.1h", NEVER, 3))
    seq 7  card_velocity.count.1h  stream never  sql 3
    """

    seq: int
    column: str
    stream: int
    sql: int

    def __str__(self) -> str:
        return f"seq {self.seq}  {self.column}  stream {shown(self.stream)}  sql {shown(self.sql)}"


class Verification(Struct, frozen=True):
    """What was compared, and what differed."""

    rows: int
    values: int
    evicted: int
    mismatches: list[Mismatch]


def shown(value: int) -> str:
    return MARKS.get(value, str(value))


def compare(feature_set: FeatureSet, stream_rows: tuple[Ints, Ints], sql_rows: tuple[Ints, Ints]) -> list[Mismatch]:
    """Every value that differs, by row, then column; no tolerance. EVICTED is the stream's admission, not a mismatch.

    Both sides are (int64[n] seqs, int64[n, k]): the columns of the set are the last ones, whatever stands before them.
    """
    names = [column.name for column in feature_set.columns]
    (seqs, stream), (sql_seqs, sql) = stream_rows, sql_rows
    if not np.array_equal(seqs, sql_seqs):
        raise ValueError("the two sides were not read at the same entries")
    left, right = (side[:, side.shape[1] - len(names) :] for side in (stream, sql))
    differ = (left != right) & (left != EVICTED)
    return [
        Mismatch(int(seqs[row]), names[column], int(left[row, column]), int(right[row, column]))
        for row, column in np.argwhere(differ)
    ]


def report(mismatches: Sequence[Mismatch], first: int = 10) -> str:
    """The first few, one a line, and how many there are."""
    if not mismatches:
        return "no mismatch"
    lines = [str(mismatch) for mismatch in mismatches[:first]]
    more = len(mismatches) - len(lines)
    return "\n".join([*lines, f"and {more} more"] if more else lines)


def verify(
    entries: Iterable[Entry],
    feature_set: FeatureSet,
    *,
    sample: int,
    engine: EntryTable,
    first_complete_us: int | None = None,
) -> Verification:
    """Folds the stream engine over `entries` and reads one in `sample` of those with facts in both engines.

    `engine` is empty, and holds the entries afterwards. `first_complete_us`: the import's declared start, else that of
    the first entry.
    """
    found = iter(entries)
    head = list(islice(found, 1))
    if first_complete_us is None:
        first_complete_us = head[0].ingest_us if head else 0
    stream = StreamEngine(feature_set, first_complete_us=first_complete_us)
    seqs, vectors = stream.fold_and_read(loading(chain(head, found), engine), lambda e: is_sampled(e.seq, sample))
    answered = engine.read_at(features_sql(feature_set, first_complete_us), seqs)
    mismatches = compare(feature_set, (seqs, vectors), answered)
    return Verification(len(seqs), answered[1].size, int(np.count_nonzero(vectors == EVICTED)), mismatches)


def loading(entries: Iterator[Entry], engine: EntryTable) -> Iterator[Entry]:
    """Passes entries on, and into the engine's table by the chunk."""
    while chunk := list(islice(entries, CHUNK_ENTRIES)):
        engine.load(chunk)
        yield from chunk


def is_sampled(seq: int, sample: int) -> bool:
    """The same positions in every run, whatever their spacing.

    >>> sum(is_sampled(seq, 10) for seq in range(100_000))
    10000
    """
    return (seq * SPREAD & WORD) * sample <= WORD
