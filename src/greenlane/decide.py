"""The online path on one page: attempt -> known -> believed -> chosen -> Decision."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from greenlane.decisions.packing import pack, unpack
from greenlane.decisions.record import REASONS_MAX, DecisionRecord, decision_id, payload_of, record_of
from greenlane.decisions.redact import redacted
from greenlane.decisions.tried import history_in
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS
from greenlane.features.kernels import Ints
from greenlane.features.stream import StreamEngine
from greenlane.journal.draft import Draft
from greenlane.journal.sequencer import Moment, Sequencer
from greenlane.merchants.economics import Economics
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.policy.arms import Exposure
from greenlane.policy.choose import choose
from greenlane.policy.degrade import Features, rung_of
from greenlane.policy.gather import Folds, gather
from greenlane.policy.given import Given
from greenlane.policy.history import History
from greenlane.policy.parameters import Policy
from greenlane.policy.running import Mixture, Running, mixture_of
from greenlane.ports.journal import Entry

SOURCE = "decision"
NO_DEADLINE_US = 10**9


class Freeze(Protocol):
    """What we keep of a payment: its facts, with pseudonyms for people."""

    def __call__(self, attempt: Attempt, *, ingest_us: int, payment_us: int | None) -> Facts: ...


class EconomicsOf(Protocol):
    def __call__(self, merchant_id: str, *, mcc: str | None) -> Economics: ...


@dataclass(slots=True)
class Lane:
    """All that a decision needs. `model` and `release` change together, between two requests."""

    journal: Sequencer
    freeze: Freeze
    features: StreamEngine
    finaliser: Finaliser
    economics_of: EconomicsOf
    policy: Policy
    model: FraudModel | None
    release: str
    failed: Callable[[str, Exception], None]
    """Told of what failed on a fallback: (what, why)."""
    folds: Folds = field(default_factory=Folds)
    """What the policy learned and keeps count of."""
    experiments: Running = field(default_factory=Running)
    mixtures: dict[Mixture, "Lane"] = field(default_factory=dict)
    """How each mixture of arms decides: the same lane with other models, policy, folds and release."""

    def within(self, arms: tuple[Exposure, ...]) -> "tuple[Lane, tuple[Exposure, ...]]":
        """How these arms decide. Where that was not laid out there is no experiment, and `failed` is told."""
        found = self.mixtures.get(mixture_of(arms)) if arms else None
        if arms and found is None:
            self.failed("arms", LookupError(f"no lane for {mixture_of(arms)}"))
        return (self, ()) if found is None else (found, arms)


class Believed(NamedTuple):
    """The model's probability, integer 1e-9, and the feature groups that moved it most, in 1e-6 log-odds."""

    fraud_probability_e9: int | None
    reasons: tuple[tuple[str, int], ...]


class Known(NamedTuple):
    """The vector, where it was first read, and how good it is; what the release made of it then."""

    vector: Ints | None
    vector_of: str
    state: Features
    believed: Believed | None = None


def packed(known: Known) -> bytes:
    return b"" if known.vector is None else pack(known.vector)


NOTHING_BELIEVED = Believed(None, ())


def decide(attempt: Attempt, *, lane: Lane, event_id: str, body_hash: bytes) -> tuple[Entry, DecisionRecord]:
    """One decision, appended. Raises InputError (a currency without a rate) or JournalError (no memory)."""
    started_ns = time.perf_counter_ns()
    moment = lane.journal.now()
    payment_us = lane.journal.payment_us(attempt.payment.id)
    facts = lane.freeze(attempt, ingest_us=moment.ingest_us, payment_us=payment_us)
    kept = redacted(attempt, facts)
    earlier = earlier_decisions(attempt.attempt_id, lane.journal)
    past = lane.journal.entries("payment", facts.payment_id)
    arms = assign(kept, facts, past, lane=lane, at_us=moment.ingest_us) if lane.experiments else ()
    lane, arms = lane.within(arms)
    known = read(facts, moment, earlier, lane=lane, mode=attempt.mode)
    believed = believe(known, lane=lane)
    number = attempt_no(earlier, past)
    economics = lane.economics_of(kept.payment.merchant_id, mcc=kept.payment.mcc)
    history = history_in(past, kept, card=facts.card)
    base = base_of(facts, believed, history, known=known, moment=moment, left_us=left_us(kept, started_ns))
    given, may = gather(
        kept, facts, base, economics=economics, policy=lane.policy, folds=lane.folds, attempt_no=number,
        failed=lane.failed,
    )  # fmt: skip
    chosen = choose(kept, given, economics=economics, policy=lane.policy, may=may, draw=lane.folds.draw)
    record = DecisionRecord(
        attempt=kept,
        attempt_no=number,
        known=packed(known),
        vector_of=known.vector_of,
        model=lane.model.id if lane.model is not None else "",
        reasons=believed.reasons,
        given=given,
        chosen=chosen,
        release=lane.release,
        latency_us=(time.perf_counter_ns() - started_ns) // 1000,
        degraded=chosen.degraded,
        arms=arms,
    )
    return append(record, facts, lane=lane, moment=moment, event_id=event_id, body_hash=body_hash), record


