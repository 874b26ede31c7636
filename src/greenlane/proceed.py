"""The way on, on one page: what happened -> known -> believed -> what next -> Decision.

A further attempt that is to leave now is granted here; what is to be sent later is asked about then, as a new attempt.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace as replaced
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from greenlane.decide import NO_DEADLINE_US, Lane, append, believe, packed, read
from greenlane.decisions.record import DecisionRecord, Further, record_of
from greenlane.decisions.tried import capturable, history_in
from greenlane.journal.sequencer import Sequencer
from greenlane.merchants.economics import Economics
from greenlane.outcomes.happened import Happened, stage_after, verification_after
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.policy.actions import BLOCK, Action, Eligible, Row, Way
from greenlane.policy.authenticating import UNLEARNED
from greenlane.policy.believe import Probabilities, probabilities
from greenlane.policy.believe import believe as believe_all
from greenlane.policy.choose import UNVALUED, Chosen
from greenlane.policy.degrade import rung_of
from greenlane.policy.distribution import greedy
from greenlane.policy.eligible import eligible_ways
from greenlane.policy.explore import Explored
from greenlane.policy.gather import approvals_of, asked, gather
from greenlane.policy.given import Given
from greenlane.policy.history import History
from greenlane.policy.next_action import Next, Outlook, next_action, outlooks_of
from greenlane.policy.parameters import Policy, epoch_of
from greenlane.policy.priors import Approval
from greenlane.policy.recovery import STATED
from greenlane.ports.journal import Entry

NAME_MAX = 120
"""Of an attempt's name, so that a number behind it leaves it a name that the API takes."""
SENDS = frozenset({"authorize", "retry_now"})
"""Steps after which something reaches the issuer now."""
FURTHER = frozenset({"retry_now", "retry_at", "repair"})
"""Steps that speak of another attempt, which has a name at once: what is reported about it is not taken for news of the
attempt before. Only retry_now grants it."""


class Case(NamedTuple):
    """What the next action is asked about."""

    attempt: Attempt
    facts: Facts
    given: Given
    outlooks: tuple[Outlook, ...]
    economics: Economics


def proceed(
    happened: Happened, before: Entry, *, lane: Lane, event_id: str, body_hash: bytes
) -> tuple[Entry, DecisionRecord]:
    """The next action after the decision `before`, appended; what happened is in the journal already."""
    started_ns = time.perf_counter_ns()
    moment = lane.journal.now()
    earlier, facts = record_of(before), before.facts
    assert facts is not None, "a decision always has facts"
    entries = lane.journal.entries("payment", facts.payment_id)
    arms = lane.experiments.still(earlier.arms)
    lane, arms = lane.within(arms)
    attempts = attempts_in(entries)
    known = read(facts, moment, [before], lane=lane, mode=earlier.attempt.mode)
    believed = believe(known, lane=lane)
    scored = believed.fraud_probability_e9 is not None
    base = Given(
        amount_minor=facts.amount_reporting_minor,
        fraud_probability_e9=believed.fraud_probability_e9,
        ingest_us=moment.ingest_us,
        rung=rung_of(features=known.state, model=scored, remaining_us=NO_DEADLINE_US),
        payer=(lane.folds.authentication or UNLEARNED).payer(facts.issuer_id, facts.issuer_country),
    )
    case = case_of(happened, earlier.attempt, facts, base, entries, lane=lane, attempt_no=len(attempts) + 1)
    left_minor = capturable(entries)
    found = next_action(
        case.attempt, case.given, case.outlooks, economics=case.economics, policy=lane.policy,
        table=lane.folds.recovery or STATED, partial_accepted=happened.partial_accepted, left_minor=left_minor,
        draw=lane.folds.draw,
    )  # fmt: skip
    further = found.next in FURTHER
    name = next_name(attempts, lane.journal) if further else found.about or facts.attempt_id
    number = attempts.index(name) + 1 if name in attempts else earlier.attempt_no  # one that was only planned is none
    approval = approval_of(found, case)
    chosen = chosen_of(found, case, lane.policy)
    record = DecisionRecord(
        attempt=replace(case.attempt, attempt_id=name),
        attempt_no=len(attempts) + 1 if further else number,
        known=packed(known),
        vector_of=known.vector_of,
        model=lane.model.id if lane.model is not None else "",
        reasons=believed.reasons,
        given=case.given,
        chosen=chosen,
        release=lane.release,
        latency_us=(time.perf_counter_ns() - started_ns) // 1000,
        degraded=chosen.degraded,
        further=Further(
            found,
            case.outlooks,
            approval,
            happened.partial_accepted,
            left_minor if found.next in ("capture", "stop") else None,
        ),
        arms=arms,
    )
    facts = replace(facts, attempt_id=name, intervention="", route_id="", code="", decline_class="")
    return append(record, facts, lane=lane, moment=moment, event_id=event_id, body_hash=body_hash), record


