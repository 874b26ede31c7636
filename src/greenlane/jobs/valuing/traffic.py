"""A directory's traffic as an off-policy question sees it: what was open, what was drawn, and what came of it.

A row is the first decision about a payment. Its options are those of one factor: the ways of its intervention, or a
challenge and its alternative, or passing and blocking; each with the probability the record says, and with the money
that the structured model (q, p_A, s of the record) expects. What came of the payment is followed over all its attempts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.errors import InputError
from greenlane.experiments.impact import STEPS
from greenlane.learning.maturity import Maturity, learn_maturity
from greenlane.merchants.book import Book
from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Perspective, Stakes
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import RECORD_DECODER
from greenlane.payments.times import DAY_US
from greenlane.policy.actions import INTERVENTIONS
from greenlane.policy.believe import ONE_E9, Beliefs, believe
from greenlane.policy.choose import ROW, valued
from greenlane.policy.given import FREE
from greenlane.policy.history import NOTHING_YET
from greenlane.policy.price import price
from greenlane.policy.priors import Priors
from greenlane.policy.value import TERMS, Over
from greenlane.ports.journal import Entry

Floats = NDArray[np.float64]

STEP_OF: Final = {
    "margin": "gross", "fees": "fees", "authentication": "fees", "fraud_loss": "fraud", "dispute": "disputes",
    "review": "review", "friction": "friction", "retry_value": "friction",
}  # fmt: skip
"""Which step of the bridge each term of the value formulas belongs to; prices of scarce budgets are no money."""
TO_STEPS: Final = np.array([[float(STEP_OF.get(term) == step) for step in STEPS] for term in TERMS])
FEE, FEE_3DS, DECLINED, CHALLENGE = (Over._fields.index(n) for n in ("fee", "fee_3ds", "declined", "challenge"))
ROWS_MAX: Final = 200_000
LABELS_MIN: Final = 10
USUAL_MATURITY_US: Final = 90 * DAY_US
"""Stated, where too few labels came to learn from: all have come by then, evenly."""
FAILED: Final = ("N", "R")


class Options(NamedTuple):
    """One row's open options, of one factor."""

    names: tuple[str, ...]
    masses: tuple[int, ...]
    """Of what was open to chance."""
    taken: int
    idle: Floats
    """float64[options, STEPS]: money per step if no issuer approved anything."""
    won: Floats
    """float64[options, STEPS]: what believed approvals add to it."""
    approval: Floats
    """float64[options]: P(approved) as believed."""
    fee: Floats
    value: Floats
    """float64[options]: as the choice saw it."""
    attempt: Attempt


class Seen(NamedTuple):
    """All that a factor may look at in one decision."""

    record: DecisionRecord
    facts: Facts
    beliefs: Beliefs
    over: Floats
    """float64[ways, fields of Over]"""
    idle: Floats
    """float64[interventions, ways, STEPS]"""
    full: Floats

    def cells(self, places: Sequence[int], names: Sequence[str], masses: Sequence[int]) -> Options:
        """Options from places in the order of actions."""
        chosen = self.record.chosen
        at = [self.cell(place) for place in places]
        idle = np.array([self.idle[cell] for cell in at])
        return Options(
            tuple(names),
            tuple(masses),
            list(places).index(chosen.explored.place),
            idle,
            np.array([self.full[cell] for cell in at]) - idle,
            np.array([self.approval(*cell) for cell in at]),
            np.array([self.over[way, FEE_3DS if row == ROW["challenge"] else FEE] for row, way in at]),
            np.array([chosen.values_micro[place] for place in places]) / 1e6,
            self.record.attempt,
        )

    def cell(self, place: int) -> tuple[int, int]:
        found = self.record.chosen.may.cell(place)
        if found is None:
            return ROW["block"], 0
        return ROW[self.record.chosen.may.rows[found[0]].intervention], found[1]

    def approval(self, intervention: int, way: int) -> float:
        """P(ends approved)."""
        p, over, payer = self.beliefs.fraud_given_history_e9 / 1e9, Over(*self.over[way]), self.beliefs.payer
        plain = ((1 - p) * over.good + p * over.fraud) / 1e9
        name = INTERVENTIONS[intervention]
        if name == "exempt":
            return (1 - over.soft_decline / 1e9) * ((1 - p) * over.good_exempt + p * over.fraud_exempt) / 1e9
        if name == "challenge":
            passed = (1 - payer.unavailable) * (payer.frictionless_good + (1 - payer.frictionless_good)
                                                * payer.success_good)  # fmt: skip
            return passed * over.good_3ds / 1e9 + payer.unavailable * plain
        return 0.0 if name == "block" else plain


