"""A model's evaluation for people: one HTML file that needs nothing beside it, and the same as JSON."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from greenlane.learning.evaluate import Evaluation
from greenlane.learning.policy_money import PolicyMoney
from greenlane.learning.quality import Quality
from greenlane.learning.quality import html as quality_section
from greenlane.learning.reliability import Check
from greenlane.learning.stability import SegmentRate, Week

Plots = Callable[[Evaluation], Mapping[str, str]]
"""Draws an evaluation: caption to SVG."""

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .9rem .2rem 0;text-align:left;
border-bottom:1px solid #e3e7ec;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:0 1rem 1rem 0}
figcaption{font-size:13px;color:#5a6675;max-width:29rem}svg{width:29rem;height:auto}.pass{color:#17803d}
.fail{color:#b42318}.undecided{color:#8a6100}
"""


def html(
    evaluation: Evaluation, *, title: str, facts: Mapping[str, Any], plots: Plots, quality: Quality | None = None
) -> str:
    """The whole report as one page; `facts` are shown as they are (model, training set, parameters)."""
    pictures = plots(evaluation).items()
    figures = "".join(f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for text, svg in pictures)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1>{table(summary(evaluation))}{figures}"
        f"<h2>Are the probabilities right? {escape(evaluation.verdict.capitalize())}.</h2>{checks(evaluation.checks)}"
        f"{money(evaluation.policy)}{segments(evaluation.segments)}{weeks(evaluation.weeks)}"
        f"{quality_section(quality) if quality else ''}"
        f"<h2>How it was made</h2>{table({name: str(value) for name, value in facts.items()})}</html>\n"
    )


def money(policy: PolicyMoney | None) -> str:
    """What the real policy makes of the probabilities."""
    if policy is None:
        return ""
    lines = {
        "rows valued": f"{policy.rows:,}",
        "value per 1,000 payments": f"{policy.value_per_1000_minor:,.0f} minor units",
        "- if everybody had the mean probability": f"{policy.base_rate_per_1000_minor:,.0f}",
        "- if the labels were known": f"{policy.clairvoyant_per_1000_minor:,.0f}",
        "captured of the way between": (
            f"{policy.captured:.3f} ({policy.captured_low:.3f} to {policy.captured_high:.3f})"
        ),
        **{f"share: {name}": f"{share:.2%}" for name, share in policy.shares.items()},
    }
    return f"<h2>Money under the policy, at each merchant's economics</h2>{table(lines)}"


def segments(found: list[SegmentRate]) -> str:
    lines = "".join(
        f"<tr><td>{escape(s.column)}</td><td>{escape(s.name)}</td><td>{s.good:,.0f}</td><td>{s.stopped_share:.2%}</td>"
        f"<td>{s.low:.2%} to {s.high:.2%}</td></tr>"
        for s in found
    )
    head = "<tr><th>by</th><th>segment</th><th>good payments</th><th>stopped</th><th>95 % interval</th></tr>"
    return f"<h2>Good payments that are stopped</h2><table>{head}{lines}</table>" if found else ""


def weeks(found: list[Week]) -> str:
    lines = "".join(
        f"<tr><td>{w.first_day}</td><td>{w.rows:,}</td><td>{w.observed:,.0f}</td><td>{w.expected:,.1f}</td>"
        f"<td>{w.ratio:.2f}</td><td>{w.low:.2f} to {w.high:.2f}</td></tr>"
        for w in found
    )
    head = "<tr><th>week from</th><th>rows</th><th>observed</th><th>expected</th><th>ratio</th><th>95 %</th></tr>"
    return f"<h2>Does it hold over time?</h2><table>{head}{lines}</table>" if found else ""


def summary(evaluation: Evaluation) -> dict[str, str]:
    auc, precision, point = evaluation.auc, evaluation.average_precision, evaluation.operating_point
    return {
        "payments, reported frauds": f"{evaluation.rows:,}, {evaluation.events:,} ({evaluation.base_rate:.3%})",
        "area under ROC": f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})",
        "average precision": f"{precision.value:.3f} ({precision.low:.3f} to {precision.high:.3f})",
        **{f"card precision@{k}": f"{value:.3f}" for k, value in evaluation.card_precision.items()},
        "blocked at break-even": f"{point.blocked_share:.3%}",
        "- precision, recall there": f"{point.precision:.3f}, {point.recall:.3f}",
        "cost per 1,000 payments": f"{point.cost_per_1000_minor:,.0f} minor units",
        "- if all were allowed": f"{point.allow_all_cost_per_1000_minor:,.0f}",
        "- at the best fixed threshold": f"{point.best_threshold_cost_per_1000_minor:,.0f}",
    }


def table(rows: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{lines}</table>"


def checks(found: list[Check]) -> str:
    lines = "".join(
        f"<tr><td>{escape(c.name)}</td><td>{c.value:.3f}</td><td>{c.low:.3f} to {c.high:.3f}</td>"
        f'<td>{band(c)}</td><td class="{c.state}">{c.state}</td></tr>'
        for c in found
    )
    return f"<table><tr><th>check</th><th>value</th><th>95 % interval</th><th>band</th><th></th></tr>{lines}</table>"


def band(one: Check) -> str:
    low = "" if one.band_low is None else f"{one.band_low:g}"
    high = "" if one.band_high is None else f"{one.band_high:g}"
    return f"{low} to {high}" if low and high else (f"above {low}" if low else f"at most {high}")


def frontier_html(
    why: str,
    *,
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]],
    picture: str,
    skipped: Mapping[str, str],
) -> str:
    """The comparison of families as one page: the choice, its picture, its tables."""
    left_out = "".join(f"<p>Skipped {escape(name)}: {escape(reason)}</p>" for name, reason in skipped.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Families compared</title><style>{STYLE}</style>'
        f"<h1>Families compared</h1><p><b>{escape(why)}</b></p><figure>{picture}<figcaption>What each family saves "
        f"on held-out time, against believing in no fraud, with 95 % intervals over cards; the dotted line is the "
        f"latency budget.</figcaption></figure>{''.join(grid(*each) for each in tables)}{left_out}</html>\n"
    )


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
