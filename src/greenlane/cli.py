"""Verbs for people: `greenlane VERB --help` teaches each one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from greenlane import __version__
from greenlane.errors import GreenlaneError, InputError

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
experiments_app = typer.Typer(
    help="What a change is worth: plan an experiment, and prove the intervals.", no_args_is_help=True
)
models_app = typer.Typer(help="Which model is believed: list, promote, roll back.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys: stored hashed, shown once.", no_args_is_help=True)
subjects_app = typer.Typer(help="People's data: erase a subject from the map of pseudonyms.", no_args_is_help=True)
app.add_typer(features_app, name="features")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(experiments_app, name="experiments")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(subjects_app, name="subjects")

TABLE_WIDTH_MIN = 120
"""A narrower terminal wraps whole lines rather than cells."""
TABLE_WIDTH_MAX = 1000

TRAIN_EXTRA = ("lightgbm", "matplotlib", "optuna")

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
        err.print(f"greenlane: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as missing:
        if missing.name not in TRAIN_EXTRA:
            raise
        err.print(f"greenlane: {missing.name} is not installed: training and plots need it", markup=False)
        err.print("  hint: pip install -e '.[train]'", markup=False)
        sys.exit(2)


@contextmanager
def progress(label: str) -> Iterator[Any]:
    """A bar on a terminal, one line elsewhere; yields the callback (done, total)."""
    if not err.is_terminal:
        err.print(f"{label} ...")
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
    from greenlane.jobs.replaying import replay_sample

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
            otherwise = len({d.decision_id for d in found.differences} & found.runtime_differs)
            told = f"{len(found.runtime_differs)} were made by another engine or runtime (runtime differs)"
            out.print(f"{told}: {otherwise} of these come out otherwise, and are not counted above")
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
    from greenlane.jobs.importing import import_history

    with progress("importing") as tell:
        report = import_history(data, files, mapping, strict=strict, progress=tell)
    if as_json:
        show_json(report)
        return
    out.print(f"{report.payments} payments and {report.labels} labels imported, {report.already_known} known before")
    if report.bad:
        out.print(f"{report.bad} rows could not be used; the first:")
        for fault in report.faults:
            out.print(f"  {fault.file}:{fault.line} {fault.column}: {fault.message}", markup=False, soft_wrap=True)


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
    from greenlane.jobs.proving import verify_against, verify_features

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


From = Annotated[str | None, typer.Option("--from", help="First day of the window, such as 2026-01-31; default: all.")]
To = Annotated[str | None, typer.Option("--to", help="The day after its last; default: the label cut.")]
Cut = Annotated[str | None, typer.Option("--cut", help="Labels known by this day count; default: the journal's end.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write the report with its plots to this HTML file.")]


@train_app.command("fraud")
def train_fraud_(
    data: Data,
    first: From = None,
    to: To = None,
    cut: Cut = None,
    gap_days: Annotated[float, typer.Option(help="Between what is learned from and what is judged on.")] = 7.0,
    trials: Annotated[int, typer.Option(min=0, help="Search this many parameter sets; 0 takes the defaults.")] = 0,
    seconds: Annotated[float, typer.Option(help="Stop searching after this long.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of the search and the fit.")] = 0,
    promote: Annotated[bool, typer.Option(help="Make it champion.")] = True,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Learn a fraud model from the journal, judge it on the latest fifth of the time, and make it champion.

    The judged recipe is then fitted once more on the whole window. Needs the [train] extra.
    """
    from greenlane.jobs.training import Plan, figures, train_fraud

    plan = Plan(day(first), day(to), day(cut), round(gap_days * 86_400_000_000), trials, seconds, seed)
    with progress("training") as tell:
        trained = train_fraud(data, plan, report=report, promote=promote, progress=tell)
    if as_json:
        evaluation = trained.evaluation.record()
        show_json({"model": trained.model_id, "training_set": trained.manifest, "evaluation": evaluation})
    else:
        print_table(trained.model_id, ["on held-out time", ""], list(figures(trained.evaluation)))