Factor = Callable[[Seen], Options | str]
"""The options of a decision, or why it has no part in the question."""


@dataclass(slots=True)
class Paid:
    """What a payment costs and brings, and what came of it."""

    stakes: Stakes
    fee: float
    fee_3ds: float
    declined: float
    challenge: float
    block: float
    """What turning this payer away costs, for a certainly good one."""
    dispute: float
    fraud: float
    """p_h"""
    fraud_declined: float
    """p_D"""
    intervention: str
    answers: dict[str, str] = field(default_factory=dict)
    """Decline class by attempt."""
    first: str = ""
    """The first attempt's name."""
    status: str = ""
    shifted: bool = False
    reviewed_out: bool = False
    reported_us: int = 0
    disputed_us: int = 0
    overridden: bool = False


@dataclass
class Row:
    facts: Facts
    at_us: int
    options: Options
    paid: Paid


@dataclass
class Followed(ABC):
    """Entries of the journal from its beginning: what was decided in a window, and what came of it whenever."""

    perspective: Perspective
    from_us: int = 0
    to_us: int = 2**62
    left_out: dict[str, int] = field(default_factory=dict)
    decisions: int = 0
    last_us: int = 0
    _book: Book = field(default_factory=Book)

    def take(self, entries: Iterable[Entry]) -> Self:
        for entry in entries:
            self.last_us = entry.ingest_us
            if entry.kind == "control":
                self._book.apply(entry)
            elif entry.facts is not None and entry.sign > 0:
                if entry.kind != "decision":
                    self._heard(entry, entry.facts)
                elif self.from_us <= entry.ingest_us < self.to_us:
                    self._decided(entry, entry.facts)
        return self

    @abstractmethod
    def _decided(self, entry: Entry, facts: Facts) -> None:
        """Within the window."""

    @abstractmethod
    def _heard(self, entry: Entry, facts: Facts) -> None: ...

    def _leave_out(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def refuse_few(self, rows: Sized, *, nothing: str, hint: str) -> None:
        """InputError where hardly anything is left."""
        if len(rows) < 2:
            why = ", ".join(f"{count:,} {name}" for name, count in self.left_out.items()) or nothing
            raise InputError(f"nothing here can be valued: {why}", code="nothing_to_value", hint=hint)


@dataclass(kw_only=True)
class Fold(Followed):
    """Rows of the window in their order."""

    factor: Factor
    priors: Priors
    rows: list[Row] = field(default_factory=list)
    delays: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"report": [], "dispute": []})
    """(delay, time of the payment) of each label, whoever decided the payment."""
    _paid: dict[str, Paid] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def _decided(self, entry: Entry, facts: Facts) -> None:
        if facts.payment_id in self._known:
            return None
        if not entry.payload:
            return self._leave_out("its payload has retired")
        record = record_of(entry)
        if record.further is not None or record.attempt.mode == "shadow":
            return None
        self._known.add(facts.payment_id)
        self.decisions += 1
        economics = self._book.economics(facts.merchant_id, mcc=facts.mcc or None)
        seen = seen_in(record, facts, economics, self.perspective, self.priors)
        options = seen if isinstance(seen, str) else self.factor(seen)
        if isinstance(options, str):
            return self._leave_out(options)
        assert not isinstance(seen, str), "without a view there are no options"
        if len(self.rows) >= ROWS_MAX:
            raise InputError(f"more than {ROWS_MAX:,} decisions are asked for", hint="take a shorter --from and --to")
        paid = paid_of(seen, economics, self.perspective)
        self._paid[facts.payment_id] = paid
        self.rows.append(Row(facts, entry.ingest_us, options, paid))
        return None

    def _heard(self, entry: Entry, facts: Facts) -> None:
        said = RECORD_DECODER.decode(entry.payload) if entry.payload else None
        kind = said.type if said is not None else entry.kind
        if kind in ("fraud_report", "dispute"):
            fraud = kind == "fraud_report" or facts.code == "fraud"
            self.delays["report" if fraud else "dispute"].append((entry.ingest_us - facts.payment_us, facts.payment_us))
        paid = self._paid.get(facts.payment_id)
        if paid is None or said is None:
            return
        if kind == "fraud_report" or (kind == "dispute" and facts.code == "fraud"):
            paid.reported_us = paid.reported_us or entry.ingest_us
        elif kind == "dispute":
            paid.disputed_us = paid.disputed_us or entry.ingest_us
        elif kind == "authorization":
            paid.first = paid.first or facts.attempt_id
            paid.answers[facts.attempt_id] = facts.decline_class
            paid.overridden |= said.overridden
        elif kind == "authentication" and not paid.status:
            paid.status, paid.shifted = facts.code, bool(said.liability_shift)
        elif kind in ("abandoned", "review") and said.result != "succeeded":
            paid.reviewed_out = True


