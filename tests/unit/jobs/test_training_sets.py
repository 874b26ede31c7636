"""A training set is written once under its hash, read back equal, and refused where it was touched."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenlane.errors import TrainingError
from greenlane.jobs.training_sets import MANIFEST, ROWS, keep, kept, quality_of
from greenlane.learning.labels import DECLINED, GOOD, REPORTED
from greenlane.learning.training_set import TrainingSet, rows_hash

N = 500


def found(seed: int = 1) -> TrainingSet:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 50, (N, 3)).astype(np.float32)
    X[:, 1] /= 7
    X[rng.random((N, 3)) < 0.2] = np.nan
    state = rng.choice(np.array([GOOD, REPORTED, DECLINED], np.int8), N)
    at_us = np.arange(N) * 1_000_000
    made = TrainingSet(
        names=("count", "ratio", "amount_minor"),
        seq=np.arange(1, N + 1),
        at_us=at_us,
        X=X,
        state=state,
        reported_us=np.where(state == REPORTED, at_us + 5, 0),
        weight=rng.choice([1.0, 1 / 0.3], N),
        amount_minor=rng.integers(1, 2**40, N),
        card=rng.integers(-(2**63), 2**63 - 1, N),
        authenticated=rng.integers(0, 2, N).astype(np.int8),
        manifest={"label_cut_us": N * 2_000_000},
    )
    made.manifest["rows_hash"] = rows_hash(made)
    return made


def test_a_kept_set_reads_back_equal_and_is_the_same_file_when_kept_twice(tmp_path: Path):
    made = found()
    one, two = (keep(tmp_path / where, made, quality_of(made)) for where in ("one", "two"))
    again = kept(one)
    for name in ("X", "seq", "weight", "card", "state", "authenticated"):
        assert getattr(again, name).tobytes() == getattr(made, name).tobytes(), name
        assert getattr(again, name).dtype == getattr(made, name).dtype
    assert (again.names, again.manifest) == (made.names, made.manifest)
    assert one.name == two.name
    assert (one / ROWS).read_bytes() == (two / ROWS).read_bytes()


def test_another_set_has_another_name(tmp_path: Path):
    names = {keep(tmp_path, made, quality_of(made)).name for made in (found(), found(2))}
    assert len(names) == 2


def test_rows_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path):
    made = found()
    other = replace(found(2), manifest=made.manifest)
    path = keep(tmp_path, other, quality_of(other))
    with pytest.raises(TrainingError, match="not those that the manifest names"):
        kept(path)


def test_a_changed_manifest_is_refused(tmp_path: Path):
    path = keep(tmp_path, found(), quality_of(found()))
    (path / MANIFEST).write_text("{}")
    with pytest.raises(TrainingError, match="not the one of its name"):
        kept(path)
    with pytest.raises(TrainingError, match="holds no training set"):
        kept(tmp_path / "set_none")


def test_a_set_whose_columns_are_not_those_served_now_is_refused():
    made = found()
    assert quality_of(made, expected=made.names).breaches == []
    breaches = quality_of(made, expected=("count", "ratio", "amount_minor", "hour")).breaches
    assert [(breach.check, breach.column) for breach in breaches] == [("schema", "hour")]