@evaluate_app.command("fraud")
def evaluate_fraud_(
    data: Data,
    model: Annotated[str | None, typer.Option(help="A stored model; default: the champion.")] = None,
    first: From = None,
    to: To = None,
    cut: Cut = None,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Judge a stored model on a window of the journal. Take a window it was not trained on."""
    from greenlane.jobs.training import Plan, evaluate_fraud, figures, learned_until

    plan = Plan(day(first), day(to), day(cut))
    with progress("evaluating") as tell:
        model_id, evaluation = evaluate_fraud(data, plan, model_id=model, report=report, progress=tell)
    until = learned_until(data, model_id, plan)
    if until:
        said = f"{model_id} learned from payments until {until}: on those it looks better than it is"
        err.print(f"careful: {said}\n  hint: --from the day after", markup=False, soft_wrap=True)
    if as_json:
        show_json({"model": model_id, "evaluation": evaluation.record()})
    else:
        print_table(model_id, ["figure", ""], list(figures(evaluation)))


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


@models_app.command("list")
def models_list(data: Data) -> None:
    """Stored models, and which one each alias names."""
    from greenlane.wiring import open_reader

    reader = open_reader(data)
    named = {model: alias for alias, model in reader.live.aliases.items()}
    stored = sorted(path.name for path in reader.places.models.glob("mdl_*"))
    print_table("Models", ["model", "alias"], [(name, named.get(name, "")) for name in stored])


@models_app.command("promote")
def models_promote(
    data: Data, model: str, why: Annotated[str, typer.Option(help="For the audit.")] = "promoted by hand"
) -> None:
    """Make a stored model champion; a running server swaps it in without a dropped request."""
    from greenlane.jobs.training import promote_model

    promote_model(data, model, why=why)
    out.print(f"champion: {model}", markup=False)


@models_app.command("rollback")
def models_rollback(
    data: Data, why: Annotated[str, typer.Option(help="For the audit.")] = "rolled back by hand"
) -> None:
    """Back to the champion before, in one step."""
    from greenlane.jobs.training import rollback_model

    out.print(f"champion: {rollback_model(data, why=why)}", markup=False)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep everything here; default: a temporary directory.")
    ] = None,
    history: Annotated[int, typer.Option(min=5000, help="Payments of the past to learn from.")] = 50_000,
    live: Annotated[int, typer.Option(min=500, help="Payments decided live over HTTP.")] = 8_000,
    seed: Annotated[int, typer.Option(help="Of the world: the same seed, the same shop.")] = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when the table is printed; else the server stays up.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The main job in three minutes: simulate a shop, learn from its past, decide live traffic, compare in money."""
    from tempfile import mkdtemp

    from greenlane.demo import run_demo

    directory = data or Path(mkdtemp(prefix="greenlane-demo-"))
    tell = lambda text: err.print(text, markup=False, soft_wrap=True)  # noqa: E731 - one line, used once
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


def show_demo(shown: Any, directory: Path, url: str, key: str, *, stays: bool) -> None:
    def figure(value: tuple[float, float, float] | None, form: str = ",.1f") -> str:
        return "" if value is None else f"{value[0]:{form}} [{value[1]:{form}}, {value[2]:{form}}]"

    def money(value: tuple[float, float, float] | None) -> str:
        return figure(None if value is None else (value[0] / 100, value[1] / 100, value[2] / 100))

    rows = [
        (
            line.policy,
            figure(line.approval_pct),
            figure(line.reported_fraud_bps),
            figure(line.false_declines_pct, ".2f"),
            money(line.net_per_1000),
            money(line.against_greenlane),
        )
        for line in shown.lines
    ]
    columns = [
        "policy",
        "approval %",
        "reported fraud bps",
        "false declines %",
        "net EUR per 1,000",
        "Greenlane's lead, EUR",
    ]
    print_table(f"{shown.payments} live payments, true expected values, 95 % intervals", columns, rows)
    out.print(f"decided: {', '.join(f'{n} {name}' for name, n in sorted(shown.interventions.items()))}")
    out.print(f"over HTTP: p50 {shown.latency_ms_p50:.2f} ms, p99 {shown.latency_ms_p99:.2f} ms, one connection")
    out.print("Where to look next:")
    greenlane = "greenlane" if which("greenlane") else sys.argv[0]
    server = f"{url}/docs  the API" if stays else f"{greenlane} serve --data {directory}  the server again"
    for line in (
        f"  {directory / 'fraud.html'}  how good the model is, with plots",
        f"  {server}; key: {key}",
        f"  {greenlane} replay --data {directory} --sample 1000  every decision, recomputed",
        f"  {greenlane} features verify --data {directory} --sample 2000  served features against SQL",
    ):
        out.print(line, markup=False, soft_wrap=True)


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
    from greenlane.wiring import open_reader

    stored = KeyFile(open_reader(data).places.keys).stored()
    print_table("API keys", ["id", "scopes", "created"], [(k.id, " ".join(k.scopes), k.created) for k in stored])


@keys_app.command("revoke")
def keys_revoke(data: Data, key_id: str) -> None:
    """Take a key away; a running server refuses it within a second."""
    from greenlane.serving.access import KeyFile
    from greenlane.wiring import open_reader

    KeyFile(open_reader(data).places.keys).revoke(key_id)
    out.print(f"revoked: {key_id}", markup=False)


@subjects_app.command("erase")
def subjects_erase(data: Data, kind: str, identifier: str) -> None:
    """Forget whom a pseudonym stood for; the server is stopped while this runs.

    KIND is card (or another method's name), par, customer, email, phone, device, ip or shipping; IDENTIFIER is what the
    requests said. Entries, features and replay go on with the pseudonym. Exit status 1 where nobody was known by it.
    """
    from greenlane.wiring import erase_subject

    if not erase_subject(data, kind, identifier):
        err.print(f"no {kind} was known by this identifier", markup=False)
        raise typer.Exit(1)
    out.print(f"erased: no entry leads back to this {kind}", markup=False)


def print_table(title: str, columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    table, whole = Table(title=title, title_justify="left"), len(columns) > 4
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*row)
    wide = Console(highlight=False, width=TABLE_WIDTH_MAX)
    needed = wide.measure(table)
    wide.width = max(out.width, TABLE_WIDTH_MIN, needed.maximum if whole else needed.minimum)
    wide.print(table)


if __name__ == "__main__":
    main()
