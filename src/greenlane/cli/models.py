"""Verbs for the life of a model: registered, in the shadow, judged, promoted, rolled back; `greenlane models`."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from greenlane.cli.shown import Data, Json, err, fail_unless, out, print_table, show, show_json
from greenlane.errors import InputError

if TYPE_CHECKING:
    from greenlane.learning.registry import Card

models_app = typer.Typer(
    help="Which model is believed: list, register, shadow, judge, promote, roll back.", no_args_is_help=True
)

Model = Annotated[str, typer.Argument(help="Its id, mdl_..., as `greenlane models list` shows it.")]
Alias = Annotated[str, typer.Option(help="KIND/champion, KIND/challenger or KIND/shadow.")]
Why = Annotated[str, typer.Option(help="For the audit.")]


@models_app.command("list")
def models_list(data: Data, as_json: Json = False) -> None:
    """Stored models with their stage: champion, challenger, shadow, registered, retired, or only stored."""
    from greenlane.jobs.registering import listed
    from greenlane.wiring import open_reader

    found = listed(open_reader(data))
    rows = [(row["model"], row["kind"], row["family"], row["stage"], *costs(row["card"])) for row in found]
    columns = ["model", "kind", "family", "stage", "calibration", "p50 us", "p99 us", "MB"]
    if not rows:
        err.print("no model is stored yet: see `greenlane train --help`")
    show(found, "Models", columns, rows, as_json=as_json)


def costs(card: dict[str, dict[str, Any]] | None) -> tuple[str, ...]:
    """Of one that is not registered nothing was measured."""
    if card is None:
        return "not registered", *("not measured",) * 3
    cost, verdict = card["cost"], card["evaluation"].get("verdict", "not judged")
    return verdict, f"{cost['p50_us']:.1f}", f"{cost['p99_us']:.1f}", f"{cost['bytes_on_disk'] / 1e6:.1f}"


@models_app.command("show")
def models_show(data: Data, model: Model, as_json: Json = False) -> None:
    """A model's card as it was registered: lineage, cost, evaluation."""
    from greenlane.errors import NotFound
    from greenlane.jobs.registering import registered_card
    from greenlane.wiring import model_path, open_reader

    reader = open_reader(data)
    model_path(reader.places, model)
    card = registered_card(reader, model)
    if card is None:
        raise NotFound(f"{model} is not registered", param="MODEL", hint=f"greenlane models register {model}")
    told = with_report(card, data)
    show_json(told) if as_json else show_card(told)


@models_app.command("card")
def models_card(data: Data, model: Model, as_json: Json = False) -> None:
    """Load, verify and time a stored model now, and show the card it would be registered with."""
    from greenlane.jobs.registering import measured
    from greenlane.wiring import open_reader

    told = with_report(measured(open_reader(data), model), data)
    show_json({"card": told}) if as_json else show_card(told)


def with_report(card: "Card", data: Path) -> dict[str, Any]:
    """Plain, with where its report lies, if it was made here."""
    from greenlane.wiring import Places

    page = Places(data).report(card.id)
    return {**msgspec.to_builtins(card), "report": str(page) if page.exists() else ""}


def show_card(told: dict[str, Any]) -> None:
    lineage, cost = told.pop("lineage"), told.pop("cost")
    lineage["feature_versions"] = f"{len(lineage['feature_versions'])} definitions"
    evaluation = {name: value for name, value in told.pop("evaluation").items() if not isinstance(value, list)}
    told["names"] = f"{len(told['names'])} features"
    parts = (("", told), ("lineage", lineage), ("cost", cost), ("evaluation", evaluation))
    rows = [(f"{part} {name}".strip(), value) for part, values in parts for name, value in values.items()]
    print_table(told["id"], ["what", ""], rows)


@models_app.command("register")
def models_register(
    data: Data,
    model: Annotated[str, typer.Argument(help="Its id, or the directory of an artefact, which is copied in.")],
    why: Why = "registered by hand",
    as_json: Json = False,
) -> None:
    """Verify and time a model, and write its card into the journal. No alias moves."""
    from greenlane.jobs.registering import register

    told = with_report(register(data, model, why=why), data)
    show_json(told) if as_json else show_card(told)


