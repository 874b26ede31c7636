"""An experiment's page: one HTML file without anything from elsewhere, that shows why an arm goes on or was paused."""

from collections.abc import Sequence
from html import escape
from math import isfinite
from typing import Final

from greenlane.experiments.readout import MEASURES, SRM_ALPHA, Compared, Interval, RailShown, Readout
from greenlane.experiments.tally import Point
from greenlane.learning.pages import Markup, figure, grid, marked
from greenlane.learning.pages import page as whole_page
from greenlane.payments.times import format_rfc3339

FORBIDDEN: Final = "forbidden_retries"
WIDTH: Final = 640
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 16, 34


def page(shown: Readout) -> str:
    """The same readout gives the same bytes."""
    experiment = shown.experiment
    budget = sum({each.metric: each.budget for each in shown.guardrails if each.metric != FORBIDDEN}.values())
    parts = (
        f"<p class='note'>Unit {escape(experiment.unit)}, planned {experiment.planned:,} units, started "
        f"{_time(shown.started_us)}{f', ended {_time(shown.ended_us)}' if shown.ended_us else ''}.</p>",
        *(f"<p class='paused'>{escape(_why(rail, rail.paused))}</p>" for rail in shown.guardrails if rail.paused),
        _arms(shown),
        _ratio(shown),
        "<h2>Guardrails</h2><p>Each line is how much worse than the control the arm is; the shaded side is what is not "
        "known yet. The arm is paused when all of it lies above the dashed line. However often it is looked at, a "
        f"harmless arm is ever paused, from its start or last resumption on, with probability {budget:.2g} at most, "
        "all rails together.</p>",
        *(_rail(rail) for rail in shown.guardrails),
        "<h2>Every metric against the control</h2>",
        _metrics(shown.metrics),
        "<ul class='note'>" + "".join(f"<li>{escape(note)}</li>" for note in shown.notes) + "</ul>",
    )
    return whole_page(f"Experiment {experiment.id}: {experiment.state}", *parts)


def _time(at_us: int) -> str:
    return format_rfc3339(at_us)[:16].replace("T", " ") + " UTC" if at_us else "not yet"


def _why(rail: RailShown, point: Point) -> str:
    where = f"after {point.units:,} payments, {_time(point.at_us)}"
    if rail.metric == FORBIDDEN:
        return f"Arm {rail.arm} was paused {where}: {point.harm:g} attempts against a limit."
    return (
        f"Arm {rail.arm} was paused {where}: {rail.metric} is worse by {_number(point.harm)}, and by at least "
        f"{_number(point.low)} however often one looks; {_number(rail.tolerated)} was tolerated "
        f"(p = {point.p_value:.2g})."
    )


def _arms(shown: Readout) -> str:
    columns = ("arm", "", "share %", "units", "payments", "forbidden retries", "reports that can have come %",
               "disputes %", "lost a payment, matured", "net a payment, matured")  # fmt: skip
    rows = [
        (
            each.arm,
            marked("paused", "paused") if each.paused else "",
            f"{100 * each.share:.1f}",
            f"{each.units:,}",
            f"{each.payments:,}",
            f"{each.forbidden_retries}",
            f"{100 * each.matured_share:.0f}",
            f"{100 * each.disputes_matured_share:.0f}",
            "immature" if each.lost_matured_minor is None else _number(each.lost_matured_minor),
            "immature" if each.net_matured_minor is None else _number(each.net_matured_minor),
        )
        for each in shown.arms
    ]
    return grid(columns, rows)


def _ratio(shown: Readout) -> str:
    now = shown.srm_p_value
    broken = min(1.0 if now is None else now, shown.srm_sequential_p_value) < SRM_ALPHA
    if now is None and not broken:
        return "<p>Sample ratio not checked: no two arms can be compared just now.</p>"
    word = "<b class='bad'>not as intended: read nothing else</b>" if broken else "<b class='good'>as intended</b>"
    return (
        f"<p>Sample ratio {word}: p = {'not checked' if now is None else f'{now:.3g}'} for one look, "
        f"{shown.srm_sequential_p_value:.3g} for every look.</p>"
    )


