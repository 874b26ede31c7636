"""The frontier: every family on one directory's journal, on the same set and split, by value and by what it takes."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.families import FAMILIES, estimator_of
from greenlane.adapters.onnx_net import open_net
from greenlane.errors import FeatureError, TrainingError
from greenlane.features.definition import Derived, FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.jobs import training
from greenlane.jobs.comparing_against import AGAINST_COLUMNS, Against, against_lines, sets_beside
from greenlane.jobs.pricing_rows import priced
from greenlane.jobs.training import Plan, groups_of, matured_rows, provenance, searched, split, training_set
from greenlane.jobs.training_sets import quality_of, reference_of
from greenlane.learning.estimator import Estimator
from greenlane.learning.evaluate import Evaluation
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Fit
from greenlane.learning.frontier import BUDGET_US, Candidate, Choice, Value, choose
from greenlane.learning.publish import Provenance, calibrated, publish
from greenlane.learning.resampling import Figure
from greenlane.learning.served import CALLS, served, timed
from greenlane.models.artefact import load
from greenlane.models.fraud_model import FraudModel
from greenlane.ports.journal import SOURCE_BIT
from greenlane.wiring import Progress, Reader, open_reader

READ_ENTRIES: Final = 20_000
"""The journal's last, folded to time a feature read; the last TIMED_READS attempts among them are timed."""
TIMED_READS: Final = 1_000
Tell = Callable[[str], None]


class Ablated(Struct, frozen=True):
    """What goes missing, and what is gained, when one group of features is left out and the family fitted anew."""

    group: str
    columns: int
    average_precision: float
    average_precision_lost: float
    saved_lost_per_1000_minor: Figure
    read_us_saved: float
    """Medians: features read and finalised; the model's answer."""
    model_us_saved: float


class Comparison(Struct, frozen=True):
    candidates: list[Candidate]
    skipped: dict[str, str]
    """Families that could not take part, and why."""
    choice: Choice | None
    budget_us: float
    payments: int
    training_set: dict[str, Any]
    ablation: list[Ablated] = []
    against: list[Against] = []
    """Where a table of other features was given."""


class Judged(NamedTuple):
    """One recipe, fitted and calibrated on the earlier time, and what it says about the later."""

    fit: Fit
    evaluation: Evaluation
    probabilities: NDArray[np.float64]


class Made(NamedTuple):
    """A family's model as it is served, and what it took."""

    judged: Judged
    model: FraudModel
    path: Path
    seconds: float
    """To fit it."""
    load_ms: float


class Ground(NamedTuple):
    """What every family is fitted and judged on."""

    reader: Reader
    plan: Plan
    earlier: Examples
    later: Examples
    value: Value
    provenance: Provenance
    progress: Progress
    tell: Tell


