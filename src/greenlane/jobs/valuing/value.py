"""A candidate on logged traffic, as a paired difference in money, if the gate lets it pass.

1. the directory's first decisions, their options by one factor, what came of each      (`traffic`)
2. what the candidate would have done with each                                         (`questions`)
3. a direct model: the record's own (q, p_A, s), approval and fraud set right by route on other cards  (cross-fitted)
4. the steps of money that have events are valued together and judged by the gate; the others have bounds
5. the bridge, whole and by route, issuer and segment; for interventions that would change for good, a plan of an A/B
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.onnx_net import open_net
from greenlane.errors import InputError
from greenlane.experiments.gate import EFFECTIVE_EVENTS_MIN, MATURITY_MIN, Check, at_least, at_most
from greenlane.experiments.impact import PER, STEPS, Bridge, Impact, Step, named_groups
from greenlane.experiments.moved_threshold import MovedThreshold, moved_threshold
from greenlane.experiments.off_policy import Overlap, Term, differences, overlap, term
from greenlane.experiments.planning import Metric, Reading, plan
from greenlane.experiments.planning import Row as Design
from greenlane.jobs.valuing.claims import Claims, bridged, claims
from greenlane.jobs.valuing.ladders import Climbed, Ladders, answered, climbed
from greenlane.jobs.valuing.questions import BLOCKED, FACTORS, PASSED, number, releaser, router, swapper
from greenlane.jobs.valuing.traffic import Traffic, traffic_of
from greenlane.learning.maturity import poisson_interval
from greenlane.models.approval_model import load_approval
from greenlane.payments.times import DAY_US, format_rfc3339
from greenlane.policy.parameters import Policy
from greenlane.wiring import Progress, Reader, model_path, open_reader

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FOLDS: Final = 5
RIDGE: Final = 20.0
"""Prior draws for "the record's approval is right", per option."""
FRAUDS_PRIOR: Final = 5.0
"""Expected frauds for which "the record's fraud is right" counts."""
GROUP_ROWS_MIN: Final = 200
INTERVENTIONS_CHANGE: Final = ("threshold", "challenge")


class Valued(Struct, frozen=True, kw_only=True):
    """The JSON of one candidate. Money is minor units per 1,000 payments that the question is about."""

    question: str
    candidate: str
    currency: str
    from_at: str
    to_at: str
    decisions: int
    valued: int
    """Of them, those that the question is about; the rest is in `left_out`."""
    left_out: dict[str, int]
    accepted: bool
    """What the gate said of the steps in `claimed`; the net of all steps has a value only with all of them."""
    reasons: tuple[str, ...]
    claimed: tuple[str, ...]
    claim: Step
    bridge: Bridge
    estimates: dict[str, tuple[float, float, float]]
    checks: tuple[Check, ...]
    effective_rows: float
    moved: float
    """Share of payments with which the candidate would do something else."""
    propensity: dict[str, float]
    """Of what was done: the least, the median, and how surprised the worst bin is."""
    maturity: float
    """The least share of labels that any row has by now."""
    groups: dict[str, dict[str, Bridge]]
    parts: dict[str, Any] = {}
    """Of a threshold: what tightens, what loosens, and what lies beyond the ceiling, never added up."""
    plan: tuple[Design, ...] = ()

    @property
    def impact(self) -> Impact:
        title = f"{self.question}: {self.candidate}"
        notes = self.reasons if self.reasons else (f"the gate accepted {', '.join(self.claimed)}",)
        return Impact(title=title, source="off-policy", currency=self.currency, bridge=self.bridge, groups=self.groups,
                      notes=notes)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """Traffic with the direct model's money, before any candidate."""

    traffic: Traffic
    model: Floats
    """float64[n, options, STEPS]"""
    approval: Floats
    """float64[n, options]"""

    def overlap(self, target: Floats, rows: Flags) -> Overlap:
        t = self.traffic
        return overlap(target[rows], t.logging[rows], action=t.action[rows], cluster=t.card[rows], block=t.blocks[rows])

    def terms(self, seen: Overlap, rows: Flags) -> dict[str, Term]:
        """Steps that could move: those in which any money was made or is expected."""
        t, found = self.traffic, dict[str, Term]()
        low, high = extremes(t)
        for k, name in enumerate(STEPS):
            money, model = t.money[rows, k], self.model[rows, :, k]
            if money.any() or np.ptp(model, axis=1).any():
                found[name] = term(seen, money, model=model, low=low[rows, k], high=high[rows, k])
        return found

    def approvals(self, seen: Overlap, rows: Flags) -> dict[str, Step]:
        t = self.traffic
        both = {"attempts": t.attempt_approved[rows], "payments": t.payment_approved[rows]}
        found = {n: differences(seen, term(seen, y, model=self.approval[rows]))["DR"] for n, y in both.items()}
        return {name: Step(name, PER * one.value, PER * one.low, PER * one.high) for name, one in found.items()}


