"""What the journal of a simulated history does not say, kept beside it: only to judge models by, never to learn from.

DIR/truth.parquet     one row for each answer and authentication of the journal
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.learning.evaluate import Known
from greenlane.learning.fit import informed
from greenlane.learning.training_set import TrainingSet
from greenlane.simulation.answers import AUTHENTICATED, EXEMPT, PLAIN, Sent
from greenlane.wiring import Reader

FILE: Final = "truth.parquet"
DTYPES: Final = {"seq": "int64", "honest": "bool", "approval_probability": "float64", "report_us": "int64"}


class TrueRow(NamedTuple):
    """What is so about one attempt."""

    honest: bool
    approval_probability: float
    """P(approved | what a caller can know, the weather, the issuer's memory) of an honest payer, over the way and in
    the mode that it went; given, where an exemption was asked for, that the issuer honours it."""
    report_us: int
    """When fraud is reported if the payment is let through; 0: never."""


class TrueRows(NamedTuple):
    """The same of many attempts, a column each."""

    honest: NDArray[np.bool_]
    approval_probability: NDArray[np.float64]
    report_us: NDArray[np.int64]


def mode_of(sent: Sent, *, passed: bool) -> int:
    """`passed`: authentication was, now or before."""
    return AUTHENTICATED if passed else EXEMPT if sent.intervention == "exempt" else PLAIN


def write_truth(directory: Path, seqs: Sequence[int], rows: Sequence[TrueRow]) -> None:
    """`seqs` are journal positions, rising."""
    from greenlane.adapters.parquet_columns import write_columns

    columns = {"seq": seqs} | {name: [getattr(row, name) for row in rows] for name in TrueRow._fields}
    write_columns(directory / FILE, {name: np.array(column, DTYPES[name]) for name, column in columns.items()})


def truth_of(reader: Reader, seqs: NDArray[np.int64]) -> TrueRows | None:
    """Of the entries at these positions; None where some are of no simulated history."""
    from greenlane.adapters.parquet_columns import read_columns

    path = reader.places.root / FILE
    if not path.exists():
        return None
    kept = read_columns(path, DTYPES)
    if not np.isin(seqs, kept["seq"]).all():
        return None
    place = np.searchsorted(kept["seq"], seqs)
    return TrueRows(*(kept[name][place] for name in TrueRow._fields))


def true_approvals(reader: Reader, seqs: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """True P(approved) of these answers, NaN where the payer is a thief or all was down; None where nobody knows."""
    so = truth_of(reader, seqs)
    if so is None:
        return None
    return np.where(so.honest & (so.approval_probability > 0.0), so.approval_probability, np.nan)


def known_of(reader: Reader, found: TrainingSet, rows: NDArray[np.int64], *, seed: int) -> Known | None:
    """What is known of these labelled rows of the set; the informed oracle learns from every other card's."""
    from greenlane.adapters.families import estimator_of

    labelled = np.flatnonzero(found.labelled)
    so = truth_of(reader, found.seq[labelled]) if found.manifest["label"] == "fraud_report" else None
    if so is None:
        return None
    final = replace(found.examples(), y=(so.report_us > 0).astype(np.int8))
    place = np.searchsorted(labelled, rows)
    return Known(informed(estimator_of("lightgbm"), final, seed=seed)[place], final.y[place])
