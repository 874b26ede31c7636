"""One policy through one seed of a world: what it does, what is true about it, and what comes back.

At every stage that is reached the true expected immediate money of the action is added, with the world's own
probabilities; the coin only chooses the path. A payment whose last attempt was declined is charged V_stop, once. Every
retry is asked of the limit engine first, whoever wants it, and counted again by a second, simpler count.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, groupby
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from msgspec import Struct, msgpack, structs

from greenlane.jobs.evaluating.results import Course, Tally
from greenlane.journal.freeze import Reporting, freeze
from greenlane.merchants.economics import Economics
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.actions import BLOCK, Action
from greenlane.policy.history import Tried
from greenlane.policy.limits import Answer as LimitAnswer
from greenlane.policy.limits import Asked, Limits
from greenlane.ports.journal import Entry
from greenlane.ports.subjects import MemorySubjects
from greenlane.simulation.answers import Answer, Sent, Terms
from greenlane.simulation.due import Due
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival

ATTEMPTS_MAX: Final = 9
ASKED: Final = frozenset({"declined", "unknown", "not_sent"})
"""Results after which a payment may go on."""
RECOVERED: Final = {"cit": 0.25, "mit": 0.45}
"""About what share of declined payments is still approved later: a guess, whose error costs precision only."""


class Case(Struct, kw_only=True, eq=False):
    """One payment on its way."""

    place: int
    arrival: Arrival
    facts: Facts
    economics: Economics
    fraud_e9: int
    tried: tuple[Tried, ...] = ()
    authenticated: str = ""
    """trans_status of the last 3-D Secure answer."""
    terms: Terms | None = None
    """Of the last action."""

    @property
    def asked(self) -> Asked:
        facts = self.facts
        cards = tuple(card for card in (facts.card, facts.par) if card)
        return Asked(
            cards, facts.merchant_id, facts.amount_minor, facts.currency, facts.initiator, facts.network, at_us=0
        )


class Move(NamedTuple):
    """What a contestant wants: an action at a time. `explored` says that a draw, not the best value, chose it."""

    action: Action
    at_us: int
    explored: bool = False
    charged_minor: float = 0.0
    """To the exploration budget."""
    corrected: bool = False
    """The payer was asked for the data again first."""


class Logged(Struct, frozen=True, array_like=True):
    """One attempt of the warm-up log, as routers learn from it."""

    facts: Facts
    route: str
    credential: str
    approved: bool


class Contestant(Protocol):
    """A whole policy. It is told of every answer, and asked twice: when a payment arrives and after each decline."""

    def first(self, case: Case) -> Move: ...

    def next(self, case: Case, now_us: int) -> Move | None:
        """None: stop trying."""
        ...

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None: ...


class Scorer(Protocol):
    """Fraud probabilities of payments in time order, integers 1e-9."""

    def score(self, facts: Sequence[Facts]) -> list[int]: ...


class Contest:
    """One course; `run` it once."""

    def __init__(self, living: Living, contestant: Contestant, scorer: Scorer, limits: Limits):
        self.living, self.contestant, self.scorer, self.limits = living, contestant, scorer, limits
        self.checked = Checked()
        self.watch: Callable[[Case, Sent, Terms], None] = lambda *_: None
        """Is told of everything that is sent, with what is true about it."""
        self._due = Due[tuple[Case, Move | tuple[Sent, Answer]]]()
        self._tally = dict.fromkeys(Tally._fields, 0.0)

    def run(self, policy: str, payments: int, arrivals: Iterable[Arrival] | None = None) -> Course:
        """The first `payments` of the world; or `arrivals`, so many, in time order."""
        started = time.process_time()
        self.net = np.zeros(payments)
        payer = np.zeros(payments, np.int64)
        for case in self.cases(self.living.arrivals(payments) if arrivals is None else arrivals):
            self.catch_up(case.arrival.at_us)
            payer[case.place] = case.facts.customer or case.facts.card
            self.act(case, self.lawful(case, self.contestant.first(case)))
        self.catch_up(2**62)
        self._tally["forbidden_retries"] = self.checked.violations
        tally = Tally(**self._tally)  # type: ignore[arg-type] # counts are summed as floats
        return Course(policy, self.living.seed, self.net, payer, tally, time.process_time() - started)

    def cases(self, arrivals: Iterable[Arrival]) -> Iterator[Case]:
        """A day at a time, so that its fraud probabilities are one call."""
        subjects, reporting = MemorySubjects(), Reporting(self.living.world.parameters.currency)
        place = count()
        for _, day in groupby(arrivals, key=lambda arrival: arrival.at_us // DAY_US):
            today = list(day)
            facts = [
                freeze(each.attempt, subjects=subjects, reporting=reporting, ingest_us=each.at_us) for each in today
            ]
            for arrival, known, fraud_e9 in zip(today, facts, self.scorer.score(facts), strict=True):
                economics = self.living.world.economics[known.merchant_id]
                yield Case(place=next(place), arrival=arrival, facts=known, economics=economics, fraud_e9=fraud_e9)

    def catch_up(self, until_us: int) -> None:
        """Whatever is due before: answers are heard, retries are made if the payer is still there."""
        for at_us, (case, what) in self._due.until(until_us):
            if isinstance(what, Move):
                if self.living.stays(case.arrival, at_us) and self.lawful(case, what) is what:
                    self.act(case, what)
                else:
                    self.stop(case)
            else:
                self.hear(case, *what, at_us=at_us)

    def act(self, case: Case, move: Move) -> None:
        action, attempt_no = move.action, len(case.tried) + 1
        sent = sent_of(move, attempt_no=attempt_no)
        if action.intervention != "block":
            self.checked.granted(case, move.at_us)
        case.terms = terms = self.living.true_terms(case.arrival, sent, case.economics)
        self.net[case.place] += terms.value
        self.watch(case, sent, terms)
        self.count(sent, terms, move, retry=attempt_no > 1)
        if action.intervention != "block":
            self.fold(case, "decision", action, move.at_us)
        answer = self.living.send(case.arrival, sent)
        self._due.put(answer.at_us, (case, (sent, answer)))

    def hear(self, case: Case, sent: Sent, answer: Answer, *, at_us: int) -> None:
        """The answer is known; a time-out is queried first, and then is an approval or nothing."""
        self.net[case.place] -= luck(case, answer)
        case.tried = (*case.tried, tried(case, sent, answer))
        if answer.authentication is not None:
            case.authenticated = answer.authentication.status
        if answer.code or answer.result == "unknown":
            self.limits.apply(answer_entry(case, sent, answer, at_us))
        self.checked.heard(case, answer)
        self.contestant.hear(case, sent, answer)
        if answer.issuer_approved:
            self._tally["payments_approved"] += 1
        elif answer.result in ASKED:
            self.go_on(case, at_us)

    def lawful(self, case: Case, move: Move) -> Move:
        """A card that the networks forbid here is not sent, whoever wants it."""
        if self.limits.verdict(case.asked._replace(at_us=move.at_us)).allowed:
            return move
        return Move(BLOCK, move.at_us)

    def go_on(self, case: Case, now_us: int) -> None:
        move = self.contestant.next(case, now_us) if len(case.tried) < ATTEMPTS_MAX else None
        if move is None:
            self.stop(case)
        else:
            self._due.put(move.at_us, (case, move))

    def stop(self, case: Case) -> None:
        assert case.terms is not None, "only what was sent can be declined"
        self.net[case.place] += case.terms.stop

    def count(self, sent: Sent, terms: Terms, move: Move, *, retry: bool) -> None:
        tally = self._tally
        if sent.intervention == "block":
            tally["blocks"] += 1
            return
        tally["attempts"] += 1
        tally["attempts_approved"] += terms.approved
        tally["reported"] += terms.reported
        tally["fees_minor"] -= terms.fees
        tally["retries"] += retry
        tally["challenges"] += sent.intervention == "challenge"
        tally["exemptions"] += sent.intervention == "exempt"
        tally["reviews"] += sent.intervention == "review"
        tally["explored"] += move.explored
        tally["exploration_minor"] += move.charged_minor

    def fold(self, case: Case, kind: str, action: Action, at_us: int) -> None:
        """A grant, as the journal would have it."""
        facts = structs.replace(
            case.facts, attempt_id=attempt_id(case, len(case.tried) + 1), route_id=action.route,
            intervention=action.intervention,
        )  # fmt: skip
        self.limits.apply(entry(kind, facts, at_us, b""))


def luck(case: Case, answer: Answer) -> float:
    """A control variate: how unexpected a decline was, times what is usually still to come after one, minor units.

    It is zero on average whatever the guess of what is to come, so nobody gains by taking it out; but who happens to
    be declined matters less.
    """
    terms = case.terms
    assert terms is not None, "something was sent"
    if case.arrival.truth.fraud:
        return 0.0
    margin = case.economics.margin_ppm * case.facts.amount_reporting_minor / 1e6
    declined = answer.result in ASKED and not answer.issuer_approved
    return (declined - terms.declined) * (terms.stop + RECOVERED[case.facts.initiator] * (margin - terms.stop))


class Checked:
    """The second count of forbidden retries: no rule table, only what may never happen, counted from scratch.

    After a category 1 code or a Mastercard advice 03 or 21 the card is not sent again at that merchant (the latter: for
    30 days); and no card is sent more often than the networks' published caps to one merchant.
    """

    def __init__(self) -> None:
        self.violations = 0
        self._never: dict[tuple[int, str], int] = {}
        self._sent: dict[tuple[int, str], list[int]] = {}

    def granted(self, case: Case, at_us: int) -> None:
        key = case.facts.par or case.facts.card, case.facts.merchant_id
        if at_us < self._never.get(key, 0):
            self.violations += 1
        sent = [each for each in self._sent.get(key, []) if each > at_us - 30 * DAY_US]
        day = sum(each > at_us - DAY_US for each in sent)
        if len(sent) >= 35 or (case.facts.network == "mastercard" and day >= 10):
            self.violations += 1

    def heard(self, case: Case, answer: Answer) -> None:
        if answer.result != "declined":
            return
        key, network = (case.facts.par or case.facts.card, case.facts.merchant_id), case.facts.network
        self._sent.setdefault(key, []).append(answer.sent_at_us)
        if network == "visa" and decline_of(network, answer.code).visa_category == 1:
            self._never[key] = 2**62
        elif network == "mastercard" and answer.advice in ("03", "21"):
            self._never[key] = max(self._never.get(key, 0), answer.sent_at_us + 30 * DAY_US)


def sent_of(move: Move, *, attempt_no: int) -> Sent:
    action = move.action
    intervention: Any = action.intervention  # any text to an Action, one of five to a Sent
    return Sent(action.route, action.credential, intervention, action.exemption, move.at_us, attempt_no, move.corrected)


def entry(kind: str, facts: Facts, at_us: int, payload: bytes) -> Entry:
    return Entry(0, 0, at_us, kind, "", "", at_us, 0, 1, b"", facts, payload)


def answer_entry(case: Case, sent: Sent, answer: Answer, at_us: int) -> Entry:
    facts = structs.replace(case.facts, attempt_id=attempt_id(case, sent.attempt_no), route_id=sent.route)
    kind = "not_sent" if answer.result == "not_sent" else "authorization"
    told = LimitAnswer(kind, result_of(answer), facts.network, answer.code, answer.advice)
    return entry(kind, facts, at_us, msgpack.encode(told))


def attempt_id(case: Case, number: int) -> str:
    return f"{case.facts.attempt_id}_{number}"


def result_of(answer: Answer) -> str:
    """What a caller reports: a time-out that was queried is an approval or a decline."""
    if answer.issuer_approved:
        return "approved"
    return answer.result if answer.result in ("declined", "not_sent") else "unknown"


def tried(case: Case, sent: Sent, answer: Answer) -> Tried:
    network, result = case.facts.network, result_of(answer)
    if result == "unknown":  # the query found nothing, so nothing stands
        result = "reversed"
    return Tried(
        attempt_id(case, sent.attempt_no),
        sent.attempt_no,
        sent.route,
        sent.credential,
        sent.intervention,
        sent.exemption,
        sent.at_us,
        result,  # type: ignore[arg-type] # one of Tried's answers
        network,
        answer.code,
        answer.advice,
        decline_of(network, answer.code).decline_class if result == "declined" else "",
    )
