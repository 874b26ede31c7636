"""Verbs for people: `greenlane VERB --help` teaches each one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from greenlane import __version__
from greenlane.errors import GreenlaneError

app = typer.Typer(
    help="Greenlane decides every payment: may it pass and how, over which route, and after a decline what next.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="First steps: `greenlane demo`, or `greenlane serve --data DIR` and the curl line it prints.",
)
features_app = typer.Typer(
    help="What we know: the feature definitions, and the proof that both engines agree.", no_args_is_help=True
)
train_app = typer.Typer(help="What we learn: models from the journal.", no_args_is_help=True)
evaluate_app = typer.Typer(help="How good a model is, on time it has not seen.", no_args_is_help=True)
models_app = typer.Typer(help="Which model is believed: list, promote, roll back.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys: stored hashed, shown once.", no_args_is_help=True)
subjects_app = typer.Typer(help="People's data: erase a subject from the map of pseudonyms.", no_args_is_help=True)
app.add_typer(features_app, name="features")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(subjects_app, name="subjects")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

Data = Annotated[
    Path, typer.Option("--data", help="The data directory: one tenant, one journal.", envvar="GREENLANE_DATA")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """The command line; an error of ours is told in two lines and exit status 2, not a traceback."""
    try:
        app(prog_name="greenlane")
    except GreenlaneError as error:
        err.print(f"greenlane: {error}", markup=False)
        sys.exit(2)


@contextmanager
def progress(label: str) -> Iterator[Any]:
    """A bar on a terminal, silence elsewhere; yields the callback (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def show_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


@app.command()
def version() -> None:
    """The release of this engine."""
    out.print(__version__)


@app.command()
def serve(
    data: Data,
    port: Annotated[int, typer.Option(help="0 takes a free port.")] = 8080,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    follower: Annotated[
        bool, typer.Option(help="Run the follower (snapshots, Parquet, parity) beside the server.")
    ] = True,
) -> None:
    """Decide payments over HTTP until SIGTERM; what was accepted is finished first.

    The first start of a directory makes an API key and prints it once.
    """
    from greenlane.serving.server import run_server

    run_server(
        data,
        host=host,
        port=port,
        with_follower=follower,
        tell=lambda text: err.print(text, markup=False, soft_wrap=True),
    )


@app.command()
def follow(
    data: Data,
    once: Annotated[bool, typer.Option("--once", help="Catch up, then end.")] = False,
) -> None:
    """The second process: folds the same journal for snapshots, Parquet days and continuous parity.

    `greenlane serve` runs one beside itself, so this is for a machine of its own.
    """
    from greenlane.follower import run_follower

    run_follower(data, once=once, tell=lambda text: err.print(text, markup=False, soft_wrap=True))


@app.command()
def status(data: Data, as_json: Json = False) -> None:
    """What a data directory holds: entries, days, features, models, and whether a server runs."""
    from greenlane.wiring import is_running, open_reader

    reader = open_reader(data)
    first, last = reader.store.span()
    found = {
        "entries": last,
        "first_in_sqlite": first,
        "days": len(list(reader.places.days.glob("*.parquet"))),
        "features": reader.live.digest,
        "aliases": reader.live.aliases,
        "models": sorted(path.name for path in reader.places.models.glob("mdl_*")),
        "server_running": is_running(reader.places),
    }
    if as_json:
        show_json(found)
    else:
        rows = [(key, str(value)) for key, value in found.items()]
        print_table(f"{data}", ["what", "value"], rows)


@app.command()
def replay(
    data: Data,
    sample: Annotated[int, typer.Option(min=1, help="How many decisions, drawn by hash of their id.")] = 10_000,
    refold: Annotated[
        bool, typer.Option("--refold", help="Fold the journal from its beginning and compare the vectors too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recompute decisions from what was logged, and print how many come out otherwise: 0 is expected.

    Exit status 1 if any differs.
    """
    from greenlane.wiring import replay_sample

    with progress("replaying") as tell:
        found = replay_sample(data, sample=sample, refold=refold, progress=tell)
    result = {
        "decisions": found.decisions,
        "vectors": found.vectors,
        "different": found.different,
        "runtime_differs": len(found.runtime_differs),
        "first_differences": [msgspec.to_builtins(d) for d in found.differences[:10]],
    }
    if as_json:
        show_json(result)
    else:
        out.print(f"{found.decisions} decisions recomputed, {found.different} differ", markup=False)
        if refold:
            out.print(f"{found.vectors} feature vectors refolded", markup=False)
        if found.runtime_differs:
            out.print(f"{len(found.runtime_differs)} were made by another engine or runtime (runtime differs)")
        for d in found.differences[:10]:
            out.print(f"  {d.decision_id} {d.what}: logged {d.logged}, recomputed {d.recomputed}", markup=False)
    if found.different:
        raise typer.Exit(1)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files of one shape.")],
    data: Data,
    mapping: Annotated[Path, typer.Option(help="Which column is what, as TOML: see examples/handbook/mapping.toml.")],
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be used.")] = False,
    as_json: Json = False,
) -> None:
    """Bring history in: payments and their labels, each at the time it became known.

    Rows that cannot be used are left out, counted and shown with file, line and column. The same import again changes
    nothing.
    """
    from greenlane.wiring import import_history

    with progress("importing") as tell:
        report = import_history(data, files, mapping, strict=strict, progress=tell)
    if as_json:
        show_json(report)
        return
    out.print(f"{report.payments} payments and {report.labels} labels imported, {report.already_known} known before")
    if report.bad:
        out.print(f"{report.bad} rows could not be used; the first:")
        for fault in report.faults:
            out.print(f"  {fault.file}:{fault.line} {fault.column}: {fault.message}", markup=False)


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
    from greenlane.wiring import verify_against, verify_features

    with err.status("folding the journal in both engines") if err.is_terminal else nullcontext():
        found = verify_against(data, against) if against else verify_features(data, sample=sample)
    if as_json:
        show_json(found)
    else:
        out.print(f"{found.rows} rows, {found.values} values compared, {found.mismatches} mismatches")
        for line in found.first:
            out.print(f"  {line}", markup=False)
    if found.mismatches:
        raise typer.Exit(1)


@keys_app.command("create")
def keys_create(
    data: Data,
    scope: Annotated[
        list[str], typer.Option(help="decide, report, read, review or admin; may be given several times.")
    ],
) -> None:
    """Make a key and print it, this once. A running server knows it within a second."""
    from greenlane.payments.times import format_rfc3339
    from greenlane.ports.clock import SystemClock
    from greenlane.serving.access import KeyFile
    from greenlane.settings import make_directory
    from greenlane.wiring import Places

    make_directory(data)
    created = format_rfc3339(SystemClock().now_us())
    out.print(KeyFile(Places(data).keys).create(tuple(scope), created=created), markup=False)


@keys_app.command("list")
def keys_list(data: Data) -> None:
    """The keys that are known: id, scopes, since when."""
    from greenlane.serving.access import KeyFile
    from greenlane.wiring import Places

    stored = KeyFile(Places(data).keys).stored()
    print_table("API keys", ["id", "scopes", "created"], [(k.id, " ".join(k.scopes), k.created) for k in stored])


@keys_app.command("revoke")
def keys_revoke(data: Data, key_id: str) -> None:
    """Take a key away; a running server refuses it within a second."""
    from greenlane.serving.access import KeyFile
    from greenlane.wiring import Places

    KeyFile(Places(data).keys).revoke(key_id)


def print_table(title: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


if __name__ == "__main__":
    main()
