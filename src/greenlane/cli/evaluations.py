"""Verbs for what another policy would have earned on logged traffic."""

from typing import Annotated

import typer

from greenlane.cli.shown import Data, From, JsonFile, Report, To, day, out, print_table, progress, write_json

evaluations_app = typer.Typer(
    help="What another router, threshold, release band or swap would have earned on logged traffic.",
    no_args_is_help=True,
)


@evaluations_app.command("run")
def evaluations_run(
    data: Data,
    question: Annotated[str, typer.Option(help="route, challenge, release, threshold or retry.")],
    candidate: Annotated[
        list[str],
        typer.Option(
            help="What to value; may be given again. route: cheapest, 'best approval', 'best value', a route, or an "
            "approval model. retry: the same but no model. challenge: always, never, or a share. "
            "release: SHARE@CEILING. threshold: a probability."
        ),
    ],
    first: From = None,
    to: To = None,
    effect: Annotated[
        float | None, typer.Option(help="What was to be shown, minor units per 1,000 payments; state it beforehand.")
    ] = None,
    json_file: JsonFile = None,
    report: Report = None,
) -> None:
    """Value candidates on this directory's decisions, as a paired difference in money to what was done.

    One factor at a time, with the probabilities that the records hold; so the directory must have explored. The gate
    refuses with its reasons, and what the log cannot say has bounds instead of a value.
    """
    from greenlane.jobs.valuing.page import page
    from greenlane.jobs.valuing.value import run

    with progress("valuing") as tell:
        found = run(data, question, candidate, from_us=day(first) or 0, to_us=day(to) or 2**62, effect=effect,
                    progress=tell)  # fmt: skip
    write_json({"evaluations": found}, json_file)
    if report:
        report.write_text(page([one.impact for one in found], title=f"{question} on {data.name}"), encoding="utf-8")
    for one in found:
        rows = [(name, step.points) for name, step in one.bridge.approval.items()]
        rows += [(step.name, step.told) for step in (*one.bridge.steps, one.bridge.net)]
        verdict = "accepted" if one.accepted else "refused"
        print_table(
            f"{one.candidate}: {verdict} on {', '.join(one.claimed)}; {one.currency} per 1,000 payments",
            ["step", "candidate less what was done"],
            rows,
        )
        out.print(
            f"{one.valued:,} of {one.decisions:,} decisions, {one.effective_rows:,.0f} effective; "
            f"it would differ in {one.moved:.1%}; claim {one.claim.told}",
            markup=False,
        )
        for reason in one.reasons:
            out.print(f"  refused: {reason}")
        for why, count in one.left_out.items():
            out.print(f"  left out: {count:,} {why}")
        for design in one.plan:
            out.print(f"  to show it in an A/B, read {design.design}: {design.units:,} payments, {design.days:,} days")
