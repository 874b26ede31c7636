"""What the arms of running experiments did, counted as it happens: bounded memory, whatever an experiment's size.

A unit (card, customer, merchant, payment, cell in a block of time) falls into one of `BUCKETS` buckets of its arm by
its hash, and all of its rows into the same one. So buckets are clusters of whole units: sums over them give the delta
method, and the cluster bootstrap, with some 500 clusters an arm and no list of units. How many units there were is
counted in a bitmap (Whang, Vander-Zanden and Taylor 1990).

A payment counts for approval once it is settled: at the first answer, when we block it, when the payer leaves, or a day
later as not approved. Reports, disputes and what they cost count whenever they come, for the arm that decided.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import log
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import stakes
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import Experiment, Exposure
from greenlane.policy.running import EXPERIMENT, EXPERIMENT_DECODER
from greenlane.ports.changes import CHANGE_DECODER
from greenlane.ports.journal import Entry

Floats = NDArray[np.float64]

COLUMNS: Final = (
    "exposed", "settled", "approved", "attempts", "attempts_approved", "decisions", "challenged", "blocked",
    "latency_us", "expected_loss_minor", "believed_minor", "earned_minor", "lost_minor", "reports", "disputes",
    "before",
)  # fmt: skip
"""Sums by bucket. `exposed` are payments; `before` is what the card's past said of approval, less the mean."""
AT: Final = {name: place for place, name in enumerate(COLUMNS)}
BUCKETS: Final = 512
BITS: Final = 1 << 20
CELLS: Final = 1 << 16
"""Cards share cells of the past: approved and answered attempts."""
PAYMENTS_MAX: Final = 50_000
"""Payments that are still followed, the latest; one that left is looked up in the journal."""
EXPERIMENTS_MAX: Final = 64
DAYS_MAX: Final = 400
PASSES: Final = frozenset({"allow", "exempt"})
GONE: Final = frozenset({"abandoned"})
E9: Final = 1e9
MICRO: Final = 1e6

First = Callable[[str], DecisionRecord | None]
"""The first decision of a payment, or None."""
Scored = Callable[[str, DecisionRecord], int | None]
"""(experiment, a decision in it) -> P(fraud) by the reference model, integer 1e-9."""


def own_score(_experiment: str, record: DecisionRecord) -> int | None:
    return record.fraud_probability_e9


class Point(Struct, frozen=True, gc=False):
    """One look of a guardrail: where its sequence stood, at how many payments of both arms."""

    at_us: int
    units: int
    harm: float
    low: float
    """Above the tolerated change: the arm is paused."""
    p_value: float


class Pause(Struct, frozen=True, gc=False):
    """The look at which a guardrail broke."""

    arm: str
    metric: str
    point: Point


class Followed(Struct, array_like=True, gc=False):
    """A payment under way, or waiting for its labels."""

    arms: tuple[Exposure, ...]
    at_us: int
    settled: bool
    approved: bool
    answered: tuple[str, ...]
    reported: bool
    before: float


