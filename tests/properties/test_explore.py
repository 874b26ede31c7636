"""Laws of exploration: exact sums, hard ceilings, draws that cannot be bought, shares that are what was recorded."""

from collections import Counter
from itertools import product

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.actions import ROWS, Eligible, Row, Way
from greenlane.policy.budgets import Ledger
from greenlane.policy.distribution import TOTAL, greedy
from greenlane.policy.explore import (
    Allowance,
    Allowances,
    Challenging,
    Context,
    Explored,
    Exploring,
    Releasing,
    Routing,
    explore,
    secret_draw,
)
from greenlane.ports.journal import Entry

MINOR = 10**6
few = settings(max_examples=300, deadline=None)
ppm = st.integers(0, 1_000_000)
money = st.integers(-(10**12), 10**12)
allowance = st.builds(Allowance, st.sampled_from((0, 10**10)), st.integers(0, 10**11), ppm)


@st.composite
def eligibles(draw):
    ways = tuple(Way(f"r{n}", credential) for n, credential in product(range(draw(st.integers(0, 6))), ("pan", "t")))
    rows = [Row(*row, draw(st.integers(0, 2 ** len(ways) - 1))) for row in ROWS]
    return Eligible(tuple(row for row in rows if row.ways), ways, ())


@st.composite
def cases(draw):
    may = draw(eligibles())
    close = draw(st.booleans())
    value = st.integers(-(10**8), 10**8) if close else money
    values = draw(st.lists(value, min_size=may.size, max_size=may.size))
    width = st.integers(0, 10**10)
    widths = draw(st.lists(width, min_size=may.size, max_size=may.size)) if draw(st.booleans()) else None
    seen = Context(
        payment_id=draw(st.text("abc", min_size=1, max_size=3)),
        attempt_no=draw(st.integers(1, 4)),
        unit=draw(st.sampled_from(("", "c1", "d2"))),
        day=draw(st.integers(0, 3)),
        fraud_e9=draw(st.integers(0, 10**9)),
        amount_minor=draw(st.sampled_from((0, 1, 999, 10_000, 10**13))),
        last_attempt=draw(st.booleans()),
        barred=draw(st.booleans()),
        unhealthy=draw(st.integers(0, 2**12)),
        allowances=draw(st.builds(Allowances, allowance, allowance, allowance)),
    )
    uppers = [] if widths is None else [value + width for value, width in zip(values, widths, strict=True)]
    return values, may, seen, uppers


@few
@given(cases())
def test_a_distribution_sums_to_two_to_the_32_and_holds_what_was_drawn(case):
    values, may, seen, uppers = case
    found = explore(values, may, context=seen, exploring=Exploring(), draw=secret_draw(b"s"), uppers_micro=uppers)
    assert sum(found.distribution) == TOTAL
    assert min(found.distribution) >= 0
    assert len(found.distribution) == may.size
    assert found.distribution[found.place] > 0
    assert not found.degraded
    best = values.index(max(values))
    assert found.explored == (found.place != best)
    if not found.explored:
        assert found.charged_micro == 0


@few
@given(cases())
def test_the_factors_multiply_to_the_probability_and_sum_to_one(case):
    values, may, seen, uppers = case
    found = explore(values, may, context=seen, exploring=Exploring(), draw=secret_draw(b"s"), uppers_micro=uppers)
    chosen = may.action(found.place).intervention
    alike = [mass for mass, a in zip(found.distribution, may.actions, strict=True) if a.intervention == chosen]
    assert sum(alike) == found.intervention
    product_of_factors = found.propensity["intervention"] * found.propensity["route"]
    assert abs(product_of_factors - found.distribution[found.place] / TOTAL) < 1e-12


@few
@given(cases())
def test_nothing_is_charged_beyond_what_is_left(case):
    values, may, seen, uppers = case
    found = explore(values, may, context=seen, exploring=Exploring(), draw=secret_draw(b"s"), uppers_micro=uppers)
    if found.explored:
        assert 0 <= found.expected_micro <= found.charged_micro <= getattr(seen.allowances, found.kind).remaining_micro


