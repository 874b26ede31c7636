"""The page of an impact: one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from html import escape
from math import isfinite
from typing import Any

from greenlane.adapters.plots import BLUE, GREY, RED
from greenlane.experiments.impact import Bridge, Impact, Step
from greenlane.jobs.evaluating.report import picture, whole
from greenlane.learning.pages import page as page_of


def page(impacts: Sequence[Impact], *, title: str) -> str:
    said = "New less old, per 1,000 payments; 95 % intervals. &ldquo;Between&rdquo; marks bounds: no more can be said."
    return page_of(title, f"<p>{said}</p>", *map(section, impacts))


def section(impact: Impact) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in impact.notes)
    tables = "".join(
        f"<h3>By {escape(kind)}</h3>{whole(group_table(groups))}" for kind, groups in impact.groups.items() if groups
    )
    head = f"{impact.source}, {impact.bridge.payments:,} payments, money in {impact.currency}"
    return (
        f"<h2>{escape(impact.title)}</h2><p>{escape(head)}</p><ul>{notes}</ul>"
        f"{picture(bridge_picture, impact.bridge)}"
        f"{whole(bridge_table(impact.bridge))}{tables}"
    )


def bridge_table(bridge: Bridge) -> list[list[str]]:
    rows = [[f"approval of {name}", step.points, ""] for name, step in bridge.approval.items()]
    steps = [*bridge.steps, bridge.net]
    told = [[step.name, step.told, "" if step.events is None else f"{step.events:,.0f}"] for step in steps]
    return [["step", "per 1,000 payments", "effective events"], *rows, *told]


def group_table(groups: dict[str, Bridge]) -> list[list[str]]:
    header = ["", "payments", "approval of attempts", "of payments", "gross", "fees", "net"]
    return [header, *([name, f"{one.payments:,}", *cells_of(one)] for name, one in groups.items())]


def cells_of(bridge: Bridge) -> list[str]:
    named = {step.name: step.told for step in bridge.steps}
    approval = [bridge.approval[level].points if level in bridge.approval else "" for level in ("attempts", "payments")]
    return [*approval, named.get("gross", ""), named.get("fees", ""), bridge.net.told]


def bridge_picture(axes: Any, bridge: Bridge) -> None:
    """From gross to net, with intervals; grey steps have bounds only, which are not drawn to their ends."""
    steps = [*bridge.steps, bridge.net]
    seen = [s for s in steps if s.value is not None]
    reach = 1.5 * max([abs(x) for s in seen for x in (s.low, s.high) if isfinite(x)] or [1.0]) / 100
    for at, step in enumerate(steps):
        bar(axes, at, step, reach)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(steps)), [step.name for step in steps], rotation=20)
    axes.set(ylabel="major units per 1,000 payments", ylim=(-reach, reach))


def bar(axes: Any, at: int, step: Step, reach: float) -> None:
    low, high = (max(-reach, min(reach, end / 100)) for end in (step.low, step.high))
    if step.value is None:
        axes.bar(at, high - low, bottom=low, color=GREY, alpha=0.3)
        return
    axes.bar(at, step.value / 100, color=BLUE if step.value >= 0 else RED, alpha=0.8)
    if low == low:
        axes.vlines(at, low, high, color="#1c2430", linewidth=1.2)