@models_app.command("shadow")
def models_shadow(
    data: Data,
    model: Model,
    kind: Annotated[str, typer.Option(help="fraud or approval.")] = "fraud",
    why: Why = "to watch",
    as_json: Json = False,
) -> None:
    """Let a model score what the champion decides, after each answer is out. It takes no traffic."""
    from greenlane.jobs.promoting import promote

    alias = f"{kind}/shadow"
    promote(data, model, alias=alias, why=why)
    show_alias(alias, model, as_json=as_json)


@models_app.command("shadow-report")
def models_shadow_report(data: Data, as_json: Json = False) -> None:
    """What each shadow would have changed: the 5x5 flip matrix in money, labels, coverage, errors, latency.

    The follower keeps it up to date.
    """
    from greenlane.jobs.shadowing import shadow_reports
    from greenlane.wiring import open_reader

    told = msgspec.to_builtins(shadow_reports(open_reader(data)))
    if as_json:
        show_json(told)
        return
    if not told:
        err.print("no shadow was seen yet: greenlane models shadow MODEL, and a follower that runs")
    for one in told:
        print_table(f"{one['shadow']} beside {one['champion']}", ["figure", ""], shadow_figures(one))
        columns = ["champion", "shadow", "decisions", "other action", "amount", "champion believes", "shadow believes"]
        columns += ["at labels", "labelled", "reported"]
        print_table("Money in minor units, shadow less champion", columns, map(flip_cells, one["cells"]))


def flip_cells(cell: dict[str, Any]) -> tuple[Any, ...]:
    beliefs = (f"{cell[by]:+,.0f}" for by in ("by_champion_minor", "by_shadow_minor"))
    at_labels = "-" if cell["at_labels_minor"] is None else f"{cell['at_labels_minor']:+,.0f}"
    counts = cell["champion"], cell["shadow"], cell["decisions"], cell["moved"], f"{cell['amount_minor']:,}"
    return *counts, *beliefs, at_labels, f"{cell['labelled']} of {cell['kept']}", cell["reported"]


def shadow_figures(one: dict[str, Any]) -> list[tuple[str, Any]]:
    found = one["difference"]
    return [
        ("decisions", one["decisions"]),
        ("scored", f"{one['scored']} ({one['coverage']:.1%})"),
        ("errors, time-outs, dropped", f"{one['errors']}, {one['late']}, {one['dropped']}"),
        ("latency us p50, p99", f"{one['latency_us_p50']}, {one['latency_us_p99']}"),
        ("other interventions, actions", f"{one['flips']}, {one['moved']}"),
        ("difference per 1,000, minor", f"{found['value']:+,.0f} [{found['low']:+,.0f}, {found['high']:+,.0f}]"),
        ("  of it resting on belief", f"{one['resting_on_belief']:.0%}"),
        ("reports of flips that have come", f"{one['mature']:.0%}"),
    ]


@models_app.command("challenge")
def models_challenge(
    data: Data,
    model: Model,
    share: Annotated[
        float, typer.Option(min=0.0, max=50.0, help="Percent of all payments: 1, 5, 25, 50; 0 ends the canary.")
    ] = 1.0,
    kind: Annotated[str, typer.Option(help="fraud or approval.")] = "fraud",
    unit: Annotated[str, typer.Option(help="What a stable hash splits: card, customer, merchant, payment.")] = "card",
    why: Why = "a canary",
    as_json: Json = False,
) -> None:
    """Let a model decide a share of the payments, with a control of the same size: its canary's next stage.

    A guardrail that breaks sends its payments back to the champion at once. Needs a server that runs.
    """
    from greenlane.jobs.promoting import challenge

    told = challenge(data, model, kind=kind, share_ppm=round(share * 10_000), unit=unit, why=why)
    if as_json:
        show_json(told)
    else:
        out.print(f"runs: {told['stage'] or 'none'}; ended: {', '.join(told['ended']) or 'none'}")


@models_app.command("canary")
def models_canary(data: Data, model: Model, as_json: Json = False) -> None:
    """A model's canary by stage, never pooled: its payments, the control's, and what a guardrail found."""
    from greenlane.errors import NotFound
    from greenlane.jobs.canary import canary_readout
    from greenlane.wiring import open_reader

    found = canary_readout(open_reader(data), model)
    if found is None:
        raise NotFound(f"{model} had no canary", param="MODEL", hint=f"greenlane models challenge {model} --share 1")
    rows = [
        (s.experiment, f"{s.share_ppm / 1e4:g} %", s.state, s.treatment, s.control, "; ".join(s.breached))
        for s in found.stages
    ]
    show(found, model, ["stage", "share", "state", "payments", "control", "guardrail"], rows, as_json=as_json)


