"""One question, asked of the definition, of the SQL engine and of the stream engine."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from parity.naive import naive_rows

from greenlane.adapters.duckdb_engine import DuckdbEngine
from greenlane.features.definition import FeatureSet
from greenlane.features.kernels import Ints
from greenlane.features.parity import Mismatch, compare, report
from greenlane.features.sql import features_sql
from greenlane.features.stream import StreamEngine
from greenlane.ports.journal import Entry

Rows = tuple[Ints, Ints]
query_text = lru_cache(features_sql)


def stream_rows(entries: Sequence[Entry], feature_set: FeatureSet, *, first_complete_us: int) -> Rows:
    engine = StreamEngine(feature_set, first_complete_us=first_complete_us)
    return engine.fold_and_read(entries, lambda _entry: True)


def sql_rows(entries: Sequence[Entry], feature_set: FeatureSet, *, first_complete_us: int) -> Rows:
    engine = DuckdbEngine()
    engine.load(entries)
    return engine.read_at(features_sql(feature_set, first_complete_us), [e.seq for e in entries if e.facts is not None])


def defined_rows(entries: Sequence[Entry], feature_set: FeatureSet, *, first_complete_us: int) -> Rows:
    asked = [e for e in entries if e.facts is not None]
    rows = naive_rows(entries, asked, feature_set, first_complete_us=first_complete_us)
    return np.array([q.seq for q in asked], np.int64), np.array(rows, np.int64).reshape(
        len(asked), len(feature_set.columns)
    )


def agreed_rows(entries: Sequence[Entry], feature_set: FeatureSet, *, first_complete_us: int) -> Rows:
    """What all three say; fails with the first few values on which they differ."""
    defined = defined_rows(entries, feature_set, first_complete_us=first_complete_us)
    agree(compare(feature_set, defined, sql_rows(entries, feature_set, first_complete_us=first_complete_us)), "sql")
    agree(
        compare(feature_set, stream_rows(entries, feature_set, first_complete_us=first_complete_us), defined), "stream"
    )
    return defined


def agree(mismatches: list[Mismatch], engine: str) -> None:
    assert not mismatches, f"{engine} and the definition differ\n{report(mismatches)}"
