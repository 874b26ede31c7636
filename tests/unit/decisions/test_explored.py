"""The part of a decision that the exploration ledger reads."""

import pytest
from msgspec.structs import replace

from greenlane.decisions.explored import explored_of
from greenlane.decisions.record import DecisionRecord, payload_of
from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod
from greenlane.payments.facts import Facts
from greenlane.policy.budgets import Ledger
from greenlane.policy.choose import choose
from greenlane.policy.explore import Context, Exploring, Routing, secret_draw
from greenlane.policy.given import Given
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry

POLICY = Policy(perspective="merchant", exploring=Exploring(route=Routing(budget_minor=10**6)))
ROUTES = Economics(country="DE", routes=(RouteTerms(id="acq_a"), RouteTerms(id="acq_b")))
CARD = Card(fingerprint="fp_1", issuer_country="DE")
PAYMENT = Payment(id="p", amount=5_000, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=CARD))
FACTS = Facts(payment_id="p", payment_us=0, amount_minor=5_000, currency="EUR", amount_reporting_minor=5_000, card=7)


@pytest.fixture
def decided():
    """A decision made with a budget, and its entry."""
    ledger = Ledger(POLICY.exploring, explored_of)
    ledger.accounts["route"].usual[0] = 1  # so little that the pace is full
    ledger.advance(1)
    context = Context(payment_id="p", attempt_no=2, amount_minor=5_000, allowances=ledger.allowances)
    given = Given(amount_minor=5_000, fraud_probability_e9=10**6, context=context)
    attempt = Attempt(attempt_id="a", payment=PAYMENT)
    chosen = choose(attempt, given, economics=ROUTES, policy=POLICY, draw=secret_draw(b"s"))
    record = DecisionRecord(attempt, 2, b"", "", "", (), given, chosen, "r", 5, ())
    entry = Entry(1, 1, 1, "decision", "decision", "a", 1, 0, 1, b"", FACTS, payload_of(record, FACTS))
    return ledger, chosen, entry


def test_what_is_read_is_what_was_chosen(decided):
    _, chosen, entry = decided
    allowed = replace(entry, facts=replace(FACTS, intervention="allow", route_id="acq_a"))
    assert chosen.explored.kind == "route"
    assert explored_of(allowed) == chosen.explored


def test_the_ledger_learns_the_demand_of_a_choice(decided):
    ledger, chosen, entry = decided
    ledger.apply(replace(entry, facts=replace(FACTS, intervention="allow", route_id="acq_a")))
    assert ledger.accounts["route"].demand[0] == chosen.explored.demand_micro


def test_a_shadow_decision_explores_nothing(decided):
    _, _, entry = decided
    assert explored_of(entry) is None
    assert explored_of(replace(entry, payload=b"")) is None
