"""Retries as an off-policy question: over which way would a candidate have tried again, and what would that bring?

A ladder is a payment's further attempts that left at once (`retry_now`), each over a way that was drawn. What a step
earned is weighed by the product of the weights up to it (per-decision weights): what a later step was, hangs on the
ones before. Whether and when to try again was never drawn, so it is not asked. No direct model is used: DR is IPW.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.errors import InputError
from greenlane.experiments.impact import PER, STEPS, Bridge, Step
from greenlane.experiments.off_policy import Overlap, Term, differences, overlap_of_sequences, term
from greenlane.jobs.valuing.claims import Claims, bridged, claims
from greenlane.jobs.valuing.questions import greedy
from greenlane.jobs.valuing.traffic import DECLINED, FEE, Followed, known
from greenlane.learning.labels import kind_of
from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Perspective, Stakes
from greenlane.payments.facts import Facts
from greenlane.policy.believe import CERTAIN
from greenlane.policy.given import FREE
from greenlane.policy.history import NOTHING_YET
from greenlane.policy.price import price, ways_matrix
from greenlane.ports.journal import Entry

Floats = NDArray[np.float64]
STEPS_MAX: Final = 3
"""Of a ladder."""


@dataclass
class Try:
    """One further attempt."""

    attempt_id: str
    names: list[str]
    masses: list[int]
    taken: int
    value: list[float]
    approval: list[float]
    fee: list[float]
    declined: list[float]


@dataclass
class Ladder:
    card: int
    at_us: int
    stakes: Stakes
    fraud_declined: float
    tries: list[Try] = field(default_factory=list)
    reported: bool = False


@dataclass
class Ladders(Followed):
    """By payment, in the order of first further attempts."""

    found: dict[str, Ladder] = field(default_factory=dict)
    delays: list[tuple[int, int]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    def _heard(self, entry: Entry, facts: Facts) -> None:
        kind = kind_of(entry)
        if kind == "authorization":
            self.answers[facts.attempt_id] = facts.decline_class
        elif kind == "fraud_report" or (kind == "dispute" and facts.code == "fraud"):
            self.delays.append((entry.ingest_us - facts.payment_us, facts.payment_us))
            if facts.payment_id in self.found:
                self.found[facts.payment_id].reported = True

    def _decided(self, entry: Entry, facts: Facts) -> None:
        record = record_of(entry) if entry.payload else None
        if record is None or record.further is None or record.attempt.mode == "shadow":
            return None
        self.decisions += 1
        step, chosen = record.further.found.next, record.chosen
        why = "" if step == "retry_now" else f"{step}: nothing left at once"
        if not why and (chosen.rung != "full" or chosen.explored.degraded or len(chosen.may.ways) == 0):
            why = "degraded: nothing was valued"
        ladder = self.found.get(facts.payment_id)
        if not why and ladder is not None and len(ladder.tries) >= STEPS_MAX:
            why = f"a retry beyond the first {STEPS_MAX}"
        if why:
            return self._leave_out(why)
        economics = self._book.economics(facts.merchant_id, mcc=facts.mcc or None)
        money, tried = try_of(record, facts, economics, self.perspective)
        if ladder is None:
            seen = chosen.probabilities
            doubt = 0.0 if seen is None else seen.fraud_given_decline_e9 / 1e9
            ladder = self.found[facts.payment_id] = Ladder(facts.card, entry.ingest_us, money, doubt)
        ladder.tries.append(tried)
        return None


def try_of(record: DecisionRecord, facts: Facts, economics: Economics, perspective: Perspective) -> tuple[Stakes, Try]:
    chosen, given = record.chosen, replace(record.given, multipliers=FREE)
    may, history = chosen.may, given.history or NOTHING_YET
    money = price(record.attempt, given, perspective, economics=economics, history=history, challengeable=False)
    over = ways_matrix(may, (CERTAIN,) * len(may.ways), record.attempt, replace(given, declined=None),
                       economics=economics, money=money)  # fmt: skip
    sent = [place for place, action in enumerate(chosen.actions) if action.route]
    ways = [may.ways.index(chosen.actions[place].way) for place in sent]
    seen = chosen.probabilities
    return money, Try(
        facts.attempt_id,
        ["/".join(may.ways[way]) for way in ways],
        [chosen.distribution[place] for place in sent],
        sent.index(chosen.explored.place),
        [chosen.values_micro[place] / 1e6 for place in sent],
        [0.0 if seen is None else seen.approval_e9[way] / 1e9 for way in ways],
        over[ways, FEE].tolist(),
        over[ways, DECLINED].tolist(),
    )


@dataclass(frozen=True, eq=False)
class Climbed:
    """Arrays [payments, STEPS_MAX, ...] of the ladders of a window."""

    names: tuple[str, ...]
    logging: Floats
    open_to: NDArray[np.bool_]
    action: NDArray[np.int64]
    steps: NDArray[np.int64]
    scores: dict[str, Floats]
    """By candidate: higher is chosen."""
    money: Floats
    """float64[payments, STEPS_MAX, STEPS]"""
    low: Floats
    """The same: the least that a try could have brought, whatever came of it; `high` the most."""
    high: Floats
    approved: Floats
    card: NDArray[np.int64]
    block: NDArray[np.int64]
    maturity: Floats
    left_out: dict[str, int]

    def target(self, candidate: str) -> Floats:
        """Raises InputError where nothing of this name routes."""
        routes = {name.partition("/")[0] for name in self.names}
        if candidate in self.scores:
            score, can = self.scores[candidate], np.asarray(self.open_to)
        elif candidate in routes:
            mine = np.array([name.partition("/")[0] == candidate for name in self.names])
            score, can = self.scores["best value"], np.asarray(self.open_to & mine)
        else:
            hint = f"one of {', '.join([*self.scores, *sorted(routes)])}"
            raise InputError(f"{candidate!r} is no way to try again", code="unknown_candidate", param="--candidate",
                             hint=hint)  # fmt: skip
        n, steps, k = self.logging.shape
        chosen = greedy(score.reshape(-1, k), can.reshape(-1, k)).reshape(n, steps, k)
        somewhere = can.any(axis=-1, keepdims=True)
        return np.where(somewhere, chosen, self.logging)


def climbed(fold: Ladders) -> Climbed:
    ladders = list(fold.found.values())
    hint = "retries need answers through next_action, and an exploration budget for routes"
    fold.refuse_few(ladders, nothing="no next action in the window", hint=hint)
    names = tuple(sorted({name for one in ladders for tried in one.tries for name in tried.names}))
    shape = len(ladders), STEPS_MAX, len(names)
    logging, open_to, action = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape[:2], np.int64)
    scores = {name: np.full(shape, -np.inf) for name in ("cheapest", "best approval", "best value")}
    money, approved = np.zeros((*shape[:2], len(STEPS))), np.zeros(shape[:2])
    low, high = np.zeros_like(money), np.zeros_like(money)
    at_us = np.array([one.at_us for one in ladders], np.int64)
    maturity = known(fold.delays, fold.last_us - at_us, fold.last_us)
    for i, ladder in enumerate(ladders):
        for t, tried in enumerate(ladder.tries):
            at, masses = [names.index(name) for name in tried.names], np.array(tried.masses, np.float64)
            logging[i, t, at], open_to[i, t, at], action[i, t] = masses / masses.sum(), True, at[tried.taken]
            scores["cheapest"][i, t, at] = -np.array(tried.fee)
            scores["best approval"][i, t, at], scores["best value"][i, t, at] = tried.approval, tried.value
            approved[i, t] = fold.answers.get(tried.attempt_id) == "approved"
            last = t == len(ladder.tries) - 1
            money[i, t] = earned(ladder, tried, approved=bool(approved[i, t]), last=last, share=float(maturity[i]))
            low[i, t], high[i, t] = extremes(ladder, tried)
    span = max(int(at_us.max() - at_us.min()) + 1, 1)
    cards = np.array([one.card or -1 - i for i, one in enumerate(ladders)], np.int64)
    return Climbed(
        names, logging, open_to, action, np.array([len(one.tries) for one in ladders], np.int64), scores, money,
        np.minimum(low, money), np.maximum(high, money), approved, cards, (at_us - at_us.min()) * 40 // span, maturity,
        dict(fold.left_out),
    )  # fmt: skip


def earned(ladder: Ladder, tried: Try, *, approved: bool, last: bool, share: float) -> list[float]:
    money, fee, declined = ladder.stakes, tried.fee[tried.taken], tried.declined[tried.taken]
    if not approved:
        return [0.0, -declined, 0.0, 0.0, 0.0, (1.0 - ladder.fraud_declined) * money.stop if last else 0.0]
    fraud = min(1.0 / max(share, 0.3), 10.0) if ladder.reported else 0.0
    return [money.margin * (1.0 - fraud), -fee * (1.0 - fraud), -fraud * (money.loss + money.unrefunded * fee), 0.0,
            0.0, 0.0]  # fmt: skip


def extremes(ladder: Ladder, tried: Try) -> tuple[list[float], list[float]]:
    """The least and the most per step, over any of the ways: a fraud that nobody has reported yet among them."""
    money, fee = ladder.stakes, max(tried.fee)
    stopped = (1.0 - ladder.fraud_declined) * money.stop
    low = [0.0, -fee - max(tried.declined), -money.loss - money.unrefunded * fee, 0.0, 0.0, min(stopped, 0.0)]
    return low, [money.margin, 0.0, 0.0, 0.0, 0.0, max(stopped, 0.0)]


def terms_of(seen: Overlap, found: Climbed) -> dict[str, Term]:
    """Steps that could move: where nothing happened yet, there are bounds."""
    low, high = found.low, found.high
    return {
        name: term(seen, found.money[:, :, k], low=low[:, :, k], high=high[:, :, k])
        for k, name in enumerate(STEPS)
        if (high[:, :, k] - low[:, :, k]).any()
    }


class Answered(NamedTuple):
    bridge: Bridge
    claims: Claims
    moved: float
    """Share of tries that would go another way."""


def answered(found: Climbed, target: Floats, *, effect: float | None) -> Answered:
    """`target` is float64[payments, STEPS_MAX, options]; `effect` per payment."""
    seen = overlap_of_sequences(
        target, found.logging, action=found.action, steps=found.steps, cluster=found.card, block=found.block
    )
    said = claims(seen, terms_of(seen, found), effect=effect, maturity=found.maturity, excluded=found.left_out)
    won = differences(seen, term(seen, found.approved))["DR"]
    approval = {name: Step(name, PER * won.value, PER * won.low, PER * won.high) for name in ("attempts", "payments")}
    bridge = bridged(said, payments=len(found.card), approval=approval)
    return Answered(bridge, said, float(seen.moved().sum() / max(found.steps.sum(), 1)))
