"""A fold of the same features in plain Python, as one would first write it: the reference for replay.

Per key and column a dict of tiles, updated event by event and gone through at every read. It answers what the stream
engine answers.
"""

from collections.abc import Callable, Iterable
from typing import Any

from greenlane.features.definition import ABSENT, EMPTY, NEVER, WARMING, Aggregation, Column, FeatureSet
from greenlane.features.inputs import inputs
from greenlane.features.where import compile_where
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

Tiles = dict[int, Any]
Event = tuple[int, int, Any]
"""When, its seq, and its value."""


class NaiveFold:
    """Complete since the epoch; takes nothing back."""

    def __init__(self, features: FeatureSet):
        self.parts = [(Aggregated(a), SOURCE_BIT[a.source]) for a in features.aggregations]

    def apply(self, entry: Entry) -> None:
        for part, bit in self.parts:
            if entry.facts is not None and entry.emits & bit:
                part.apply(entry, entry.facts)

    def read(self, facts: Facts, ingest_us: int) -> list[int]:
        found = list(inputs(facts, ingest_us))
        for part, _ in self.parts:
            found += part.read(facts, ingest_us)
        return found

    def apply_many(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.apply(entry)

    def fold_and_read(self, entries: Iterable[Entry], wanted: Callable[[Entry], bool]) -> list[list[int]]:
        rows = []
        for entry in entries:
            if entry.facts is not None and wanted(entry):
                rows.append(self.read(entry.facts, entry.ingest_us))
            self.apply(entry)
        return rows


class History:
    """One key's: when it was last seen, and the tiles of each column."""

    def __init__(self, columns: int):
        self.last_us = -1
        self.tiles: list[Tiles] = [{} for _ in range(columns)]


class Aggregated:
    """One aggregation: the histories of its keys."""

    def __init__(self, aggregation: Aggregation):
        self.names, self.by_payment = aggregation.entity.facts, aggregation.time == "payment"
        self.where = compile_where(aggregation.where) if aggregation.where else None
        self.ttl_us, self.columns = aggregation.ttl_us, aggregation.columns
        self.histories: dict[Any, History] = {}

    def key(self, facts: Facts) -> tuple[Any, ...] | None:
        key = tuple([getattr(facts, name) for name in self.names])
        return None if 0 in key or "" in key else key

    def apply(self, entry: Entry, facts: Facts) -> None:
        key = self.key(facts)
        at_us = min(facts.payment_us if self.by_payment else entry.occurred_us, entry.ingest_us)
        if key is None or at_us < entry.ingest_us - self.ttl_us or (self.where and not self.where(facts)):
            return
        history = self.histories.get(key)
        if history is None:
            history = self.histories[key] = History(len(self.columns))
        history.last_us = max(history.last_us, at_us)
        for column, tiles in zip(self.columns, history.tiles, strict=True):
            if column.window is not None:
                update(column, tiles, at_us, entry)

    def read(self, facts: Facts, ingest_us: int) -> list[int]:
        key = self.key(facts)
        if key is None:
            return [ABSENT] * len(self.columns)
        history = self.histories.get(key)
        alive = history is not None and history.last_us >= ingest_us - self.ttl_us
        tiles = history.tiles if history else [{}] * len(self.columns)
        return [answer(c, t, ingest_us, self.ttl_us, alive) for c, t in zip(self.columns, tiles, strict=True)]


def update(column: Column, tiles: Tiles, at_us: int, entry: Entry) -> None:
    measure, tile = column.measure, at_us // column.window.hop_us
    value = getattr(entry.facts, measure.field) if measure.field else 1
    if measure.op in ("count", "sum"):
        tiles[tile] = tiles.get(tile, 0) + value
    elif measure.op == "max":
        tiles[tile] = max(tiles.get(tile, value), value)
    elif measure.op == "distinct":
        tiles.setdefault(tile, set()).add(value)
    else:
        tiles.setdefault(tile, []).append((at_us, entry.seq, value))


def answer(column: Column, tiles: Tiles, ingest_us: int, ttl_us: int, alive: bool) -> int:
    window = column.window
    if window is None:
        return 1 if alive else WARMING if ingest_us < ttl_us else NEVER
    if ingest_us - window.width_us - window.delay_us < 0:
        return WARMING
    if not alive:
        return NEVER
    first = (ingest_us - window.delay_us - window.width_us) // window.hop_us
    last = (ingest_us - window.delay_us) // window.hop_us if window.delay_us else ingest_us // window.hop_us
    inside = [held for tile, held in tiles.items() if first <= tile <= last]
    return combined(column, inside, ingest_us)


def combined(column: Column, inside: list[Any], ingest_us: int) -> int:
    op = column.measure.op
    if op in ("count", "sum"):
        return sum(inside)
    if op == "distinct":
        return min(len(set().union(*inside) - {0, ""}), column.measure.cap)
    if op == "max":
        return max(inside, default=EMPTY)
    events: list[Event] = sorted(event for tile in inside for event in tile)
    if not events or (op == "previous_gap" and len(events) < 2):
        return EMPTY
    latest = events[-1]
    return {
        "last": lambda: latest[2],
        "time_since": lambda: ingest_us - latest[0],
        "previous_gap": lambda: latest[0] - events[-2][0],
    }[op]()
