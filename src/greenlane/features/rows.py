"""Entries and questions as rows of words: all that Python does per event before the kernels take over."""

import hashlib
import struct
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import numpy as np

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT, FeatureSet
from greenlane.features.inputs import INPUTS, inputs
from greenlane.features.program import layout_of
from greenlane.features.where import compile_where
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

TEXTS_CACHED_MAX: Final = 1 << 18


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
    """Writes entries and questions into `rows`, int64[capacity, words], as the kernels understand them."""

    def __init__(self, features: FeatureSet, capacity: int):
        layout = layout_of(features)
        self.rows = np.zeros((capacity, layout.inputs_at + len(INPUTS)), np.int64)
        self._buffer = self.rows.data.cast("B")
        self._row_bytes, self._inputs_at = self.rows.strides[0], 8 * layout.inputs_at
        self._sources = sum({SOURCE_BIT[a.source] for a in features.aggregations})
        self._where_sources = sum({SOURCE_BIT[a.source] for a in features.aggregations if a.where})
        self._wheres = [compile_where(text) for text in layout.wheres]
        self._no_flags = (0,) * len(self._wheres)
        self._integers, self._texts = tuple_getter(layout.integers), tuple_getter(layout.texts)
        self._words_of = [TextKeys(fact).__getitem__ for fact in layout.texts]
        self._pack_head = struct.Struct(f"{k.ROW_HEAD}q").pack_into
        self._pack = struct.Struct(f"{layout.inputs_at}q").pack_into
        self._pack_inputs = struct.Struct(f"{len(INPUTS)}q").pack_into

    def question(self, facts: Facts, ingest_us: int) -> None:
        """Row 0 asks for the columns of `facts`, as row 0 of the answer."""
        self._write(0, (ingest_us, k.READ_ONLY, 0, 0, 0, 0, *self._no_flags), facts)
        self._pack_inputs(self._buffer, self._inputs_at, *inputs(facts, ingest_us))

    def entry(self, row: int, entry: Entry, *, wanted: int = -1) -> None:
        """`row` is `entry`, to be answered before it is applied where `wanted` is a row of the answer."""
        at, facts = row * self._row_bytes, entry.facts
        emits = entry.emits & self._sources if facts is not None else 0
        if facts is None or (emits == 0 and wanted < 0):
            self._pack_head(self._buffer, at, entry.ingest_us, 0, 0, 0, 0, -1)
            return
        flags = [test(facts) for test in self._wheres] if emits & self._where_sources else self._no_flags
        self._write(
            at, (entry.ingest_us, emits, entry.sign, entry.occurred_us, facts.payment_us, wanted, *flags), facts
        )
        if wanted >= 0:
            self._pack_inputs(self._buffer, at + self._inputs_at, *inputs(facts, entry.ingest_us))

    def _write(self, at: int, head: tuple[int, ...], facts: Facts) -> None:
        texts = [word_of(text) for word_of, text in zip(self._words_of, self._texts(facts), strict=True)]
        self._pack(self._buffer, at, *head, *self._integers(facts), *texts)
