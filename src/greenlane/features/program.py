"""A feature set as the tables of integers that the kernels run, and the layout of the rows they run on."""

from typing import Final

import numpy as np
from msgspec import Struct

from greenlane.features import kernels as k
from greenlane.features.definition import ABSENT, ADDITIVE_OPS, OPS, Aggregation, Column, FeatureSet, Measure, Window
from greenlane.payments.facts import INT_FIELDS
from greenlane.ports.journal import SOURCE_BIT

ONE_WORD: Final = ("count", "sum", "min", "max", "last", "previous_gap")
SLOT_WORDS: Final = dict.fromkeys(ONE_WORD, 1) | {"first": 2, "time_since": 0}


def absent_value(fact: str) -> int:
    """The word that stands for an absent fact in a row: 0, and for texts the word of "".

    >>> absent_value("card"), absent_value("merchant_id") == ABSENT
    (0, True)
    """
    return 0 if fact in INT_FIELDS else ABSENT


class Layout(Struct, frozen=True):
    """Where the words of a row lie: head, one flag per `where`, integer facts, text facts (hashed), inputs."""

    wheres: tuple[str, ...]
    integers: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def facts_at(self) -> int:
        return k.ROW_HEAD + len(self.wheres)

    @property
    def inputs_at(self) -> int:
        return self.facts_at + len(self.integers) + len(self.texts)

    def atom(self, fact: str) -> int:
        return self.facts_at + (self.integers + self.texts).index(fact)


def layout_of(features: FeatureSet) -> Layout:
    facts = {f for a in features.aggregations for f in (*a.entity.facts, *(m.field for m in a.measures if m.field))}
    return Layout(
        wheres=tuple(sorted({a.where for a in features.aggregations if a.where})),
        integers=tuple(sorted(f for f in facts if f in INT_FIELDS)),
        texts=tuple(sorted(f for f in facts if f not in INT_FIELDS)),
    )


class Tables:
    """The growing tables; aggregations stand together by entity, columns in the order of the vector."""

    def __init__(self, features: FeatureSet, layout: Layout):
        self.layout = layout
        self.entities: list[list[int]] = []
        self.parts: list[list[int]] = []
        self.aggregations: list[list[int]] = []
        self.stores: list[list[int]] = []
        self.slots: list[list[int]] = []
        self.columns: list[list[int]] = [[0] * 7 for _ in features.columns]
        begins = np.cumsum([0, *(len(a.columns) for a in features.aggregations)]).tolist()
        for keys in dict.fromkeys(a.entity.facts for a in features.aggregations):
            mine = [i for i, a in enumerate(features.aggregations) if a.entity.facts == keys]
            self._add_entity(keys, len(mine))
            for place, i in enumerate(mine):
                self._add_aggregation(features.aggregations[i], place, begins[i])

    def _add_entity(self, keys: tuple[str, ...], aggregations: int) -> None:
        part = len(self.parts)
        self.parts += [[self.layout.atom(fact), absent_value(fact)] for fact in keys]
        record_class = k.class_for(k.RECORD_HEAD + aggregations)
        begin = len(self.aggregations)
        self.entities.append([part, len(self.parts), record_class, begin, begin + aggregations])

    def _add_aggregation(self, a: Aggregation, place: int, column: int) -> None:
        slot, store = len(self.slots), len(self.stores)
        timed = any(m.op not in (*ADDITIVE_OPS, "distinct") for m in a.measures)
        at_of, words = self._add_slots(a, 2 if timed else 1)
        store_of = self._add_stores(a, words)
        block_class = k.class_for(k.BLOCK_HEAD + 2 * (len(self.stores) - store))
        where = k.ROW_HEAD + self.layout.wheres.index(a.where) if a.where else -1
        head = [len(self.entities) - 1, place, SOURCE_BIT[a.source], int(a.time == "payment"), a.ttl_us, where]
        ranges = [store, len(self.stores), slot, len(self.slots)]
        self.aggregations.append([*head, block_class, *ranges, int(timed), column, column + len(a.columns)])
        for i, c in enumerate(a.columns):
            self.columns[column + i] = self._column(c, store_of, at_of, words)

    def _add_slots(self, a: Aggregation, words: int) -> tuple[dict[Measure, int], int]:
        """Where each measure lies in a tile, and the tile's length."""
        at_of = {}
        for measure in dict.fromkeys(m for m in a.measures if m.op not in ("seen", "distinct")):
            at_of[measure] = words
            if SLOT_WORDS[measure.op]:
                atom = self.layout.atom(measure.field) if measure.field else 0
                self.slots.append([OPS.index(measure.op), atom, words])
            words += SLOT_WORDS[measure.op]
        return at_of, words

    def _add_stores(self, a: Aggregation, words: int) -> dict[tuple[str, int, int], int]:
        """One ring of tiles per hop, one list of values per distinct; where each lies in the aggregation's block."""
        begin, places = len(self.stores), {}
        windows = a.parsed_windows
        for hop in sorted({w.hop_us for w in windows} if any(m.op in SLOT_WORDS for m in a.measures) else ()):
            reach = max(w.width_us + w.delay_us for w in windows if w.hop_us == hop)
            places["", 0, hop] = k.BLOCK_HEAD + 2 * (len(self.stores) - begin)
            self.stores.append([k.TILES, hop, reach, words, 0, 0, 0])
        for m in dict.fromkeys(m for m in a.measures if m.op == "distinct"):
            reach = max(w.width_us + w.hop_us for w in windows)
            places[m.field, m.cap, 0] = k.BLOCK_HEAD + 2 * (len(self.stores) - begin)
            self.stores.append([k.VALUES, 1, reach, 2, self.layout.atom(m.field), absent_value(m.field), m.cap])
        return places

    def _column(
        self, column: Column, store_of: dict[tuple[str, int, int], int], at_of: dict[Measure, int], words: int
    ) -> list[int]:
        measure, window = column.measure, column.window or Window(0, 1)
        times = [OPS.index(measure.op), window.width_us, window.hop_us, window.delay_us]
        if measure.op == "seen":
            return [*times, 0, 0, 0]
        if measure.op == "distinct":
            return [*times, store_of[measure.field, measure.cap, 0], 0, 0]
        return [*times, store_of["", 0, window.hop_us], at_of[measure], words]


def program_of(features: FeatureSet) -> k.Ints:
    """The tables one under the other, as `kernels.tables` finds them."""
    made = Tables(features, layout_of(features))
    tables = (made.entities, made.parts, made.aggregations, made.stores, made.slots, made.columns)
    rows = [[len(table) for table in tables], *(row for table in tables for row in table)]
    return np.array([row + [0] * (k.PROGRAM_WIDTH - len(row)) for row in rows], np.int64)