def compare(
    directory: Path,
    plan: Plan,
    *,
    families: Sequence[str] = tuple(FAMILIES),
    budget_us: float = BUDGET_US,
    ablation: bool = False,
    against: Path | None = None,
    progress: Progress,
    tell: Tell = lambda _: None,
) -> Comparison:
    """TrainingError where no family can be fitted. `plan.family` is not looked at; its trials are of each family.

    `against` is a table of other features, keyed as the mapping's [expected] says; rows are then only those it has.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise TrainingError(f"there is no family {unknown[0]!r}", hint=f"one of {', '.join(FAMILIES)}")
    reader = open_reader(directory)
    tell("the training set")
    found = training_set(reader, plan, progress=progress)
    quality, theirs = quality_of(found, reference=reference_of(reader)).check(), None
    if against is not None:
        found, beside_set = sets_beside(reader, found, against)
        theirs = split(beside_set, matured_rows(beside_set, plan)[0], plan)
    examples, at = matured_rows(found, plan)
    earlier, later = split(found, examples, plan)
    money = priced(reader, found.seq[at[len(at) - len(later) :]], later.y, seed=plan.seed)
    value, told = Value(later, money=money, seed=plan.seed), provenance(found, reader.features, quality)
    ground = Ground(reader, plan, earlier, later, value, told, progress, tell)
    with tempfile.TemporaryDirectory(prefix="greenlane-compare-") as folder:
        fitted, skipped = fitted_families(ground, families, Path(folder))
        candidates = candidates_of(ground, fitted)
    saved = {family: value.saved(one.judged.probabilities) for family, one in fitted.items()}
    choice = choose(candidates, saved, value, budget_us=budget_us)
    chosen = choice.family if choice else candidates[0].family
    return Comparison(
        candidates, skipped, choice, budget_us, len(later), found.manifest,
        ablation=ablate(ground, chosen, fitted[chosen].judged) if ablation else [],
        against=[] if theirs is None else [refitted(ground, one, theirs) for one in candidates],
    )  # fmt: skip


def fitted_families(ground: Ground, families: Sequence[str], folder: Path) -> tuple[dict[str, Made], dict[str, str]]:
    """(by family, as it is served; why others could not be fitted)."""
    fitted, skipped = dict[str, Made](), dict[str, str]()
    for number, family in enumerate(families):
        ground.progress(number, len(families))
        ground.tell(f"{family}: fitting")
        try:
            estimator = estimator_of(family)
        except TrainingError as error:
            skipped[family] = str(error.message)
            continue
        fitted[family] = made(ground, folder / family, estimator)
    if not fitted:
        raise TrainingError(f"no family could be fitted: {'; '.join(skipped.values())}", hint="pip install extras")
    return fitted, skipped


def candidates_of(ground: Ground, fitted: dict[str, Made]) -> list[Candidate]:
    ground.tell("timing what is served")
    models = {family: one.model.predict for family, one in fitted.items()}
    us = timed(models, dict.fromkeys(models, np.ascontiguousarray(ground.later.X[:CALLS])))
    return [
        Candidate(
            family, estimator_of(family).trainer, one.judged.evaluation,
            ground.value.per_1000(ground.value.saved(one.judged.probabilities)),
            served(one.path, one.model.predictor, us[family], load_ms=one.load_ms), one.seconds,
            one.judged.fit.parameters,
        )
        for family, one in fitted.items()
    ]  # fmt: skip


def refitted(ground: Ground, one: Candidate, theirs: tuple[Examples, Examples]) -> Against:
    ground.tell(f"{one.family}: fitting on the other features")
    other = judge(replace(ground.plan, family=one.family), *theirs).evaluation.average_precision.value
    return Against(one.family, one.evaluation.average_precision.value, other)


def made(ground: Ground, directory: Path, estimator: Estimator) -> Made:
    """Judged, published into this directory, and loaded from it."""
    plan, earlier, start = replace(ground.plan, family=estimator.family), ground.earlier, time.perf_counter()
    judged = judge(plan, earlier, ground.later)
    seconds = time.perf_counter() - start
    published = publish(
        directory, judged.fit, calibrated(judged.fit, earlier), estimator=estimator, examples=earlier,
        evaluation=judged.evaluation, provenance=ground.provenance, seed=plan.seed, open_net=open_net,
    )  # fmt: skip
    path, start = directory / published.id, time.perf_counter()
    model = load(path, open_net=open_net)
    return Made(judged, model, path, seconds, 1e3 * (time.perf_counter() - start))


def judge(plan: Plan, earlier: Examples, later: Examples, *, parameters: dict[str, float] | None = None) -> Judged:
    """Fit and calibrate on the earlier time, within the plan's budget or with these parameters; judge on the later."""
    found = searched(plan, estimator_of(plan.family), earlier, parameters=parameters)
    return Judged(found, *training.judge(found, earlier, later, seed=plan.seed))


def ablate(ground: Ground, family: str, whole: Judged) -> list[Ablated]:
    """Each group of features left out in turn, with the whole model's parameters."""
    reader, earlier, later, value = ground.reader, ground.earlier, ground.later, ground.value
    plan, group_of = replace(ground.plan, family=family), groups_of(reader.features)
    groups = list(dict.fromkeys(group_of[name] for name in earlier.names))
    judged, models, rows = {"": whole}, {"": served_by(whole, earlier, group_of)}, {"": later.X}
    for number, group in enumerate(groups):
        ground.progress(number, len(groups))
        ground.tell(f"without {group}")
        kept = [at for at, name in enumerate(earlier.names) if group_of[name] != group]
        parts = [only(examples, kept) for examples in (earlier, later)]
        judged[group] = judge(plan, *parts, parameters=whole.fit.parameters)
        models[group], rows[group] = served_by(judged[group], parts[0], group_of), parts[1].X
    ground.tell("timing feature reads")
    asked = {name: np.ascontiguousarray(x[:CALLS]) for name, x in rows.items()}
    model_us = timed({name: model.predict for name, model in models.items()}, asked)
    read_us = reads(reader, {"": reader.features} | {g: without(reader.features, g, group_of) for g in groups})
    saved, middle = value.saved(whole.probabilities), {name: float(np.median(us)) for name, us in model_us.items()}
    precision = whole.evaluation.average_precision.value
    found = []
    for group in groups:
        rest = judged[group].evaluation.average_precision.value
        found.append(
            Ablated(
                group,
                sum(group_of[name] == group for name in earlier.names),
                rest,
                precision - rest,
                value.per_1000(saved - value.saved(judged[group].probabilities)),
                read_us[""] - read_us[group],
                middle[""] - middle[group],
            )
        )
    return found


def only(examples: Examples, columns: list[int]) -> Examples:
    names = tuple(examples.names[at] for at in columns)
    return replace(examples, names=names, X=np.ascontiguousarray(examples.X[:, columns]))


