"""Payments pursued to their end in a closed loop: nothing forbidden, nothing endless, nothing sent into the unknown."""

import heapq
import random

import msgspec
import pytest
from properties.limit_checker import violations
from properties.limit_streams import PLASTIC, START_US, Instrument, asked_of

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt, Card, NetworkToken, Payment, PaymentMethod, Route
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US
from greenlane.policy.case import HORIZON_US, TRIES_MAX
from greenlane.policy.given import Given
from greenlane.policy.history import History, Tried
from greenlane.policy.limits import Limits
from greenlane.policy.next_action import capturable_minor, next_action, outlooks_of
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry

POLICY = Policy(perspective="merchant")
SHOP = Economics(country="DE")
ROUTES = tuple(Route(id=name) for name in ("north", "south", "west"))
CARDS = [
    Instrument(10 * n + each.fingerprint, (1_000 * n + 1_000 + each.par) * bool(each.par), each.network)
    for n in range(60)
    for each in PLASTIC
]
SENDS = ("retry_now", "retry_at", "authorize")
CODES = ("05", "51", "51", "51", "91", "96", "54", "61", "1A", "65", "59", "N7", "41", "14", "46", "62", "R1", "??")
MACS = ("", "", "", "01", "02", "03", "21", "24", "27", "40")


