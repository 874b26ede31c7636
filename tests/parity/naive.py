"""The definition of `greenlane.features.definition`, word for word: one plain function per column, no cleverness."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain

from greenlane.features.definition import (
    ABSENT,
    EMPTY,
    NEVER,
    WARMING,
    Aggregation,
    Column,
    FeatureSet,
    Measure,
)
from greenlane.features.where import compile_where
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

ZERO_WHEN_EMPTY = ("count", "sum", "distinct")


def naive_rows(
    entries: Sequence[Entry], queries: Sequence[Entry], feature_set: FeatureSet, *, first_complete_us: int
) -> list[list[int]]:
    """What the decisions at `queries` knew."""
    parts = [
        naive_part(entries, queries, aggregation, first_complete_us=first_complete_us)
        for aggregation in feature_set.aggregations
    ]
    return [list(chain(*row)) for row in zip(*parts, strict=True)]


def naive_part(
    entries: Sequence[Entry], queries: Sequence[Entry], aggregation: Aggregation, *, first_complete_us: int
) -> list[list[int]]:
    history = defaultdict(list)
    for e in entries:
        if is_kept(aggregation, e):
            history[key(aggregation, e.facts)].append(e)
    rows = []
    for q in queries:
        known = [e for e in history[key(aggregation, q.facts)] if e.seq < q.seq]
        rows.append(
            [value(c, aggregation, known, q=q, first_complete_us=first_complete_us) for c in aggregation.columns]
        )
    return rows


def key(aggregation: Aggregation, facts: Facts) -> tuple[int | str, ...] | None:
    parts = tuple(getattr(facts, name) for name in aggregation.entity.facts)
    return None if 0 in parts or "" in parts else parts


def t(aggregation: Aggregation, e: Entry) -> int:
    return min(e.facts.payment_us if aggregation.time == "payment" else e.occurred_us, e.ingest_us)


def is_kept(aggregation: Aggregation, e: Entry) -> bool:
    return (
        e.facts is not None
        and e.emits & SOURCE_BIT[aggregation.source] != 0
        and key(aggregation, e.facts) is not None
        and t(aggregation, e) >= e.ingest_us - aggregation.ttl_us
        and (aggregation.where is None or predicate(aggregation.where)(e.facts))
    )


predicate = cache(compile_where)


def value(column: Column, aggregation: Aggregation, known: list[Entry], *, q: Entry, first_complete_us: int) -> int:
    if key(aggregation, q.facts) is None:
        return ABSENT
    alive = any(e.sign > 0 and t(aggregation, e) >= q.ingest_us - aggregation.ttl_us for e in known)
    if column.window is None:
        warming = q.ingest_us - aggregation.ttl_us < first_complete_us
        return 1 if alive else WARMING if warming else NEVER
    width, hop, delay = column.window.width_us, column.window.hop_us, column.window.delay_us
    if q.ingest_us - width - delay < first_complete_us:
        return WARMING
    if not alive:
        return NEVER
    left = (q.ingest_us - delay - width) // hop * hop
    right = (q.ingest_us - delay) // hop * hop + hop
    inside = [e for e in known if left <= t(aggregation, e) and (delay == 0 or t(aggregation, e) < right)]
    return folded(column.measure, aggregation, inside, q=q)


def folded(measure: Measure, aggregation: Aggregation, inside: list[Entry], *, q: Entry) -> int:
    if measure.op == "count":
        return sum(e.sign for e in inside)
    if measure.op == "sum":
        return sum(e.sign * getattr(e.facts, measure.field) for e in inside)
    events = sorted((e for e in inside if e.sign > 0), key=lambda e: (t(aggregation, e), e.seq))
    fields = [getattr(e.facts, measure.field) for e in events] if measure.field else []
    times = [t(aggregation, e) for e in events]
    if measure.op == "distinct":
        return min(len(set(fields) - {0, ""}), measure.cap)
    assert measure.op not in ZERO_WHEN_EMPTY
    if not events or (measure.op == "previous_gap" and len(events) < 2):
        return EMPTY
    return {
        "min": lambda: min(fields),
        "max": lambda: max(fields),
        "last": lambda: fields[-1],
        "first": lambda: fields[0],
        "time_since": lambda: q.ingest_us - times[-1],
        "previous_gap": lambda: times[-1] - times[-2],
    }[measure.op]()
