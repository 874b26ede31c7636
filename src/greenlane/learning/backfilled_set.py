"""A training set that a SQL engine made: what it needs to be told of single entries, and what its tables are read as.

Vectors come from `features/sql.py`, labels from `labels_sql`. What lies inside an entry's payload no SQL reads; but it
takes one entry at a time, in any order, so that Spark's workers tell it each of its part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS, inputs
from greenlane.learning.labels import bit_of
from greenlane.learning.training_set import ATTEMPTS, BESIDE, Logged, Made, TrainingSet, manifest_of, weight_of
from greenlane.ports.journal import Entry

TOLD: Final = ("seq", "said", "weight", "logged", *(f"input_{name}" for name in INPUTS))
"""What single entries tell a SQL engine beyond their columns; all are 64 bits."""
HANDED_ON: Final = TOLD[2:]
OWN: Final = TOLD[4:]


def told_by(entries: Sequence[Entry], logged: Logged) -> dict[str, NDArray[Any]]:
    """Of entries with facts, each by itself, by the names of TOLD: its bit for `labels_sql`; of an attempt its weight,
    the fingerprint of its logged vector (0: none) and what the payment says about itself, else zeros."""
    said, weight, prints = np.zeros(len(entries), np.int64), np.ones(len(entries)), np.zeros(len(entries), np.int64)
    own = np.zeros((len(entries), len(INPUTS)), np.int64)
    for place, entry in enumerate(entries):
        assert entry.facts is not None, "asked of entries with facts"
        said[place] = bit_of(entry)
        if entry.emits & ATTEMPTS and entry.sign > 0:
            weight[place], own[place] = weight_of(entry), inputs(entry.facts, entry.ingest_us)
            known = logged(entry)
            prints[place] = 0 if known is None else fingerprint(known)
    seqs = np.array([entry.seq for entry in entries], np.int64)
    return dict(zip(TOLD, (seqs, said, weight, prints, *own.T), strict=True))


def fingerprint(vector: NDArray[np.int64]) -> int:
    """64 bits, signed, never 0."""
    digest = hashlib.blake2b(np.ascontiguousarray(vector).data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def set_of_vectors(
    rows: Mapping[str, NDArray[Any]], vectors: NDArray[np.int64], features: FeatureSet, made: Made
) -> TrainingSet:
    """The set that `build` makes, of what SQL engines made: the columns of `labels_sql` with those handed on, and the
    vectors without inputs, int64[n, columns], in the same order."""
    own = np.stack([rows[name] for name in OWN], axis=1)
    whole, finaliser, prints = np.concatenate([own, vectors], axis=1), Finaliser(features), rows["logged"]
    differ = [fingerprint(whole[row]) != prints[row] for row in np.flatnonzero(prints)]
    beside = {name: rows[name].astype(dtype) for name, dtype in BESIDE.items()}
    found = TrainingSet(names=finaliser.names, X=finaliser.matrix(whole), manifest={}, **beside)
    found.manifest.update(manifest_of(found, features, made, logged=len(differ), differ=sum(differ)))
    return found
