"""From the journal to a champion in nine steps that any orchestrator can schedule, each of them resumable.

    set        the training set, kept under its hash
    report     its data-quality checks; a breach stops the run
    fit        search and fit, on earlier time and on all of it
    calibrate  from margins of held-out time to probabilities
    evaluate   on later time, with its report
    register   the artefact under its hash, its card in the journal
    shadow     beside the champion, over what was decided
    gates      what the candidate has to show; a failure stops the run
    promote    champion from the next decision on

A run is DIR/pipelines/RUN: `plan.json`, pinned when it begins, and one NN_step.json per step. A step's inputs are the
plan, the engine's version and what the steps before it put out; where a result has the same inputs, the step is not
done again. So a killed run is resumed by running it again, and the same journal and plan give the same hashes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.onnx_net import open_net
from greenlane.decisions.live import CHAMPION
from greenlane.errors import Conflict, InputError, NotFound
from greenlane.features.finalise import Finaliser
from greenlane.jobs.promoting import evidence_of, promote
from greenlane.jobs.registering import register, registered_card
from greenlane.jobs.shadowing import shadow_over
from greenlane.jobs.training import Plan, beside_of, matured_rows, provenance, split, training_set, write_report
from greenlane.jobs.training_sets import keep, kept, quality_of, reference_of
from greenlane.learning.calibrate import Calibration, calibrate
from greenlane.learning.evaluate import evaluate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Budget, fit
from greenlane.learning.gates import Verdict, judge
from greenlane.learning.publish import drafted
from greenlane.learning.shadow import ShadowReport
from greenlane.learning.training_set import TrainingSet
from greenlane.models.artefact import Golden, golden_in, load, read_manifest, save, sha256, write_durably
from greenlane.models.calibration import AnyCalibrator, Identity
from greenlane.payments.times import DAY_US
from greenlane.settings import make_directory
from greenlane.wiring import Progress, Reader, engine_version, open_reader

PASSED: Final = "passed"
Outputs = dict[str, Any]


class Recipe(Struct, frozen=True, kw_only=True):
    """What a run does, and from which part of the journal: its `plan.json`, so that nothing moves under a run."""

    family: str = "lightgbm"
    gap_us: int = 7 * DAY_US
    parameters: dict[str, float] = {}
    """In place of the family's defaults, where the search begins."""
    trials: int = 0
    seed: int = 0
    from_us: int = 0
    upto_seq: int = 0
    """The last entry that something happened in: promotions and other control entries after it change no run."""
    cut_us: int = 0

    @property
    def plan(self) -> Plan:
        return Plan(
            self.from_us, cut_us=self.cut_us, gap_us=self.gap_us, trials=self.trials, seed=self.seed,
            upto_seq=self.upto_seq,
        )  # fmt: skip


class Result(Struct, frozen=True):
    """What a step did. `outputs` and so `digest` are the same in every run of the same plan; `seconds` is not."""

    step: str
    inputs: str
    outputs: Outputs
    digest: str
    verdict: str
    """`passed`, or why the run stops here."""
    seconds: float


@dataclass
class Run:
    """One run of the pipeline on one directory."""

    directory: Path
    name: str
    recipe: Recipe
    progress: Progress

    @property
    def path(self) -> Path:
        return self.directory / "pipelines" / self.name

    @cached_property
    def reader(self) -> Reader:
        return open_reader(self.directory)

    @cached_property
    def found(self) -> TrainingSet:
        return kept(self.directory / "sets" / str(self.output("set")["set"]))

    @cached_property
    def parts(self) -> tuple[Examples, Examples, Examples]:
        """(all, learned from, judged on)."""
        examples, _ = self.rows
        return (examples, *split(self.found, examples, self.recipe.plan))

    @cached_property
    def rows(self) -> tuple[Examples, NDArray[np.int64]]:
        return matured_rows(self.found, self.recipe.plan)

    @property
    def margins(self) -> dict[str, NDArray[Any]]:
        with np.load(self.file("fit", "margins.npz")) as kept:
            return dict(kept)

    @property
    def model_id(self) -> str:
        return str(self.output("register")["model"])

    def result(self, step: str) -> Result:
        path = self.path / result_name(step)
        if not path.exists():
            raise NotFound(f"{self.name} has no step {step} yet", hint=f"greenlane pipeline step {step} comes first")
        return msgspec.json.decode(path.read_bytes(), type=Result)

    def output(self, step: str) -> Outputs:
        return self.result(step).outputs

    def write(self, name: str, data: bytes) -> str:
        """A file of this run; its hash."""
        write_durably(self.path / name, data)
        return sha256(data)

    def file(self, step: str, name: str) -> Path:
        """A file that a step wrote; Conflict where it is not the one any more."""
        path = self.path / name
        if not path.exists() or sha256(path.read_bytes()) != self.output(step)[name]:
            raise Conflict(f"{path} is not what step {step} wrote", hint=f"delete {result_name(step)} and run again")
        return path


