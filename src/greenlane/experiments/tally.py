"""What the arms of running experiments did, counted as it happens: bounded memory, whatever an experiment's size.

A unit (card, customer, merchant, payment, cell in a block of time) falls into one of `BUCKETS` buckets of its arm by
its hash, and all of its rows into the same one. So buckets are clusters of whole units: sums over them give the delta
method, and the cluster bootstrap, with some 500 clusters an arm and no list of units. How many units there were is
counted in a bitmap (Whang, Vander-Zanden and Taylor 1990).

A payment counts for approval once it is settled: at the first answer, when we block it, when the payer leaves, or a day
later as not approved. Reports, disputes and what they cost count whenever they come, for the arm that decided.

An arm that is resumed begins anew: what paused it says nothing of what it does from now on, and its days would be
others than the control's. It is held against what the control does from that moment on.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import log
from typing import Any, Final, get_args

import msgspec
import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.learning.labels import kind_of
from greenlane.learning.lateness import Late, Lateness
from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import stakes
from greenlane.payments.arrays import Floats
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import PPM, Arm, Assignment, Experiment, Exposure, hashed
from greenlane.policy.running import EXPERIMENT, EXPERIMENT_DECODER, HOLDOUT, SHARE_DECODER
from greenlane.ports.journal import CHANGE_DECODER, Entry

COLUMNS: Final = (
    "exposed", "settled", "approved", "attempts", "attempts_approved", "decisions", "challenged", "blocked",
    "latency_us", "expected_loss_minor", "believed_minor", "earned_minor", "lost_minor", "disputed_minor", "reports",
    "disputes", "units", "before",
)  # fmt: skip
"""Sums by bucket. `exposed` are payments; `disputed_minor` is that part of what was lost of which a dispute told first;
`before` is, once for each unit, what its card's past said of approval when the experiment started.
"""
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
NO_YARDSTICK: Final = "champions come and go while cards are held out"
E9: Final = 1e9
MICRO: Final = 1e6

First = Callable[[str], DecisionRecord | None]
"""The first decision of a payment, or None."""
Scored = Callable[[str, DecisionRecord], int | str | None]
"""(experiment, a decision in it) -> P(fraud) by the reference model, integer 1e-9; or why there is no yardstick."""


def own_score(_experiment: str, record: DecisionRecord) -> int | str | None:
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
    settled: bool = False
    approved: bool = False
    answered: tuple[str, ...] = ()
    reported: bool = False


class Units(Struct, array_like=True, eq=False):
    """Distinct ones that were met, counted to about a thousandth.

    >>> met = Units()
    >>> [met.add(unit << 16) for unit in (7, 8, 7)], met.count()
    ([True, True, False], 2)
    """

    bits: bytearray = field(default_factory=lambda: bytearray(BITS // 8))
    set_bits: int = 0

    def add(self, unit: int) -> bool:
        """True where it was not met before."""
        bit = (unit >> 16) % BITS
        byte, mask = bit >> 3, 1 << (bit & 7)
        if self.bits[byte] & mask:
            return False
        self.bits[byte] |= mask
        self.set_bits += 1
        return True

    def count(self) -> int:
        return round(-BITS * log(1.0 - min(self.set_bits, BITS - 1) / BITS))


def nothing_yet() -> Floats:
    return np.zeros((BUCKETS, len(COLUMNS)))


class ArmTally(Struct, array_like=True, eq=False):
    """What one arm did since `since_us`; payments from before, and what is still heard of them, are not in it."""

    since_us: int = 0
    sums: Floats = field(default_factory=nothing_yet)
    earlier: Floats = field(default_factory=nothing_yet)
    """Of the control: what it did with payments from before `since_us`."""
    met: Units = field(default_factory=Units)
    beside: Units | None = None
    """Of an arm that was resumed: what the control met since."""
    by_day: dict[int, int] = {}
    """Payments by UTC day of their first decision: how old they are, so how much of the labels can have come."""
    forbidden: int = 0
    """Attempts granted although a limit stood against them."""

    def meet(self, unit: int, at_us: int) -> bool:
        """A payment of this unit; True where the unit was not met before."""
        day = at_us // DAY_US
        self.by_day[day] = self.by_day.get(day, 0) + 1
        if len(self.by_day) > DAYS_MAX:
            first = min(self.by_day)
            self.by_day[first + 1] = self.by_day.get(first + 1, 0) + self.by_day.pop(first)
        return self.met.add(unit)

    def total(self, column: str) -> float:
        return float(self.sums[:, AT[column]].sum())


class Tally(Struct, array_like=True, eq=False):
    """Of one experiment."""

    experiment: Experiment
    past: NDArray[np.float32] = field(default_factory=lambda: np.zeros(CELLS, np.float32))
    """What cards' pasts said of approval when it started, by cell, less a mean."""
    arms: dict[str, ArmTally] = {}
    started_us: int = 0
    ended_us: int = 0
    ratios: dict[tuple[str, ...], float] = {}
    """By arms that were checked together: the smallest p of the sequential check so far."""
    exposed: int = 0
    """Payments of all arms, now and (`looked_at`) at the last look."""
    looked_at: int = 0
    paths: dict[str, list[Point]] = {}
    """By ARM/METRIC: thinned to a bounded number of looks."""
    pauses: list[Pause] = []
    unjudged: dict[str, str] = {}
    """By metric: why it is not judged."""

    def __post_init__(self) -> None:
        self.arms = self.arms or {arm.name: ArmTally() for arm in self.experiment.arms}

    @property
    def control(self) -> ArmTally:
        return self.arms[self.experiment.arms[0].name]

    def add(self, seen: Exposure, at_us: int, /, **amounts: float) -> None:
        """To the arm that decided a payment at this time."""
        if (arm := self.arms.get(seen.arm)) is None or at_us < arm.since_us:
            return
        rows = [arm.sums]
        if arm is self.control:
            rows += [other.earlier for other in self.arms.values() if at_us < other.since_us]
        for name, amount in amounts.items():
            for sums in rows:
                sums[seen.unit % BUCKETS, AT[name]] += amount

    def meet(self, exposed: Exposure, at_us: int, *, card: int = 0) -> None:
        """A payment's unit: perhaps one that was met before."""
        if (arm := self.arms.get(exposed.arm)) is not None:
            self.exposed += 1
            for other in self.arms.values() if arm is self.control else ():
                if other.beside is not None:
                    other.beside.add(exposed.unit)
            if arm.meet(exposed.unit, at_us):
                before = float(self.past[card % CELLS]) if card else 0.0
                self.add(exposed, at_us, units=1.0, before=before)

    def begin_anew(self, name: str, at_us: int) -> None:
        """For one arm; where it is the control, for all that are held against it."""
        anew = list(self.arms) if self.arms[name] is self.control else [name]
        self.arms |= {each: ArmTally(at_us) for each in anew}
        for each in anew:
            self.arms[each].earlier += self.control.sums
            self.arms[each].beside = None if self.arms[each] is self.control else Units()
        self.pauses = [pause for pause in self.pauses if pause.arm not in anew]
        self.paths = {path: points for path, points in self.paths.items() if path.partition("/")[0] not in anew}
        self.ratios = {arms: p for arms, p in self.ratios.items() if not set(arms) & set(anew)}

    def held_against(self, name: str, columns: Sequence[str]) -> tuple[Floats, Floats]:
        """float64[buckets, columns] of the control and of an arm since the same moment, where there is anything."""
        arm, at = self.arms[name], [AT[column] for column in columns]
        both = self.control.sums - arm.earlier, arm.sums
        first, second = (each[each[:, AT["decisions"]] > 0.0][:, at] for each in both)
        return first, second