@few
@given(cases(), st.integers(1, 10**9))
def test_above_the_ceiling_a_block_is_a_block(case, ceiling):
    values, may, seen, _ = case
    values = [*values[:-1], 10**13]
    above = replace(seen, fraud_e9=min(10**9, ceiling + seen.fraud_e9))
    found = explore(
        values, may, context=above, exploring=Exploring(release=Releasing(ceiling_e9=ceiling)), draw=secret_draw(b"s")
    )
    assert found.distribution == greedy(may.size, may.size - 1)


@few
@given(cases())
def test_attacked_cells_last_attempts_and_large_amounts_see_no_other_route(case):
    values, may, seen, uppers = case
    for barred in (
        replace(seen, barred=True),
        replace(seen, last_attempt=True),
        replace(seen, amount_minor=Routing().amount_max_minor + 1),
    ):
        found = explore(values, may, context=barred, exploring=Exploring(), draw=secret_draw(b"s"), uppers_micro=uppers)
        assert found.kind != "route"
    assert explore(
        values, may, context=replace(seen, barred=True), exploring=Exploring(), draw=secret_draw(b"s")
    ).distribution == greedy(may.size, values.index(max(values)))


WAYS = tuple(Way(name, "pan") for name in "abc")
MAY = Eligible((Row("allow", "", 0b111), Row("challenge", "", 0b111)), WAYS, ())
ON = Allowances(*[Allowance(10**12, 10**12, 800_000)] * 3)
SEEN = Context(payment_id="p", unit="c1", amount_minor=10_000, fraud_e9=2 * 10**8, allowances=ON)
ROUTES = [v * MINOR for v in (100, 99, 80, 20, 20, 20, 0)]
SWAP = [v * MINOR for v in (100, 0, 0, 99, 0, 0, -9)]
BLOCK = [v * MINOR for v in (-9, -8, -9, -7, -9, -9, 0)]
DRAW = secret_draw(b"tenant")


def found(values, **changes):
    return explore(values, MAY, context=replace(SEEN, **changes), exploring=Exploring(), draw=DRAW)


@few
@given(st.text(min_size=1, max_size=20), st.integers(1, 9), st.integers(0, 400))
def test_a_new_id_buys_a_card_no_new_draw_that_day(payment_id, attempt_no, day):
    for values in (SWAP, BLOCK):
        first = found(values, day=day)
        again = found(values, day=day, payment_id=payment_id, attempt_no=attempt_no)
        assert (again.draw, again.place) == (first.draw, first.place)


@few
@given(st.integers(0, 400), st.sampled_from(("", "c1", "c2", "d9")))
def test_waiting_or_another_card_buys_a_payment_no_new_draw(day, unit):
    assert found(ROUTES, day=day, unit=unit).draw == found(ROUTES).draw


def test_shares_over_many_units_are_the_recorded_propensities():
    n = 40_000
    cases = {
        "route": [found(ROUTES, payment_id=f"pay_{i}") for i in range(n)],
        "challenge": [found(SWAP, unit=f"c{i}") for i in range(n)],
        "release": [found(BLOCK, unit=f"c{i}") for i in range(n)],
    }
    for kind, answers in cases.items():
        assert {answer.kind for answer in answers} == {kind}
        for place, mass in enumerate(answers[0].distribution):
            expected = mass / TOTAL
            share = sum(answer.place == place for answer in answers) / n
            assert abs(share - expected) <= 4.5 * (expected * (1 - expected) / n) ** 0.5


def test_inverse_propensities_undo_the_choice():
    """The weighted mean of what was drawn estimates what another policy would have had: here, always the second way."""
    n = 40_000
    total = 0.0
    for i in range(n):
        answer = found(ROUTES, payment_id=f"pay_{i}")
        if answer.place == 1:
            total += 1.0 / (answer.propensity["intervention"] * answer.propensity["route"])
    assert abs(total / n - 1.0) < 0.05