def build_set(run: Run) -> Outputs:
    found = training_set(run.reader, run.recipe.plan, progress=run.progress)
    path = keep(run.directory / "sets", found, quality_of(found))
    return {"set": path.name, "rows": len(found), "rows_hash": found.manifest["rows_hash"]}


def report_quality(run: Run) -> Outputs:
    served = Finaliser(run.reader.features).names
    quality = quality_of(run.found, expected=served, reference=reference_of(run.reader))
    run.write("quality.json", msgspec.json.format(msgspec.json.encode(quality, order="sorted")))
    return {
        "labelled": quality.labelled,
        "events": quality.events,
        "breaches": [f"{b} ({b.hint})" for b in quality.breaches],
    }


def learn(run: Run) -> Outputs:
    """The artefact of a fit that is not calibrated yet, and what its recipe said about rows it was not fitted on."""
    from greenlane.adapters.families import estimator_of
    from greenlane.adapters.optuna_search import TpeSearch

    recipe, (examples, earlier, later) = run.recipe, run.parts
    estimator = estimator_of(recipe.family)
    first = {**estimator.default, **recipe.parameters}
    judged = fit(
        estimator, earlier, gap_us=recipe.gap_us, parameters=first, budget=Budget(recipe.trials),
        new_search=TpeSearch, seed=recipe.seed, on_trial=lambda number, _: run.progress(number, recipe.trials + 1),
    )  # fmt: skip
    whole = fit(estimator, examples, gap_us=recipe.gap_us, parameters=judged.parameters, seed=recipe.seed)
    manifest, sound = drafted(
        whole, Identity(), estimator=estimator, examples=examples, seed=recipe.seed,
        provenance=provenance(run.found, run.reader.features, quality_of(run.found)),
    )  # fmt: skip
    draft = save(run.path / "draft", manifest, sound.predictor, golden=sound.golden)
    np.savez(
        run.path / "margins.npz",
        later=judged.fitted.margins(later.X),
        **{f"judged_{name}": array for name, array in judged.held_out._asdict().items()},
        **{f"whole_{name}": array for name, array in whole.held_out._asdict().items()},
    )
    kept = sha256((run.path / "margins.npz").read_bytes())
    return {"draft": draft, "margins.npz": kept, "parameters": judged.parameters, "trials": len(judged.trials)}


def calibrate_margins(run: Run) -> Outputs:
    """`judged` is calibrated on what was known before the held-out time, `whole` is what will serve."""
    examples, earlier, _ = run.parts
    found = {who: calibration_of(run.margins, who, rows) for who, rows in (("judged", earlier), ("whole", examples))}
    return {who: {"calibrator": msgspec.to_builtins(c.calibrator), "losses": c.losses} for who, c in found.items()}


def calibration_of(margins: dict[str, NDArray[Any]], who: str, examples: Examples) -> Calibration:
    rows = margins[f"{who}_rows"]
    return calibrate(
        margins[f"{who}_margins"], examples.y[rows], examples.weight[rows], at_us=examples.at_us[rows]
    )  # fmt: skip


def calibrator_of(run: Run, who: str) -> AnyCalibrator:
    found: AnyCalibrator = msgspec.convert(run.output("calibrate")[who]["calibrator"], AnyCalibrator)
    return found


