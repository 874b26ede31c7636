"""A learned approval model becomes an artefact that has been loaded once, so that it can be loaded again."""

from pathlib import Path

import msgspec

from greenlane.learning.approval_fit import ApprovalEvaluation, Learned
from greenlane.learning.estimator import Estimator, Record
from greenlane.learning.publish import verified
from greenlane.models.approval_model import ENCODING, KIND, ApprovalModel, load_approval
from greenlane.models.approval_rows import COLUMNS, GROUPS
from greenlane.models.artefact import Manifest, ModelColumn, save
from greenlane.models.predictor import OpenNet, no_net

LABEL = "approved, of a good payer: weighted by P(genuine | answer)"


def publish_approval(
    directory: Path,
    learned: Learned,
    *,
    estimator: Estimator,
    evaluation: ApprovalEvaluation,
    training_set: Record,
    seed: int = 0,
    open_net: OpenNet = no_net,
) -> ApprovalModel:
    """Save under `directory` and load back: what comes out is what will serve, proven on the trainer's own margins."""
    calibrators = learned.calibrators
    sound = verified(learned.fit.fitted, learned.encoded.examples.X, calibrators.probabilities, seed=seed)
    manifest = Manifest(
        kind=KIND,
        family=estimator.family,
        trainer=estimator.trainer,
        columns=tuple(ModelColumn(name, GROUPS[name]) for name in COLUMNS),
        feature_set="",
        feature_versions={},
        label=LABEL,
        calibrator=calibrators.overall,
        segments=calibrators.segments,
        verified=sound.record,
        training_set={
            **training_set,
            **learned.fit.recipe.record(),
            "parameters": learned.fit.parameters,
            "calibration": learned.losses,
        },
        evaluation=evaluation.record(),
    )
    encoding = {ENCODING: msgspec.json.encode(learned.encoded.encoding, order="sorted")}
    saved = save(directory, manifest, sound.predictor, golden=sound.golden, beside=encoding)
    return load_approval(directory / saved, open_net=open_net)