def case_of(
    happened: Happened,
    attempt: Attempt,
    facts: Facts,
    base: Given,
    entries: Sequence[Entry],
    *,
    lane: Lane,
    attempt_no: int,
) -> Case:
    """The attempt as it stands, what is given now, and what could be sent when; `attempt_no` of a further attempt."""
    now = replace(
        attempt,
        stage=stage_after(happened, attempt.stage),
        verification=verification_after(happened, attempt.verification),
    )
    economics = lane.economics_of(facts.merchant_id, mcc=facts.mcc or None)
    history = history_in(entries, replace(now, attempt_id=""), card=facts.card)
    ordered = replaced(lane.folds, approvals=None, recovery=None, limits=None)
    given, _ = gather(
        now, facts, replace(base, history=history), economics=economics, policy=lane.policy, folds=ordered,
        attempt_no=attempt_no, failed=lane.failed,
    )  # fmt: skip
    if lane.folds.limits is None:
        return Case(now, facts, given, (), economics)
    question = asked(facts, at_us=given.ingest_us)
    if not any(each.attempt_id == facts.attempt_id and each.answer == "pending" for each in history.tried):
        question = question._replace(attempt_id="")  # another attempt is asked about: this one counts
    outlooks = outlooks_of(now, given, lane.folds.limits, question, economics=economics)
    return _believing(Case(now, facts, given, tuple(outlooks), economics), history, lane=lane)


def _believing(case: Case, history: History, *, lane: Lane) -> Case:
    """With what is believed of approval at each time; where that fails, the recovery table states it."""
    if lane.folds.approvals is None:
        return case
    attempt, ways, belief = case.attempt, eligible_ways(case.attempt, case.economics), lane.folds.approvals
    told = [
        approvals_of(attempt, case.facts, ways, belief=belief, history=history, at_us=each.at_us, failed=lane.failed)
        for each in case.outlooks
    ]
    outlooks = tuple([replace(each, approvals=found) for each, found in zip(case.outlooks, told, strict=True)])
    degraded = (*case.given.degraded, *(("approvals",) if None in told else ()))
    return case._replace(outlooks=outlooks, given=replace(case.given, degraded=degraded))


def attempts_in(entries: Iterable[Entry]) -> list[str]:
    """The ids of a payment's attempts, in their order; one that was only planned is none yet."""
    known = (e.facts for e in entries if e.facts is not None and (e.kind != "decision" or e.facts.intervention))
    return list(dict.fromkeys(facts.attempt_id for facts in known if facts.attempt_id))


def next_name(attempts: Sequence[str], journal: Sequencer) -> str:
    """After the first attempt's, and nobody else's."""
    numbered = (f"{attempts[0][:NAME_MAX]}.{number}" for number in count(len(attempts) + 1))
    return next(name for name in numbered if not journal.entries("attempt", name))


def approvals_at(case: Case, at_us: int) -> dict[Way, Approval] | None:
    """What was believed of each way at one of the outlooks' times."""
    told = next((each.approvals for each in case.outlooks if each.at_us == at_us), None)
    return None if told is None else dict(zip(eligible_ways(case.attempt, case.economics), told, strict=True))


def approval_of(found: Next, case: Case) -> Approval | None:
    """What was believed of the way that is taken, at its time."""
    told = approvals_at(case, found.at_us)
    return None if told is None or found.action is None else told.get(found.action.way)


def chosen_of(found: Next, case: Case, policy: Policy) -> Chosen:
    """The next action in the form of a choice: what leaves now, over a way that may have been drawn, or nothing."""
    action = found.action if found.next in SENDS and found.action is not None else BLOCK
    ways = () if action is BLOCK else (action.way,)
    may = Eligible(() if action is BLOCK else (Row(action.intervention, action.exemption, 1),), ways, ())
    values: tuple[int, ...] = (found.value_micro,) if action is BLOCK else (found.value_micro, found.stop_micro)
    explored = Explored(distribution=greedy(may.size, 0), place=0)
    if found.drawn is not None:
        may, values, explored = found.drawn.may, found.drawn.values_micro, found.drawn.explored
    other = found.runner_up
    return Chosen(
        action=action,
        rung=case.given.rung,
        may=may,
        values_micro=values,
        explored=explored,
        terms_micro=found.terms_micro if action is not BLOCK else UNVALUED,
        other_terms_micro=UNVALUED,
        runner_up=None if other is None else other.action,
        value_gap_micro=0 if other is None else found.value_micro - other.value_micro,
        probabilities=probabilities_of(case, may.ways, action, policy=policy),
        policy_epoch=epoch_of(case.given.ingest_us),
        policy_version=policy.version,
        economics_version=case.economics.version,
        degraded=(*(() if case.given.rung == "full" else (case.given.rung,)), *case.given.degraded),
    )


def probabilities_of(case: Case, ways: tuple[Way, ...], action: Action, *, policy: Policy) -> Probabilities | None:
    """As believed at once over each of `ways`: what leaves, leaves now."""
    given, history = case.given, case.given.history
    if not ways or given.fraud_probability_e9 is None or history is None:
        return None
    told = approvals_at(case, given.ingest_us)
    given = replace(given, approvals=None if told is None else tuple(told[way] for way in ways))
    seen = believe_all(case.attempt, given, ways, economics=case.economics, priors=policy.priors, history=history)
    return probabilities(seen, ways.index(action.way), dispute_e9=case.economics.dispute_ppm * 1_000)
