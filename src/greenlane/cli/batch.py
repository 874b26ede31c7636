"""Verbs over a whole journal: backfill, pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from greenlane.cli.shown import Cut, Data, From, Json, To, day, err, fail_unless, print_table, progress, show
from greenlane.errors import InputError
from greenlane.payments.times import DAY_US

if TYPE_CHECKING:
    from greenlane.jobs.pipeline import Recipe

pipeline_app = typer.Typer(
    help="From the journal to a champion: set, report, fit, calibrate, evaluate, register, shadow, gates, promote.",
    no_args_is_help=True,
)
Family = Annotated[str, typer.Option(help="lightgbm, xgboost, random_forest or logistic.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Name of the run; default: the hash of its plan.")]
GapDays = Annotated[float, typer.Option(help="Between what is learned from and what is judged on.")]
Trials = Annotated[int, typer.Option(min=0, help="Search this many parameter sets; 0 takes the defaults.")]
Seed = Annotated[int, typer.Option(help="Of the search and the fit.")]


@pipeline_app.command("run")
def pipeline_run(
    data: Data,
    family: Family = "lightgbm",
    run_id: RunId = None,
    until: Annotated[str | None, typer.Option(help="The last step to do; default: all.")] = None,
    first: From = None,
    gap_days: GapDays = 7.0,
    trials: Trials = 0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn a fraud model from the journal and make it champion, if its data and the model pass.

    Run again, it goes on where it was stopped, and does nothing twice. Exit status 1 where a check of the data or a
    gate fails. Results lie in DIR/pipelines/RUN/NN_step.json.
    """
    from greenlane.jobs.pipeline import STEPS

    names = list(STEPS)
    upto = names[: names.index(known_step(until)) + 1] if until else names
    pipeline(data, upto, recipe_of(family, first, gap_days, trials, seed), run_id=run_id, as_json=as_json)


@pipeline_app.command("step")
def pipeline_step(
    data: Data,
    name: Annotated[str, typer.Argument(help="One of the steps; those before it are done.")],
    run_id: Annotated[str, typer.Option("--run-id", help="Name of the run: the same for all of its steps.")],
    family: Family = "lightgbm",
    first: From = None,
    gap_days: GapDays = 7.0,
    trials: Trials = 0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """One step of a run, for an orchestrator to schedule. What is done already is not done again."""
    recipe = recipe_of(family, first, gap_days, trials, seed)
    pipeline(data, [known_step(name)], recipe, run_id=run_id, as_json=as_json)


def known_step(name: str) -> str:
    from greenlane.jobs.pipeline import STEPS

    if name not in STEPS:
        raise InputError(f"there is no step {name!r}", param="NAME", hint=f"one of {', '.join(STEPS)}")
    return name


def recipe_of(family: str, first: str | None, gap_days: float, trials: int, seed: int) -> "Recipe":
    from greenlane.jobs.pipeline import Recipe

    return Recipe(family=family, from_us=day(first) or 0, gap_us=round(gap_days * DAY_US), trials=trials, seed=seed)


def pipeline(data: Path, steps: list[str], recipe: "Recipe", *, run_id: str | None, as_json: bool) -> None:
    from greenlane.jobs.pipeline import PASSED, Result, begin, run_steps, verdicts_of

    results = list[Result]()
    with progress("pipeline") as tell:
        run = begin(data, recipe, name=run_id, progress=tell)
        for result in run_steps(run, steps):
            results.append(result)
            err.print(f"{result.step:<10} {result.seconds:>8.1f} s  {result.verdict}")
    rows = [(r.step, r.digest, r.verdict) for r in results]
    show({"run": run.name, "steps": results}, run.name, ["step", "hash", "verdict"], rows, as_json=as_json)
    if results[-1].step == "gates" and results[-1].verdict != PASSED and not as_json:
        missing = [(v.gate, v.figure, v.limit, v.reason) for v in verdicts_of(run) if v.state == "failed"]
        print_table("What is missing", ["gate", "figure", "limit", "why, and what to do"], missing)
    fail_unless(results[-1].verdict == PASSED)


def backfill_(
    data: Data,
    out: Annotated[Path, typer.Option(help="A new directory for the Parquet files.")],
    engine: Annotated[
        Literal["duckdb", "spark"], typer.Option(help="duckdb, in this process, or spark, on Java.")
    ] = "duckdb",
    first: From = None,
    to: To = None,
    cut: Cut = None,
    label: Annotated[
        Literal["fraud_report", "dispute"], typer.Option(help="What labels a row; disputes leave authenticated out.")
    ] = "fraud_report",
    cores: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 2,
    memory_mb: Annotated[int, typer.Option(min=512, help="Memory of the engine; more spills to disk.")] = 4096,
    as_json: Json = False,
) -> None:
    """Write the training set of the journal as Parquet: the vector of every attempt, what came of it, its weight.

    Both engines run the same definitions and give the same bits. Spark needs the [spark] extra and Java 17.
    """
    from greenlane.jobs.backfilling import Room, backfill

    room = Room(cores, memory_mb)
    with progress("backfilling") as tell:
        done = backfill(
            data, out, engine=engine, from_us=day(first), to_us=day(to), cut_us=day(cut), label=label, room=room,
            progress=tell,
        )  # fmt: skip
    rows = [
        ("vectors", f"{done.rows:,} of {done.columns} columns"),
        ("journal", f"{done.entries:,} entries"),
        ("features", done.feature_set),
        ("time", f"{done.seconds:,.1f} s, {done.processor_s:,.1f} s of the processor"),
        ("memory at most", f"{done.peak_mb:,} MB"),
    ]
    show(done, f"Backfilled by {done.engine}", ["what", ""], rows, as_json=as_json)
