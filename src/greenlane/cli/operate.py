"""Verbs for whoever runs it: serve, follow, import, replay, status, demo."""

import sys
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import msgspec
import typer

from greenlane import __version__
from greenlane.cli.shown import Data, Json, err, fail_unless, out, print_table, progress, show, show_json, tell

app = typer.Typer(
    help="Greenlane decides every payment: may it pass and how, over which route, and after a decline what next.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="First steps: `greenlane demo`, or `greenlane serve --data DIR` and the curl line it prints.",
)


def tell_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="The release of this engine.")
    ] = False,
) -> None: ...


@app.command()
def serve(
    data: Data,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free port.")] = 8080,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    follower: Annotated[
        bool, typer.Option(help="Run the follower (snapshots, Parquet, parity) beside the server.")
    ] = True,
) -> None:
    """Decide payments over HTTP until SIGTERM; what was accepted is finished first.

    The first start of a directory makes an API key and prints it once.
    """
    from greenlane.serving.server import run_server

    run_server(data, host=host, port=port, with_follower=follower, tell=tell)


@app.command()
def follow(
    data: Data,
    once: Annotated[bool, typer.Option("--once", help="Catch up, then end.")] = False,
) -> None:
    """The second process: folds the same journal for snapshots, Parquet days and continuous parity.

    `greenlane serve` runs one beside itself, so this is for a machine of its own.
    """
    from greenlane.follower import run_follower

    run_follower(data, once=once, tell=tell)