def evaluate_later(run: Run) -> Outputs:
    margins, later, seed = run.margins["later"], run.parts[2], run.recipe.seed
    beside = beside_of(run.reader, run.found, run.recipe.plan, rows=run.rows[1][-len(later) :], y=later.y)
    found = evaluate(margins, calibrator_of(run, "judged").probabilities(margins), later, beside=beside, seed=seed)
    kept = run.write("evaluation.json", msgspec.json.encode(found.record(), order="sorted"))
    facts = {"run": run.name, **run.found.manifest, "parameters": run.output("fit")["parameters"]}
    write_report([run.path / "report.html"], found, facts=facts, quality=quality_of(run.found))
    return {
        "evaluation.json": kept,
        "verdict": found.verdict,
        "average_precision": found.average_precision.value,
        "rows": found.rows,
        "events": found.events,
    }


def register_model(run: Run) -> Outputs:
    """The draft with its calibrator and evaluation, under the hash of what it is now, and its card in the journal."""
    draft = run.path / "draft" / str(run.output("fit")["draft"])
    manifest, calibrator = read_manifest(draft), calibrator_of(run, "whole")
    golden = golden_in(draft, manifest)
    manifest = msgspec.structs.replace(
        manifest,
        calibrator=calibrator,
        training_set={**manifest.training_set, "calibration": run.output("calibrate")["whole"]["losses"]},
        evaluation=msgspec.json.decode(run.file("evaluate", "evaluation.json").read_bytes()),
    )
    golden = Golden(golden.rows, golden.margins, calibrator.probabilities(golden.margins))
    model_id = save(run.reader.places.models, manifest, load(draft, open_net=open_net).predictor, golden=golden)
    (report := run.reader.places.report(model_id)).parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes((run.path / "report.html").read_bytes())
    if registered_card(run.reader, model_id) is None:
        register(run.directory, model_id, why=f"pipeline {run.name}")
    return {"model": model_id}


def stand_beside(run: Run) -> Outputs:
    champion = open_reader(run.directory).live.aliases.get(CHAMPION, "")
    if champion in ("", run.model_id):
        return {"champion": champion, "said": "no champion to stand beside"}
    reports = shadow_over(run.reader, run.model_id, progress=run.progress)
    reports = [report for report in reports if report.champion == champion]
    if not reports:
        return {"champion": champion, "said": "no decisions to shadow yet"}
    kept = run.write("shadow.json", msgspec.json.encode(reports[-1], order="sorted"))
    return {"champion": champion, "said": f"{reports[-1].scored} decisions scored", "shadow.json": kept}


def pass_gates(run: Run) -> Outputs:
    return {"verdicts": [(v.gate, v.state) for v in verdicts_of(run)]}


def verdicts_of(run: Run) -> tuple[Verdict, ...]:
    evidence = evidence_of(open_reader(run.directory), run.model_id, kind="fraud")
    if "shadow.json" in run.output("shadow"):
        seen = msgspec.json.decode(run.file("shadow", "shadow.json").read_bytes(), type=ShadowReport)
        evidence = msgspec.structs.replace(evidence, shadow=seen)
    return judge(evidence)


def make_champion(run: Run) -> Outputs:
    if open_reader(run.directory).live.aliases.get(CHAMPION) != run.model_id:
        promote(run.directory, run.model_id, alias=CHAMPION, why=f"pipeline {run.name}", verdicts=verdicts_of(run))
    return {"champion": run.model_id}


def breached(outputs: Outputs) -> str:
    return "; ".join(outputs["breaches"])


def stopped(outputs: Outputs) -> str:
    gates = [gate for gate, state in outputs["verdicts"] if state == "failed"]
    return f"gates failed: {', '.join(gates)}; see `greenlane models gates`" if gates else ""


