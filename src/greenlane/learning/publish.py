"""The end of learning: a fitted model becomes an artefact that has been loaded once, so that it can be loaded again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import Calibration, calibrate
from greenlane.learning.estimator import Estimator, Fitted, Record
from greenlane.learning.evaluate import Evaluation
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Fit
from greenlane.models.artefact import (
    GOLDEN_ROWS,
    Golden,
    Manifest,
    ModelColumn,
    agree,
    golden_rows,
    load,
    save,
)
from greenlane.models.calibration import AnyCalibrator
from greenlane.models.fraud_model import FraudModel
from greenlane.models.predictor import OpenNet, Predictor, no_net


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


def calibrated(fit: Fit, examples: Examples) -> Calibration:
    """The calibrator that the fit's held-out rows ask for."""
    rows, weighing = fit.held_out.rows, fit.recipe.weighing
    return calibrate(
        fit.held_out.margins,
        examples.y[rows],
        weighing.by_class(examples.y[rows], examples.weight[rows]),
        at_us=examples.at_us[rows],
        negatives_kept=weighing.negatives_kept,
    )


class Verified(NamedTuple):
    """A predictor that says what its trainer says, some of the rows that showed it, and on how many it was shown."""

    predictor: Predictor
    golden: Golden
    record: dict[str, float]


def verified(
    fitted: Fitted,
    X: NDArray[np.float32],
    probabilities: Callable[[NDArray[np.float32], NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int,
) -> Verified:
    """Hold the predictor against its trainer on rows made to find a difference; ModelRefused where there is one.

    `probabilities` says what rows with margins are calibrated to.
    """
    predictor = fitted.predictor()
    rows = golden_rows(X, predictor, seed=seed)
    margins = np.asarray(fitted.margins(rows), np.float64)
    distance = agree(Path(predictor.form), "margins", predictor.margins(rows), margins)
    kept = np.arange(len(rows) - GOLDEN_ROWS, len(rows), 2)  # planted ones, and as many real ones
    kept = np.concatenate([kept - len(rows) // 2, kept])
    golden = Golden(rows[kept], margins[kept], probabilities(rows[kept], margins[kept]))
    return Verified(predictor, golden, {"rows": len(rows), "largest_difference": distance})


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
    open_net: OpenNet = no_net,
) -> FraudModel:
    """Save under `directory` and load back: what comes out is what will serve, proven on the trainer's own margins."""
    manifest, sound = drafted(
        fit, calibration.calibrator, estimator=estimator, examples=examples, provenance=provenance, seed=seed
    )
    manifest = replace(
        manifest,
        training_set={**manifest.training_set, "calibration": calibration.losses},
        evaluation=evaluation.record(),
    )
    return load(directory / save(directory, manifest, sound.predictor, golden=sound.golden), open_net=open_net)


def drafted(
    fit: Fit, calibrator: AnyCalibrator, *, estimator: Estimator, examples: Examples, provenance: Provenance, seed: int
) -> tuple[Manifest, Verified]:
    """An artefact of which nothing is judged yet."""
    sound = verified(fit.fitted, examples.X, lambda _, margins: calibrator.probabilities(margins), seed=seed)
    manifest = Manifest(
        kind="fraud",
        family=estimator.family,
        trainer=estimator.trainer,
        columns=provenance.columns(examples.names),
        feature_set=provenance.feature_set,
        feature_versions=dict(provenance.feature_versions),
        label=provenance.label,
        calibrator=calibrator,
        verified=sound.record,
        training_set={**provenance.training_set, **fit.recipe.record(), "parameters": fit.parameters},
        evaluation={},
    )
    return manifest, sound
