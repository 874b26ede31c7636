"""Entries as one SQL table, wherever it lives."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from greenlane.ports.journal import Entry

Ints = npt.NDArray[np.int64]


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
