"""Verbs for what a change is worth: plan an experiment, and prove the intervals."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from greenlane.cli.shown import Json, print_table, progress, show_json

experiments_app = typer.Typer(
    help="What a change is worth: plan an experiment, and prove the intervals.", no_args_is_help=True
)


@experiments_app.command("plan")
def experiments_plan(
    metric: Annotated[str, typer.Option(help="Its name, for the table.")],
    baseline: Annotated[float, typer.Option(help="Its value today: a share such as 0.87, or with --sd any mean.")],
    mde: Annotated[float, typer.Option(help="The smallest change worth finding, in the metric's units.")],
    daily: Annotated[float, typer.Option(help="Units (cards, customers, payments) that take part per day.")],
    relative: Annotated[bool, typer.Option("--relative", help="--mde is a share of the baseline.")] = False,
    sd: Annotated[
        float | None, typer.Option(help="Of one unit, for means and ratios; a share's follows from its baseline.")
    ] = None,
    cluster_size: Annotated[float, typer.Option(help="Mean units per randomised cluster.")] = 1.0,
    cluster_size_cv: Annotated[float, typer.Option(help="Standard deviation of cluster sizes over their mean.")] = 0.0,
    icc: Annotated[float, typer.Option(help="Correlation of two units of one cluster.")] = 0.0,
    correlation: Annotated[
        float, typer.Option(help="Of the metric with its pre-period value: what CUPED gains.")
    ] = 0.0,
    treated: Annotated[float, typer.Option(help="Share of units in the new arm.")] = 0.5,
    power: Annotated[float, typer.Option(help="Probability of finding a change of this size.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Probability of finding one where there is none.")] = 0.05,
    as_json: Json = False,
) -> None:
    """How many units and days a change takes to be seen, and what is seen in 14 and 28 days.

    One line for an answer read once at the end, one for an answer that may be looked at any time.
    """
    from greenlane.experiments.planning import Metric, Reading, plan

    asked = Metric(
        baseline=baseline,
        sd=sd,
        cluster_size=cluster_size,
        cluster_size_cv=cluster_size_cv,
        icc=icc,
        correlation=correlation,
    )
    change = mde * abs(baseline) if relative else mde
    reading = Reading(alpha=alpha, power=power, treated_share=treated)
    rows = plan(asked, change, daily_units=daily, reading=reading)
    if as_json:
        show_json({"metric": metric, "baseline": baseline, "mde": change, "designs": rows})
        return
    table = [
        (
            row.design,
            f"{row.units:,}",
            f"{row.days:,}",
            f"{row.detectable_14_days:.4g}",
            f"{row.detectable_28_days:.4g}",
        )
        for row in rows
    ]
    columns = ["read", "units", "days", "seen in 14 days", "in 28 days"]
    print_table(f"{metric}: {baseline:g}, a change of {change:g} with power {power:g}", columns, table)


@experiments_app.command("validate")
def experiments_validate(
    replications: Annotated[int, typer.Option(min=50, help="Simulated experiments per case.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the simulated experiments.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the cases to this file, as JSON.")] = None,
) -> None:
    """Prove that the intervals keep their promise: thousands of simulated experiments whose truth is known.

    Exit status 1 where a case misses its target.
    """
    from greenlane.experiments.validate import validate

    with progress("simulating experiments") as tell:
        found = list(validate(replications, seed=seed, progress=tell))
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode({"cases": [case for _, case in found]})))
    rows = [
        (
            case.name,
            f"{100 * case.coverage:.1f}",
            study.target(),
            f"{case.width_ratio:.2f}",
            "" if study.passes(case) else "missed",
        )
        for study, case in found
    ]
    print_table(f"{replications:,} replications each", ["case", "coverage %", "target", "width", ""], rows)
    if not all(study.passes(case) for study, case in found):
        raise typer.Exit(1)
