"""Verbs for what moved: monitors over what was, drills with known faults, how soon a drop is found."""

from pathlib import Path
from typing import Annotated

import typer

from greenlane.cli.shown import JsonFile, out, print_table, progress, write_json

monitor_app = typer.Typer(help="What moved: replay the monitors over history, or drill them.", no_args_is_help=True)


@monitor_app.command("replay")
def monitor_replay(
    source: Annotated[Path, typer.Argument(help="A data directory, or a CSV or Parquet file of time, code, count.")],
    json_file: JsonFile = None,
) -> None:
    """Run the monitors over what was, and list the incidents they would have told of, with start, end and cause.

    Says so where there is too little to learn what is usual; a rate of pages is given of a day or more.
    """
    from greenlane.jobs.monitoring import replay

    with progress("replaying") as tell:
        found = replay(source, progress=tell).told()
    write_json(found, json_file)
    rows = [
        (*(minute(one[at]) for at in ("started_at", "detected_at", "ended_at")), one["severity"], one["title"],
         ", ".join(dict.fromkeys(one["alarms"])))
        for one in found["incidents"]
    ]  # fmt: skip
    columns = ["began", "known", "over", "severity", "what", "series"]
    print_table(f"{source}: {found['days']:.1f} days, UTC", columns, rows)
    rate = "" if found["pages_per_day"] is None else f"{found['pages_per_day']:.2f} pages a day, "
    out.print(f"{rate}{found['alarms']} alarms")
    if found["too_short"]:
        out.print(f"Too short to judge: {found['too_short']}. That nothing is listed does not mean that nothing was.")


def minute(stamp: str | None) -> str:
    """
    >>> minute("2026-07-12T07:56:00.000000Z"), minute(None)
    ('2026-07-12 07:56', '')
    """
    return (stamp or "")[:16].replace("T", " ")


@monitor_app.command("drill")
def monitor_drill(
    seed: Annotated[int, typer.Option(min=0, help="Of the made streams.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the drills that last for weeks.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Put known faults into made streams: is each found, how soon, and is its cause named? Calm days count too."""
    from greenlane.jobs.drills import run

    with progress("drilling") as tell:
        found = run(seed=seed, slow=not quick, progress=tell)
    write_json(found, json_file)
    rows = [
        (
            one.fault,
            "yes" if one.detected else "NO",
            "yes" if one.attributed else "NO",
            "" if one.delay_s is None else lasting(one.delay_s),
            one.cause or "",
            str(one.others),
        )
        for one in found.drills
    ]
    print_table("Drills", ["fault", "found", "its cause named", "after", "cause", "other incidents"], rows)
    calm = found.calm
    false = f"{calm.pages_per_day:g} pages and {calm.tickets_per_day:g} tickets a day"
    out.print(f"false alarms on {calm.days:g} calm days: {false}")


def lasting(seconds: float) -> str:
    """
    >>> lasting(28.3), lasting(1_279.0), lasting(1_728_040.0)
    ('28 s', '21 min', '20 days')
    """
    units = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))
    return next((f"{seconds / size:.0f} {unit}" for size, unit in units if seconds >= 2 * size), f"{seconds:.0f} s")


@monitor_app.command("delays")
def monitor_delays(
    streams: Annotated[int, typer.Option(min=1, help="Watched streams of the whole system.")] = 2_000,
    json_file: JsonFile = None,
) -> None:
    """How soon drops of approval are found, by rate and size, at a stated number of false alarms in all."""
    from greenlane.jobs.delays import delay_curve

    with progress("simulating") as tell:
        tell(0, 1)
        found = delay_curve(streams=streams)
    write_json(found, json_file)
    rows = [
        (f"{d.per_minute:g}", f"{100 * d.drop:.0f} points", f"{d.answers:,.0f}", f"{d.minutes:,.0f}", f"{d.ratio:.2f}")
        for d in found.delays
    ]
    print_table(
        f"{found.streams:,} streams: {found.pages_per_day:.2f} pages, {found.tickets_per_day:.2f} tickets a day, false",
        ["answers a minute", "drop", "answers until found", "minutes", "of the ideal sum's"],
        rows,
    )
