"""A model's evaluation for people: one HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from greenlane.learning.approval_fit import ApprovalEvaluation, Group
from greenlane.learning.evaluate import Evaluation
from greenlane.learning.pages import figure, grid, listing, marked, page
from greenlane.learning.policy_money import PolicyMoney
from greenlane.learning.quality import Quality
from greenlane.learning.quality import html as quality_section
from greenlane.learning.reliability import Check
from greenlane.learning.stability import SegmentRate, Week

Pictures = Mapping[str, str]
"""Caption to SVG."""
Figures = Sequence[tuple[str, str]]


def fraud_html(
    evaluation: Evaluation,
    *,
    figures: Figures,
    facts: Mapping[str, Any],
    pictures: Pictures,
    quality: Quality | None = None,
) -> str:
    """The whole report as one page; `facts` are shown as they are (model, training set, parameters)."""
    return page(
        "Fraud model",
        listing(figures),
        drawn(pictures),
        verdict(evaluation.verdict, evaluation.checks),
        money(evaluation.policy),
        segments(evaluation.segments),
        weeks(evaluation.weeks),
        quality_section(quality) if quality else "",
        made(facts),
    )


def approval_html(
    evaluation: ApprovalEvaluation, *, figures: Figures, facts: Mapping[str, Any], pictures: Pictures
) -> str:
    """The same of an approval model: observed over expected declines, and declined money, by segment."""
    by = {
        "segment": evaluation.by_segment,
        "amount": evaluation.by_amount,
        "route": evaluation.by_route,
        "issuer": evaluation.by_issuer,
    }
    return page(
        "Approval model",
        listing(figures),
        drawn(pictures),
        verdict(evaluation.verdict, evaluation.checks),
        *(groups(name, found) for name, found in by.items()),
        weeks(evaluation.weeks),
        made(facts),
    )


def frontier_html(
    why: str,
    *,
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]],
    picture: str,
    skipped: Mapping[str, str],
) -> str:
    """The comparison of families: the choice, its picture, its tables."""
    caption = (
        "What each family saves on held-out time, against believing in no fraud, with 95 % intervals over cards; "
        "the dotted line is the latency budget."
    )
    return page(
        "Families compared",
        f"<p><b>{escape(why)}</b></p>",
        drawn({caption: picture}),
        *(grid(*each) for each in tables),
        *(f"<p>Skipped {escape(name)}: {escape(reason)}</p>" for name, reason in skipped.items()),
    )


def drawn(pictures: Pictures) -> str:
    return "".join(figure(svg, caption) for caption, svg in pictures.items())


def made(facts: Mapping[str, Any]) -> str:
    return f"<h2>How it was made</h2>{listing([(name, str(value)) for name, value in facts.items()])}"


def money(policy: PolicyMoney | None) -> str:
    """What the real policy makes of the probabilities."""
    if policy is None:
        return ""
    lines = [
        ("rows valued", f"{policy.rows:,}"),
        ("value per 1,000 payments", f"{policy.value_per_1000_minor:,.0f} minor units"),
        ("- if everybody had the mean probability", f"{policy.base_rate_per_1000_minor:,.0f}"),
        ("- if the labels were known", f"{policy.clairvoyant_per_1000_minor:,.0f}"),
        *((f"share: {name}", f"{share:.2%}") for name, share in policy.shares.items()),
    ]
    return f"<h2>Money under the policy, at each merchant's economics</h2>{listing(lines)}"


def segments(found: list[SegmentRate]) -> str:
    lines = [
        (s.column, s.name, f"{s.good:,.0f}", f"{s.stopped_share:.2%}", f"{s.low:.2%} to {s.high:.2%}") for s in found
    ]
    return titled("Good payments that are stopped", ("by", "segment", "good payments", "stopped", INTERVAL), lines)


def groups(by: str, found: list[Group]) -> str:
    lines = [
        (g.name, f"{g.attempts:,}", f"{g.declines:,.0f}", f"{g.ratio:.2f}", f"{g.low:.2f} to {g.high:.2f}",
         f"{g.money_ratio:.2f}")
        for g in found
    ]  # fmt: skip
    columns = (by, "attempts", "declines", "of expected", INTERVAL, "declined money, of expected")
    return titled(f"By {by}", columns, lines)


def weeks(found: list[Week]) -> str:
    lines = [
        (w.first_day, f"{w.rows:,}", f"{w.observed:,.0f}", f"{w.expected:,.1f}", f"{w.ratio:.2f}",
         f"{w.low:.2f} to {w.high:.2f}")
        for w in found
    ]  # fmt: skip
    return titled("Does it hold over time?", ("week from", "rows", "observed", "expected", "ratio", INTERVAL), lines)


INTERVAL: Final = "95 % interval"


def verdict(said: str, found: list[Check]) -> str:
    lines = [
        (c.name, f"{c.value:.3f}", f"{c.low:.3f} to {c.high:.3f}", band(c), marked(c.state, c.state)) for c in found
    ]
    table = grid(("check", "value", INTERVAL, "band", ""), lines)
    return f"<h2>Are the probabilities right? {escape(said.capitalize())}.</h2>{table}"


def band(one: Check) -> str:
    low = "" if one.band_low is None else f"{one.band_low:g}"
    high = "" if one.band_high is None else f"{one.band_high:g}"
    return f"{low} to {high}" if low and high else (f"above {low}" if low else f"at most {high}")


def titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<h2>{escape(title)}</h2>{grid(columns, rows)}" if rows else ""