def earlier_decisions(attempt_id: str, journal: Sequencer) -> list[Entry]:
    return [e for e in journal.entries("attempt", attempt_id) if e.kind == SOURCE]


def assign(attempt: Attempt, facts: Facts, past: list[Entry], *, lane: Lane, at_us: int) -> tuple[Exposure, ...]:
    """A payment keeps the arms of its first decision. Attacked cells and what is only shown are in no experiment."""
    if attempt.mode == "shadow":
        return ()
    for entry in past:
        if entry.kind == SOURCE and not entry.payload:
            return ()  # retired: what it was given is not known here any more
        if entry.kind == SOURCE and (record := record_of(entry)).attempt.mode != "shadow":
            return lane.experiments.still(record.arms)
    if lane.folds.gates is not None and lane.folds.gates.attacked(facts, at_us=at_us):
        return ()
    return lane.experiments.assign(facts, [route.id for route in attempt.eligible_routes], at_us=at_us)


def attempt_no(earlier: list[Entry], past: list[Entry]) -> int:
    """Counted from 1 over the payment, whose entries are `past`; a later stage has its attempt's number."""
    if earlier:
        return record_of(earlier[0]).attempt_no
    return 1 + len({e.facts.attempt_id for e in past if e.facts is not None and e.facts.attempt_id})


def read(facts: Facts, moment: Moment, earlier: list[Entry], *, lane: Lane, mode: str) -> Known:
    """A later stage of an attempt uses the vector of its first: nothing new happened but the answer it brings.

    A live decision after a shadow one is no later stage.
    """
    width = len(INPUTS) + len(lane.features.features.columns)
    for entry in earlier:
        record = record_of(entry)
        if record.known and record.release == lane.release and record.attempt.mode == mode:
            vector = unpack(record.known, width)
            told = Believed(record.fraud_probability_e9, record.reasons)
            known = Known(vector, record.vector_of or decision_id(entry.generation, entry.seq), "fresh")
            return known if told.fraud_probability_e9 is None else known._replace(believed=told)
    evicted = lane.features.evicted
    try:
        vector = lane.features.read(facts, moment.ingest_us)
    except Exception as error:  # noqa: BLE001 - the declared fallback: without features the static rung answers
        lane.failed("features", error)
        return Known(None, "", "missing")
    return Known(vector, "", "fresh" if lane.features.evicted == evicted else "stale")


def believe(known: Known, *, lane: Lane) -> Believed:
    if known.believed is not None:
        return known.believed
    if known.vector is None or lane.model is None:
        return NOTHING_BELIEVED
    try:
        return believed_from(known.vector, lane.finaliser, lane.model)
    except Exception as error:  # noqa: BLE001 - the declared fallback: without a probability the static rung answers
        lane.failed("model", error)
        return NOTHING_BELIEVED


def believed_from(vector: Ints, finaliser: Finaliser, model: FraudModel) -> Believed:
    """Replay takes the same way."""
    belief = model.predict(finaliser.row(vector))
    reasons = tuple([(group, round(odds * 1e6)) for group, odds in belief.reasons.top(REASONS_MAX)])
    return Believed(belief.fraud_probability_e9, reasons)


def left_us(attempt: Attempt, started_ns: int) -> int:
    """How much of the deadline is left."""
    deadline_us = attempt.deadline_ms * 1000 if attempt.deadline_ms else NO_DEADLINE_US
    return deadline_us - (time.perf_counter_ns() - started_ns) // 1000


def base_of(facts: Facts, believed: Believed, history: History, *, known: Known, moment: Moment, left_us: int) -> Given:
    """What is given before the policy's folds are asked: what is believed, how much time is left, what happened."""
    rung = rung_of(features=known.state, model=believed.fraud_probability_e9 is not None, remaining_us=left_us)
    return Given(
        amount_minor=facts.amount_reporting_minor,
        fraud_probability_e9=believed.fraud_probability_e9,
        ingest_us=moment.ingest_us,
        rung=rung,
        history=history,
    )


def append(
    record: DecisionRecord, facts: Facts, *, lane: Lane, moment: Moment, event_id: str, body_hash: bytes
) -> Entry:
    chosen, shadow = record.chosen.action, record.attempt.mode == "shadow"
    acted, sends_nothing, at = facts, record.further is not None and not chosen.route, moment.next
    if not shadow and not sends_nothing:
        credential = chosen.credential or facts.credential
        acted = replace(facts, intervention=chosen.intervention, route_id=chosen.route, credential=credential)
    draft = Draft(
        kind=SOURCE,
        source=SOURCE,
        event_id=event_id,
        body_hash=body_hash,
        payload=payload_of(record, acted),
        shadow=shadow or sends_nothing,
        decision_id=decision_id(at.generation, at.seq),
        facts=acted,
    )
    return lane.journal.append(draft, moment=moment)
