"""How verbs talk: tables and JSON on standard output, progress and errors on the other, options that many share."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from greenlane.errors import InputError

TABLE_WIDTH_MIN = 120
"""A narrower terminal wraps whole lines rather than cells."""
TABLE_WIDTH_MAX = 1000

out, err = Console(highlight=False, markup=False, soft_wrap=True), Console(stderr=True, highlight=False, markup=False)


def in_a_directory(path: Path | None) -> Path | None:
    """What is written after hours of work has a place before it begins."""
    if path is not None and not path.parent.is_dir():
        raise InputError(f"there is no directory {path.parent}", hint="make it first")
    return path


Data = Annotated[
    Path, typer.Option("--data", help="The data directory: one tenant, one journal.", envvar="GREENLANE_DATA")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
From = Annotated[str | None, typer.Option("--from", help="First day of the window, such as 2026-01-31; default: all.")]
To = Annotated[str | None, typer.Option("--to", help="The day after its last; default: the label cut.")]
Cut = Annotated[str | None, typer.Option("--cut", help="Labels known by this day count; default: the journal's end.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write everything to this file.", callback=in_a_directory)
]
Report = Annotated[
    Path | None,
    typer.Option("--report", help="Write the report with its plots to this HTML file.", callback=in_a_directory),
]


@contextmanager
def progress(label: str) -> Iterator[Any]:
    """A bar on a terminal, one line elsewhere; yields the callback (done, total)."""
    if not err.is_terminal:
        err.print(f"{label} ...")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def tell(text: str) -> None:
    err.print(text, soft_wrap=True)


def formatted(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


def show_json(value: Any) -> None:
    sys.stdout.write(formatted(value).decode())


def write_json(value: Any, path: Path | None) -> None:
    if path is not None:
        path.write_bytes(formatted(value))


def show(found: Any, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool) -> None:
    """For programs, or for people."""
    if as_json:
        show_json(found)
    else:
        print_table(title, columns, rows)


def fail_unless(passed: bool) -> None:
    """Exit status 1."""
    if not passed:
        raise typer.Exit(1)


def day(text: str | None) -> int | None:
    """The start of a UTC day, or an RFC 3339 time, in microseconds."""
    from greenlane.payments.times import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(text if "T" in text else f"{text}T00:00:00Z")
    except InputError:
        hint = "a day such as 2026-01-31, or a time such as 2026-01-31T18:00:00Z"
        raise InputError(f"{text!r} is neither a day nor a time", hint=hint) from None


def print_grid(title: str, grid: Sequence[Sequence[str]]) -> None:
    """Whose first row is the header."""
    print_table(title, grid[0], grid[1:])


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table, whole = Table(title=title, title_justify="left"), len(columns) > 4
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*map(str, row))
    wide = Console(highlight=False, markup=False, width=TABLE_WIDTH_MAX)
    needed = wide.measure(table)
    wide.width = max(out.width, TABLE_WIDTH_MIN, needed.maximum if whole else needed.minimum)
    wide.print(table)
