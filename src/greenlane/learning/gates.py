"""What a model must show before it becomes champion: an ordered tuple of plain functions over the same evidence.

Each answers with a figure, the limit it is held against, and a sentence. Evidence that is missing fails its gate,
unless there is nothing to ask: without a champion there is nothing to be compared with.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from greenlane.learning.canary import CanaryReadout
from greenlane.learning.registry import Card
from greenlane.learning.shadow import ShadowReport

State = Literal["passed", "failed", "not asked"]


class Bounds(Struct, frozen=True, kw_only=True):
    """The limits, stated once for all promotions."""

    p99_us_max: float = 250.0
    """CPU time of one prediction: what performance.md leaves a model of the decision's budget, with room."""
    bytes_max: int = 100_000_000
    coverage_min: float = 0.95
    error_rate_max: float = 0.001
    decisions_min: int = 1_000
    """Scored by the shadow."""
    canary_min: int = 200
    """Payments of a canary, where there was one: a guardrail sees nothing in fewer."""
    worse_share_max: float = 0.01
    """So much less, as a share of what the champion's decisions are worth, still counts as not worse."""
    flipped_share_max: float = 0.10
    mature_min: float = 0.5
    resting_on_belief_max: float = 0.5


class Evidence(Struct, frozen=True, kw_only=True):
    candidate: Card
    refused: str = ""
    """Why it cannot be loaded here and now, golden vectors included; "" where it can."""
    unserved: tuple[str, ...] = ()
    """Its features that are not served, or defined otherwise."""
    champion: Card | None = None
    shadow: ShadowReport | None = None
    """Of this candidate beside this champion."""
    canary: CanaryReadout | None = None
    """Of the stages that it went through, where there were any."""
    bounds: Bounds = Bounds()


class Verdict(Struct, frozen=True):
    gate: str
    state: State
    figure: str
    limit: str
    reason: str


Gate = Callable[[Evidence], Verdict]


def said(gate: str, passed: bool, *, figure: str, limit: str, reason: str) -> Verdict:
    return Verdict(gate, "passed" if passed else "failed", figure, limit, reason)


def not_asked(gate: str, reason: str) -> Verdict:
    return Verdict(gate, "not asked", "", "", reason)


def loads(evidence: Evidence) -> Verdict:
    """Hashes, and golden vectors within 1e-9 of what the trainer's own library says."""
    reason = evidence.refused or "verified, proven on its golden vectors and warmed"
    return said("golden", not evidence.refused, figure="", limit="1e-9", reason=reason)


def served(evidence: Evidence) -> Verdict:
    missing = evidence.unserved
    reason = f"not served as it learned them: {', '.join(missing[:5])}" if missing else "each as it learned it"
    count = f"{len(evidence.candidate.names) - len(missing)} of {len(evidence.candidate.names)}"
    return said("features", not missing, figure=count, limit="all", reason=reason)


def calibrated(evidence: Evidence) -> Verdict:
    """Not calibrated fails; undecided, where there are too few events to say either, passes and says so."""
    found = evidence.candidate.evaluation
    if evidence.candidate.kind != "fraud":
        return of_declines(evidence)
    verdict = str(found.get("verdict", "no evaluation on its card"))
    reasons = {
        "calibrated": "on held-out time",
        "undecided": "too few reports on held-out time to say that it is not",
    }
    events = f"{verdict}, {found.get('events', 0)} reports"
    reason = reasons.get(verdict, "money follows probabilities: wrong ones cost it")
    return said("calibration", verdict in reasons, figure=events, limit="calibrated", reason=reason)


def of_declines(evidence: Evidence) -> Verdict:
    """Another event than fraud: it has to say more than the base rate on held-out time."""
    found = evidence.candidate.evaluation
    loss, base = found.get("log_loss"), found.get("base_log_loss")
    if loss is None or not base:
        return said("calibration", False, figure="", limit="> 0", reason="no log loss on its card")
    skill = 1.0 - loss / base
    return said("calibration", skill > 0, figure=f"skill {skill:.3f}", limit="> 0", reason="against the base rate")


def fast(evidence: Evidence) -> Verdict:
    found, most = evidence.candidate.cost, evidence.bounds.p99_us_max
    reason = f"p50 {found.p50_us:.1f} us of CPU over {found.predictions} predictions where it was registered"
    return said("latency", found.p99_us <= most, figure=f"{found.p99_us:.1f} us", limit=f"{most:g} us", reason=reason)


def small(evidence: Evidence) -> Verdict:
    found, most = evidence.candidate.cost.bytes_on_disk, evidence.bounds.bytes_max
    figure, limit = f"{found / 1e6:.1f} MB", f"{most / 1e6:g} MB"
    return said("size", found <= most, figure=figure, limit=limit, reason="on disk; two are held during a swap")