STEPS: Final[dict[str, Callable[[Run], Outputs]]] = {
    "set": build_set,
    "report": report_quality,
    "fit": learn,
    "calibrate": calibrate_margins,
    "evaluate": evaluate_later,
    "register": register_model,
    "shadow": stand_beside,
    "gates": pass_gates,
    "promote": make_champion,
}
STOPS: Final[dict[str, Callable[[Outputs], str]]] = {"report": breached, "gates": stopped}
"""Why a run must not go on after a step; "" where it may."""


def result_name(step: str) -> str:
    return f"{list(STEPS).index(step) + 1:02d}_{step}.json"


def begin(directory: Path, recipe: Recipe, *, name: str | None, progress: Progress) -> Run:
    """A run that is new, or goes on as it was planned. Without a name it has the one of its plan's hash.

    Conflict where the run of this name was planned otherwise.
    """
    planned = msgspec.json.encode(pinned(open_reader(directory), recipe), order="sorted")
    name = name or f"run_{sha256(planned)[:8]}"
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"{name!r} is no name of a run", param="--run-id", hint="letters, digits, - and _")
    path = directory / "pipelines" / name
    make_directory(path)
    if not (path / "plan.json").exists():
        write_durably(path / ".plan", planned)
        (path / ".plan").replace(path / "plan.json")
    kept = msgspec.json.decode((path / "plan.json").read_bytes(), type=Recipe)
    asked = msgspec.structs.replace(recipe, upto_seq=kept.upto_seq, cut_us=recipe.cut_us or kept.cut_us)
    pairs = ((field, getattr(kept, field), getattr(asked, field)) for field in Recipe.__struct_fields__)
    if other := [f"{field} {was!r}, not {wanted!r}" for field, was, wanted in pairs if was != wanted]:
        raise Conflict(
            f"{name} was planned otherwise: {'; '.join(other)}", hint="ask for the same, or another --run-id"
        )
    return Run(directory, name, kept, progress)


def pinned(reader: Reader, recipe: Recipe) -> Recipe:
    """With the journal's end as it is now: the last entry in which something happened."""
    first, last = reader.store.span()
    for seq in range(last, first - 1, -1):
        entry = next(iter(reader.store.read(after_seq=seq - 1, upto_seq=seq)))
        if entry.kind != "control":
            return msgspec.structs.replace(recipe, upto_seq=entry.seq, cut_us=recipe.cut_us or entry.ingest_us)
    raise NotFound("nothing has happened in this journal yet", hint="import history, or simulate some")


def run_steps(run: Run, steps: Sequence[str] | None = None) -> Iterator[Result]:
    """Does each step that is not done yet, and stops after one whose verdict is not `passed`."""
    for step in STEPS if steps is None else steps:
        result = done_before(run, step) or do(run, step)
        yield result
        if result.verdict != PASSED:
            return


def done_before(run: Run, step: str) -> Result | None:
    path = run.path / result_name(step)
    if not path.exists():
        return None
    result = msgspec.json.decode(path.read_bytes(), type=Result)
    return result if (result.inputs, result.verdict) == (inputs_of(run, step), PASSED) else None


def inputs_of(run: Run, step: str) -> str:
    """The hash of the plan, the engine, and what the steps before this one put out; NotFound where one is missing."""
    before = [run.result(earlier).digest for earlier in list(STEPS)[: list(STEPS).index(step)]]
    told = [engine_version(), msgspec.to_builtins(run.recipe), *before]
    return sha256(msgspec.json.encode(told, order="sorted"))[:16]


def do(run: Run, step: str) -> Result:
    inputs, begun = inputs_of(run, step), time.perf_counter()
    outputs = msgspec.json.decode(msgspec.json.encode(STEPS[step](run)))
    verdict = (STOPS[step](outputs) if step in STOPS else "") or PASSED
    digest = sha256(msgspec.json.encode(outputs, order="sorted"))[:16]
    result = Result(step, inputs, outputs, digest, verdict, round(time.perf_counter() - begun, 3))
    keep_result(run, result)
    return result


def keep_result(run: Run, result: Result) -> None:
    """Whole or not at all."""
    part = run.path / ".result"
    write_durably(part, msgspec.json.format(msgspec.json.encode(result)))
    part.replace(run.path / result_name(result.step))