def seen_in(
    record: DecisionRecord, facts: Facts, economics: Economics, perspective: Perspective, priors: Priors
) -> Seen | str:
    """What the record believed, as money; or why it cannot be said."""
    chosen, given = record.chosen, record.given
    if chosen.rung != "full" or not chosen.values_micro or chosen.explored.degraded:
        return "degraded: nothing was valued"
    history = given.history or NOTHING_YET
    given = replace(given, multipliers=FREE)
    attempt, may = record.attempt, chosen.may
    beliefs = believe(attempt, given, may.ways, economics=economics, priors=priors, history=history)
    nobody = tuple(a._replace(**dict.fromkeys(a._fields[:6], 0)) for a in beliefs.approvals)
    (_, _, idle), (_, over, full) = (
        valued(may, each, attempt, given, perspective=perspective, economics=economics, history=history)
        for each in (beliefs._replace(approvals=nobody), beliefs)
    )
    return Seen(record, facts, beliefs, over, *(each[:, :, : len(TERMS)] / 1e6 @ TO_STEPS for each in (idle, full)))


def paid_of(seen: Seen, economics: Economics, perspective: Perspective) -> Paid:
    record, chosen = seen.record, seen.record.chosen
    money = price(record.attempt, replace(record.given, multipliers=FREE), perspective, economics=economics,
                  history=record.given.history or NOTHING_YET,
                  challengeable="challenge" in chosen.may.interventions)  # fmt: skip
    _, way = seen.cell(chosen.explored.place)
    fee, fee_3ds, declined, challenge = (float(seen.over[way, at]) for at in (FEE, FEE_3DS, DECLINED, CHALLENGE))
    believed = chosen.probabilities
    stated = economics.dispute_cost_minor
    return Paid(
        stakes=money,
        fee=fee,
        fee_3ds=fee_3ds,
        declined=declined,
        challenge=challenge,
        block=money.false_decline - money.other_method,
        dispute=0.0 if perspective == "psp" else money.margin + money.loss if stated is None else float(stated),
        fraud=seen.beliefs.fraud_given_history_e9 / ONE_E9,
        fraud_declined=believed.fraud_given_decline_e9 / ONE_E9 if believed else 0.0,
        intervention=chosen.action.intervention,
    )


