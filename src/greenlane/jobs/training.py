"""From the journal to a champion: set, fit, calibrate, evaluate, artefact, alias, each an ordinary function."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from greenlane.adapters.families import Engine, estimator_on
from greenlane.adapters.onnx_net import open_net
from greenlane.decisions.live import CHAMPION
from greenlane.errors import TrainingError
from greenlane.features.catalogue import GROUPS
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.kernels import Ints
from greenlane.jobs.backfilling import backfilled_set, scored_by_spark
from greenlane.jobs.pricing_rows import priced
from greenlane.jobs.promoting import introduce
from greenlane.jobs.simulated_truth import known_of
from greenlane.jobs.training_sets import PROFILE, quality_of, reference_of
from greenlane.learning.estimator import Estimator
from greenlane.learning.evaluate import NOTHING, Beside, Evaluation, evaluate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Budget, Fit, Recipe, Trial, fit
from greenlane.learning.kept_trials import KeptTrials
from greenlane.learning.labels import REPORTED
from greenlane.learning.maturity import SHARE_MIN, MaturedRate, learn_pooled, loss_rows, matured_rate
from greenlane.learning.policy_money import PolicyMoney
from greenlane.learning.publish import Provenance, calibrated, publish
from greenlane.learning.quality import Quality
from greenlane.learning.reliability import Check
from greenlane.learning.report import fraud_html
from greenlane.learning.signs import signs_of
from greenlane.learning.training_set import TrainingSet, build, logged_vector
from greenlane.learning.weighing import EQUAL, Weighing
from greenlane.models.artefact import read_manifest
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.times import DAY_US, day_of, format_day
from greenlane.wiring import Places, Progress, Reader, complete_from, load_model, open_reader

HELD_OUT_SHARE = 0.2
EVENTS_WANTED: Final = 100
"""Reports below which there is hardly a model: four fifths to learn and calibrate from, a fifth to judge it by."""
LABELS_MIN = 20
"""Fewer do not show how late labels come."""
LABELS: Final = {
    "fraud_report": "reported fraud, as known at the label cut; weighted by maturity",
    "dispute": "disputed without a passed authentication, as known at the label cut; weighted by maturity",
}


@dataclass(frozen=True)
class Plan:
    """What to learn from. Times are UTC microseconds of ingest; None: all that there is."""

    from_us: int | None = None
    to_us: int | None = None
    cut_us: int | None = None
    gap_us: int = 7 * DAY_US
    """Between what is learned from and what is judged on: the labels' delay."""
    trials: int = 0
    """Of the search over parameters; 0 takes the family's defaults."""
    seconds: float = 600.0
    seed: int = 0
    family: str = "lightgbm"
    weighing: Weighing = EQUAL
    monotone: bool = False
    """Hold the signs that the domain knows (`learning/signs.py`), where the family can."""
    search: Path | None = None
    """Where the trials of a search are kept, so that it can be interrupted."""
    label: str = "fraud_report"
    """Or "dispute": reports and disputes are labels of different models."""
    upto_seq: int | None = None
    """The journal as it was when this was its last entry."""
    vectors: Path | None = None
    """A backfill that is the training set, by DuckDB or Spark; None: the journal is folded here."""
    engine: Engine = "local"
    """Who fits, and who scores what is evaluated: this process, or Spark's workers."""

    def recipe(self, names: Iterable[str]) -> Recipe:
        return Recipe(self.weighing, signs_of(names) if self.monotone else {})


@dataclass(frozen=True)
class Trained:
    """A published artefact, and how the same recipe did on time it had not seen."""

    model_id: str
    evaluation: Evaluation
    manifest: dict[str, Any]
    alias: str = ""
    """Where it was put, if anywhere."""

    @property
    def summary(self) -> str:
        found, known = self.evaluation, format_day(day_of(int(self.manifest["label_cut_us"])))
        return (
            f"average precision {found.average_precision.value:.3f} on {found.rows} held-out payments with "
            f"{found.events} frauds reported by {known}, learned from reports known before that time; "
            f"{told_verdict(found.verdict)}"
        )


def training_set(reader: Reader, plan: Plan, *, progress: Progress | None = None) -> TrainingSet:
    """The set that a plan names, out of a directory's journal; refused where served and recomputed vectors differ."""
    if plan.vectors is None:
        found = folded_set(reader, plan, progress=progress)
    else:
        asked = {"label": plan.label, "label_cut_us": plan.cut_us, "from_us": plan.from_us, "to_us": plan.to_us}
        found = backfilled_set(plan.vectors, reader, asked)
    if found.manifest["logged_vectors_that_differ"]:
        raise TrainingError(
            f"{found.manifest['logged_vectors_that_differ']} logged vectors are not what the journal gives",
            hint="see `greenlane replay --refold`",
        )
    return found