def extremes(traffic: Traffic) -> tuple[Floats, Floats]:
    """float64[n, STEPS] each: the least and the most that one payment can bring, whatever is done with it."""
    low, high = np.zeros((len(traffic), len(STEPS))), np.zeros((len(traffic), len(STEPS)))
    for i, row in enumerate(traffic.rows):
        paid, money = row.paid, row.paid.stakes
        fees = np.where(np.isfinite(traffic.fee[i]), traffic.fee[i], 0.0).max()
        lost = max(-money.stop, money.abandonment, paid.block, money.false_decline)
        low[i] = 0.0, -fees - paid.declined - paid.challenge, -money.loss - fees, -paid.dispute, -money.review, -lost
        high[i] = money.margin, 0.0, 0.0, 0.0, 0.0, max(money.stop, 0.0)
    return np.minimum(low, traffic.money), np.maximum(high, traffic.money)


def case_of(traffic: Traffic) -> Case:
    """The record's beliefs, with approval and fraud set right on other cards than they are used for."""
    fold = traffic.card % FOLDS
    approval, model = traffic.approval.copy(), traffic.idle + traffic.won
    rows = np.arange(len(traffic))
    for part in range(FOLDS):
        mine, others = fold == part, (fold != part) & traffic.asked
        shift = np.array([offset(traffic, others & (traffic.action == k), k) for k in range(len(traffic.names))])
        believed = traffic.approval[mine]
        moved = logistic(log_odds(believed) + shift)
        scale = np.where(believed > 0.0, moved / np.maximum(believed, 1e-9), 1.0)
        approval[mine] = np.where(believed > 0.0, moved, 0.0)
        money = traffic.idle[mine] + traffic.won[mine] * scale[:, :, None]
        fraud = STEPS.index("fraud")
        expected = -(traffic.idle + traffic.won)[rows, traffic.action, fraud][fold != part].sum()
        came = -traffic.money[fold != part, fraud].sum()
        usual = expected / max((traffic.fraud * traffic.approval[rows, traffic.action])[fold != part].sum(), 1e-9)
        prior = FRAUDS_PRIOR * usual
        money[:, :, fraud] *= (came + prior) / (expected + prior) if expected > 0.0 else 1.0
        model[mine] = money
    return Case(traffic, model, approval)


def offset(traffic: Traffic, rows: Flags, option: int) -> float:
    """In log-odds: what moves the believed approvals of one option to those seen, drawn to 0 (Newton)."""
    y, x, found = traffic.attempt_approved[rows], log_odds(traffic.approval[rows, option]), 0.0
    for _ in range(12):
        p = logistic(x + found)
        found += float(((y - p).sum() - RIDGE * 0.1 * found) / ((p * (1.0 - p)).sum() + RIDGE * 0.1))
    return found


def log_odds(p: Floats) -> Floats:
    bounded = np.clip(p, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(bounded / (1.0 - bounded)))


