"""Verbs over a whole journal: backfill."""

from pathlib import Path
from typing import Annotated

import typer

from greenlane.cli.shown import Data, From, Json, To, day, print_table, progress, show_json
from greenlane.errors import InputError


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
