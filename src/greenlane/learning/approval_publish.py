"""A learned approval model becomes an artefact that has been loaded once, so that it can be loaded again."""

from pathlib import Path

import msgspec
import numpy as np

from greenlane.learning.approval_fit import ApprovalEvaluation, Learned
from greenlane.learning.estimator import Estimator, Record
from greenlane.models.approval_model import ENCODING, KIND, ApprovalModel, load_approval
from greenlane.models.approval_rows import COLUMNS, GROUPS
from greenlane.models.artefact import Golden, Manifest, ModelColumn, golden_rows, save

LABEL = "approved, of a good payer: weighted by P(genuine | answer)"


def publish_approval(
    directory: Path,
    learned: Learned,
    *,
    estimator: Estimator,
    evaluation: ApprovalEvaluation,
    training_set: Record,
    seed: int = 0,
) -> ApprovalModel:
    """Save under `directory` and load back: what comes out is what will serve, proven on the trainer's own margins."""
    trees = learned.fit.fitted.trees()
    rows = golden_rows(learned.encoded.examples.X, trees, seed=seed)
    margins = np.asarray(learned.fit.fitted.margins(rows), np.float64)
    manifest = Manifest(
        kind=KIND,
        family=estimator.family,
        trainer=estimator.trainer,
        columns=tuple(ModelColumn(name, GROUPS[name]) for name in COLUMNS),
        feature_set="",
        feature_versions={},
        label=LABEL,
        calibrator=learned.calibrators.overall,
        segments=learned.calibrators.segments,
        training_set={**training_set, "parameters": learned.fit.parameters, "calibration": learned.losses},
        evaluation=evaluation.record(),
    )
    golden = Golden(rows, margins, learned.calibrators.probabilities(rows, margins))
    encoding = msgspec.json.encode(learned.encoded.encoding, order="sorted")
    return load_approval(directory / save(directory, manifest, trees, golden=golden, beside={ENCODING: encoding}))