def folded_set(reader: Reader, plan: Plan, *, progress: Progress | None) -> TrainingSet:
    first, last = reader.store.span()
    last = last if plan.upto_seq is None else min(last, plan.upto_seq)
    last_us = next(iter(reader.store.read(after_seq=last - 1))).ingest_us if last >= first else 0
    return build(
        takewhile(lambda entry: entry.seq <= last, reader.entries()),
        reader.features,
        label_cut_us=plan.cut_us if plan.cut_us is not None else last_us,
        from_us=plan.from_us or 0,
        to_us=plan.to_us,
        label=plan.label,
        first_complete_us=complete_from(reader.store),
        logged=partial(logged_vector, reader.releases, reader.features),
        total=last,
        progress=progress,
    )


def matured(found: TrainingSet, plan: Plan) -> Examples:
    """The labelled rows, weighted so that the loss is the one of the final labels; too young ones are left out."""
    return matured_rows(found, plan)[0]


def matured_rows(found: TrainingSet, plan: Plan) -> tuple[Examples, Ints]:
    """The same, and which row of the set each of them is."""
    examples, cut_us = found.examples(), int(found.manifest["label_cut_us"])
    if not len(examples.y):
        raise TrainingError(
            "no labelled payments in this window",
            hint="import history, or take a longer window; see `greenlane status`",
        )
    share, _ = shares_of(found, plan)
    rows = loss_rows(examples.y, share, examples.weight)
    if not len(rows.y):
        raise TrainingError(
            f"no payment is older than {plan.gap_us / DAY_US:g} days on {format_day(day_of(cut_us))}",
            hint="take a longer history, or a shorter --gap-days",
        )
    return replace(examples.take(rows.row), y=rows.y, weight=rows.weight), np.flatnonzero(found.labelled)[rows.row]


