"""The record of a decision: every input of the choice and the choice itself, to be explained and replayed."""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from greenlane.decisions.answer import (
    Action,
    Decision,
    ExpectedValue,
    Exploration,
    JournalPosition,
    NextAction,
    Probabilities,
    Reason,
    RunnerUp,
    Versions,
)
from greenlane.decisions.kept import (
    KeptAttempt,
    KeptChosen,
    KeptGiven,
    attempt_of,
    chosen_of,
    given_of,
    keep_attempt,
    keep_chosen,
    keep_given,
)
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.payments.times import format_rfc3339
from greenlane.policy import actions
from greenlane.policy.actions import Way
from greenlane.policy.arms import Exposure
from greenlane.policy.choose import Chosen
from greenlane.policy.given import Given
from greenlane.policy.next_action import Next, Outlook
from greenlane.policy.parameters import Multipliers
from greenlane.policy.priors import Approval
from greenlane.policy.value import TERMS
from greenlane.ports.journal import Entry

REASONS_MAX: Final = 5
MICRO: Final = 1_000_000
E9: Final = 1_000_000_000


class Further(Struct, frozen=True, array_like=True, gc=False):
    """Of a next action: what was found, and what of the outside world it looked at besides what was given."""

    found: Next
    outlooks: tuple[Outlook, ...]
    approval: Approval | None = None
    """Of the way that is taken, at its time."""
    partial_accepted: bool = False
    capturable_minor: int | None = None
    """Of a capture: what may be captured at most, in the payment's own minor units."""


class DecisionRecord(Struct, frozen=True, array_like=True, gc=False):
    """Everything is an integer, a text or bytes, so that the same inputs make the same bytes."""

    attempt: Attempt
    """Redacted: identifiers are pseudonyms."""
    attempt_no: int
    known: bytes
    """The packed feature vector; b"" where none could be read."""
    vector_of: str
    """The earlier decision of this attempt whose vector was used again, or ""."""
    model: str
    """The artefact that was believed, or ""."""
    reasons: tuple[tuple[str, int], ...]
    """(feature group, contribution in 1e-6 log-odds), the largest first."""
    given: Given
    """Whatever else entered the choice."""
    chosen: Chosen
    release: str
    """The versions in force, by their digest (`decisions.releases`)."""
    latency_us: int
    degraded: tuple[str, ...]
    further: Further | None = None
    """None of the first decision about an attempt; then `chosen` says what leaves now, if anything does."""
    arms: tuple[Exposure, ...] = ()
    """In which arms of which experiments it was made."""

    @property
    def fraud_probability_e9(self) -> int | None:
        return self.given.fraud_probability_e9


class Kept(Struct, frozen=True, array_like=True, gc=False):
    """The stored form."""

    attempt: KeptAttempt
    attempt_no: int
    known: bytes
    vector_of: str
    model: str
    reasons: tuple[tuple[str, int], ...]
    given: KeptGiven
    chosen: KeptChosen
    release: str
    latency_us: int
    degraded: tuple[str, ...] | None
    """None: those of the choice."""
    further: Further | None
    arms: tuple[Exposure, ...] = ()


ENCODER: Final = msgspec.msgpack.Encoder()
KEPT_DECODER: Final = msgspec.msgpack.Decoder(Kept)
ANSWER_ENCODER: Final = msgspec.json.Encoder()


def payload_of(record: DecisionRecord, facts: Facts) -> bytes:
    """The record as its entry keeps it, beside these facts (`decisions.kept` says what is left out).

    The last one is remembered: the folds ask for it as soon as it is appended.
    """
    payload = ENCODER.encode(_kept(record, facts))
    _latest[:] = [(payload, record)]
    return payload


def record_of(entry: Entry) -> DecisionRecord:
    """The record inside a decision entry."""
    for payload, record in _latest:
        if payload is entry.payload:
            return record
    assert entry.facts is not None, "a decision always has facts"
    record = _record_of(KEPT_DECODER.decode(entry.payload), entry.facts)
    _latest[:] = [(entry.payload, record)]
    return record


_latest: Final[list[tuple[bytes, DecisionRecord]]] = []


