"""Verbs for what is known, learned and believed: features, train, evaluate."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from greenlane.cli.shown import (
    Cut,
    Data,
    From,
    Json,
    Report,
    To,
    day,
    err,
    fail_unless,
    in_a_directory,
    out,
    print_table,
    progress,
    show,
    show_json,
)  # fmt: skip
from greenlane.errors import InputError
from greenlane.payments.times import DAY_US

if TYPE_CHECKING:
    from greenlane.jobs.training import Trained
    from greenlane.jobs.training_approval import TrainedApproval

features_app = typer.Typer(
    help="What we know: the feature definitions, and the proof that both engines agree.", no_args_is_help=True
)
train_app = typer.Typer(help="What we learn: models from the journal.", no_args_is_help=True)
evaluate_app = typer.Typer(help="How good a model is, on time it has not seen.", no_args_is_help=True)


Introduce = Annotated[
    bool, typer.Option("--promote/--no-promote", help="Make it champion if there is none yet, else shadow.")
]
PutInForce = Annotated[bool, typer.Option("--promote/--no-promote", help="Put it in force.")]
GapDays = Annotated[float, typer.Option(help="Between what is learned from and what is judged on.")]
Family = Annotated[str, typer.Option(help="lightgbm, xgboost, random_forest, logistic or tabm.")]
ClassWeight = Annotated[
    float, typer.Option(help="An event counts as so many while fitting; the calibration puts the prior right again.")
]
Vectors = Annotated[
    Path | None, typer.Option(help="Take the set that this `greenlane backfill` wrote, by DuckDB or Spark.")
]
CostSensitive = Annotated[
    bool, typer.Option("--cost-sensitive", help="Payments count by what a wrong choice about them loses.")
]


@features_app.command("list")
def features_list(data: Data) -> None:
    """The live definitions, each with its version."""
    from greenlane.wiring import open_reader

    features = open_reader(data).features
    rows = [
        (a.version, a.source, " ".join(m.label for m in a.measures), " ".join(a.windows)) for a in features.aggregations
    ]
    print_table("Aggregations", ["version", "source", "measures", "windows"], rows)
    print_table("Derived", ["name", "expression"], [(d.name, d.expression) for d in features.derived])


@features_app.command("verify")
def features_verify(
    data: Data,
    sample: Annotated[int, typer.Option(min=1, help="About how many positions of the journal to compare.")] = 10_000,
    against: Annotated[
        Path | None, typer.Option(help="A table of expected values, by the mapping's [expected].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that both engines agree: stream against SQL, bit for bit; or both against a table of expected values.

    Exit status 1 on any mismatch, with the first few shown.
    """
    from greenlane.jobs.proving import verify_against, verify_features

    with err.status("folding the journal in both engines") if err.is_terminal else nullcontext():
        found = verify_against(data, against) if against else verify_features(data, sample=sample)
    if as_json:
        show_json(found)
    else:
        out.print(f"{found.rows} rows, {found.values} values compared, {found.mismatches} mismatches")
        for line in found.first:
            out.print(f"  {line}")
    fail_unless(not found.mismatches)


@features_app.command("declare")
def features_declare(
    data: Data,
    why: Annotated[str, typer.Option(help="For the audit.")],
    file: Annotated[
        Path | None, typer.Option(help="A Python file that defines FEATURES; default: the shipped catalogue.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of what is live, not beside it.")] = False,
    as_json: Json = False,
) -> None:
    """Put a feature set live on a directory that has a history: folded over all of it first, then declared.

    Works while no server runs; the next start is warm. Refused where the champion could not be served any more.
    """
    from greenlane.features.catalogue import CATALOGUE
    from greenlane.jobs.declaring import declare_features, read_features

    features = CATALOGUE if file is None else read_features(file)
    with progress("folding") as tell:
        declared = declare_features(data, features, replace=replace, why=why, progress=tell)
    rows = [
        ("digest", declared.digest),
        ("since entry", declared.seq or "it was live already"),
        ("columns", declared.columns),
        *((what, ", ".join(getattr(declared, what))) for what in ("added", "dropped", "changed")),
    ]
    show(declared, "Declared", ["what", ""], rows, as_json=as_json)


