"""What somebody else's features are worth to the same families on the same rows and weeks."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from greenlane.adapters.expected_table import read_expected
from greenlane.errors import NotFound
from greenlane.jobs.proving import expected_of
from greenlane.learning.training_set import TrainingSet
from greenlane.wiring import Reader

BELOW_MAX: Final = 0.02
"""So much less average precision than on the other features still counts as not worse."""
AGAINST_COLUMNS: Final = ("family", "AP on our features", "AP on theirs", "difference", "at most 0.02 below")


class Against(Struct, frozen=True):
    """Average precision of a family on our features, and refitted on the columns of a file."""

    family: str
    ours: float
    theirs: float

    @property
    def met(self) -> bool:
        return self.ours >= self.theirs - BELOW_MAX


def sets_beside(reader: Reader, found: TrainingSet, file: Path) -> tuple[TrainingSet, TrainingSet]:
    """(our features, the file's) of the set's payments that the file has, by the mapping's [expected]."""
    expected = expected_of(reader.store)
    table = read_expected(file, id_column=expected.id, columns={name: name for name in expected.columns})
    place = {payment_id: row for row, payment_id in enumerate(table.ids)}
    wanted = set(found.seq.tolist())
    row_of = {e.seq: place.get(e.facts.payment_id, -1) for e in reader.entries() if e.facts and e.seq in wanted}
    rows = np.array([row_of[seq] for seq in found.seq.tolist()], np.int64)
    if not (rows >= 0).any():
        hint = "import the file that these features are of, or take its days with --from and --to"
        raise NotFound(f"no payment of {file.name} is in this training set", hint=hint)
    ours, values = found.take(rows >= 0), table.values[rows[rows >= 0]]
    return ours, replace(ours, names=table.columns, X=np.ascontiguousarray(values, np.float32))


def against_lines(found: list[Against]) -> list[tuple[str, ...]]:
    return [
        (a.family, f"{a.ours:.3f}", f"{a.theirs:.3f}", f"{a.ours - a.theirs:+.3f}", "yes" if a.met else "NO")
        for a in found
    ]
