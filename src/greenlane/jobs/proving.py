"""The proof that what is served equals what is trained on: both engines over one journal, value by value."""

from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.adapters.expected_table import ExpectedTable, read_expected
from greenlane.adapters.history_mapping import Expected, Mapping
from greenlane.decisions.control import control_of
from greenlane.errors import NotFound
from greenlane.features import parity
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS
from greenlane.features.kernels import Ints
from greenlane.features.sql import features_sql
from greenlane.features.stream import StreamEngine
from greenlane.journal.draft import ATTEMPTS
from greenlane.ports.journal import Entry, JournalStore
from greenlane.wiring import complete_from, day_table, open_reader


class Verified(Struct, frozen=True):
    """`mismatches` is expected to be 0; `first` shows the first few."""

    rows: int
    values: int
    mismatches: int
    first: list[str]


def verify_features(directory: Path, *, sample: int) -> Verified:
    """Stream against SQL, bit for bit, at about `sample` positions of the journal."""
    reader = open_reader(directory)
    _, last = reader.store.span()
    with closing(day_table()) as table:
        found = parity.verify(
            reader.entries(),
            reader.features,
            sample=max(1, last // sample),
            engine=table,
            first_complete_us=complete_from(reader.store),
        )
    return Verified(found.rows, found.values, len(found.mismatches), [str(m) for m in found.mismatches[:10]])


def verify_against(directory: Path, file: Path) -> Verified:
    """Both engines against a table of expected values, by the `[expected]` part of the mapping that was imported."""
    reader = open_reader(directory)
    expected = expected_of(reader.store)
    table = read_expected(file, id_column=expected.id, columns=expected.columns)
    place = {payment_id: row for row, payment_id in enumerate(table.ids)}
    seq_of: dict[int, int] = {}

    def wanted(entry: Entry) -> bool:
        row = place.get(entry.facts.payment_id) if entry.facts is not None and entry.emits & ATTEMPTS else None
        if row is not None:
            seq_of[entry.seq] = row
        return row is not None

    start_us = complete_from(reader.store)
    sql, stream = day_table(), StreamEngine(reader.features, first_complete_us=start_us)
    try:
        seqs, vectors = stream.fold_and_read(parity.loading(reader.entries(), sql), wanted)
        start_us = sql.first_ingest_us() if start_us is None else start_us
        _, columns = sql.read_at(features_sql(reader.features, start_us), seqs)
    finally:
        sql.close()
    if not len(seqs):
        raise NotFound(
            f"no payment of {file.name} is in this journal", hint="import the file that these features are of"
        )
    return against(reader.features, table, [seq_of[s] for s in seqs.tolist()], vectors, columns, expected.comparison)


def against(
    features: FeatureSet, table: ExpectedTable, rows: list[int], vectors: Ints, columns: Ints, comparison: str
) -> Verified:
    """Each engine's finalised values beside the expected ones, at the stated precision."""
    finaliser = Finaliser(features)
    picked = [finaliser.names.index(name) for name in table.columns]
    want = table.values[rows].astype(comparison)
    first: list[str] = []
    mismatches = 0
    sql_vectors = np.concatenate([vectors[:, : len(INPUTS)], columns], axis=1)
    for engine, found in (("stream", vectors), ("sql", sql_vectors)):
        got = finaliser.values64(np.ascontiguousarray(found))[:, picked].astype(comparison)
        differ = ~((got == want) | (np.isnan(got) & np.isnan(want)))
        mismatches += int(differ.sum())
        for row, column in np.argwhere(differ)[: max(0, 10 - len(first))]:
            where = f"{table.ids[rows[row]]}  {table.columns[column]}"
            first.append(f"{where}  {engine} {got[row, column]!r}  expected {want[row, column]!r}")
    return Verified(len(rows), 2 * want.size, mismatches, first)


def expected_of(store: JournalStore) -> Expected:
    """The `[expected]` table of the last mapping that had one."""
    for entry in reversed(list(store.controls())):
        record = control_of(entry)
        if record.subject == "import":
            expected = msgspec.convert(record.after["mapping"], Mapping).expected
            if expected is not None:
                return expected
    raise NotFound(
        "no mapping of this directory says which column of a file is which feature",
        hint="add [expected] to the mapping and import with it",
    )