def warn_of_champion(trained: "Trained | TrainedApproval") -> None:
    """The first model is believed from now on, whatever was found of it."""
    why = {
        "undecided": "its calibration is undecided: held-out time has too few events to tell",
        "not calibrated": "it is not calibrated on held-out time",
    }.get(trained.evaluation.verdict)
    if why and trained.alias.endswith("/champion"):
        hint = "train on a longer history, and take that model past `greenlane models gates`"
        said = f"{trained.model_id} is champion, as there was none, though {why}"
        err.print(f"careful: {said}\n  hint: {hint}", soft_wrap=True)


@train_app.command("fraud")
def train_fraud_(
    data: Data,
    first: From = None,
    to: To = None,
    cut: Cut = None,
    gap_days: GapDays = 7.0,
    trials: Annotated[int, typer.Option(min=0, help="Search this many parameter sets; 0 takes the defaults.")] = 0,
    seconds: Annotated[float, typer.Option(help="Stop searching after this long.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of the search and the fit.")] = 0,
    family: Family = "lightgbm",
    class_weight: ClassWeight = 1.0,
    cost_sensitive: CostSensitive = False,
    monotone: Annotated[
        bool, typer.Option("--monotone", help="Hold the signs that are known, where the family can.")
    ] = False,
    search: Annotated[
        Path | None,
        typer.Option(help="Keep trials in this file: an interrupted search goes on.", callback=in_a_directory),
    ] = None,
    label: Annotated[
        Literal["fraud_report", "dispute"], typer.Option(help="What is learned; disputes leave authenticated out.")
    ] = "fraud_report",
    vectors: Vectors = None,
    engine: Annotated[
        Literal["local", "spark"], typer.Option(help="Who fits: this process, or Spark's workers (xgboost only).")
    ] = "local",
    promote: Introduce = True,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Learn a fraud model from the journal, and judge it on the latest fifth of the time.

    The first one becomes champion, a later one its shadow, until `greenlane models promote` takes it past the gates.

    The judged recipe is then fitted once more on the whole window. Needs the [train] extra, tabm the [deep] one;
    `train compare` tells which family is worth it.
    """
    from greenlane.jobs.training import Plan, figures, train_fraud
    from greenlane.learning.weighing import Weighing

    plan = Plan(
        day(first), day(to), day(cut), round(gap_days * DAY_US), trials, seconds, seed, family=family,
        weighing=Weighing(class_weight, cost_sensitive), monotone=monotone, search=search, label=label,
        vectors=vectors, engine=engine,
    )  # fmt: skip
    with progress("training") as tell:
        trained = train_fraud(data, plan, report=report, promote=promote, progress=tell)
    warn_of_champion(trained)
    evaluation = trained.evaluation.record()
    told = {"model": trained.model_id, "training_set": trained.manifest, "evaluation": evaluation}
    show(told, trained.model_id, ["on held-out time", ""], figures(trained.evaluation), as_json=as_json)


@train_app.command("compare")
def train_compare(
    data: Data,
    families: Annotated[str, typer.Option(help="Separated by commas; default: all.")] = "",
    first: From = None,
    to: To = None,
    cut: Cut = None,
    gap_days: GapDays = 7.0,
    trials: Annotated[int, typer.Option(min=0, help="Search so many parameter sets for each; 0: defaults.")] = 0,
    seconds: Annotated[float, typer.Option(help="Stop searching a family after this long.")] = 600.0,
    budget_us: Annotated[float, typer.Option(help="What an answer may take at p99.")] = 500.0,
    ablation: Annotated[bool, typer.Option("--ablation", help="Also leave each group of features out.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="A table of other features, by the mapping's [expected]: fit on these, too.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every search and fit.")] = 0,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """The frontier: each family on the same set and split, by what it saves and by what its answer takes.

    Every family is fitted, published, loaded and timed as it would be served; nothing is kept or promoted. Chosen is
    the best value within the latency budget; where that is a tie, the fastest.
    """
    from greenlane.adapters.families import FAMILIES
    from greenlane.jobs.comparing import ABLATION_COLUMNS, COLUMNS, ablation_lines, compare, lines, write_comparison
    from greenlane.jobs.comparing_against import AGAINST_COLUMNS, against_lines
    from greenlane.jobs.training import Plan

    plan = Plan(day(first), day(to), day(cut), round(gap_days * DAY_US), trials, seconds, seed)
    chosen = [name.strip() for name in families.split(",") if name.strip()] or list(FAMILIES)
    with progress("comparing") as tell:
        found = compare(
            data, plan, families=chosen, budget_us=budget_us, ablation=ablation, against=against, progress=tell,
            tell=err.print,
        )  # fmt: skip
    if report is not None:
        write_comparison(report, found)
    if as_json:
        show_json(found)
        return
    print_table(f"On {found.payments:,} held-out payments", list(COLUMNS), lines(found))
    for family, why in found.skipped.items():
        out.print(f"skipped {family}: {why}")
    why = f"{found.choice.family}: {found.choice.why}" if found.choice else f"none answers within {budget_us:g} us"
    out.print(why)
    if against is not None:
        print_table(f"Refitted on the columns of {against.name}", list(AGAINST_COLUMNS), against_lines(found.against))
    if found.ablation:
        print_table("What a group of features is worth", list(ABLATION_COLUMNS), ablation_lines(found))


@train_app.command("approval")
def train_approval_(
    data: Data,
    first: From = None,
    to: To = None,
    cut: Cut = None,
    seed: Annotated[int, typer.Option(help="Of the fit.")] = 0,
    family: Family = "lightgbm",
    class_weight: ClassWeight = 1.0,
    cost_sensitive: CostSensitive = False,
    promote: Introduce = True,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Learn approval over each route from the journal's answers, those of payments decided elsewhere too.

    Judged on the latest fifth of the time; then fitted once more on the whole window. Needs the [train] extra.
    """
    from greenlane.jobs.training import Plan
    from greenlane.jobs.training_approval import approval_figures, train_approval
    from greenlane.learning.weighing import Weighing

    weighing = Weighing(class_weight, cost_sensitive)
    plan = Plan(day(first), day(to), day(cut), seed=seed, family=family, weighing=weighing)
    with progress("training") as tell:
        trained = train_approval(data, plan, report=report, promote=promote, progress=tell)
    warn_of_champion(trained)
    told = {"model": trained.model_id, "training_set": trained.training_set, "evaluation": trained.evaluation}
    show(told, trained.model_id, ["on held-out time", ""], approval_figures(trained.evaluation), as_json=as_json)


@train_app.command("authentication")
def train_authentication_(data: Data, promote: PutInForce = True, as_json: Json = False) -> None:
    """Count who passes 3-D Secure without a challenge and who passes one when asked, by issuer; put that in force.

    Shares are drawn towards the country's and the stated ones; judged on the latest fifth of the answers.
    """
    from greenlane.jobs.training_authentication import authentication_figures, train_authentication

    with progress("counting") as tell:
        trained = train_authentication(data, promote=promote, progress=tell)
    told = {"table": trained.table, "evaluation": trained.judged}
    show(told, "Authentication", ["held-out time, countries", ""], authentication_figures(trained), as_json=as_json)


@train_app.command("recovery")
def train_recovery_(data: Data, promote: PutInForce = True, as_json: Json = False) -> None:
    """Count what further tries after a decline brought, by its kind and the wait, and put that in force.

    Shares are shrunk towards the stated ones: few tries teach little.
    """
    from greenlane.jobs.training_recovery import shares, train_recovery

    with progress("counting") as tell:
        table = train_recovery(data, promote=promote, progress=tell)
    show(table, "Recovery", ["initiator:kind:wait", "approved at further try 1 to 4"], shares(table), as_json=as_json)


@evaluate_app.command("fraud")
def evaluate_fraud_(
    data: Data,
    model: Annotated[str | None, typer.Option(help="A stored model; default: the champion.")] = None,
    first: From = None,
    to: To = None,
    cut: Cut = None,
    vectors: Vectors = None,
    engine: Annotated[
        Literal["local", "spark"],
        typer.Option(help="Who scores --vectors: this process, or Spark's workers."),
    ] = "local",
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Judge a stored model on a window of the journal. Take a window it was not trained on."""
    from greenlane.jobs.training import Plan, evaluate_fraud, figures, learned_until

    if engine == "spark" and vectors is None:
        raise InputError("Spark scores a backfill, and none is named", param="--vectors", hint="greenlane backfill")
    plan = Plan(day(first), day(to), day(cut), vectors=vectors, engine=engine)
    with progress("evaluating") as tell:
        model_id, evaluation = evaluate_fraud(data, plan, model_id=model, report=report, progress=tell)
    until = learned_until(data, model_id, plan)
    if until:
        said = f"{model_id} learned from payments until {until}: on those it looks better than it is"
        err.print(f"careful: {said}\n  hint: --from the day after", soft_wrap=True)
    told = {"model": model_id, "evaluation": evaluation.record()}
    show(told, model_id, ["figure", ""], figures(evaluation), as_json=as_json)