def _kept(record: DecisionRecord, facts: Facts) -> Kept:
    return Kept(
        keep_attempt(record.attempt, facts),
        record.attempt_no,
        record.known,
        record.vector_of,
        record.model,
        record.reasons,
        keep_given(record.given),
        keep_chosen(record.chosen, record.given, record.attempt),
        record.release,
        record.latency_us,
        None if record.degraded == record.chosen.degraded else record.degraded,
        record.further,
        record.arms,
    )


def _record_of(kept: Kept, facts: Facts) -> DecisionRecord:
    attempt, given = attempt_of(kept.attempt, facts), given_of(kept.given)
    return DecisionRecord(
        attempt,
        kept.attempt_no,
        kept.known,
        kept.vector_of,
        kept.model,
        kept.reasons,
        given,
        chosen_of(kept.chosen, given, attempt),
        kept.release,
        kept.latency_us,
        kept.chosen.degraded if kept.degraded is None else kept.degraded,
        kept.further,
        kept.arms,
    )


def decision_id(generation: int, seq: int) -> str:
    """
    >>> decision_id(1, 42)
    'dec_1_42'
    """
    return f"dec_{generation}_{seq}"


def answer_of(
    entry: Entry, record: DecisionRecord, versions: Versions, *, features: dict[str, float | None] | None = None
) -> Decision:
    """The answer, rebuilt from what was kept: the same entry gives the same bytes, today and in a year."""
    chosen = record.chosen
    payment = record.attempt.payment
    return Decision(
        id=decision_id(entry.generation, entry.seq),
        payment_id=payment.id,
        attempt_id=record.attempt.attempt_id,
        attempt_no=record.attempt_no,
        stage=record.attempt.stage,
        mode=record.attempt.mode,
        created=format_rfc3339(entry.ingest_us),
        action=_action(chosen.action, _fallbacks(chosen)),
        expected_value=_expected_value(chosen),
        probabilities=_probabilities(chosen),
        multipliers=_multipliers(record.given.multipliers),
        runner_up=_runner_up(chosen),
        reasons=tuple([_reason(group, micro) for group, micro in record.reasons]),
        rule_hits=chosen.stops,
        exploration=_exploration(chosen),
        versions=versions,
        inputs_hash=inputs_hash(entry, record),
        journal_position=JournalPosition(generation=entry.generation, seq=entry.seq),
        latency_us=record.latency_us,
        degraded=record.degraded,
        experiments={each.experiment: each.arm for each in record.arms},
        features=features,
    )


def next_of(entry: Entry, record: DecisionRecord, versions: Versions) -> NextAction:
    """The answer of a next action, rebuilt likewise. What was not computed is left out."""
    further = record.further
    assert further is not None, "a next action has what it found"
    found = further.found
    answer = answer_of(entry, record, versions)
    valued = bool(found.considered) and record.fraud_probability_e9 is not None
    plain = {name: getattr(answer, name) for name in Decision.__struct_fields__} | {
        "action": None if found.action is None else _action(found.action),
        "expected_value": _value_of_next(found) if valued else None,
        "runner_up": answer.runner_up if valued else None,
        "exploration": answer.exploration if record.chosen.action.route else None,
    }
    return NextAction(
        **plain,
        next=found.next,
        at=format_rfc3339(found.at_us),
        route=(found.action.route or None) if found.action is not None else None,
        changes=found.changes,
        stop_reason=found.stop_reason or None,
        attempts_used=found.attempts_used,
        attempts_cap=found.attempts_cap,
        limit_rule=found.limit_rule or None,
        capturable_amount=further.capturable_minor,
    )


def _value_of_next(found: Next) -> ExpectedValue:
    """An end is worth V_stop, which has no terms; the other perspective is not asked."""
    terms = dict(zip(TERMS, found.terms_micro, strict=True)) if any(found.terms_micro) else {}
    plain = {name: micro / MICRO for name, micro in terms.items()}
    return ExpectedValue(value_minor=found.value_micro / MICRO, terms=plain, other_perspective={})


def inputs_hash(entry: Entry, record: DecisionRecord) -> str:
    """Of everything the choice was made from: the redacted attempt, the vector, what was given, time and versions."""
    inputs: tuple[object, ...] = (record.attempt, record.known, record.given, entry.ingest_us, record.release)
    if record.further is not None:
        inputs = (*inputs, record.further.outlooks, record.further.partial_accepted)
    if record.arms:
        inputs = (*inputs, record.arms)
    return hashlib.blake2b(ENCODER.encode(inputs), digest_size=16).hexdigest()