@app.command()
def status(data: Data, as_json: Json = False) -> None:
    """What a data directory holds: entries, days, features, models, and whether a server runs."""
    from greenlane.wiring import is_running, open_reader

    reader = open_reader(data)
    first, last = reader.store.span()
    found: dict[str, Any] = {
        "entries": last,
        "first_in_sqlite": first,
        "days": len(list(reader.places.days.glob("*.parquet"))),
        "features": reader.live.digest,
        "aliases": reader.live.aliases,
        "models": sorted(path.name for path in reader.places.models.glob("mdl_*")),
        "server_running": is_running(reader.places),
    }
    told = found | {
        "aliases": "\n".join(f"{alias}: {model}" for alias, model in reader.live.aliases.items()) or "none yet",
        "models": "\n".join(found["models"]) or "none yet",
        "server_running": "yes" if found["server_running"] else "no",
    }
    show(found, f"{data}", ["what", "value"], told.items(), as_json=as_json)


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
    from greenlane.jobs.replaying import replay_sample

    with progress("replaying") as bar:
        found = replay_sample(data, sample=sample, refold=refold, progress=bar)
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
        out.print(f"{found.decisions} decisions recomputed, {found.different} differ")
        if refold:
            out.print(f"{found.vectors} feature vectors refolded")
        if found.runtime_differs:
            otherwise = len({d.decision_id for d in found.differences} & found.runtime_differs)
            told = f"{len(found.runtime_differs)} were made by another engine or runtime (runtime differs)"
            out.print(f"{told}: {otherwise} of these come out otherwise, and are not counted above")
        for d in found.differences[:10]:
            out.print(f"  {d.decision_id} {d.what}: logged {d.logged}, recomputed {d.recomputed}")
    fail_unless(not found.different)


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
    from greenlane.jobs.importing import import_history

    with progress("importing") as bar:
        report = import_history(data, files, mapping, strict=strict, progress=bar)
    if as_json:
        show_json(report)
        return
    out.print(report.summary)
    if report.bad:
        out.print(f"{report.bad} rows could not be used; the first:")
        for fault in report.faults:
            out.print(f"  {fault.file}:{fault.line} {fault.column}: {fault.message}")


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep everything here; default: a temporary directory.")
    ] = None,
    history: Annotated[int, typer.Option(min=20_000, help="Payments of the past to learn from.")] = 40_000,
    live: Annotated[int, typer.Option(min=500, help="Payments decided live over HTTP.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Of the world: the same seed, the same people.")] = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when the table is printed; else the server stays up.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The main job in three minutes: simulate six weeks, learn from them, decide live traffic.

    Fraud, approval and recovery are learned. Every live payment is followed to its end over HTTP, an outage in the
    middle, and what was done is compared in money with what simpler policies would have earned.
    """
    from tempfile import mkdtemp

    from greenlane.demo import run_demo

    directory = data or Path(mkdtemp(prefix="greenlane-demo-"))
    shown, server = run_demo(directory, seed=seed, history=history, live=live, tell=tell, bar=progress)
    try:
        if as_json:
            show_json(shown)
        else:
            show_demo(shown, directory, server.url, server.key, stays=not leave)
        if not leave:
            err.print("The server stays up; stop it with Ctrl-C.")
            server.process.wait()
    except KeyboardInterrupt:
        err.print("stopping")
    finally:
        server.stop()


say = out.print


def show_demo(shown: Any, directory: Path, url: str, key: str, *, stays: bool) -> None:
    show_demo_table(shown)
    show_demo_outage(shown.outage)
    show_demo_retries(shown.retries)
    for name, found in (("decisions", shown.decisions), ("next actions", shown.next_actions)):
        say(f"{name} over HTTP: p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms, one connection")
    say("\nWhere to look next:")
    greenlane = "greenlane" if which("greenlane") else sys.argv[0]
    server = f"{url}/docs  the API" if stays else f"{greenlane} serve --data {directory}  the server again"
    for text in (
        f"  {directory / 'fraud.html'}  how good the fraud model is, with plots",
        f"  {server}; key: {key}",
        f"  {greenlane} replay --data {directory} --sample 1000  every decision, recomputed",
        f"  {greenlane} features verify --data {directory} --sample 2000  served features against SQL",
        "  README.md  the same with your own payments",
    ):
        say(text)


def show_demo_table(shown: Any) -> None:
    def figure(value: tuple[float, float, float] | None, form: str = ",.1f") -> str:
        return "" if value is None else f"{value[0]:{form}} [{value[1]:{form}}, {value[2]:{form}}]"

    def money(value: tuple[float, float, float] | None) -> str:
        return figure(None if value is None else (value[0] / 100, value[1] / 100, value[2] / 100), ",.0f")

    rows = [
        (line.policy, figure(line.approval_pct), figure(line.reported_fraud_bps),
         figure(line.false_declines_pct, ".2f"), money(line.net_per_1000), money(line.against_greenlane))
        for line in shown.lines
    ]  # fmt: skip
    columns = ["policy", "approval of payments %", "reported fraud bps", "false declines %"]
    columns += [f"net {shown.currency} per 1,000", f"Greenlane's lead, {shown.currency}"]
    title = f"{shown.counted:,} live payments outside the outage, true expected values, 95 % intervals"
    print_table(title, columns, rows)
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(shown.interventions.items()))
    say(f"first actions of all {shown.payments:,}: {told} ({shown.forbidden} are forbidden by a network, to anybody)")


def show_demo_outage(found: Any) -> None:
    def within(value: float | None) -> str:
        return "not" if value is None else f"within {value:.0f} s"

    say(f"\nOutage: {found.route} down for {found.lasts_s:.0f} simulated seconds, {found.payments:,} payments")
    for at_s, share in found.slots:
        down = "down" if 0 <= at_s < found.lasts_s else ""
        say(f"  {at_s:+6.0f} s  {down:4}  {'█' * round(40 * share):40} {100 * share:3.0f} %")
    say(f"  90 % of its traffic diverted {within(found.diverted_s)}, after {found.diverted_payments} payments")
    say(f"  {found.hit} payments met it and lost {found.approvals_lost:.1f} approvals; {found.approvals:,.0f} approved")
    say(f"  {100 * found.probe_share:.1f} % of its traffic kept as probe; in use as before {within(found.returned_s)}")


def show_demo_retries(found: Any) -> None:
    recovered = sum(found.recovered.values())
    share = 100 * recovered / max(1, found.declined_first)
    by = ", ".join(f"{number:,} by {name}" for name, number in sorted(found.recovered.items()))
    steps = ", ".join(f"{number:,} {name}" for name, number in sorted(found.steps.items(), key=lambda item: -item[1]))
    say(f"\nRetries: {found.declined_first:,} payments declined at first, {found.tried_again:,} of them tried again")
    say(f"  {recovered:,} recovered ({share:.0f} %) with {found.further_attempts:,} further attempts: {by}")
    say(f"  attempts that a network forbids: {found.forbidden}")
    say(f"  next actions answered: {steps}")