@models_app.command("gates")
def models_gates(data: Data, model: Model, alias: Alias = "fraud/champion", as_json: Json = False) -> None:
    """Judge whether a model may become champion: each gate with its figure, its limit and the reason.

    Exit status 1 where one fails.
    """
    from greenlane.jobs.promoting import verdicts_of
    from greenlane.learning.gates import failed
    from greenlane.wiring import open_reader

    with err.status("judging") if err.is_terminal else nullcontext():
        verdicts = verdicts_of(open_reader(data), model, alias)
    told = {"model": model, "alias": alias, "passed": not failed(verdicts), "gates": verdicts}
    rows = [(v.gate, v.state, v.figure, v.limit, v.reason) for v in verdicts]
    show(told, f"{model} as {alias}", ["gate", "verdict", "figure", "limit", "reason"], rows, as_json=as_json)
    fail_unless(not failed(verdicts))


@models_app.command("promote")
def models_promote(
    data: Data,
    model: Model,
    alias: Alias = "fraud/champion",
    force: Annotated[bool, typer.Option("--force", help="Past the gates; needs --why, which the audit keeps.")] = False,
    why: Annotated[str, typer.Option(help="For the audit. Default: the gates passed.")] = "",
    as_json: Json = False,
) -> None:
    """Make a stored model champion, where the gates pass; a running server swaps it in without a dropped request."""
    from greenlane.jobs.promoting import promote

    if force and not why:
        raise InputError("--force needs --why", param="--why", hint="say what the gates do not know")
    promote(data, model, alias=alias, why=why or "the gates passed", force=force)
    show_alias(alias, model, as_json=as_json)


@models_app.command("rollback")
def models_rollback(
    data: Data, alias: Alias = "fraud/champion", why: Why = "rolled back by hand", as_json: Json = False
) -> None:
    """Back to the model before, in one step; no gate is asked."""
    from greenlane.jobs.promoting import rollback

    model = rollback(data, alias=alias, why=why)
    show_alias(alias, model, as_json=as_json)


@models_app.command("audit")
def models_audit(
    data: Data,
    model: Annotated[str, typer.Option(help="Only moves that put this one somewhere, or took it away.")] = "",
    as_json: Json = False,
) -> None:
    """Every move of an alias and what the gates said of it: who, when, why, before and after."""
    from greenlane.jobs.registering import open_registry
    from greenlane.payments.times import format_rfc3339
    from greenlane.wiring import open_reader

    registry = open_registry(open_reader(data))
    moves = registry.moves(model=model)
    registry.close()
    rows = [(m.seq, format_rfc3339(m.at_us), m.subject, m.alias, m.before, m.model, m.who, m.why) for m in moves]
    columns = ["entry", "at", "what", "alias", "before", "after", "who", "why"]
    show(moves, "Moves", columns, rows, as_json=as_json)


@models_app.command("prune")
def models_prune(
    data: Data,
    keep: Annotated[int, typer.Option(min=0, help="The latest ones stay, whether or not anything names them.")] = 5,
    as_json: Json = False,
) -> None:
    """Delete stored models that no alias and no decision names. What decisions name is needed for their replay."""
    from greenlane.jobs.registering import prune

    gone, kept = prune(data, keep=keep)
    rows = [(name, "deleted", "nothing names it") for name in gone] + [(n, "kept", why) for n, why in kept.items()]
    show({"deleted": gone, "kept": kept}, "Stored models", ["model", "", "because"], rows, as_json=as_json)


def show_alias(alias: str, model: str, *, as_json: bool) -> None:
    show_json({"alias": alias, "model": model}) if as_json else out.print(f"{alias}: {model}")


Uri = Annotated[str, typer.Option(help="Of MLflow: sqlite:///mlflow.db, or the address of a tracking server.")]


@models_app.command("export")
def models_export(data: Data, model: Model, uri: Uri) -> None:
    """Put a stored model into MLflow: its files, its lineage as tags, its evaluation as metrics."""
    from greenlane.jobs.exchanging import export_to_mlflow

    out.print(f"{model}: {export_to_mlflow(data, model, uri=uri)}")


@models_app.command("import")
def models_import(data: Data, model: Model, uri: Uri) -> None:
    """Take a model back out of MLflow into this directory's store: the same by its hash, verified and timed."""
    from greenlane.jobs.exchanging import import_from_mlflow

    out.print(f"stored: {import_from_mlflow(data, model, uri=uri)}")