def _metrics(found: Sequence[Compared]) -> str:
    columns = ("metric", "arm", "control", "arm's", "difference, any look", "one look", "bootstrap", "CUPED",
               "pre-period p", "relative %", "p, all together")  # fmt: skip
    rows = [
        (
            _noted(escape(each.metric), each.unit),
            each.arm,
            "" if each.control is None else _number(each.control),
            "" if each.value is None else _number(each.value),
            _interval(each.sequence),
            _interval(each.absolute),
            _interval(each.bootstrap),
            _interval(each.cuped),
            f"{each.pre_period_p_value:.2g}",
            _interval(each.relative, scale=100.0),
            f"{each.adjusted_p_value:.2g}",
        )
        for each in found
    ]
    return grid(columns, rows)


def _noted(text: str, note: str) -> Markup:
    return Markup(f"{text}<br><span class='note'>{escape(note)}</span>")


def _interval(found: Interval, *, scale: float = 1.0) -> str:
    if found.low is None or found.high is None:
        return marked("not yet", "note")
    low, high = _number(scale * found.low), _number(scale * found.high)
    return _noted(_number(scale * found.estimate), f"[{low}, {high}]")


def _number(value: float) -> str:
    return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _rail(rail: RailShown) -> str:
    if rail.not_judged:
        return f"<p>{escape(rail.metric)}, arm {escape(rail.arm)}: not judged, {escape(rail.not_judged)}.</p>"
    unit = MEASURES[rail.metric].unit if rail.metric in MEASURES else "attempts"
    caption = (
        f"{rail.metric}, arm {rail.arm}: worse by {_number(rail.harm)} {unit}; tolerated "
        f"{_number(rail.tolerated)}; budget {rail.budget:g}; p = {rail.p_value:.2g}"
    )
    return figure(plot(rail), caption)


def plot(rail: RailShown) -> str:
    """The sequence over payments of both arms, its lower end, what is tolerated, and the moment of the pause."""
    if rail.metric == FORBIDDEN:
        return ""
    path = [point for point in rail.path if isfinite(point.low)]
    if not path:
        return "<p class='note'>Too few payments for a look.</p>"
    x_max = max(point.units for point in path)
    settled = [point for point in path if point.units >= x_max / 10] or path
    ends = [rail.tolerated, 0.0, *(p.harm for p in settled), *(p.low for p in settled)]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def x(units: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * units / max(x_max, 1), 1)

    def y(value: float) -> float:
        inside = min(max(value, low), high)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - inside) / (high - low), 1)

    line = " ".join(f"{x(p.units)},{y(p.harm)}" for p in path)
    band = line + " " + " ".join(f"{x(p.units)},{y(p.low)}" for p in reversed(path))
    marks = ""
    if rail.paused is not None:
        at = x(rail.paused.units)
        marks = (
            f"<line x1='{at}' x2='{at}' y1='{TOP}' y2='{HEIGHT - BOTTOM}' stroke='#b42318' stroke-width='2'/>"
            f"<text x='{min(at + 5, WIDTH - 120)}' y='{TOP + 10}' fill='#b42318'>paused at {rail.paused.units:,}</text>"
        )
    ticks = "".join(
        f"<text x='{LEFT - 6}' y='{y(value) + 4}' text-anchor='end'>{_number(value)}</text>"
        for value in (low + pad, high - pad)
    )
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' role='img' aria-label='{escape(rail.metric)} of arm "
        f"{escape(rail.arm)}' font-size='11' font-family='system-ui,sans-serif'>"
        f"<polygon points='{band}' fill='#2563a8' fill-opacity='.15'/>"
        f"<polyline points='{line}' fill='none' stroke='#2563a8' stroke-width='2'/>"
        f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(0.0)}' y2='{y(0.0)}' stroke='#8a94a1'/>"
        f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(rail.tolerated)}' y2='{y(rail.tolerated)}' stroke='#b42318' "
        f"stroke-dasharray='6 4'/>{marks}{ticks}"
        f"<text x='{WIDTH - RIGHT}' y='{HEIGHT - 8}' text-anchor='end'>{x_max:,} payments of both arms</text>"
        f"<text x='{LEFT}' y='{HEIGHT - 8}'>0</text></svg>"
    )
