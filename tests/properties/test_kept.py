"""Whatever a decision record says, its stored form gives back."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from greenlane.decisions.kept import approvals_of, keep_approvals, keep_values, values_of
from greenlane.decisions.record import DecisionRecord, payload_of, record_of
from greenlane.decisions.redact import redacted
from greenlane.journal.freeze import Reporting, freeze
from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import (
    Attempt,
    Card,
    Constraints,
    Customer,
    Device,
    LocalMethod,
    NetworkToken,
    Payment,
    PaymentMethod,
    Route,
    ThreeDS,
    Verification,
)
from greenlane.payments.facts import Facts
from greenlane.policy.actions import BLOCK, Action
from greenlane.policy.choose import choose
from greenlane.policy.given import Barred, Given, Worth
from greenlane.policy.history import History, Tried
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.policy.priors import Approval
from greenlane.ports.journal import Entry
from greenlane.ports.subjects import MemorySubjects

WORDS = st.text("abcXYZ09_-.", min_size=1, max_size=12)
E9 = st.integers(0, 10**9)
COUNTRIES = st.sampled_from([None, "DE", "US"])
CREDENTIALS = st.sampled_from(["pan", "network_token"])
ECONOMICS = Economics(
    country="DE",
    routes=tuple(RouteTerms(id=f"own_{n}", exemptions=("low_value", "transaction_risk_analysis")) for n in range(3)),
)
POLICY = Policy(perspective="merchant")

cards = st.builds(
    Card,
    fingerprint=WORDS,
    par=st.none() | WORDS,
    bin=st.none() | st.just("40000012"),
    network=st.sampled_from(["visa", "mastercard", "other"]),
    funding=st.sampled_from(["credit", "unknown"]),
    issuer_id=st.none() | WORDS,
    issuer_country=COUNTRIES,
    credential=CREDENTIALS,
    token=st.none() | st.builds(NetworkToken, state=st.sampled_from(["active", "deleted"])),
    exp_bucket=st.none() | st.just("2030"),
)
methods = st.builds(PaymentMethod, card=cards) | st.builds(
    PaymentMethod, type=st.just("ideal"), ideal=st.builds(LocalMethod, fingerprint=WORDS, bank_country=COUNTRIES)
)
payments = st.builds(
    Payment,
    id=WORDS,
    amount=st.integers(0, 10**8),
    currency=st.just("EUR"),
    merchant_id=WORDS,
    payment_method=methods,
    created=st.none() | st.just("2026-01-01T00:00:00Z"),
    mcc=st.none() | st.just("5732"),
    channel=st.sampled_from(["ecommerce", "moto", "pos"]),
    initiator=st.sampled_from(["cit", "mit"]),
    network_transaction_id=st.none() | WORDS,
    customer=st.none() | st.builds(Customer, id=st.none() | WORDS, email_domain=st.none() | WORDS),
    device=st.none()
    | st.builds(
        Device,
        ip=st.none() | st.just("203.0.113.7"),
        ip_country=COUNTRIES,
        asn=st.none() | st.integers(0, 9),
        is_proxy=st.none() | st.booleans(),
    ),
    billing_country=COUNTRIES,
    shipping_hash=st.none() | WORDS,
)
routes = st.builds(
    Route,
    id=WORDS,
    acquirer=st.none() | WORDS,
    merchant_account=st.none() | WORDS,
    network=st.sampled_from([None, "visa", "mastercard"]),
    credentials=st.sampled_from([("pan", "network_token"), ("pan",), ("network_token", "pan")]),
)
attempts = st.builds(
    Attempt,
    attempt_id=WORDS,
    payment=payments,
    stage=st.sampled_from(["pre_authentication", "pre_authorization", "post_authorization"]),
    verification=st.none()
    | st.builds(
        Verification,
        cvv_result=st.sampled_from([None, "M", "N"]),
        three_ds=st.none() | st.builds(ThreeDS, trans_status=st.sampled_from(["Y", "A", "N", "R", "C"])),
    ),
    signals=st.dictionaries(WORDS, st.integers(-(2**63), 2**63 - 1) | st.booleans() | WORDS, max_size=2),
    eligible_routes=st.lists(routes, max_size=4, unique_by=lambda route: route.id).map(tuple),
    constraints=st.builds(Constraints, challenge_allowed=st.booleans()),
    deadline_ms=st.none() | st.integers(1, 60_000),
    mode=st.sampled_from(["live", "shadow"]),
)
approvals = st.builds(Approval, *[E9] * 7)
tried = st.builds(
    Tried,
    WORDS,
    st.integers(1, 9),
    WORDS,
    answer=st.sampled_from(["declined", "pending"]),
    network=st.just("visa"),
    code=st.sampled_from(["05", "51", "1A"]),
    decline_class=st.sampled_from(["", "sca"]),
)


def facts_of(attempt: Attempt) -> Facts:
    return freeze(attempt, subjects=MemorySubjects(), reporting=Reporting("EUR"), ingest_us=10**15)


def kept_and_read(record: DecisionRecord, facts: Facts) -> DecisionRecord:
    payload = payload_of(record, facts)
    again = Entry(1, 1, 1, "decision", "decision", "a", 1, 0, 1, b"", facts, bytes(bytearray(payload)))
    return record_of(again)


@st.composite
def believed_of_ways(draw: Any, count: int) -> tuple[Approval, ...] | None:
    """Anything; or, as the model says it, with one ratio of fraudsters to good payers."""
    if draw(st.booleans()):
        return draw(st.none() | st.tuples(*[approvals] * count))
    ratio, soft = draw(st.integers(0, 10**6)), draw(E9)
    goods = draw(st.lists(st.tuples(E9, E9, E9), min_size=count, max_size=count))
    return tuple(
        Approval(a, a * ratio // 10**6, b, b * ratio // 10**6, c, c * ratio // 10**6, soft) for a, b, c in goods
    )


@st.composite
def records(draw: Any) -> tuple[DecisionRecord, Facts]:
    asked = draw(attempts)
    facts = facts_of(asked)
    attempt = draw(st.sampled_from([asked, redacted(asked, facts)]))
    history = draw(st.none() | st.builds(History, status=st.sampled_from(["", "Y"]), tried=st.tuples(tried)))
    given = Given(
        amount_minor=draw(st.integers(0, 10**8)),
        fraud_probability_e9=draw(st.none() | E9),
        ingest_us=draw(st.integers(0, 2**53)),
        rung=draw(st.sampled_from(["full", "reduced", "static"])),
        multipliers=draw(st.builds(Multipliers, report_minor=st.integers(0, 500))),
        history=history,
        barred=draw(st.just(()) | st.tuples(st.builds(Barred, WORDS, WORDS, WORDS))),
        degraded=draw(st.sampled_from([(), ("approvals",)])),
    )
    ways = len(choose(attempt, given, economics=ECONOMICS, policy=POLICY).may.ways)
    worths = st.tuples(*[st.builds(Worth, st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))] * ways)
    given = replace(given, approvals=draw(believed_of_ways(ways)), declined=draw(st.none() | worths))
    chosen = choose(attempt, given, economics=ECONOMICS, policy=POLICY)
    return DecisionRecord(
        attempt, draw(st.integers(1, 9)), draw(st.binary(max_size=9)), "", "mdl", (("time", -5),), given, chosen,
        "release", 7, draw(st.sampled_from([(), chosen.degraded])),
    ), facts  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(records())
def test_a_record_is_read_as_it_was_written(found: tuple[DecisionRecord, Facts]) -> None:
    record, facts = found
    assert kept_and_read(record, facts) == record


@settings(max_examples=60, deadline=None)
@given(records(), st.sampled_from([BLOCK, Action("allow", "", "nowhere", "pan")]), st.integers(-9, 9))
def test_also_one_whose_parts_do_not_follow_from_one_another(
    found: tuple[DecisionRecord, Facts], other: Action, gap: int
) -> None:
    """As a next action writes it, or whoever changes the formulas."""
    record, facts = found
    chosen = record.chosen
    changed = replace(
        chosen,
        action=other,
        runner_up=other,
        value_gap_micro=gap,
        explored=replace(chosen.explored, kind="route", draw=5),
        policy_epoch=gap,
        probabilities=chosen.probabilities and replace(chosen.probabilities, fraud_given_decline_e9=gap),
    )
    record = replace(record, chosen=changed)
    elsewhere = replace(facts, attempt_id="another", amount_minor=1, card=5, network="jcb")
    assert kept_and_read(record, elsewhere) == record


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**9), 10**9), max_size=40))
def test_values_are_read_as_they_were_written(values: list[int]) -> None:
    assert values_of(keep_values(tuple(values))) == tuple(values)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9).flatmap(believed_of_ways))
def test_approvals_are_read_as_they_were_written(found: tuple[Approval, ...] | None) -> None:
    if found is not None:
        assert approvals_of(keep_approvals(found)) == found


def test_rates_of_fraudsters_that_follow_are_not_kept() -> None:
    ways = tuple(Approval(10**9 - n, 7 * (10**9 - n) // 10, 5, 3, 0, 0, 9) for n in range(8))
    assert len(keep_approvals(ways)) == 8 + 8 * 3 * 4
