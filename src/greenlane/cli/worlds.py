"""Verbs for simulated worlds: write one's history, check its figures, and compare policies in it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from greenlane.cli.learn import evaluate_app
from greenlane.cli.shown import (
    Json,
    JsonFile,
    fail_unless,
    in_a_directory,
    out,
    print_grid,
    progress,
    show,
    show_json,
    tell,
    write_json,
)
from greenlane.errors import InputError

simulate_app = typer.Typer(invoke_without_command=True)
WorldName = Annotated[
    str, typer.Option("--world", help="europe, us, subscriptions, calm, shop, or the path of a world file.")
]
Seed = Annotated[int, typer.Option(min=0, help="One seed is one run of a world, to the byte.")]

CACHE = Path(".greenlane-cache")
Cache = Annotated[Path, typer.Option(help="Where fitted models are kept, by the world's hash.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="An HTML page: tables and curves.", callback=in_a_directory)
]
AHEAD_MIN = 3_000
"""Fewer payments are written before another process has begun to make them."""


@simulate_app.callback()
def simulate(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option("--data", help="A fresh data directory for the history.")] = None,
    world: WorldName = "europe",
    seed: Seed = 1,
    payments: Annotated[int, typer.Option(min=1, help="How many payments.")] = 20_000,
    as_json: Json = False,
) -> None:
    """A seeded world of payers, fraudsters, issuers and acquirers: write its history, or check its figures.

    The history is every attempt, its answer, and labels when they became known. What the law leaves open is left to
    chance in it, so that models can be learned. Then: `greenlane train approval`, and, where enough fraud was reported,
    as by `--world shop --payments 40000`, `greenlane train fraud`.
    """
    if context.invoked_subcommand is not None:
        return
    if data is None:
        raise InputError("a history goes into a directory", param="--data", hint="greenlane simulate --data DIR")
    from greenlane.jobs.simulating import simulate as write
    from greenlane.simulation.world import World

    started = time.perf_counter()
    with progress(f"simulating {world}") as bar:
        found = write(World.load(world), seed, payments, data, bar, ahead=payments >= AHEAD_MIN)
    taken = time.perf_counter() - started
    shown = {**found._asdict(), "attempts_per_second": round(found.attempts / taken)}
    if as_json:
        show_json(shown)
    else:
        out.print(f"{found.payments:,} payments, {found.attempts:,} attempts, {found.outcomes:,} outcomes in {data}")
        out.print(f"{found.attempts / taken:,.0f} attempts a second")


@simulate_app.command("live")
def simulate_live(
    data: Annotated[Path, typer.Option("--data", help="A directory of a world, or a fresh one.")],
    world: WorldName = "europe",
    seed: Seed = 2,
    payments: Annotated[int, typer.Option(min=1, help="How many payments.")] = 5_000,
    explore: Annotated[
        list[str] | None, typer.Option(help="route, challenge or release, widely; may be given again; default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide a world's payments live, exploring: decisions with probabilities, answers, retries and labels.

    Follows the directory's history with its models; a fresh one gets a stated scorecard. Then: `greenlane evaluations
    run`.
    """
    from greenlane.jobs.deciding import decide_world, kinds_of
    from greenlane.simulation.world import World

    kinds = kinds_of(explore)
    with progress(f"deciding in {world}") as bar:
        found = decide_world(World.load(world), seed, payments, data, kinds=kinds, progress=bar)
    if as_json:
        show_json(found._asdict())
    else:
        out.print(f"{found.payments:,} payments, {found.decisions:,} decisions, {found.outcomes:,} outcomes in {data}")


@simulate_app.command("check")
def simulate_check(
    world: WorldName = "europe",
    seed: Seed = 1,
    payments: Annotated[int, typer.Option(min=100, help="More payments, steadier figures.")] = 20_000,
    as_json: Json = False,
) -> None:
    """Print each calibration figure of a world beside its target. Exit status 1 where one lies outside."""
    from greenlane.jobs.calibrating import check
    from greenlane.simulation.world import World

    found = check(World.load(world), seed, payments)
    figures = [{**figure._asdict(), "ok": figure.ok} for figure in found]
    rows = [
        (f.figure, f"{f.value:.4g}", f"{f.target[0]:.4g} to {f.target[1]:.4g}", "ok" if f.ok else "OFF", f.source)
        for f in found
    ]
    columns = ["figure", "value", "target", "", "source"]
    show(figures, f"{world}, seed {seed}", columns, rows, as_json=as_json)
    fail_unless(all(figure.ok for figure in found))


@evaluate_app.command("policies")
def evaluate_policies(
    world: WorldName = "europe",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of the world; every policy meets the same people.")] = 20,
    payments: Annotated[int, typer.Option(min=1, help="Payments in each run.")] = 20_000,
    full: Annotated[bool, typer.Option("--full", help="All baselines, the ablations and the clairvoyant too.")] = False,
    interaction: Annotated[
        float | None, typer.Option(min=0.0, help="Replace the world's strength of interactions; 0: none.")
    ] = None,
    cache: Cache = CACHE,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one for each core.")] = None,
    report: ReportFile = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="The short table, to quote.", callback=in_a_directory)
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Run policies through the same worlds and score each by its true expected reward, not by coins.

    Joint, sequential, success-rate windows, cheapest and the informed oracle by default. Intervals are 95 %, over
    payers and seeds, and differences are paired payment by payment.
    """
    from greenlane.jobs.evaluating.evaluate import evaluate
    from greenlane.jobs.evaluating.report import markdown as short_table
    from greenlane.jobs.evaluating.report import page, paired_table
    from greenlane.jobs.evaluating.results import table

    found = evaluate(
        world, seeds=seeds, payments=payments, cache=cache, full=full, interaction=interaction, processes=processes,
        tell=tell,
    )  # fmt: skip
    write_json(found, json_file)
    if report is not None:
        report.write_text(page(found), encoding="utf-8")
    if markdown is not None:
        markdown.write_text(short_table(found), encoding="utf-8")
    title = f"{found.world}: {found.seeds} seeds of {found.payments:,} payments, {found.currency}"
    print_grid(title, table(found))
    print_grid("Paired differences", paired_table(found))
    out.print(f"best baseline: {found.best_baseline}; joint's regret is {found.regret_ratio:.2f} of its")
