"""Verbs for what a change is worth: plan, run and read experiments, and prove the intervals."""

from pathlib import Path
from typing import Annotated, Any

import typer

from greenlane.cli.shown import (
    Data,
    Json,
    JsonFile,
    Report,
    fail_unless,
    out,
    print_grid,
    print_table,
    progress,
    show,
    show_json,
    write_json,
)  # fmt: skip
from greenlane.errors import InputError

experiments_app = typer.Typer(
    help="What a change is worth: plan, run and read experiments, and prove the intervals.", no_args_is_help=True
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
    title = f"{metric}: {baseline:g}, a change of {change:g} with power {power:g}"
    table = [
        (r.design, f"{r.units:,}", f"{r.days:,}", f"{r.detectable_14_days:.4g}", f"{r.detectable_28_days:.4g}")
        for r in rows
    ]
    told = {"metric": metric, "baseline": baseline, "mde": change, "designs": rows}
    show(told, title, ["read", "units", "days", "seen in 14 days", "in 28 days"], table, as_json=as_json)


@experiments_app.command("validate")
def experiments_validate(
    replications: Annotated[int, typer.Option(min=50, help="Simulated experiments per case.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the simulated experiments.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Prove that the intervals keep their promise: thousands of simulated experiments whose truth is known.

    Exit status 1 where a case misses its target.
    """
    from greenlane.experiments.validate import validate

    with progress("simulating experiments") as tell:
        found = list(validate(replications, seed=seed, progress=tell))
    write_json({"cases": [case for _, case in found]}, json_file)
    rows = [
        (c.name, f"{100 * c.coverage:.1f}", s.target(), f"{c.width_ratio:.2f}", "" if s.passes(c) else "missed")
        for s, c in found
    ]
    print_table(f"{replications:,} replications each", ["case", "coverage %", "target", "width", ""], rows)
    fail_unless(all(study.passes(case) for study, case in found))


@experiments_app.command("impact")
def experiments_impact(
    file: Annotated[Path, typer.Argument(help="JSON of `evaluations run`, `evaluate policies`, or of arms of an A/B.")],
    policy: Annotated[str, typer.Option(help="Of `evaluate policies`: which one is new.")] = "joint",
    baseline: Annotated[str | None, typer.Option(help="Which one is old; default: the best baseline.")] = None,
    report: Report = None,
    json_file: JsonFile = None,
) -> None:
    """The bridge from approval to net money, for people: from an off-policy result, a simulation or an experiment."""
    from greenlane.jobs.valuing.impacts import impacts_in
    from greenlane.jobs.valuing.page import bridge_table, page

    found = impacts_in(file, policy=policy, baseline=baseline)
    write_json({"impacts": found}, json_file)
    if report:
        report.write_text(page(found, title=f"Impact: {file.stem}"), encoding="utf-8")
    for one in found:
        print_grid(f"{one.title} ({one.source}, {one.currency})", bridge_table(one.bridge))
        for note in one.notes:
            out.print(f"  {note}")


Name = Annotated[str, typer.Argument(metavar="ID", help="The experiment.")]
Why = Annotated[str, typer.Option(help="For the audit.")]


@experiments_app.command("list")
def experiments_list(data: Data, as_json: Json = False) -> None:
    """Every experiment of a directory, as it stands."""
    from greenlane.jobs.experimenting import known_experiments

    found = known_experiments(data)
    rows = []
    for each in found:
        arms = [f"{a.name} {a.share_ppm / 10_000:g} %{' (paused)' * (a.name in each.paused_arms)}" for a in each.arms]
        part = f"{(each.slot_ppm[1] - each.slot_ppm[0]) / 10_000:g} % of {each.layer}"
        rows.append((each.id, each.state, each.unit, ", ".join(arms), part))
    columns = ["experiment", "state", "unit", "arms", "takes part"]
    show({"data": found}, f"{len(rows)} experiments", columns, rows, as_json=as_json)


@experiments_app.command("start")
def experiments_start(
    name: Annotated[str, typer.Argument(metavar="ID|FILE", help="A draft, or a JSON file to create and start.")],
    data: Data,
    why: Why = "started on the command line",
    as_json: Json = False,
) -> None:
    """Start an experiment on the running server: models of its arms are loaded and verified first.

    A file holds what `POST /v1/experiments` takes: id, unit, arms with their shares and what each does otherwise.
    """
    from greenlane.jobs.experimenting import created, moved

    file = Path(name)
    if file.suffix == ".json" and not file.is_file():
        raise InputError(f"there is no file {file}", param="ID|FILE", hint="a JSON file, or the id of a draft")
    found = moved(data, created(data, file.read_bytes()) if file.suffix == ".json" else name, "start", why)
    _tell(found, as_json=as_json)


@experiments_app.command("pause")
def experiments_pause(
    name: Name,
    data: Data,
    arm: Annotated[str | None, typer.Option(help="Only this arm; its units do what everybody does.")] = None,
    why: Why = "paused on the command line",
    as_json: Json = False,
) -> None:
    """Pause an experiment, or one arm of it: the next decision knows."""
    from greenlane.jobs.experimenting import moved

    _tell(moved(data, name, "pause", why, arm=arm), as_json=as_json)


@experiments_app.command("stop")
def experiments_stop(name: Name, data: Data, why: Why = "stopped on the command line", as_json: Json = False) -> None:
    """Stop an experiment for good; what it showed stays."""
    from greenlane.jobs.experimenting import moved

    _tell(moved(data, name, "stop", why), as_json=as_json)


def _tell(changed: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(changed)
        return
    experiment = changed["experiment"]
    out.print(f"{experiment['id']} is {experiment['state']} (entry {changed['seq']})")


@experiments_app.command("show")
def experiments_show(name: Name, data: Data, report: Report = None, as_json: Json = False) -> None:
    """What an experiment shows by now, in short; --report writes the page with its guardrails' plots."""
    from greenlane.jobs.experimenting import page, readout_of

    with progress("reading the journal") as tell:
        found = readout_of(data, name, progress=tell)
    if report:
        report.write_text(page(found))
    if as_json:
        show_json(found)
        return
    arms = [
        (a.arm, "paused" if a.paused else "", f"{100 * a.share:.1f}", f"{a.units:,}", f"{a.payments:,}",
         a.forbidden_retries, f"{100 * a.matured_share:.0f}")
        for a in found.arms
    ]  # fmt: skip
    columns = ["arm", "", "share %", "units", "payments", "forbidden retries", "labels come %"]
    print_table(f"{name}: {found.experiment.state}", columns, arms)
    rails = [
        (r.arm, r.metric, f"{r.harm:.4g}", f"{r.tolerated:g}", f"{r.p_value:.2g}",
         f"paused at {r.paused.units:,} payments" if r.paused else r.not_judged)
        for r in found.guardrails
    ]  # fmt: skip
    print_table("guardrails", ["arm", "metric", "worse by", "tolerated", "p, any look", ""], rails)
    once = "not checked now" if found.srm_p_value is None else f"p = {found.srm_p_value:.3g}"
    ratio = f"sample ratio: {once}, at any look {found.srm_sequential_p_value:.3g}"
    out.print("\n".join((ratio, *found.notes)))


@experiments_app.command("readout")
def experiments_readout(name: Name, data: Data, as_json: Json = False) -> None:
    """Every metric of every arm against the control: for one look, for any look, relative, CUPED, bootstrap."""
    from greenlane.jobs.experimenting import readout_of

    with progress("reading the journal") as tell:
        found = readout_of(data, name, progress=tell)
    if as_json:
        show_json(found)
        return

    def cell(interval: Any, scale: float = 1.0) -> str:
        if interval.low is None:
            return "not yet"
        return f"{scale * interval.estimate:.4g} [{scale * interval.low:.4g}, {scale * interval.high:.4g}]"

    rows = [
        (m.metric, m.arm, "" if m.control is None else f"{m.control:.4g}", cell(m.sequence), cell(m.absolute),
         cell(m.cuped), cell(m.relative, 100.0), f"{m.adjusted_p_value:.2g}")
        for m in found.metrics
    ]  # fmt: skip
    columns = ["metric", "arm", "control", "any look", "one look", "CUPED", "relative %", "p, all together"]
    print_table(f"{name} against {found.experiment.arms[0].name}", columns, rows)
    out.print("\n".join(found.notes))
