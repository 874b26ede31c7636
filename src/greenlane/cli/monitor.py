"""The verb for what moved: monitors over what was."""

from pathlib import Path
from typing import Annotated

import typer

from greenlane.cli.shown import JsonFile, out, print_table, progress, write_json

monitor_app = typer.Typer(help="What moved: the monitors, replayed over history.", no_args_is_help=True)


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
