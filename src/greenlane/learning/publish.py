"""The end of learning: a fitted model becomes an artefact that has been loaded once, so that it can be loaded again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import Calibration, calibrate
from greenlane.learning.estimator import Estimator, Record
from greenlane.learning.evaluate import Evaluation
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Fit
from greenlane.models.artefact import Golden, Manifest, ModelColumn, golden_rows, load, save
from greenlane.models.fraud_model import FraudModel


@dataclass(frozen=True)
class Provenance:
    """Where a model's inputs and labels come from."""

    groups: Mapping[str, str]
    """Feature name to the group its contribution is shown under."""
    feature_set: str
    feature_versions: Mapping[str, str]
    label: str
    training_set: Record

    def columns(self, names: Sequence[str]) -> tuple[ModelColumn, ...]:
        absent = [name for name in names if name not in self.groups]
        if absent:
            raise TrainingError(f"features without a group: {', '.join(absent[:5])}", hint="name a group for each")
        return tuple(ModelColumn(name, self.groups[name]) for name in names)


def calibrated(fit: Fit, examples: Examples, *, negatives_kept: float = 1.0) -> Calibration:
    """The calibrator that the fit's held-out rows ask for."""
    rows = fit.held_out.rows
    return calibrate(
        fit.held_out.margins,
        examples.y[rows],
        examples.weight[rows],
        at_us=examples.at_us[rows],
        negatives_kept=negatives_kept,
    )


def publish(
    directory: Path,
    fit: Fit,
    calibration: Calibration,
    *,
    estimator: Estimator,
    examples: Examples,
    evaluation: Evaluation,
    provenance: Provenance,
    seed: int = 0,
) -> FraudModel:
    """Save under `directory` and load back: what comes out is what will serve, proven on the trainer's own margins."""
    trees = fit.fitted.trees()
    rows = golden_rows(examples.X, trees, seed=seed)
    margins = np.asarray(fit.fitted.margins(rows), np.float64)
    manifest = Manifest(
        kind="fraud",
        family=estimator.family,
        trainer=estimator.trainer,
        columns=provenance.columns(examples.names),
        feature_set=provenance.feature_set,
        feature_versions=dict(provenance.feature_versions),
        label=provenance.label,
        calibrator=calibration.calibrator,
        training_set={**provenance.training_set, "parameters": fit.parameters, "calibration": calibration.losses},
        evaluation=evaluation.record(),
    )
    golden = Golden(rows, margins, calibration.calibrator.probabilities(margins))
    return load(directory / save(directory, manifest, trees, golden=golden))