def shares_of(found: TrainingSet, plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F of each labelled row and its error, from the labels of its segment drawn towards all of them: those of
    authenticated payments come at another pace. Where labels are too few to learn from, one is final after the gap."""
    cut_us, labelled, reported = int(found.manifest["label_cut_us"]), found.labelled, found.state == REPORTED
    age_us, segment = cut_us - found.at_us[labelled], found.authenticated[labelled]
    if reported.sum() < LABELS_MIN:
        return (age_us >= plan.gap_us).astype(np.float64), np.zeros(len(age_us))
    at_us = found.at_us[reported]
    known = learn_pooled(found.reported_us[reported] - at_us, cut_us - at_us, found.authenticated[reported])
    return known.at(age_us, segment), known.error_at(age_us, segment)


def rate_of(found: TrainingSet, plan: Plan, *, from_us: int) -> MaturedRate:
    """Reported frauds per labelled payment since then, of payments old enough to say something."""
    share, error = shares_of(found, plan)
    rows = (found.at_us[found.labelled] >= from_us) & (share >= SHARE_MIN)
    return matured_rate(int((found.state[found.labelled][rows] == REPORTED).sum()), share[rows], error[rows])


def split(found: TrainingSet, examples: Examples, plan: Plan) -> tuple[Examples, Examples]:
    """(learned from, judged on): the last part of the time is held out, a gap before it.

    Learned from is only what was known when the held-out time began: later reports, and how late they come, are not.
    Judged on are the labels known at the set's own cut.
    """
    at_us = examples.at_us
    start_us = int(at_us[0] + (at_us[-1] - at_us[0]) * (1 - HELD_OUT_SHARE))
    known = matured(found.known_at(start_us - 1), plan)
    earlier, later = known.take(known.at_us < start_us - plan.gap_us), examples.take(at_us >= start_us)
    what, began = plan.label.replace("_", " "), format_day(day_of(start_us))
    for name, part in (("known before", earlier), ("in", later)):
        if not part.y.sum():
            raise TrainingError(
                f"no {what} {name} the held-out time, which began on {began}", hint=wanted(found, what=what)
            )
    return earlier, later


def wanted(found: TrainingSet, *, what: str) -> str:
    """How much more history a model needs, at the rate of the labels so far."""
    labels, rows = int((found.state == REPORTED).sum()), len(found)
    needed = f"; at this rate {EVENTS_WANTED} take {round(rows * EVENTS_WANTED // labels, -3):,}" if labels else ""
    return f"{labels} {what}s of {rows:,} attempts are known{needed}: import more, wait, or take a longer window"


def train_fraud(
    directory: Path, plan: Plan = Plan(), *, report: Path | None = None, promote: bool = True, progress: Progress
) -> Trained:
    """Learn a fraud model from a journal, and with `promote` introduce it: the first is champion, a later one shadow.

    TrainingError where there is too little to learn.
    """
    with estimator_on(plan.engine, plan.family) as estimator:
        return learned(estimator, directory, plan, report=report, promote=promote, progress=progress)


def learned(
    estimator: Estimator, directory: Path, plan: Plan, *, report: Path | None, promote: bool, progress: Progress
) -> Trained:
    reader = open_reader(directory)
    _, last = reader.store.span()
    steps = last + max(plan.trials, 1)
    found = training_set(reader, plan, progress=lambda done, _: progress(done, steps))
    quality = quality_of(found, reference=reference_of(reader)).check()
    examples, rows = matured_rows(found, plan)
    earlier, later = split(found, examples, plan)
    beside = beside_of(reader, found, plan, rows=rows[len(rows) - len(later) :], y=later.y)
    judged = searched(plan, estimator, earlier, on_trial=lambda number, _: progress(last + number, steps))
    evaluation, _ = judge(judged, earlier, later, beside=beside, seed=plan.seed)
    whole = searched(plan, estimator, examples, parameters=judged.parameters)
    places = reader.places
    model = publish(
        places.models, whole, calibrated(whole, examples), estimator=estimator, examples=examples,
        evaluation=evaluation, provenance=provenance(found, reader.features, quality), seed=plan.seed,
        open_net=open_net,
    )  # fmt: skip
    facts = {"model": model.id, **found.manifest, "parameters": judged.parameters}
    write_report({report or places.report(model.id), places.report(model.id)}, evaluation, facts=facts, quality=quality)
    why = f"trained on this journal; {told_verdict(evaluation.verdict)}"
    alias = introduce(directory, model.id, kind="fraud", why=why) if promote else ""
    return Trained(model.id, evaluation, found.manifest, alias)


def searched(
    plan: Plan, estimator: Estimator, examples: Examples, *, parameters: Mapping[str, float] | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> Fit:  # fmt: skip
    """Fitted within the plan's budget, or with these parameters."""
    from greenlane.adapters.optuna_search import TpeSearch

    trials, kept = (plan.trials, plan.search) if parameters is None else (0, None)
    return fit(
        estimator, examples, gap_us=plan.gap_us, parameters=parameters, budget=Budget(trials, plan.seconds),
        new_search=TpeSearch, recipe=plan.recipe(examples.names), kept=KeptTrials(kept) if kept else None,
        seed=plan.seed, on_trial=on_trial,
    )  # fmt: skip


def told_verdict(verdict: str) -> str:
    return "calibration undecided" if verdict == "undecided" else verdict


def beside_of(
    reader: Reader, found: TrainingSet, plan: Plan, *, rows: NDArray[np.int64], y: NDArray[np.int8]
) -> Beside:
    """What is known of test rows (places in the set, oldest first) beside their labels."""
    return Beside(
        money=priced(reader, found.seq[rows], y, seed=plan.seed),
        rate=rate_of(found, plan, from_us=int(found.at_us[rows[0]])),
        known=known_of(reader, found, rows, seed=plan.seed),
    )


def judge(
    judged: Fit, earlier: Examples, later: Examples, *, beside: Beside = NOTHING, seed: int
) -> tuple[Evaluation, NDArray[np.float64]]:
    """How the recipe, fitted and calibrated on the earlier time, did on the later; and what it said of it."""
    margins = judged.fitted.margins(later.X)
    probabilities = calibrated(judged, earlier).calibrator.probabilities(margins)
    return evaluate(margins, probabilities, later, beside=beside, seed=seed), probabilities


def provenance(found: TrainingSet, features: FeatureSet, quality: Quality) -> Provenance:
    return Provenance(
        groups=groups_of(features),
        feature_set=features.digest,
        feature_versions=features.versions,
        label=LABELS[found.manifest["label"]],
        training_set={**found.manifest, PROFILE: msgspec.to_builtins(quality.columns)},
    )


def groups_of(features: FeatureSet) -> dict[str, str]:
    """The group each output is explained under: the catalogue's, else the aggregation's or the feature's own name."""
    return {name: GROUPS.get(name, name.partition(".")[0].replace("_", " ")) for name in Finaliser(features).names}


def evaluate_fraud(
    directory: Path, plan: Plan, *, model_id: str | None = None, report: Path | None = None, progress: Progress
) -> tuple[str, Evaluation]:
    """How a stored model does on a window of the journal; the champion where none is named."""
    reader = open_reader(directory)
    model_id = model_id or reader.live.aliases.get(CHAMPION)
    if model_id is None:
        raise TrainingError("there is no champion yet", hint="`greenlane train fraud`, or name one with --model")
    model, learned = load_model(reader.places, model_id), read_manifest(reader.places.models / model_id).training_set
    plan = replace(plan, label=learned.get("label", plan.label))
    found = training_set(reader, plan, progress=progress)
    examples, rows = matured_rows(found, plan)
    beside = beside_of(reader, found, plan, rows=rows, y=examples.y)
    if plan.engine == "spark" and plan.vectors:
        said = scored_by_spark(plan.vectors, reader, model_id, found.seq[rows])
    else:
        said = predicted(model, examples)
    evaluation = evaluate(*said, examples, beside=beside, seed=plan.seed)
    if report is not None:
        facts = {"model": model_id, **found.manifest}
        write_report({report}, evaluation, facts=facts, quality=quality_of(found, reference=reference_of(reader)))
    return model_id, evaluation


def learned_until(directory: Path, model_id: str, plan: Plan) -> str:
    """The day on which a stored model's training window ended, where the plan's begins before that; else nothing."""
    until_us = int(read_manifest(Places(directory).models / model_id).training_set.get("to_us", 0))
    return format_day(day_of(until_us)) if (plan.from_us or 0) < until_us else ""


def predicted(model: FraudModel, examples: Examples) -> tuple[Any, Any]:
    """(margins, probabilities), float64[n]."""
    bound = model.bind(examples.names)
    x = np.ascontiguousarray(examples.X)
    return bound.predictor.margins(x, bound.slots), bound.predict_many(x)


def write_report(paths: Iterable[Path], evaluation: Evaluation, *, facts: dict[str, Any], quality: Quality) -> None:
    from greenlane.adapters.plots import plots

    write_page(
        paths,
        fraud_html(evaluation, figures=headline(evaluation), facts=facts, pictures=plots(evaluation), quality=quality),
    )


def write_page(paths: Iterable[Path], page: str) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")


def figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The evaluation as lines of a table."""
    return [*headline(evaluation), *check_figures(evaluation.verdict, evaluation.checks)]


def check_figures(verdict: str, checks: list[Check]) -> list[tuple[str, str]]:
    lines = ((f"  {c.name}", f"{c.value:.3f} ({c.low:.3f} to {c.high:.3f}) {c.state}") for c in checks)
    return [("calibration", verdict), *lines]


def headline(evaluation: Evaluation) -> list[tuple[str, str]]:
    point = evaluation.operating_point
    return [
        ("payments", str(evaluation.rows)),
        ("reported frauds", str(evaluation.events)),
        *known_figures(evaluation),
        ("AUC", ranged(evaluation.auc)),
        ("average precision", ranged(evaluation.average_precision)),
        *((f"card precision@{k}", f"{v:.3f}") for k, v in evaluation.card_precision.items()),
        ("blocked at break-even", f"{point.blocked_share:.3%}"),
        ("  precision, recall", f"{point.precision:.3f}, {point.recall:.3f}"),
        ("  cost per 1,000", f"{point.cost_per_1000_minor:,.0f} minor"),
        ("  allowing all", f"{point.allow_all_cost_per_1000_minor:,.0f} minor"),
        ("  best fixed threshold", f"{point.best_threshold_cost_per_1000_minor:,.0f} minor"),
        *captured_figures(evaluation.policy),
    ]


def known_figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    found = []
    if (rate := evaluation.rate) is not None:
        observed, state = rate.value * rate.matured_share, "" if rate.state == "mature" else ", immature"
        matured = f"{1e4 * rate.value:.1f} ({1e4 * rate.low:.1f} to {1e4 * rate.high:.1f}){state}"
        found.append(("  bps, so far / matured", f"{1e4 * observed:.1f} / {matured}"))
    if (truth := evaluation.truth) is not None:
        found += [
            ("  bps in truth", f"{1e4 * truth.rate:.1f}"),
            ("RMS log(p / true rate), bins", f"{truth.rms_log_ratio_of_bins:.3f}"),
            ("RMS log(p / informed p)", f"{truth.rms_log_ratio:.3f}"),
            (f"{truth.total.name}, all known", ranged(truth.total)),
        ]
        if truth.informed_per_1000_minor is not None:
            found.append(("value per 1,000 of the informed oracle", f"{truth.informed_per_1000_minor:,.0f} minor"))
    return found


def captured_figures(policy: PolicyMoney | None) -> list[tuple[str, str]]:
    if policy is None:
        return []
    share = f"{policy.captured:.3f} ({policy.captured_low:.3f} to {policy.captured_high:.3f})"
    return [
        ("value per 1,000 under the policy", f"{policy.value_per_1000_minor:,.0f} minor"),
        ("  captured, of what knowing each label would bring", share),
    ]


def ranged(figure: Any) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
