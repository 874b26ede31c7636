"""The yardstick of an experiment: one model for all arms, whatever features were served when."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from small_shop import save_model

from greenlane.decisions.packing import pack
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS
from greenlane.jobs.experimenting import Reference

TURNED = FeatureSet(CATALOGUE.aggregations[::-1], CATALOGUE.derived)


def known(features: FeatureSet) -> bytes:
    """One payment as each feature set tells it: five attempts in the last hour."""
    told = [5 if column.name == "card_velocity.count.1h" else 0 for column in features.columns]
    return pack(np.array([0] * len(INPUTS) + told, np.int64))


def record(features: FeatureSet) -> Any:
    return SimpleNamespace(model="mdl_arm", known=known(features), release=features.digest, fraud_probability_e9=7)


def test_the_reference_reads_each_epoch_by_its_own_features(tmp_path: Path) -> None:
    sets = {each.digest: each for each in (CATALOGUE, TURNED)}
    reader: Any = SimpleNamespace(
        live=SimpleNamespace(known_features=sets),
        releases=SimpleNamespace(versions=lambda release: SimpleNamespace(features=release)),
        places=SimpleNamespace(models=tmp_path),
    )
    assert Finaliser(TURNED).names != Finaliser(CATALOGUE).names
    scored = Reference(reader)
    scored.began_with["x"] = save_model(tmp_path)
    first, second = (scored("x", record(features)) for features in (CATALOGUE, TURNED))
    assert first == second != 7