class Loop:
    """One merchant's payments; everything is answered at random, and sometimes late or never."""

    def __init__(self, seed):
        self.rng, self.limits, self.entries = random.Random(seed), Limits(), []
        self.due, self.order = [], 0
        self.seen = []

    def run(self, payments):
        for number in range(payments):
            self.later(START_US + number * HOUR_US // 2, self.begin, number)
        while self.due:
            at_us, _, what, about = heapq.heappop(self.due)
            what(at_us, about)
        return self

    def later(self, at_us, what, about):
        self.order += 1
        heapq.heappush(self.due, (at_us, self.order, what, about))

    def begin(self, at_us, number):
        plastic, initiator = CARDS[self.rng.randrange(len(CARDS))], self.rng.choice(("cit", "mit"))
        token = NetworkToken() if self.rng.random() < 0.3 else None
        card = Card(fingerprint=f"fp_{plastic.fingerprint}", network=plastic.network, issuer_country="DE", token=token)
        payment = Payment(
            id=f"pay_{number}",
            amount=self.rng.choice((500, 9_900)),
            currency="EUR",
            merchant_id="m",
            payment_method=PaymentMethod(card=card),
            initiator=initiator,
        )
        story = Story(Attempt(attempt_id=f"pay_{number}", payment=payment, eligible_routes=ROUTES), plastic)
        if self.limits.verdict(asked_of(story.facts("north", at_us), at_us)).allowed:
            self.send(at_us, (story, "north", "pan", "allow"))

    def send(self, at_us, what):
        """Asked again when its time has come: more may be known by now."""
        story, route, credential, intervention = what
        facts = story.facts(route, at_us)
        if story.tried and not self.limits.verdict(asked_of(facts, at_us)).allowed:
            return
        no = len(story.tried) + 1
        story.tried.append(Tried(facts.attempt_id, no, route, credential, intervention, at_us=at_us))
        self.append("decision", facts, b"", at_us)
        self.later(at_us + self.rng.choice((1, 30)) * SECOND_US, self.answer, (story, facts, no - 1))

    def answer(self, at_us, about):
        story, facts, place = about
        result = self.rng.choices(("declined", "approved", "unknown", "not_sent"), weights=(70, 15, 8, 7))[0]
        network = facts.network
        code = self.rng.choice(CODES) if result == "declined" else ""
        mac = self.rng.choice(MACS) if result == "declined" and network == "mastercard" else ""
        kind = "not_sent" if result == "not_sent" else "authorization"
        told = [kind] if result == "not_sent" else [kind, result, network, code or None, mac or None]
        self.append(kind, facts, msgspec.msgpack.encode(told), at_us)
        story.tried[place] = msgspec.structs.replace(
            story.tried[place], answer=result, network=network, code=code, advice=mac
        )
        self.decide(at_us, story)

    def decide(self, at_us, story):
        history = History(tried=tuple(story.tried))
        given = Given(amount_minor=story.amount, fraud_probability_e9=2_000_000, ingest_us=at_us, history=history)
        asked = asked_of(story.facts("north", at_us), at_us)
        outlooks = outlooks_of(story.attempt, given, self.limits, asked, economics=SHOP)
        found = next_action(story.attempt, given, outlooks, economics=SHOP, policy=POLICY)
        self.seen.append((given, found, story))
        if found.next in SENDS:
            action = found.action
            self.later(found.at_us, self.send, (story, action.route, action.credential, action.intervention))
        elif found.next == "query_or_reverse":
            self.later(at_us + HOUR_US, self.resolve, (story, found.about))

    def resolve(self, at_us, about):
        """The query says declined, or the reversal is confirmed."""
        story, attempt_id = about
        place = next(at for at, tried in enumerate(story.tried) if tried.attempt_id == attempt_id)
        story.tried[place] = msgspec.structs.replace(story.tried[place], answer="reversed", decline_class="unknown")
        self.decide(at_us, story)

    def append(self, kind, facts, payload, at_us):
        seq = len(self.entries) + 1
        entry = Entry(seq, 1, at_us, kind, "t", str(seq), at_us, 0, 1, b"", facts, payload)
        self.entries.append(entry)
        self.limits.apply(entry)


class Story:
    def __init__(self, attempt, plastic):
        self.attempt, self.plastic, self.tried = attempt, plastic, []

    @property
    def amount(self):
        return self.attempt.payment.amount

    def facts(self, route, at_us):
        payment = self.attempt.payment
        return Facts(
            payment_id=payment.id,
            payment_us=at_us,
            amount_minor=payment.amount,
            currency="EUR",
            amount_reporting_minor=payment.amount,
            attempt_id=f"{payment.id}/{len(self.tried) + 1}",
            merchant_id="m",
            initiator=payment.initiator,
            card=self.plastic.fingerprint,
            par=self.plastic.par,
            network=self.plastic.network,
            intervention="allow",
            route_id=route,
        )


@pytest.fixture(scope="module", params=range(2))
def loop(request):
    return Loop(request.param).run(1_200)


def test_nothing_forbidden_is_sent(loop):
    assert violations(loop.entries) == []
    assert sum(found.next in SENDS for _, found, _ in loop.seen) > 100


def test_nothing_is_sent_while_an_attempt_is_unknown(loop):
    unsettled = [found for given, found, _ in loop.seen if any(t.answer == "unknown" for t in given.history.tried)]
    assert unsettled
    assert {found.next for found in unsettled} <= {"query_or_reverse", "void", "capture"}


def test_payments_come_to_an_end(loop):
    for given, found, story in loop.seen:
        assert len(story.tried) <= TRIES_MAX + sum(tried.answer == "not_sent" for tried in story.tried)
        assert given.ingest_us <= found.at_us <= story.tried[0].at_us + HORIZON_US + DAY_US


def test_nobody_is_challenged_who_is_not_there(loop):
    mit = [found for _, found, story in loop.seen if story.attempt.payment.initiator == "mit" and found.action]
    assert mit
    assert all(found.action.intervention == "allow" for found in mit if found.next in SENDS)


def test_what_is_done_is_worth_at_least_as_much_as_all_that_was_considered(loop):
    for _, found, _ in loop.seen:
        assert all(found.value_micro >= other.value_micro for other in found.considered)


def test_the_same_is_answered_twice_alike(loop):
    for given, found, story in loop.seen[:100]:
        if not found.considered:
            continue
        again = [next_action(story.attempt, given, economics=SHOP, policy=POLICY) for _ in range(2)]
        assert again[0] == again[1]


def test_no_sequence_of_captures_exceeds_what_was_approved():
    rng = random.Random(5)
    for _ in range(200):
        approved, captured = rng.randrange(1, 10**6), []
        for _ in range(rng.randrange(1, 8)):
            captured.append(min(rng.randrange(1, 10**6), capturable_minor(approved, captured)))
        assert sum(captured) <= approved