def logistic(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def judged(case: Case, target: Floats, rows: Flags, *, effect: float | None) -> Claims:
    """`effect` per payment."""
    seen, traffic = case.overlap(target, rows), case.traffic
    return claims(
        seen, case.terms(seen, rows), effect=effect, maturity=traffic.maturity[rows], excluded=traffic.left_out
    )


def bridge(case: Case, target: Floats, rows: Flags, *, effect: float | None = None) -> tuple[Bridge, Claims]:
    found, approval = judged(case, target, rows, effect=effect), case.approvals(case.overlap(target, rows), rows)
    return bridged(found, payments=int(rows.sum()), approval=approval), found


def grouped(case: Case, target: Floats) -> dict[str, dict[str, Bridge]]:
    """By what the candidate would do, by issuer and by segment: groups of payments that the past does not choose."""
    traffic, found = case.traffic, dict[str, dict[str, Bridge]]()
    facts = [row.facts for row in traffic.rows]
    would = [traffic.names[at].partition("/")[0] for at in target.argmax(axis=1).tolist()]
    labels = {
        "route": would,
        "issuer": [f.issuer_id or f.issuer_country for f in facts],
        "segment": [f"{f.merchant_id} {f.initiator}" for f in facts],
    }
    for kind, names in labels.items():
        rows_of = {n: rows for n, rows in named_groups(names).items() if rows.sum() >= GROUP_ROWS_MIN}
        found[kind] = {n: bridge(case, target, rows)[0] for n, rows in rows_of.items() if cards(traffic, rows) > 1}
    return found


def cards(traffic: Traffic, rows: Flags) -> int:
    return min(len(np.unique(traffic.card[rows])), len(np.unique(traffic.blocks[rows])))


def evaluate(
    traffic: Traffic,
    question: str,
    candidate: str,
    *,
    effect: float | None,
    currency: str,
    models: Callable[[str], Any],
) -> Valued:
    """One candidate; `effect` in minor units per 1,000 payments is what was to be shown."""
    case, everybody = case_of(traffic), np.ones(len(traffic), bool)
    claimed = None if effect is None else effect / PER
    if question == "threshold":
        return threshold(case, candidate, effect=claimed, currency=currency)
    targets = {"route": lambda: router(traffic, candidate, models), "challenge": lambda: swapper(traffic, candidate),
               "release": lambda: releaser(traffic, candidate)}  # fmt: skip
    target = targets[question]()
    whole, found = bridge(case, target, everybody, effect=claimed)
    moved = np.abs(target - traffic.logging).sum(axis=1) / 2.0
    design = planned(traffic, whole.net, effect) if question in INTERVENTIONS_CHANGE else ()
    return told(
        found, whole, traffic.done, question=question, candidate=candidate, currency=currency, plan=design,
        moved=float(moved.mean()), groups=grouped(case, target),
        **about(traffic, traffic.at_us, traffic.decisions),
    )  # fmt: skip


def told(found: Claims, whole: Bridge, done: Floats, **about: Any) -> Valued:
    """With what the gate said; `done`: the probabilities of what was done."""
    verdict = found.verdict
    estimates = {n: (PER * value, PER * low, PER * high) for n, (value, low, high) in verdict.estimates.items()}
    return Valued(
        accepted=verdict.accepted, reasons=verdict.reasons, claimed=found.claimed, claim=found.claim, bridge=whole,
        estimates=estimates, checks=verdict.checks, effective_rows=verdict.effective_rows,
        propensity=propensity(done, verdict.checks), **about,
    )  # fmt: skip


def about(rows: Traffic | Climbed, at_us: Ints, decisions: int) -> dict[str, Any]:
    """Of any candidate on these rows."""
    return {
        "from_at": format_rfc3339(int(at_us.min())), "to_at": format_rfc3339(int(at_us.max())), "decisions": decisions,
        "valued": len(at_us), "left_out": rows.left_out, "maturity": float(rows.maturity.min()),
    }  # fmt: skip


def propensity(done: Floats, checks: Sequence[Check]) -> dict[str, float]:
    worst = next((c.value for c in checks if c.name.startswith("propensities")), 0.0)
    return {
        "least": float(done.min()),
        "median": float(np.median(done)),
        "left_to_chance": float((done < 1.0).mean()),
        "worst_bin": worst,
    }


def planned(traffic: Traffic, net: Step, effect: float | None) -> tuple[Design, ...]:
    """How long an A/B takes that shows the effect: the one asked for, else half of the width of what is known."""
    money = traffic.money.sum(axis=1)
    change = effect if effect is not None else (net.high - net.low) / 2.0
    days = max(float(traffic.at_us.max() - traffic.at_us.min()) / DAY_US, 1.0)
    if not np.isfinite(change) or change == 0.0 or not money.any():
        return ()
    metric = Metric(baseline=float(money.mean()), sd=float(money.std()))
    return tuple(plan(metric, abs(change) / PER, daily_units=len(traffic) / days, reading=Reading()))


def threshold(case: Case, candidate: str, *, effect: float | None, currency: str) -> Valued:
    """Blocked from p = `candidate` on, instead of where blocking was worth most."""
    traffic, at = case.traffic, number(candidate, "a fraud probability, such as 0.05")
    if not 0.0 < at <= 1.0:
        raise InputError(f"{candidate} is no probability", param="--candidate", hint="between 0 and 1")
    if BLOCKED not in traffic.names or PASSED not in traffic.names:
        raise InputError("nothing here was ever judged", code="nothing_to_value")
    passed, blocked = traffic.names.index(PASSED), traffic.names.index(BLOCKED)
    chance, block = traffic.logging[:, passed], traffic.idle[:, blocked]
    before = traffic.value[:, blocked] >= traffic.value[:, passed]
    after = traffic.fraud >= at
    done = traffic.action == passed
    low, high = extremes(traffic)

    def part(money: Floats, worth: Floats, ends: tuple[Floats, Floats]) -> MovedThreshold:
        return moved_threshold(
            np.where(done, money, np.nan), chance, blocked_value=worth, value_range=ends, before=before, after=after,
            cluster=traffic.card,
        )  # fmt: skip

    total = part(traffic.money.sum(axis=1), block.sum(axis=1), (low.sum(axis=1), high.sum(axis=1)))
    steps = {name: part(traffic.money[:, k], block[:, k], (low[:, k], high[:, k])) for k, name in enumerate(STEPS)}
    tighter, looser = after & ~before, before & ~after & (chance > 0.0)
    checks = [*tightening_checks(traffic, tighter, total, effect), *loosening_checks(case, looser, passed, effect)]
    beyond, youngest = float(total.beyond), float(traffic.maturity.min())
    checks.append(at_most("beyond the ceiling", beyond, 0.0, "payments above the ceiling would pass: bounds only"))
    checks.append(at_least("labels come", youngest, MATURITY_MIN, "rows are too young for their labels"))
    ok = all(check.passed for check in checks)
    told = {name: moved_step(name, one, ok=ok) for name, one in steps.items()}
    told["fraud"] = told["fraud"] if ok else few_frauds(traffic, tighter, told["fraud"])
    net = moved_step("net", total, ok=ok)
    if not ok:
        net = Step("net", None, sum(one.low for one in told.values()), sum(one.high for one in told.values()))
    return Valued(
        question="threshold", candidate=candidate, currency=currency, accepted=ok,
        reasons=tuple(check.why for check in checks if not check.passed), claimed=STEPS,
        claim=Step("claim", net.value, net.low, net.high),
        bridge=Bridge(payments=len(traffic), approval={}, net=net, steps=tuple(told.values())),
        estimates={}, checks=tuple(checks), effective_rows=float(tighter.sum() + (done & looser).sum()),
        moved=float((after != before).mean()), propensity=propensity(traffic.done, ()), groups={},
        parts={"tightened": per_1000(total.tightened), "loosened": per_1000(total.loosened), "beyond": total.beyond,
               "beyond_bounds": [PER * end for end in total.beyond_bounds]},
        plan=planned(traffic, net, None if effect is None else PER * effect),
        **about(traffic, traffic.at_us, traffic.decisions),
    )  # fmt: skip


def few_frauds(traffic: Traffic, tighter: Flags, found: Step) -> Step:
    """Too few for a normal law: what blocks would have saved, by the exact interval of their count."""
    frauds = float((traffic.reported & tighter).sum())
    losses = [row.paid.stakes.loss + row.paid.fee for row, hit in zip(traffic.rows, tighter, strict=True) if hit]
    scale = PER * float(np.mean(losses)) / len(traffic) if losses else 0.0
    low, high = (scale * end for end in poisson_interval(frauds))
    return Step(found.name, None, min(found.low, low), max(found.high, high), frauds)


def per_1000(money: Any) -> dict[str, float]:
    return {"value": PER * money.value, "low": PER * money.low, "high": PER * money.high, "payments": money.payments}


def moved_step(name: str, found: MovedThreshold, *, ok: bool) -> Step:
    """Both parts together, and the bounds of what lies beyond on both ends."""
    both, (low, high) = found.both, found.beyond_bounds
    return Step(name, PER * both.value if ok else None, PER * (both.low + low), PER * (both.high + high))


def tightening_checks(traffic: Traffic, rows: Flags, found: MovedThreshold, effect: float | None) -> list[Check]:
    """Blocks of what was passed are seen in full; their worth hangs on the frauds among them."""
    if not rows.any():
        return []
    frauds, half = float(traffic.reported[rows].sum()), (found.tightened.high - found.tightened.low) / 2.0
    claim = abs(found.tightened.value) if effect is None else effect
    return [
        Check("tightened: frauds", frauds, EFFECTIVE_EVENTS_MIN, frauds >= EFFECTIVE_EVENTS_MIN,
              f"tightening has too few frauds ({frauds:.0f}, needs {EFFECTIVE_EVENTS_MIN}): bounds only"),
        Check("tightened: half-width", half, claim, half <= claim, "the interval's half-width exceeds the effect"),
    ]  # fmt: skip


def loosening_checks(case: Case, rows: Flags, passed: int, effect: float | None) -> list[Check]:
    """Releases stand for the blocks that would pass: the gate of any off-policy estimate."""
    if not rows.any():
        return []
    target = np.eye(len(case.traffic.names))[np.full(len(case.traffic), passed)]
    if cards(case.traffic, rows) < 2:
        return [Check("loosened: rows", float(rows.sum()), 2, False, "loosening has too few releases: bounds only")]
    found = judged(case, target, rows, effect=effect).verdict
    return [Check(f"loosened: {c.name}", c.value, c.limit, c.passed, f"loosening: {c.why}") for c in found.checks]


def run(
    directory: Path, question: str, candidates: Sequence[str], *, from_us: int = 0, to_us: int = 2**62,
    effect: float | None = None, progress: Progress = lambda _done, _of: None,
) -> list[Valued]:  # fmt: skip
    """Every candidate on the same window of a directory."""
    if question == "retry":
        return retries(
            open_reader(directory), candidates, from_us=from_us, to_us=to_us, effect=effect, progress=progress
        )
    if question not in FACTORS:
        hint = f"one of {', '.join([*FACTORS, 'retry'])}"
        raise InputError(f"{question!r} is no question", code="unknown_question", param="--question", hint=hint)
    reader = open_reader(directory)
    traffic = read(reader, question, from_us=from_us, to_us=to_us, progress=progress)
    currency = reader.settings.reporting_currency

    def models(name: str) -> Any:
        return load_approval(model_path(reader.places, name), open_net=open_net)

    return [evaluate(traffic, question, name, effect=effect, currency=currency, models=models) for name in candidates]


def read(reader: Reader, question: str, *, from_us: int, to_us: int, progress: Progress) -> Traffic:
    perspective = reader.settings.perspective
    return traffic_of(
        reader.entries(progress=progress), FACTORS[question], perspective=perspective,
        priors=Policy(perspective=perspective).priors, from_us=from_us, to_us=to_us,
    )  # fmt: skip


def retries(
    reader: Reader, candidates: Sequence[str], *, from_us: int, to_us: int, effect: float | None, progress: Progress
) -> list[Valued]:
    """Every candidate on the same ladders."""
    fold = Ladders(reader.settings.perspective, from_us, to_us).take(reader.entries(progress=progress))
    found = climbed(fold)
    at_us = np.array([one.at_us for one in fold.found.values()], np.int64)
    done = np.take_along_axis(found.logging, found.action[:, :, None], 2)[:, :, 0]
    done = done[np.arange(done.shape[1]) < found.steps[:, None]]
    results = []
    for name in candidates:
        said = answered(found, found.target(name), effect=None if effect is None else effect / PER)
        results.append(
            told(said.claims, said.bridge, done, question="retry", candidate=name, moved=said.moved, groups={},
                 currency=reader.settings.reporting_currency, **about(found, at_us, fold.decisions))
        )  # fmt: skip
    return results
