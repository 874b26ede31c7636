"""Verbs over a whole journal: backfill, pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from greenlane.cli.shown import Data, From, Json, To, day, err, print_table, progress, show_json
from greenlane.errors import InputError

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
    pipeline(data, upto, family=family, run_id=run_id, first=first, gap_days=gap_days, trials=trials, seed=seed,
             as_json=as_json)  # fmt: skip


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
    pipeline(data, [known_step(name)], family=family, run_id=run_id, first=first, gap_days=gap_days, trials=trials,
             seed=seed, as_json=as_json)  # fmt: skip


def known_step(name: str) -> str:
    from greenlane.jobs.pipeline import STEPS

    if name not in STEPS:
        raise InputError(f"there is no step {name!r}", param="NAME", hint=f"one of {', '.join(STEPS)}")
    return name


def pipeline(
    data: Path,
    steps: list[str],
    *,
    family: str,
    run_id: str | None,
    first: str | None,
    gap_days: float,
    trials: int,
    seed: int,
    as_json: bool,
) -> None:
    from greenlane.jobs.pipeline import PASSED, Recipe, Result, begin, run_steps

    recipe = Recipe(
        family=family, gap_us=round(gap_days * 86_400_000_000), trials=trials, seed=seed, from_us=day(first) or 0
    )
    results = list[Result]()
    with progress("pipeline") as tell:
        run = begin(data, recipe, name=run_id, progress=tell)
        for result in run_steps(run, steps):
            results.append(result)
            err.print(f"{result.step:<10} {result.seconds:>8.1f} s  {result.verdict}", markup=False)
    if as_json:
        show_json({"run": run.name, "steps": results})
    else:
        print_table(run.name, ["step", "hash", "verdict"], [(r.step, r.digest, r.verdict) for r in results])
    if results[-1].verdict != PASSED:
        raise typer.Exit(1)


def backfill_(
    data: Data,
    out: Annotated[Path, typer.Option(help="A new directory for the Parquet files.")],
    engine: Annotated[str, typer.Option(help="duckdb, in this process, or spark, on Java.")] = "duckdb",
    first: From = None,
    to: To = None,
    cores: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 2,
    memory_mb: Annotated[int, typer.Option(min=512, help="Memory of the engine; more spills to disk.")] = 4096,
    as_json: Json = False,
) -> None:
    """Write the feature vector of every attempt: its position, then one integer per column, as Parquet.

    Both engines run the same definitions and give the same bits. Spark needs the [spark] extra and Java 17.
    """
    from greenlane.jobs.backfilling import Engine, Room, backfill

    if engine not in ("duckdb", "spark"):
        raise InputError(f"there is no engine {engine!r}", param="--engine", hint="duckdb or spark")
    by: Engine = "spark" if engine == "spark" else "duckdb"
    with progress("backfilling") as tell:
        done = backfill(
            data, out, engine=by, from_us=day(first), to_us=day(to), room=Room(cores, memory_mb), progress=tell
        )  # fmt: skip
    if as_json:
        show_json(done)
    else:
        rows = [
            ("vectors", f"{done.rows:,} of {done.columns} columns"),
            ("journal", f"{done.entries:,} entries"),
            ("features", done.feature_set),
            ("time", f"{done.seconds:,.1f} s"),
            ("memory at most", f"{done.peak_mb:,} MB"),
        ]
        print_table(f"Backfilled by {done.engine}", ["what", ""], rows)