Past = NDArray[np.int32]
DUMPED: Final = tuple[list[Tally], dict[str, Followed], Past, Late]
SHAPES: Final = {Floats: (BUCKETS, len(COLUMNS)), NDArray[np.float32]: (CELLS,), Past: (CELLS, 2)}


def as_array(kind: Any, dumped: bytes) -> NDArray[Any]:
    return np.frombuffer(dumped, get_args(get_args(kind)[1])[0]).reshape(SHAPES[kind]).copy()


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
        salt: str = "",
    ):
        self.economics_of, self.first, self.reference, self.salt = economics_of, first, reference, salt
        self.everybody = Assignment(salt, ())
        """Who is held out of every experiment, by card."""
        self.of: dict[str, Tally] = {}
        self.payments: dict[str, Followed] = {}
        self.waiting: deque[Followed] = deque()
        """Not settled when they came, the oldest first."""
        self.past: Past = np.zeros((CELLS, 2), np.int32)
        self.lateness = Lateness()

    def apply(self, entry: Entry) -> None:
        self.lateness.apply(entry)
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
        whole = list(self.of.values()), self.payments, self.past, self.lateness.late
        return msgspec.msgpack.encode(whole, enc_hook=np.ndarray.tobytes)

    def restore(self, dumped: bytes) -> None:
        tallies, self.payments, self.past, late = msgspec.msgpack.decode(dumped, type=DUMPED, dec_hook=as_array)
        self.lateness = Lateness(late)
        self.of = {each.experiment.id: each for each in tallies}
        self.waiting = deque(each for each in self.payments.values() if not each.settled)
        if (held := self.of.get(HOLDOUT)) is not None and held.experiment.state == "running":
            self.everybody = Assignment(self.salt, (), holdout_ppm=held.experiment.arms[0].share_ppm)

    def _hold_out(self, ppm: int, at_us: int) -> None:
        """Everybody else against who is held out: read like an experiment, anew where the share is another."""
        self.everybody = Assignment(self.salt, (), holdout_ppm=ppm)
        if ppm:
            arms = (Arm("held_out", ppm), Arm("everybody_else", PPM - ppm))
            whole = Experiment(id=HOLDOUT, unit="card", arms=arms, state="running")
            since = {arm.name: ArmTally(at_us) for arm in arms}
            self.of[HOLDOUT] = Tally(whole, self._rates(), since, started_us=at_us)
        elif (ended := self.of.get(HOLDOUT)) is not None:
            ended.experiment, ended.ended_us = replace(ended.experiment, state="stopped"), at_us

    def _arms(self, given: tuple[Exposure, ...], card: int) -> tuple[Exposure, ...]:
        """Of experiments, and of the hold-out."""
        if not (self.everybody.holdout_ppm and card):
            return given
        unit = str(card)
        arm = "held_out" if self.everybody.is_held_out(unit) else "everybody_else"
        return (*given, Exposure(HOLDOUT, arm, hashed(self.salt, "card", unit)))

    def _changed(self, entry: Entry) -> None:
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject == HOLDOUT:
            self._hold_out(SHARE_DECODER.decode(change.after), entry.ingest_us)
        if change.subject != EXPERIMENT:
            return
        after = EXPERIMENT_DECODER.decode(change.after)
        tally = self.of.get(change.id)
        if after is None or (tally is None and after.state == "draft"):
            self.of.pop(change.id, None)
            return
        if tally is None or [a.name for a in tally.experiment.arms] != [a.name for a in after.arms]:
            tally = self.of[change.id] = Tally(after, self._rates())
            while len(self.of) > EXPERIMENTS_MAX:
                del self.of[next(iter(self.of))]
        for arm in tally.experiment.paused_arms:
            if arm not in after.paused_arms:
                tally.begin_anew(arm, entry.ingest_us)
        tally.experiment = after
        tally.started_us = tally.started_us or entry.ingest_us
        tally.ended_us = 0 if after.state == "running" else entry.ingest_us

    def _remember(self, entry: Entry) -> None:
        """What the past says of a card's approval: a covariate that was there before any arm."""
        if entry.facts is not None and entry.facts.card and kind_of(entry) == "authorization":
            cell = self.past[entry.facts.card % CELLS]
            cell[0] += entry.facts.decline_class == "approved"
            cell[1] += 1

    def _rates(self) -> NDArray[np.float32]:
        """Of approval, by cell, drawn towards .9 and less that."""
        return np.asarray((self.past[:, 0] + 4.5) / (self.past[:, 1] + 5.0) - 0.9, np.float32)

    def _decided(self, entry: Entry, facts: Facts) -> None:
        record = record_of(entry) if entry.payload else None
        arms = () if record is None else self._arms(record.arms, facts.card)
        if record is None or not arms or record.attempt.mode == "shadow":
            return
        intervention = record.chosen.action.intervention
        followed = self.payments.get(facts.payment_id)
        latency = float(record.latency_us)
        for exposed in arms:
            if (tally := self.of.get(exposed.experiment)) is not None:
                tally.add(exposed, entry.ingest_us, decisions=1.0, latency_us=latency)
                if exposed.arm in tally.arms and against_a_limit(record):
                    tally.arms[exposed.arm].forbidden += 1
        if followed is None and record.further is None and record.attempt_no == 1:
            followed = Followed(arms, entry.ingest_us)
            self.payments[facts.payment_id] = followed
            self.waiting.append(followed)
            if len(self.payments) > PAYMENTS_MAX:
                oldest = next(iter(self.payments))
                self._settle(self.payments.pop(oldest))
            self._exposed(record, followed, facts.card, intervention)
        if followed is not None and record.further is None and intervention == "block":
            self._settle(followed)

    def _exposed(self, record: DecisionRecord, followed: Followed, card: int, intervention: str) -> None:
        for exposed in followed.arms:
            tally = self.of.get(exposed.experiment)
            if tally is None:
                continue
            tally.meet(exposed, followed.at_us, card=card)
            reference = NO_YARDSTICK if exposed.experiment == HOLDOUT else self.reference(exposed.experiment, record)
            if isinstance(reference, str):
                tally.unjudged["expected_loss"], reference = reference, None
            passes = intervention in PASSES and reference is not None
            tally.add(
                exposed,
                followed.at_us,
                exposed=1.0,
                challenged=float(intervention == "challenge"),
                blocked=float(intervention == "block"),
                believed_minor=record.chosen.value_micro / MICRO,
                expected_loss_minor=record.given.amount_minor * (reference or 0) / E9 if passes else 0.0,
            )

    def _happened(self, entry: Entry, facts: Facts) -> None:
        followed, kind = self.payments.get(facts.payment_id), kind_of(entry)
        if followed is None:
            late = self.first(facts.payment_id) if kind in ("fraud_report", "dispute") else None
            arms = () if late is None else self._arms(late.arms, facts.card)
            if late is None or not arms:
                return
            followed = Followed(arms, late.given.ingest_us, settled=True, approved=True)
        if kind == "authorization":
            self._answered(followed, facts)
        elif kind in GONE:
            self._settle(followed)
        elif kind in ("fraud_report", "dispute") and entry.sign > 0:
            self._reported(followed, facts, kind)

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
            amounts["disputed_minor"] = margin + loss if kind == "dispute" else 0.0
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
                tally.add(exposed, followed.at_us, **amounts)


def against_a_limit(record: DecisionRecord) -> bool:
    """Was an attempt granted over a way that a limit had barred?"""
    way = record.chosen.action.way
    return any(each.why.startswith("limit:") and (each.route, each.credential) == way for each in record.given.barred)