class Tally:
    """Of one experiment."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.sums: dict[str, Floats] = {arm.name: np.zeros((BUCKETS, len(COLUMNS))) for arm in experiment.arms}
        self.bits = {arm.name: np.zeros(BITS // 8, np.uint8) for arm in experiment.arms}
        self.set_bits = dict.fromkeys(self.sums, 0)
        self.by_day: dict[str, dict[int, int]] = {name: {} for name in self.sums}
        """Payments by UTC day of their first decision: how old they are, so how much of the labels can have come."""
        self.forbidden = dict.fromkeys(self.sums, 0)
        """Attempts granted although a limit stood against them."""
        self.started_us = self.ended_us = 0
        self.srm_p_value = 1.0
        """The smallest one of the sequential check so far."""
        self.exposed = self.looked_at = 0
        """Payments of all arms, now and at the last look."""
        self.paths: dict[str, list[Point]] = {}
        """By ARM/METRIC: thinned to a bounded number of looks."""
        self.pauses: list[Pause] = []
        self.paused_once: set[str] = set()
        """Arms that were paused for a while: the others went on, so that shares and days differ from theirs."""

    def add(self, seen: Exposure, /, **amounts: float) -> None:
        if seen.arm in self.sums:
            row = self.sums[seen.arm][seen.unit % BUCKETS]
            for name, amount in amounts.items():
                row[AT[name]] += amount

    def meet(self, exposed: Exposure, at_us: int) -> None:
        """A unit of the arm: perhaps one that was met before."""
        if exposed.arm not in self.bits:
            return
        self.exposed += 1
        bit = (exposed.unit >> 16) % BITS
        byte, mask = bit >> 3, 1 << (bit & 7)
        if not self.bits[exposed.arm][byte] & mask:
            self.bits[exposed.arm][byte] |= mask
            self.set_bits[exposed.arm] += 1
        days, day = self.by_day[exposed.arm], at_us // DAY_US
        days[day] = days.get(day, 0) + 1
        if len(days) > DAYS_MAX:
            first = min(days)
            days[first + 1] = days.get(first + 1, 0) + days.pop(first)

    def units(self, arm: str) -> int:
        """Distinct units, to about a thousandth.

        >>> Tally(Experiment(id="x", unit="card", arms=())).set_bits
        {}
        """
        return round(-BITS * log(1.0 - min(self.set_bits[arm], BITS - 1) / BITS))

    def total(self, arm: str, column: str) -> float:
        return float(self.sums[arm][:, AT[column]].sum())

    def dump(self) -> bytes:
        arms = {name: (self.sums[name].tobytes(), self.bits[name].tobytes(), self.set_bits[name],
                       sorted(self.by_day[name].items()), self.forbidden[name]) for name in self.sums}  # fmt: skip
        counts, paused = (self.exposed, self.looked_at), sorted(self.paused_once)
        rest = (self.started_us, self.ended_us, self.srm_p_value, counts, self.paths, self.pauses, paused)
        return msgspec.msgpack.encode((self.experiment, arms, rest))

    @classmethod
    def load(cls, dumped: bytes) -> "Tally":
        experiment, arms, rest = msgspec.msgpack.decode(dumped, type=Dumped)
        found = cls(experiment)
        for name, (sums, bits, set_bits, by_day, forbidden) in arms.items():
            found.sums[name] = np.frombuffer(sums).reshape(BUCKETS, len(COLUMNS)).copy()
            found.bits[name] = np.frombuffer(bits, np.uint8).copy()
            found.set_bits[name], found.forbidden[name], found.by_day[name] = set_bits, forbidden, dict(by_day)
        found.started_us, found.ended_us, found.srm_p_value, counts, found.paths, found.pauses, paused = rest
        found.paused_once = set(paused)
        found.exposed, found.looked_at = counts
        return found


class ArmDump(NamedTuple):
    sums: bytes
    bits: bytes
    set_bits: int
    by_day: list[tuple[int, int]]
    forbidden: int


Rest = tuple[int, int, float, tuple[int, int], dict[str, list[Point]], list[Pause], list[str]]
Dumped = tuple[Experiment, dict[str, ArmDump], Rest]


class Tallies:
    """The fold over all experiments that ever started. `first` finds what a payment that is followed no more was given;
    `reference` scores a decision by the model that was champion when its experiment started.
    """

    def __init__(
        self,
        economics_of: Callable[[str], Economics],
        *,
        first: First = lambda _payment_id: None,
        reference: Scored = own_score,
    ):
        self.economics_of, self.first, self.reference = economics_of, first, reference
        self.of: dict[str, Tally] = {}
        self.payments: dict[str, Followed] = {}
        self.waiting: deque[Followed] = deque()
        """Not settled when they came, the oldest first."""
        self.past: NDArray[np.int32] = np.zeros((CELLS, 2), np.int32)

    def apply(self, entry: Entry) -> None:
        if entry.kind == "control":
            self._changed(entry)
        elif entry.facts is None or not self.of:
            self._remember(entry)
        elif entry.kind == "decision":
            self._decided(entry, entry.facts)
        else:
            self._remember(entry)
            self._happened(entry, entry.facts)

    def settle(self, now_us: int) -> None:
        """Payments that nobody answered in a day are not approved."""
        while self.waiting and self.waiting[0].at_us + DAY_US <= now_us:
            self._settle(self.waiting.popleft())

    def dump(self) -> bytes:
        past = self.past.tobytes() if self.past.any() else b""
        return msgspec.msgpack.encode(([each.dump() for each in self.of.values()], list(self.payments.items()), past))

    def restore(self, dumped: bytes) -> None:
        kinds = tuple[list[bytes], list[tuple[str, Followed]], bytes]
        tallies, payments, past = msgspec.msgpack.decode(dumped, type=kinds)
        loaded = [Tally.load(each) for each in tallies]
        self.of, self.payments = {each.experiment.id: each for each in loaded}, dict(payments)
        self.waiting = deque(each for each in self.payments.values() if not each.settled)
        if past:
            self.past = np.frombuffer(past, np.int32).reshape(CELLS, 2).copy()

    def _changed(self, entry: Entry) -> None:
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject != EXPERIMENT:
            return
        after = EXPERIMENT_DECODER.decode(change.after)
        tally = self.of.get(change.id)
        if after is None or (tally is None and after.state == "draft"):
            self.of.pop(change.id, None)
            return
        if tally is None or [a.name for a in tally.experiment.arms] != [a.name for a in after.arms]:
            tally = self.of[change.id] = Tally(after)
            while len(self.of) > EXPERIMENTS_MAX:
                del self.of[next(iter(self.of))]
        again = set(tally.experiment.paused_arms) - set(after.paused_arms)
        tally.pauses = [pause for pause in tally.pauses if pause.arm not in again]
        tally.experiment = after
        tally.paused_once |= set(after.paused_arms)
        tally.started_us = tally.started_us or entry.ingest_us
        tally.ended_us = 0 if after.state == "running" else entry.ingest_us

    def _remember(self, entry: Entry) -> None:
        """What the past says of a card's approval: a covariate that was there before any arm."""
        if entry.kind == "authorization" and entry.facts is not None and entry.facts.card:
            cell = self.past[entry.facts.card % CELLS]
            cell[0] += entry.facts.decline_class == "approved"
            cell[1] += 1

    def _before(self, facts: Facts) -> float:
        approved, answered = (int(n) for n in self.past[facts.card % CELLS]) if facts.card else (0, 0)
        return (approved + 4.5) / (answered + 5.0) - 0.9

    def _decided(self, entry: Entry, facts: Facts) -> None:
        record = record_of(entry) if entry.payload else None
        if record is None or not record.arms or record.attempt.mode == "shadow":
            return
        intervention = record.chosen.action.intervention
        followed = self.payments.get(facts.payment_id)
        latency = float(record.latency_us)
        for exposed in record.arms:
            if (tally := self.of.get(exposed.experiment)) is not None:
                tally.add(exposed, decisions=1.0, latency_us=latency)
                if exposed.arm in tally.forbidden and against_a_limit(record):
                    tally.forbidden[exposed.arm] += 1
        if followed is None and record.further is None and record.attempt_no == 1:
            followed = Followed(record.arms, entry.ingest_us, False, False, (), False, self._before(facts))
            self.payments[facts.payment_id] = followed
            self.waiting.append(followed)
            if len(self.payments) > PAYMENTS_MAX:
                oldest = next(iter(self.payments))
                self._settle(self.payments.pop(oldest))
            self._exposed(record, followed, entry.ingest_us, intervention)
        if followed is not None and record.further is None and intervention == "block":
            self._settle(followed)

    def _exposed(self, record: DecisionRecord, followed: Followed, at_us: int, intervention: str) -> None:
        for exposed in followed.arms:
            tally = self.of.get(exposed.experiment)
            if tally is None:
                continue
            tally.meet(exposed, at_us)
            reference = self.reference(exposed.experiment, record)
            passes = intervention in PASSES and reference is not None
            tally.add(
                exposed,
                exposed=1.0,
                challenged=float(intervention == "challenge"),
                blocked=float(intervention == "block"),
                believed_minor=record.chosen.value_micro / MICRO,
                expected_loss_minor=record.given.amount_minor * (reference or 0) / E9 if passes else 0.0,
                before=followed.before,
            )

    def _happened(self, entry: Entry, facts: Facts) -> None:
        followed = self.payments.get(facts.payment_id)
        if followed is None:
            late = self.first(facts.payment_id) if entry.kind in ("fraud_report", "dispute") else None
            if late is None or not late.arms:
                return
            followed = Followed(late.arms, 0, True, True, (), False, 0.0)
        if entry.kind == "authorization":
            self._answered(followed, facts)
        elif entry.kind in GONE:
            self._settle(followed)
        elif entry.kind in ("fraud_report", "dispute") and entry.sign > 0:
            self._reported(followed, facts, entry.kind)

    def _answered(self, followed: Followed, facts: Facts) -> None:
        if facts.attempt_id in followed.answered or facts.decline_class == "unknown":
            return
        approved = facts.decline_class == "approved"
        followed.answered = (*followed.answered, facts.attempt_id)[-20:]
        self._settle(followed)
        first = approved and not followed.approved
        followed.approved |= approved
        earned = self._stakes(facts)[0] if first else 0.0
        self._add(followed, attempts=1.0, attempts_approved=float(approved), approved=float(first), earned_minor=earned)

    def _reported(self, followed: Followed, facts: Facts, kind: str) -> None:
        amounts = {"reports" if kind == "fraud_report" else "disputes": 1.0}
        if not followed.reported:
            margin, loss = self._stakes(facts)
            amounts["lost_minor"] = margin + loss
        followed.reported = True
        self._add(followed, **amounts)

    def _stakes(self, facts: Facts) -> tuple[float, float]:
        economics = self.economics_of(facts.merchant_id)
        seen = stakes(economics, facts.amount_reporting_minor, "merchant")
        return seen.margin, seen.loss

    def _settle(self, followed: Followed) -> None:
        if not followed.settled:
            followed.settled = True
            self._add(followed, settled=1.0)

    def _add(self, followed: Followed, **amounts: float) -> None:
        for exposed in followed.arms:
            if (tally := self.of.get(exposed.experiment)) is not None:
                tally.add(exposed, **amounts)


def against_a_limit(record: DecisionRecord) -> bool:
    """Was an attempt granted over a way that a limit had barred?"""
    way = record.chosen.action.way
    return any(each.why.startswith("limit:") and (each.route, each.credential) == way for each in record.given.barred)


def sums_of(tally: Tally, arm: str, columns: Sequence[str]) -> Floats:
    """float64[buckets, columns] of an arm's buckets that have anything."""
    found = tally.sums[arm]
    met = found[:, AT["decisions"]] > 0
    return np.asarray(found[met][:, [AT[name] for name in columns]])
