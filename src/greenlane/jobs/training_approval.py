"""From the journal to an approval model: samples, fit, calibrate, judge on later time, artefact, alias."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenlane.adapters.families import estimator_of
from greenlane.adapters.onnx_net import open_net
from greenlane.jobs.promoting import introduce
from greenlane.jobs.simulated_truth import true_approvals
from greenlane.jobs.training import Plan, check_figures, told_verdict, write_page
from greenlane.learning.approval_fit import ApprovalEvaluation, judge, learn, split_us
from greenlane.learning.approval_publish import publish_approval
from greenlane.learning.approval_set import Samples
from greenlane.learning.fit import Recipe
from greenlane.learning.report import approval_html
from greenlane.wiring import Progress, Reader, open_reader


@dataclass(frozen=True)
class TrainedApproval:
    """A published artefact, and how the same recipe did on time it had not seen."""

    model_id: str
    evaluation: ApprovalEvaluation
    training_set: dict[str, Any]
    alias: str = ""
    """Where it was put, if anywhere."""

    @property
    def summary(self) -> str:
        found = self.evaluation
        return (
            f"AUC {found.auc:.3f} on {found.attempts} held-out attempts, log loss {found.log_loss:.4f} against "
            f"{found.base_log_loss:.4f} of the base rate"
        )


def approval_samples(reader: Reader, plan: Plan, *, progress: Progress) -> Samples:
    """The answered attempts of the plan's time; what came before it is read for the payments' pasts."""
    samples, entries = Samples(), reader.entries(progress=progress)
    samples.take(entry for entry in entries if plan.cut_us is None or entry.ingest_us <= plan.cut_us)
    samples.keep(from_us=plan.from_us or 0, to_us=plan.to_us)
    return samples


def train_approval(
    directory: Path, plan: Plan, *, report: Path | None = None, promote: bool = True, progress: Progress
) -> TrainedApproval:
    """Learn an approval model from a journal and make it champion. TrainingError where there is too little to learn."""
    from greenlane.adapters.plots import calibration_plots

    estimator, recipe = estimator_of(plan.family), Recipe(plan.weighing)
    reader = open_reader(directory)
    samples = approval_samples(reader, plan, progress=progress)
    from_us = split_us(samples)
    judged = learn(samples, estimator, recipe=recipe, frozen_from_us=from_us, seed=plan.seed)
    truth = true_approvals(reader, np.array([row.seq for row in samples.rows], np.int64))
    evaluation = judge(judged, samples, from_us=from_us, truth=truth, seed=plan.seed)
    whole = learn(samples, estimator, recipe=recipe, seed=plan.seed)
    model = publish_approval(
        reader.places.models,
        whole,
        estimator=estimator,
        evaluation=evaluation,
        training_set=samples.manifest(),
        seed=plan.seed,
        open_net=open_net,
    )
    told = {"model": model.id, **samples.manifest(), "parameters": judged.fit.parameters}
    kept = reader.places.report(model.id)
    pictures = calibration_plots(evaluation.bins, evaluation.weeks)
    write_page(
        {report or kept, kept}, approval_html(evaluation, figures=headline(evaluation), facts=told, pictures=pictures)
    )
    why = f"trained on this journal; {told_verdict(evaluation.verdict)}"
    alias = introduce(directory, model.id, kind="approval", why=why) if promote else ""
    return TrainedApproval(model.id, evaluation, samples.manifest(), alias)


def approval_figures(evaluation: ApprovalEvaluation) -> list[tuple[str, str]]:
    """The evaluation as lines of a table."""
    by = {"segment": evaluation.by_segment, "amount": evaluation.by_amount, "route": evaluation.by_route,
          "issuer": evaluation.by_issuer}  # fmt: skip
    worst = {
        name: max(groups, key=lambda g: abs(g.ratio - 1.0) if g.declines >= 50 else 0.0) for name, groups in by.items()
    }
    furthest = (
        (f"  furthest {name}: {g.name}", f"declines {g.ratio:.2f} of expected ({g.low:.2f} to {g.high:.2f})")
        for name, g in worst.items()
    )
    return [*headline(evaluation), *check_figures(evaluation.verdict, evaluation.checks), *furthest]


def headline(evaluation: ApprovalEvaluation) -> list[tuple[str, str]]:
    return [
        ("attempts", str(evaluation.attempts)),
        ("approved", f"{evaluation.approved_share:.3f}"),
        ("AUC", f"{evaluation.auc:.3f}"),
        ("log loss", f"{evaluation.log_loss:.4f}"),
        ("  of the base rate", f"{evaluation.base_log_loss:.4f}"),
        *true_figures(evaluation),
    ]


def true_figures(evaluation: ApprovalEvaluation) -> list[tuple[str, str]]:
    truth = evaluation.truth
    if truth is None:
        return []
    return [
        ("  of the true probabilities, honest payers", f"{truth.log_loss:.4f}; {truth.captured:.0%} of the way there"),
        ("RMS log(p / true p), approvals", f"{truth.rms_log_ratio:.3f}"),
        ("RMS log(p / true p), declines", f"{truth.rms_log_ratio_declines:.3f}"),
    ]
