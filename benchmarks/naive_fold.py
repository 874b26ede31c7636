"""A fold of the same features in plain Python, as one would first write it: the reference for replay.

Per key and column a dict of tiles (or the last and first event), updated event by event. It keeps what reads need and
answers none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from greenlane.features.definition import Aggregation, FeatureSet
from greenlane.features.where import compile_where
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

State = dict[Any, Any]
Update = Callable[[State, int, Entry], None]


class NaiveFold:
    def __init__(self, features: FeatureSet):
        self.parts = [(Aggregated(a), SOURCE_BIT[a.source]) for a in features.aggregations]

    def apply_many(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.facts is None:
                continue
            for part, bit in self.parts:
                if entry.emits & bit:
                    part.apply(entry, entry.facts)


class Aggregated:
    """One aggregation: its keys, and what each column holds of them."""

    def __init__(self, aggregation: Aggregation):
        self.names, self.by_payment = aggregation.entity.facts, aggregation.time == "payment"
        self.where = compile_where(aggregation.where) if aggregation.where else None
        self.ttl_us = aggregation.ttl_us
        self.updates = [update_of(column.measure, column.window) for column in aggregation.columns]
        self.states: dict[Any, list[State]] = defaultdict(lambda: [{} for _ in self.updates])

    def apply(self, entry: Entry, facts: Facts) -> None:
        key = tuple([getattr(facts, name) for name in self.names])
        if 0 in key or "" in key or (self.where and not self.where(facts)):
            return
        at_us = min(facts.payment_us if self.by_payment else entry.occurred_us, entry.ingest_us)
        if at_us < entry.ingest_us - self.ttl_us:
            return
        for update, state in zip(self.updates, self.states[key], strict=True):
            update(state, at_us, entry)


def update_of(measure: Any, window: Any) -> Update:
    """How one column remembers an event: by tile of its window's hop where it has one."""
    op, field, hop = measure.op, measure.field, window.hop_us if window else 1

    def counted(state: State, at_us: int, entry: Entry) -> None:
        state[at_us // hop] = state.get(at_us // hop, 0) + entry.sign

    def summed(state: State, at_us: int, entry: Entry) -> None:
        state[at_us // hop] = state.get(at_us // hop, 0) + entry.sign * getattr(entry.facts, field)

    def largest(state: State, at_us: int, entry: Entry) -> None:
        state[at_us // hop] = max(state.get(at_us // hop, 0), getattr(entry.facts, field))

    def distinct(state: State, at_us: int, entry: Entry) -> None:
        state.setdefault(at_us // hop, set()).add(getattr(entry.facts, field))

    def latest(state: State, at_us: int, entry: Entry) -> None:
        held = state.setdefault(at_us // hop, [])
        held.append((at_us, entry.seq, getattr(entry.facts, field) if field else 0))
        held.sort()
        del held[:-2]

    def seen(state: State, at_us: int, _entry: Entry) -> None:
        state["last"] = max(state.get("last", 0), at_us)

    ways = {"count": counted, "sum": summed, "max": largest, "min": largest, "distinct": distinct, "seen": seen}
    return ways.get(op, latest)
