"""The merchant's side of the door: every payment is asked about, carried out in the world, and followed to its end.

What is true is added up on the way: at every stage that is reached, the true expected money of the action, with the
world's own probabilities. The world's coin only chooses the path. V_stop is charged once, when nothing more is tried.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from greenlane.client import Client
from greenlane.decisions.answer import Action, Decision, NextAction
from greenlane.jobs.evaluating.contest import Case, Checked
from greenlane.journal.freeze import Reporting, freeze
from greenlane.outcomes.happened import Approved, Declined, Happened
from greenlane.payments.attempt import ThreeDS
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import SECOND_US, format_rfc3339, parse_rfc3339
from greenlane.ports.subjects import MemorySubjects
from greenlane.simulation.answers import Answer, Authenticated, Sent, Terms
from greenlane.simulation.due import Due
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival

AT_ONCE_US: Final = SECOND_US
TOLD_LATER: Final = frozenset({"review", "abandoned", "fraud_report", "dispute"})
"""What nobody waits for: it goes to `/v1/outcomes` when it is known."""
AGAIN: Final = ("retry_now", "retry_at", "repair")


@dataclass
class Pursued:
    """One payment, and what became of it. Money in minor units, expected values of what was done."""

    case: Case
    decision: Decision | None = None
    """The first one."""
    latest: str = ""
    """The id of the one that what happens next is about."""
    attempts: int = 0
    sent: Sent | None = None
    """The first action."""
    terms: Terms | None = None
    """Of the last action."""
    net: float = 0.0
    approved: float = 0.0
    reported: float = 0.0
    fair: float = 0.0
    """P(approved) of the first action, were no route down."""
    turned_away: float = 0.0
    """P(the issuer is not even asked) of the first action, where no network forbids to ask."""
    first_declined: bool = False
    tried_by: str = ""
    """The next action that led to the last attempt."""
    recovered: bool = False

    @property
    def arrival(self) -> Arrival:
        return self.case.arrival

    @property
    def fraud_probability(self) -> float:
        told = self.decision.probabilities if self.decision is not None else None
        return told.fraud_probability if told is not None else 0.0

    @property
    def forbidden(self) -> bool:
        """A network forbade the first attempt, after what was declined before."""
        return self.decision is not None and any(hit.startswith("limit:") for hit in self.decision.rule_hits)

    @property
    def attempt_id(self) -> str:
        own = self.arrival.attempt.attempt_id
        return own if self.attempts == 1 else f"{own}.{self.attempts}"


@dataclass
class Caller:
    """Carries out in `living` what Greenlane answers, in the order of simulated time."""

    client: Client
    living: Living
    fair: Callable[[Arrival, Sent], Terms]
    """True terms, were no route down."""
    done: list[Pursued] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    next_latency_ms: list[float] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    """How often each next action was answered."""

    def __post_init__(self) -> None:
        self.checked = Checked()
        self._subjects, self._reporting = MemorySubjects(), Reporting(self.living.world.parameters.currency)
        self._due = Due[Callable[[int], None]]()

    def run(self, arrivals: Iterable[Arrival], progress: Callable[[int], None]) -> list[Pursued]:
        for arrival in arrivals:
            self.catch_up(arrival.at_us)
            payment = Pursued(self.case_of(arrival))
            self.done.append(payment)
            self.ask(payment, arrival.at_us)
            progress(len(self.done))
        self.catch_up(2**62)
        return self.done

    def case_of(self, arrival: Arrival) -> Case:
        attempt = arrival.attempt
        facts = freeze(attempt, subjects=self._subjects, reporting=self._reporting, ingest_us=arrival.at_us)
        economics = self.living.world.economics[attempt.payment.merchant_id]
        return Case(place=len(self.done), arrival=arrival, facts=facts, economics=economics, fraud_e9=0)

    def catch_up(self, until_us: int) -> None:
        for at_us, happens in self._due.until(until_us):
            happens(at_us)

    # ---- asking and sending

    def ask(self, payment: Pursued, at_us: int, *, corrected: bool = False) -> None:
        """`POST /v1/decisions`: a first attempt, or one whose time has come."""
        payment.attempts += 1
        attempt = replace(payment.arrival.attempt, attempt_id=payment.attempt_id, at=format_rfc3339(at_us))
        started = time.perf_counter()
        decision = self.client.decide(attempt)
        self.latency_ms.append((time.perf_counter() - started) * 1000)
        payment.decision, payment.latest = payment.decision or decision, decision.id
        if decision.action.intervention == "block" and payment.terms is not None:
            self.stop(payment)
        else:
            self.act(payment, decision.action, at_us, corrected=corrected)

    def act(self, payment: Pursued, action: Action, at_us: int, *, corrected: bool = False) -> None:
        sent = sent_of(action, at_us, payment.attempts)._replace(corrected=corrected)
        self.value(payment, sent)
        if sent.intervention != "block":
            self.checked.granted(payment.case, at_us)
        if sent.intervention == "challenge":
            shown = self.living.authenticate(payment.arrival, sent)
            self._due.put(shown.at_us, partial(self.authenticated, payment, sent, shown))
        else:
            self.send(payment, sent)

    def value(self, payment: Pursued, sent: Sent) -> None:
        payment.terms = terms = self.living.true_terms(payment.arrival, sent, payment.case.economics)
        payment.net += terms.value
        payment.approved += terms.approved
        payment.reported += terms.reported
        if payment.sent is None:
            payment.sent, payment.fair = sent, self.fair(payment.arrival, sent).approved
            payment.turned_away = 0.0 if payment.forbidden else 1.0 - terms.approved - terms.declined

    def send(self, payment: Pursued, sent: Sent) -> None:
        answer = self.living.send(payment.arrival, sent)
        for at_us, outcome in answer.outcomes:
            if outcome.type in TOLD_LATER:
                about = replace(outcome, attempt_id=None, decision_id=payment.latest)
                self._due.put(at_us, partial(self.report, about))
        if answer.result in HEARD:
            self._due.put(answer.at_us, partial(self.hear, payment, answer))

    def report(self, outcome: Outcome, _: int) -> None:
        self.client.report(outcome)

    # ---- what happened, and what to do next

    def hear(self, payment: Pursued, answer: Answer, at_us: int) -> None:
        self.checked.heard(payment.case, answer)
        if payment.attempts == 1 and answer.result != "approved":
            payment.first_declined = True
        self.follow(payment, self.tell(payment, answer.result, at_us, **HEARD[answer.result](answer)), at_us)
        if answer.result == "unknown":  # the acquirer was asked, and it says what the issuer holds to be true
            settled = HEARD["approved"](answer) if answer.issuer_approved else {"reversed": True}
            self._due.put(at_us + AT_ONCE_US, partial(self.settled, payment, settled))

    def settled(self, payment: Pursued, told: dict[str, Any], at_us: int) -> None:
        self.follow(payment, self.tell(payment, "settled", at_us, **told), at_us)

    def authenticated(self, payment: Pursued, sent: Sent, shown: Authenticated, at_us: int) -> None:
        """The challenge was valued with the authorisation over its own way; what is done instead changes that."""
        told = ThreeDS(trans_status=shown.status, liability_shift=shown.shifted, flow=shown.flow or None)
        found = self.tell(payment, "authentication", at_us, authentication=told)
        meant = sent._replace(intervention="allow", at_us=at_us)
        if found.next == "authorize" and found.action is not None:
            sends = sent_of(found.action, at_us, payment.attempts)
            if sends[:2] != meant[:2]:
                self.revalue(payment, meant, -1)
                self.revalue(payment, sends, +1)
            self.send(payment, sends)
        elif shown.status != "N":
            self.revalue(payment, meant, -1)
            self.revalue(payment, meant._replace(intervention="block"), +1)

    def revalue(self, payment: Pursued, sent: Sent, sign: int) -> None:
        terms = self.living.true_terms(payment.arrival, sent, payment.case.economics)
        payment.net += sign * terms.value
        payment.approved += sign * terms.approved
        payment.reported += sign * terms.reported

    def tell(self, payment: Pursued, event: str, at_us: int, **told: Any) -> NextAction:
        """`POST /v1/decisions/{id}/next_action`."""
        event_id = f"{event}:{payment.attempt_id}"
        happened = Happened(source="acquirer", event_id=event_id, occurred_at=format_rfc3339(at_us), **told)
        started = time.perf_counter()
        found = self.client.next_action(payment.latest, happened)
        self.next_latency_ms.append((time.perf_counter() - started) * 1000)
        self.steps[found.next] = self.steps.get(found.next, 0) + 1
        return found

    def follow(self, payment: Pursued, found: NextAction, at_us: int) -> None:
        later_us = max(parse_rfc3339(found.at), at_us + AT_ONCE_US)
        payment.tried_by = found.next if found.next in AGAIN else payment.tried_by
        if found.next == "capture":
            payment.recovered = payment.first_declined and payment.attempts > 1
        elif found.next == "retry_now":
            self._due.put(later_us, partial(self.granted, payment, found))
        elif found.next == "retry_at":
            self._due.put(later_us, partial(self.again, payment, False))
        elif found.next == "repair" and payment.arrival.attempt.payment.initiator == "cit":
            self._due.put(later_us, partial(self.again, payment, True))
        elif found.next == "void":
            self.take_back(payment)
        elif found.next != "query_or_reverse":
            self.stop(payment)

    def granted(self, payment: Pursued, found: NextAction, at_us: int) -> None:
        assert found.action is not None, "a retry has an action"
        if self.living.stays(payment.arrival, at_us):
            payment.attempts, payment.latest = payment.attempts + 1, found.id
            self.act(payment, found.action, at_us)
        else:
            self.stop(payment)

    def again(self, payment: Pursued, corrected: bool, at_us: int) -> None:
        if self.living.stays(payment.arrival, at_us):
            self.ask(payment, at_us, corrected=corrected)
        else:
            self.stop(payment)

    def take_back(self, payment: Pursued) -> None:
        """An approval is given up: its fees are spent, the rest of what it was worth is not had."""
        terms = payment.terms
        assert terms is not None, "it was approved"
        had = terms.margin + terms.fraud_loss + terms.dispute
        block = Sent(intervention="block", at_us=payment.arrival.at_us)
        refused = self.living.true_terms(payment.arrival, block, payment.case.economics)
        payment.net += refused.value - had / terms.approved
        payment.approved -= 1.0
        payment.reported -= terms.reported / terms.approved

    def stop(self, payment: Pursued) -> None:
        assert payment.terms is not None, "only what was sent can be declined"
        payment.net += payment.terms.stop


HEARD: Final[dict[str, Callable[[Answer], dict[str, Any]]]] = {
    "approved": lambda _: {"approval": Approved()},
    "declined": lambda answer: {
        "decline": Declined(network_response_code=answer.code, merchant_advice_code=answer.advice or None)
    },
    "unknown": lambda _: {"decline": Declined(unknown=True)},
    "not_sent": lambda _: {"not_sent": True},
}
"""Answers after which somebody waits to hear what to do, in the words of `next_action`."""


def sent_of(action: Action, at_us: int, attempt_no: int) -> Sent:
    credential, exemption = action.credential or "pan", action.exemption or ""
    return Sent(action.route or "", credential, action.intervention, exemption, at_us, attempt_no)