def _fallbacks(chosen: Chosen) -> tuple[str, ...]:
    """The other routes for the same intervention and credential that are worth more than a block, the best first."""
    action, values, place = chosen.action, chosen.values_micro, 0
    for intervention, exemption, bits in chosen.may.rows if values else ():
        if (intervention, exemption) == (action.intervention, action.exemption):
            ways, own = [way for at, way in enumerate(chosen.may.ways) if bits >> at & 1], action.way
            worth = [(-value, way) for way, value in zip(ways, values[place:], strict=False) if value > values[-1]]
            return tuple([way.route for _, way in sorted(worth) if way.credential == own.credential and way != own])
        place += bits.bit_count()
    return ()


def _action(action: actions.Action, fallbacks: tuple[str, ...] = ()) -> Action:
    return Action(
        intervention=action.intervention,  # type: ignore[arg-type] # an Action's is one of these
        exemption=action.exemption or None,
        route=action.route or None,
        credential=action.credential or None,
        fallback_routes=fallbacks,
    )


def _multipliers(prices: Multipliers) -> dict[str, float]:
    shared = {"report": prices.report_minor, "dispute": prices.dispute_minor, "review": prices.review_minor}
    return shared | {f"band:{acquirer}": micro / MICRO for acquirer, micro in prices.band_micro.items()}


def _expected_value(chosen: Chosen) -> ExpectedValue | None:
    if not chosen.values_micro:
        return None
    other = chosen.other_terms_micro
    return ExpectedValue(
        value_minor=chosen.value_micro / MICRO,
        terms={name: micro / MICRO for name, micro in zip(TERMS, chosen.terms_micro, strict=True)},
        other_perspective={name: micro / MICRO for name, micro in zip(TERMS, other, strict=True)}
        | {"value": sum(other) / MICRO},
    )


def _probabilities(chosen: Chosen) -> Probabilities | None:
    seen = chosen.probabilities
    if seen is None:
        return None
    return Probabilities(
        fraud_probability=seen.fraud_e9 / E9,
        fraud_given_approval_probability=seen.fraud_given_approval_e9 / E9,
        fraud_given_decline_probability=seen.fraud_given_decline_e9 / E9,
        dispute_probability=seen.dispute_e9 / E9,
        challenge_success_probability=seen.challenge_success_e9 / E9,
        soft_decline_probability=seen.soft_decline_e9 / E9,
        approval_probability=dict(zip(_named(chosen.may.ways), [e9 / E9 for e9 in seen.approval_e9], strict=True)),
    )


def _named(ways: tuple[Way, ...]) -> list[str]:
    """A route's id, or route/credential where there are two ways over some route."""
    routes = [way.route for way in ways]
    if len(set(routes)) == len(routes):
        return routes
    return [f"{way.route}/{way.credential}" for way in ways]


def _runner_up(chosen: Chosen) -> RunnerUp | None:
    if chosen.runner_up is None:
        return None
    return RunnerUp(action=_action(chosen.runner_up), value_gap_minor=chosen.value_gap_micro / MICRO)


def _reason(group: str, micro: int) -> Reason:
    direction = "raises" if micro > 0 else "lowers"
    return Reason(
        code=group.replace(" ", "_"),
        text=f"{group} {direction} the fraud probability",
        contribution_log_odds=micro / MICRO,
    )


def _exploration(chosen: Chosen) -> Exploration:
    named, ways = dict[str, int](), _named(chosen.may.ways)
    for place in [place for place, share in enumerate(chosen.distribution) if share]:
        action = chosen.may.action(place)
        way = ways[chosen.may.ways.index(action.way)] if action.route else ""
        name = ":".join([part for part in (action.intervention, action.exemption, way) if part])
        named[name] = chosen.distribution[place]
    return Exploration(
        explored=chosen.explored.explored,
        propensity=chosen.explored.propensity,
        distribution=named,
        policy_epoch=chosen.policy_epoch,
        kind=chosen.explored.kind or None,
    )