def served_by(one: Judged, examples: Examples, group_of: dict[str, str]) -> FraudModel:
    """As it would be loaded, without the way over a disk."""
    groups = [group_of[name] for name in examples.names]
    calibrator = calibrated(one.fit, examples).calibrator
    return FraudModel.of("ablated", examples.names, one.fit.fitted.predictor(), calibrator=calibrator, groups=groups)


def without(features: FeatureSet, group: str, group_of: dict[str, str]) -> FeatureSet:
    """The feature set without the group's columns, and without what was derived from them."""
    rest = tuple(a for a in features.aggregations if any(group_of[c.name] != group for c in a.columns))

    def stands(derived: Derived) -> bool:
        if group_of[derived.name] != group:
            with suppress(FeatureError):
                Finaliser(FeatureSet(rest, (derived,)))
                return True
        return False

    return FeatureSet(rest, tuple(d for d in features.derived if stands(d)))


def reads(reader: Reader, sets: dict[str, FeatureSet]) -> dict[str, float]:
    """Median microseconds to read and finalise each feature set's row, on state of the journal's last entries."""
    _, last = reader.store.span()
    entries = list(reader.store.read(after_seq=max(last - READ_ENTRIES, 0)))
    attempts = SOURCE_BIT["attempts"]
    asked = [e.facts for e in entries if e.facts and e.emits & attempts and e.sign > 0][-TIMED_READS:]
    engines = {name: StreamEngine(features, first_complete_us=0) for name, features in sets.items()}
    finalisers = {name: Finaliser(features) for name, features in sets.items()}
    for engine in engines.values():
        engine.apply_many(entries)
    spent: dict[str, list[int]] = {name: [] for name in sets}
    for facts in asked:
        for name, engine in engines.items():
            start = time.thread_time_ns()
            finalisers[name].row(engine.read(facts, entries[-1].ingest_us))
            spent[name].append(time.thread_time_ns() - start)
    return {name: float(np.median(each)) / 1e3 for name, each in spent.items()}


def lines(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table of families, the chosen one marked."""
    chosen = comparison.choice.family if comparison.choice else ""
    return [
        (
            f"{'* ' if c.family == chosen else ''}{c.family}",
            f"{(p := c.evaluation.average_precision).value:.3f} ({p.low:.3f} to {p.high:.3f})",
            " ".join(f"{v:.3f}" for v in c.evaluation.card_precision.values()),
            c.evaluation.verdict,
            f"{(s := c.saved_per_1000_minor).value:,.0f} ({s.low:,.0f} to {s.high:,.0f})",
            f"{c.served.p50_us:.0f}",
            f"{c.served.p99_us:.0f}",
            f"{c.served.disk_mb:.2f}",
            f"{c.served.memory_bytes / 1e6:.1f}",
            f"{c.served.load_ms:.0f}",
            f"{c.fit_seconds:.0f}",
        )
        for c in sorted(comparison.candidates, key=lambda c: -c.saved_per_1000_minor.value)
    ]


COLUMNS: Final = (
    "family",
    "average precision",
    "CP@100",
    "calibration",
    "saved per 1,000, minor",
    "p50 us",
    "p99 us",
    "disk MB",
    "memory MB",
    "load ms",
    "fit s",
)
ABLATION_COLUMNS: Final = ("left out", "columns", "AP lost", "saving lost per 1,000, minor", "read us", "model us")


def ablation_lines(comparison: Comparison) -> list[tuple[str, ...]]:
    """What each group is worth, dearest first, and what it takes."""
    return [
        (
            a.group,
            str(a.columns),
            f"{a.average_precision_lost:+.3f}",
            f"{(s := a.saved_lost_per_1000_minor).value:+,.0f} ({s.low:+,.0f} to {s.high:+,.0f})",
            f"{a.read_us_saved:.1f}",
            f"{a.model_us_saved:.1f}",
        )
        for a in sorted(comparison.ablation, key=lambda a: -a.saved_lost_per_1000_minor.value)
    ]


def write_comparison(path: Path, comparison: Comparison) -> None:
    """One page that needs nothing beside it."""
    from greenlane.adapters.plots import frontier
    from greenlane.learning.report import frontier_html

    tables: list[tuple[Sequence[str], list[tuple[str, ...]]]] = [(COLUMNS, lines(comparison))]
    if comparison.ablation:
        tables.append((ABLATION_COLUMNS, ablation_lines(comparison)))
    if comparison.against:
        tables.append((AGAINST_COLUMNS, against_lines(comparison.against)))
    picture = frontier(comparison.candidates, comparison.choice, budget_us=comparison.budget_us)
    why = f"{comparison.choice.family}: {comparison.choice.why}" if comparison.choice else "no family is fast enough"
    page = frontier_html(why, tables=tables, picture=picture, skipped=comparison.skipped)
    path.write_text(page, encoding="utf-8")