# the ledger


CARD_DAY = Facts(
    payment_id="", payment_us=0, amount_minor=5_000, currency="EUR", amount_reporting_minor=5_000, attempt_id="a"
)
BUDGETS = Exploring(
    release=Releasing(budget_minor=3_000, share_ppm=1_000_000),
    challenge=Challenging(budget_minor=1_000, share_ppm=1_000_000),
    route=Routing(budget_minor=1_500),
)
SITUATIONS = {"route": ROUTES, "challenge": SWAP, "release": BLOCK}
PAYLOAD = msgspec.msgpack.Decoder(Explored)


def explored_of(entry):
    return PAYLOAD.decode(entry.payload)


class Told:
    """A ledger that is asked before each decision, and told each decision and outcome."""

    def __init__(self):
        self.ledger, self.entries = Ledger(BUDGETS, explored_of), []
        self.charged = Counter()

    def append(self, kind, at_us, facts, payload):
        n = len(self.entries) + 1
        entry = Entry(n, 1, at_us, kind, "s", str(n), at_us, 0, 1, b"", facts, msgspec.msgpack.encode(payload))
        self.entries.append(entry)
        self.ledger.apply(entry)

    def decide(self, at_us, values, card):
        facts = replace(CARD_DAY, payment_id=f"p{len(self.entries)}", card=card)
        self.ledger.advance(at_us)
        seen = Context(
            payment_id=facts.payment_id,
            unit=f"card/{card}",
            day=at_us // DAY_US,
            fraud_e9=10**7,
            amount_minor=5_000,
            released_today=self.ledger.released_today(facts),
            allowances=self.ledger.allowances,
        )
        answer = explore(values, MAY, context=seen, exploring=BUDGETS, draw=DRAW)
        if answer.explored:
            self.charged[answer.kind, at_us // DAY_US] += answer.charged_micro
        self.append("decision", at_us, facts, answer)
        return facts

    def hear(self, at_us, facts, outcome):
        kind, result = outcome
        self.append(kind, at_us, facts, [kind, result])


ANSWERS = [("authorization", result) for result in ("approved", "declined", "unknown")]
LATER = [(kind, None) for kind in ("not_sent", "fraud_report", "dispute", "capture")]
OUTCOMES = st.sampled_from([*ANSWERS, *LATER])
step = st.tuples(
    st.sampled_from((0, 10**6, 16 * 60 * 10**6, 5 * 3_600 * 10**6)),
    st.sampled_from(tuple(SITUATIONS)),
    st.integers(1, 30),
    st.lists(OUTCOMES, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.integers(1, 20))
def test_the_ledger_never_overspends_and_is_a_fold(steps, restart_every):
    told, at_us = Told(), 0
    for n, (waited, situation, card, outcomes) in enumerate(steps):
        at_us += waited
        facts = told.decide(at_us, SITUATIONS[situation], card)
        for outcome in outcomes:
            told.hear(at_us + 1, facts, outcome)
        if n % restart_every == 0:
            told.ledger = Ledger.load(told.ledger.dump(), BUDGETS, explored_of)
    event(f"explored {min(20, sum(account.explored for account in told.ledger.accounts.values()))}")
    for (kind, _), micro in told.charged.items():
        assert micro <= 2 * getattr(BUDGETS, kind).budget_minor * MINOR
    again = Ledger(BUDGETS, explored_of)
    for entry in told.entries:
        again.apply(entry)
    for ledger in (again, told.ledger):
        ledger.advance(at_us + 70 * DAY_US)
        assert all(account.reconciled == account.explored for account in ledger.accounts.values())
    assert again.dump() == told.ledger.dump()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000))
def test_a_card_is_released_once_a_day_however_often_it_asks(day):
    told = Told()
    for n in range(200):
        told.decide(day * DAY_US + n * 60 * 10**6, BLOCK, card=day + 1)
    assert told.ledger.accounts["release"].explored <= Releasing().per_day
