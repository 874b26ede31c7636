"""The table in money: each policy by the true expected value of what it did to the same payments.

The two simple policies have every advantage of hindsight: their route, their credential and the threshold are the best
fixed ones for these very payments. Each runs in a world of its own, because issuers remember; what the networks forbid
after the declines of the past, nobody sends. Payments that arrived in the outage are left out: it would flatter whoever
has a second route.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.demo.caller import Pursued
from greenlane.jobs.evaluating.contest import Case, answer_entry, attempt_id, entry
from greenlane.payments.facts import Facts
from greenlane.policy.limits import Limits
from greenlane.simulation.answers import Sending, Sent
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival
from greenlane.wiring import open_reader

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Interval = tuple[float, float, float]

DRAWS: Final = 1000


class Line(Struct, frozen=True):
    """One policy in the table; each figure with its 95 % interval, payers resampled."""

    policy: str
    approval_pct: Interval
    """Payments approved, whichever attempt it was."""
    reported_fraud_bps: Interval
    """Of approved payments."""
    false_declines_pct: Interval
    """Good payers turned away by the policy itself."""
    net_per_1000: Interval
    """Minor units of the reporting currency."""
    against_greenlane: Interval | None = None
    """Greenlane's net less this policy's, paired by payment."""


class Course(NamedTuple):
    """What a policy did to every payment, expected values."""

    net: Floats
    approved: Floats
    reported: Floats
    turned_away: Floats


class Known(NamedTuple):
    """What the journal knew of the payments: their facts in order, and the limits as the past had left them."""

    facts: list[Facts]
    limits: bytes


def known_in(directory: Path, done: Sequence[Pursued], *, past: int) -> Known:
    """`past`: the last entry before the first live payment."""
    limits, facts = Limits(), dict[str, Facts]()
    for each in open_reader(directory).entries():
        if each.seq <= past:
            limits.apply(each)
        elif each.kind == "decision" and each.facts is not None:
            facts.setdefault(each.facts.payment_id, each.facts)
    return Known([facts[payment.arrival.attempt.payment.id] for payment in done], limits.dump())


def lines(
    done: Sequence[Pursued], known: Known, counted: Flags, make: Callable[[], Living], *, seed: int
) -> tuple[list[Line], float]:
    """The table, and the best fixed threshold. `make` makes another run of the world in the same weather."""
    arrivals = [each.arrival for each in done]
    mine = Course(*np.array([(p.net, p.approved, p.reported, p.turned_away) for p in done]).T)
    nobody = np.zeros(len(done), bool)
    courses = {sends: fixed(make(), arrivals, known, *sends, stops=nobody) for sends in sendings(make())}
    best = max(courses, key=lambda sends: float(courses[sends].net[counted].sum()))
    refused = fixed(make(), arrivals, known, *best, stops=~nobody)
    p = np.array([each.fraud_probability for each in done])
    threshold = best_threshold(p[counted], courses[best].net[counted], refused.net[counted])
    blocks = fixed(make(), arrivals, known, *best, stops=p >= threshold)
    table = Table(arrivals, counted, mine, seed)
    return [
        table.line("Greenlane", mine),
        table.line(f"block at {threshold:.3f}, over {best[0]}", blocks),
        table.line(f"allow all, over {best[0]}", courses[best]),
    ], threshold


def sendings(living: Living) -> list[tuple[str, bool]]:
    """(route, with network tokens where there are any) that a fixed policy can take."""
    routes = living.world.parameters.routes
    return [(r.id, token) for r in routes for token in (False, True) if not token or "network_token" in r.credentials]


def fixed(
    living: Living, arrivals: Sequence[Arrival], known: Known, route: str, tokens: bool, *, stops: Flags
) -> Course:
    """Everything over one route, once; where `stops`, or where the networks forbid it, not at all."""
    limits, rows = Limits.load(known.limits), list[tuple[float, ...]]()
    for arrival, facts, stop in zip(arrivals, known.facts, stops.tolist(), strict=True):
        at_us, payment = arrival.at_us, arrival.attempt.payment
        case = Case(
            place=len(rows),
            arrival=arrival,
            facts=facts,
            economics=living.world.economics[facts.merchant_id],
            fraud_e9=0,
        )
        forbidden = not limits.verdict(case.asked._replace(at_us=at_us)).allowed
        card = payment.payment_method.card
        token = tokens and card is not None and card.token is not None and card.token.state == "active"
        intervention: Sending = "block" if stop or forbidden else "allow"
        sent = Sent(route, "network_token" if token else "pan", intervention, at_us=at_us)
        terms = living.true_terms(arrival, sent, case.economics)
        answer = living.send(arrival, sent)
        if intervention == "allow":
            granted = replace(facts, attempt_id=attempt_id(case, 1), route_id=route, intervention=intervention)
            limits.apply(entry("decision", granted, at_us, b""))
            limits.apply(answer_entry(case, sent, answer, answer.at_us))
        turned_away = 0.0 if forbidden else 1.0 - terms.approved - terms.declined
        rows.append((terms.value + terms.declined * terms.stop, terms.approved, terms.reported, turned_away))
    return Course(*np.array(rows).T)


class Table:
    """Intervals over the same resampled payers for every line."""

    def __init__(self, arrivals: Sequence[Arrival], counted: Flags, mine: Course, seed: int):
        self.good = np.array([not each.truth.fraud for each in arrivals]).astype(float)
        self.mine, payer = mine, payers(arrivals)
        drawn = np.random.default_rng(seed).poisson(1.0, (DRAWS, int(payer.max()) + 1))[:, payer]
        self.weights = np.concatenate([np.ones((1, len(arrivals))), drawn]) * counted

    def line(self, policy: str, course: Course) -> Line:
        against = None
        if course is not self.mine:
            against = self.interval(1000 * (self.mine.net - course.net))
        return Line(
            policy=policy,
            approval_pct=self.interval(100 * course.approved),
            reported_fraud_bps=self.interval(1e4 * course.reported, course.approved),
            false_declines_pct=self.interval(100 * course.turned_away * self.good, self.good),
            net_per_1000=self.interval(1000 * course.net),
            against_greenlane=against,
        )

    def interval(self, top: Floats, bottom: Floats | None = None) -> Interval:
        """Of a weighted mean, or of a ratio; the first row weighs all payments alike."""
        draws = (self.weights @ top) / (self.weights @ (np.ones_like(top) if bottom is None else bottom))
        low, high = np.quantile(draws[1:], [0.025, 0.975])
        return float(draws[0]), float(low), float(high)


def payers(arrivals: Sequence[Arrival]) -> NDArray[np.int64]:
    """A number for each payer: by customer, else by attempt."""
    names = [(a.attempt.payment.customer and a.attempt.payment.customer.id) or a.attempt.attempt_id for a in arrivals]
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def best_threshold(probability: Floats, allowed: Floats, blocked: Floats) -> float:
    """The fixed threshold that would have earned most on these very payments.

    >>> best_threshold(np.array([0.9, 0.1]), np.array([-5.0, 3.0]), np.array([0.0, 0.0]))
    0.9
    """
    order = np.argsort(-probability, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((blocked - allowed)[order])])
    best = int(gained.argmax())
    return float(probability[order][best - 1]) if best else 1.0 + 1e-9