@dataclass(frozen=True, eq=False)
class Traffic:
    """Arrays of one question: `n` rows, options numbered over the whole window."""

    names: tuple[str, ...]
    logging: Floats
    """float64[n, options]"""
    open_to: NDArray[np.bool_]
    action: NDArray[np.int64]
    idle: Floats
    """float64[n, options, STEPS]"""
    won: Floats
    approval: Floats
    """float64[n, options]"""
    fee: Floats
    value: Floats
    money: Floats
    """float64[n, STEPS]: what came of the payment, frauds and disputes matured."""
    attempt_approved: Floats
    payment_approved: Floats
    asked: NDArray[np.bool_]
    """The first attempt reached the issuer."""
    reported: NDArray[np.bool_]
    fraud: Floats
    """p_h"""
    maturity: Floats
    at_us: NDArray[np.int64]
    card: NDArray[np.int64]
    rows: list[Row]
    left_out: dict[str, int]
    decisions: int

    def __len__(self) -> int:
        return len(self.action)

    @property
    def done(self) -> Floats:
        """float64[n]: the probability of what was done."""
        return np.asarray(self.logging[np.arange(len(self)), self.action])

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Forty stretches of time, or days where there are more."""
        span = int(self.at_us.max() - self.at_us.min()) + 1
        return np.asarray((self.at_us - self.at_us.min()) * 40 // span if span < 40 * DAY_US else self.at_us // DAY_US)


def traffic_of(
    entries: Iterable[Entry],
    factor: Factor,
    *,
    perspective: Perspective,
    priors: Priors,
    from_us: int = 0,
    to_us: int = 2**62,
) -> Traffic:
    """Of the first decisions made from `from_us` until before `to_us`.

    Raises InputError where none has a distribution: such a log says nothing of what was not done.
    """
    fold = Fold(perspective, from_us, to_us, factor=factor, priors=priors).take(entries)
    kept = [row for row in fold.rows if not row.paid.overridden]
    if len(kept) < len(fold.rows):
        fold.left_out["overridden by the caller"] = len(fold.rows) - len(kept)
    hint = "decide with models and an exploration budget; `greenlane simulate live` does so in a fresh directory"
    fold.refuse_few(kept, nothing="no decision in the window", hint=hint)
    return stacked(kept, fold)


def stacked(rows: list[Row], fold: Fold) -> Traffic:
    names = tuple(sorted({name for row in rows for name in row.options.names}))
    place = {name: at for at, name in enumerate(names)}
    n, k, steps = len(rows), len(names), len(STEPS)
    logging, approval, fee = np.zeros((n, k)), np.zeros((n, k)), np.full((n, k), np.inf)
    value, open_to, action = np.full((n, k), -np.inf), np.zeros((n, k), bool), np.zeros(n, np.int64)
    idle, won = np.zeros((n, k, steps)), np.zeros((n, k, steps))
    for i, row in enumerate(rows):
        options, at = row.options, [place[name] for name in row.options.names]
        masses = np.array(options.masses, np.float64)
        logging[i, at], open_to[i, at], action[i] = masses / masses.sum(), True, at[options.taken]
        idle[i, at], won[i, at] = options.idle, options.won
        approval[i, at], fee[i, at], value[i, at] = options.approval, options.fee, options.value
    at_us = np.array([row.at_us for row in rows], np.int64)
    reports, disputes = (known(fold.delays[kind], fold.last_us - at_us, fold.last_us) for kind in fold.delays)
    money = [realised(row.paid, f, d) for row, f, d in zip(rows, reports.tolist(), disputes.tolist(), strict=True)]
    card = np.array([row.facts.card or -1 - i for i, row in enumerate(rows)], np.int64)
    approved = [[x == "approved" for x in row.paid.answers.values()] for row in rows]
    first = [row.paid.answers.get(row.paid.first) == "approved" for row in rows]
    return Traffic(
        names=names, logging=logging, open_to=open_to, action=action, idle=idle, won=won, approval=approval, fee=fee,
        value=value, money=np.array(money), attempt_approved=np.array(first, np.float64),
        payment_approved=np.array([any(each) for each in approved], np.float64),
        asked=np.array([bool(row.paid.answers) for row in rows]),
        reported=np.array([row.paid.reported_us > 0 for row in rows]),
        fraud=np.array([row.paid.fraud for row in rows]), maturity=np.minimum(reports, disputes), at_us=at_us,
        card=card, rows=rows, left_out=dict(fold.left_out), decisions=fold.decisions,
    )  # fmt: skip


def known(delays: list[tuple[int, int]], age_us: NDArray[np.int64], now_us: int) -> Floats:
    """F of each age: learned where enough labels came, else as stated."""
    if len(delays) < LABELS_MIN:
        return np.clip(age_us / USUAL_MATURITY_US, 0.0, 1.0)
    pairs = np.array(delays, np.int64)
    delay, age = np.maximum(pairs[:, 0], 0), np.maximum(now_us - pairs[:, 1], pairs[:, 0])
    learned: Maturity = learn_maturity(delay, age)
    return learned.at(age_us)


def realised(paid: Paid, reports: float, disputes: float) -> list[float]:
    """Minor units per step. A label that came at maturity F stands for 1 / F of them."""
    money = paid.stakes
    if paid.intervention == "block":
        return [0.0, 0.0, 0.0, 0.0, 0.0, -(1.0 - paid.fraud) * paid.block]
    passed, challenged = paid.status in ("Y", "A"), paid.intervention == "challenge"
    fee = paid.fee_3ds if challenged and passed else paid.fee
    approved = any(answer == "approved" for answer in paid.answers.values())
    refused = sum(answer != "approved" for answer in paid.answers.values())
    fraud = min(1.0 / max(reports, 0.3), 10.0) if paid.reported_us and approved else 0.0
    disputed = min(1.0 / max(disputes, 0.3), 10.0) if paid.disputed_us and approved else 0.0
    own, borne = money.loss + money.unrefunded * fee, money.shifted_by_challenge if paid.shifted else 0.0
    friction = 0.0
    if challenged and paid.status in FAILED:
        friction -= (1.0 - paid.fraud) * money.abandonment
    if refused and not approved:
        friction += (1.0 - paid.fraud_declined) * money.stop
    if paid.reviewed_out:
        friction -= (1.0 - paid.fraud) * money.false_decline
    return [
        money.margin * (1.0 - fraud) if approved else 0.0,
        -(fee * (1.0 - fraud) if approved else 0.0) - refused * paid.declined - challenged * paid.challenge,
        -fraud * ((1.0 - borne) * own + borne * money.handling),
        -disputed * paid.dispute,
        -money.review if paid.intervention == "review" else 0.0,
        friction,
    ]