def about_shadow(gate: Callable[[Evidence, ShadowReport], Verdict]) -> Gate:
    """A gate that asks the shadow report, where there is a champion to stand beside."""
    name = gate.__name__

    def asked(evidence: Evidence) -> Verdict:
        if evidence.champion is None:
            return not_asked(name, "there is no champion to stand beside")
        if evidence.shadow is None:
            hint = f"it has not stood beside the champion: greenlane models shadow {evidence.candidate.id}"
            return said(name, False, figure="", limit="a shadow report", reason=hint)
        return gate(evidence, evidence.shadow)

    asked.__name__ = name
    return asked


@about_shadow
def coverage(evidence: Evidence, shadow: ShadowReport) -> Verdict:
    least, count = evidence.bounds.coverage_min, evidence.bounds.decisions_min
    figure = f"{shadow.coverage:.1%} of {shadow.decisions}"
    reason = f"{shadow.scored} scored, {shadow.dropped} dropped"
    passed = shadow.coverage >= least and shadow.scored >= count
    return said("coverage", passed, figure=figure, limit=f"{least:.0%}, {count} scored", reason=reason)


@about_shadow
def errors(evidence: Evidence, shadow: ShadowReport) -> Verdict:
    most = evidence.bounds.error_rate_max
    figure, reason = f"{shadow.error_rate:.3%}", f"{shadow.errors} errors, {shadow.late} time-outs"
    return said("errors", shadow.error_rate <= most, figure=figure, limit=f"{most:.1%}", reason=reason)


@about_shadow
def flips(evidence: Evidence, shadow: ShadowReport) -> Verdict:
    share, most = shadow.flips / max(1, shadow.scored), evidence.bounds.flipped_share_max
    reason = f"{shadow.flips} other interventions, {shadow.moved} other actions: more is another policy, by A/B"
    return said("flips", share <= most, figure=f"{share:.2%}", limit=f"{most:.0%}", reason=reason)


@about_shadow
def labels(evidence: Evidence, shadow: ShadowReport) -> Verdict:
    """Money is believed where labels have come, and where enough of it has any."""
    least, most = evidence.bounds.mature_min, evidence.bounds.resting_on_belief_max
    if evidence.candidate.kind != "fraud" or not shadow.moved:
        return not_asked("labels", "no flip needs one" if not shadow.moved else "no label says who would have approved")
    figure = f"{shadow.mature:.0%} of reports have come, {shadow.resting_on_belief:.0%} of the money without"
    passed = shadow.mature >= least and shadow.resting_on_belief <= most
    reason = "flips that could be reported; the rest is priced at the mean of both beliefs"
    return said("labels", passed, figure=figure, limit=f">= {least:.0%}, <= {most:.0%}", reason=reason)


@about_shadow
def money(evidence: Evidence, shadow: ShadowReport) -> Verdict:
    """The interval of the difference lies above a stated loss."""
    if evidence.candidate.kind != "fraud":
        return not_asked("money", "beliefs alone price it: a canary or an A/B shows it")
    found = shadow.difference
    least = -evidence.bounds.worse_share_max * abs(shadow.champion_per_1000_minor)
    figure = f"{found.value:+,.0f} [{found.low:+,.0f}, {found.high:+,.0f}]"
    reason = "minor units per 1,000 decisions, shadow less champion"
    return said("money", found.low >= least, figure=figure, limit=f"low >= {least:,.0f}", reason=reason)


def canary(evidence: Evidence) -> Verdict:
    found = evidence.canary
    if found is None:
        needed = evidence.champion is not None and evidence.candidate.kind != "fraud"
        if not needed:
            return not_asked("canary", "it had no traffic of its own")
        hint = f"no label prices it without traffic: greenlane models challenge {evidence.candidate.id}"
        return said("canary", False, figure="", limit="a canary", reason=hint)
    least = evidence.bounds.canary_min
    figure, limit = f"{found.payments} payments in {len(found.stages)} stages", f"no breach, {least} payments"
    reason = found.breach or "no guardrail was breached in any stage"
    return said("canary", not found.breach and found.payments >= least, figure=figure, limit=limit, reason=reason)


GATES: Final[tuple[Gate, ...]] = (
    loads, served, calibrated, fast, small, coverage, errors, flips, labels, money, canary,
)  # fmt: skip


def judge(evidence: Evidence, gates: Sequence[Gate] = GATES) -> tuple[Verdict, ...]:
    return tuple(gate(evidence) for gate in gates)


def failed(verdicts: Sequence[Verdict]) -> list[str]:
    """Names of the gates that stand in the way."""
    return [verdict.gate for verdict in verdicts if verdict.state == "failed"]
