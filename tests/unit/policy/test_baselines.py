"""Every router ranks every way once, repeats itself, and does the one thing it is named for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.policy.baselines import (
    KEYS,
    ByApprovalValue,
    Cheapest,
    Occasion,
    RoundRobin,
    StaticPriority,
    SuccessRateWindow,
    Thompson,
    Window,
)

WAYS = ("a", "b", "c")
MIDDLE = 2**31
OUTCOMES = st.tuples(st.sampled_from(WAYS), st.booleans(), st.floats(0, 1), st.integers(0, 2**32 - 1))


def occasion(**changed) -> Occasion:
    plain = Occasion(
        merchant_id="m",
        network="visa",
        issuer_id="i",
        issuer_country="DE",
        bin8="40000000",
        earned_minor=(900.0, 950.0, 980.0),
        fees_minor=(100.0, 50.0, 20.0),
        declined_minor=(5.0, 5.0, 5.0),
        approvals=(0.95, 0.90, 0.70),
        draw=MIDDLE,
    )
    return plain._replace(**changed)


def routers():
    return [
        StaticPriority(("c", "a", "b")),
        RoundRobin(),
        Cheapest(),
        ByApprovalValue(),
        Thompson(),
        *(SuccessRateWindow(key, by_money=money, genuine_weighted=money) for key in KEYS for money in (False, True)),
    ]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(WAYS), st.booleans(), st.floats(0, 1), st.integers(0, 2**32 - 1)), max_size=40)
)
def test_a_router_ranks_every_way_once_and_repeats_itself(past):
    for one, twin in zip(routers(), routers(), strict=True):
        for way, approved, genuine, draw in past:
            for router in (one, twin):
                router.learn(way, occasion(), approved=approved, genuine=genuine)
            ranked = one.rank(WAYS, occasion(draw=draw))
            assert sorted(ranked) == [0, 1, 2]
            assert ranked == twin.rank(WAYS, occasion(draw=draw))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30), st.integers(1, 8))
def test_a_window_is_the_mean_of_its_last_outcomes_with_ones_before_the_first(past, size):
    window = Window(size)
    for approved, weight in past:
        window.add(approved, weight)
    last = ([(True, 1.0)] * size + past)[-size:]
    total = sum(weight for _, weight in last)
    if total > 1e-6:
        assert window.rate == pytest.approx(sum(weight for approved, weight in last if approved) / total, abs=1e-6)


def test_a_window_forgets_after_its_size():
    window = Window(125)
    for _ in range(125):
        window.add(False, 1.0)
    assert window.rate == 0.0
    window.add(True, 1.0)
    assert window.rate == pytest.approx(1 / 125)


def test_one_payment_in_twenty_looks_elsewhere():
    router = SuccessRateWindow()
    step = 2**32 // 1000
    elsewhere = sum(router.rank(WAYS, occasion(draw=i * step))[0] != 0 for i in range(1000))
    assert 49 <= elsewhere <= 51


def test_a_way_that_fails_on_and_on_is_eliminated_and_comes_back():
    router = SuccessRateWindow()
    for _ in range(21):
        router.learn("a", occasion(), approved=False)
    assert router.eliminated("a", "m") and not router.eliminated("a", "other_merchant")
    for _ in range(3):
        router.learn("a", occasion(), approved=True)
    assert not router.eliminated("a", "m")


def test_an_eliminated_way_has_its_rate_divided_by_five():
    router = SuccessRateWindow(key="issuer")
    for way in ("b", "c"):
        for _ in range(60):
            router.learn(way, occasion(merchant_id="elsewhere"), approved=False)
    for _ in range(21):
        router.learn("a", occasion(), approved=False)  # 104 of 125 left: still the best rate, were it not eliminated
    assert router.rank(WAYS, occasion())[-1] == 0


def test_a_key_keeps_issuers_apart_where_another_mixes_them():
    by_issuer, by_all = SuccessRateWindow("issuer"), SuccessRateWindow("all")
    for router in (by_issuer, by_all):
        for _ in range(10):
            router.learn("a", occasion(issuer_id="other"), approved=False)
    assert by_issuer.rank(WAYS, occasion())[0] == 0
    assert by_all.rank(WAYS, occasion())[0] == 1


def test_declines_of_likely_fraudsters_hardly_count_where_outcomes_are_weighted():
    plain, weighted = SuccessRateWindow(), SuccessRateWindow(genuine_weighted=True)
    for router in (plain, weighted):
        router.learn("b", occasion(), approved=False)
        for _ in range(10):
            router.learn("a", occasion(), approved=False, genuine=0.01)
    assert plain.rank(["a", "b"], occasion())[0] == 1
    assert weighted.rank(["a", "b"], occasion())[0] == 0


def test_money_breaks_what_rates_leave_equal():
    assert SuccessRateWindow(by_money=True).rank(WAYS, occasion()) == [2, 1, 0]
    assert SuccessRateWindow().rank(WAYS, occasion()) == [0, 1, 2]


def test_value_weighs_approval_against_fees():
    assert ByApprovalValue().rank(WAYS, occasion()) == [0, 1, 2]
    near = occasion(approvals=(0.92, 0.90, 0.70))
    assert ByApprovalValue().rank(WAYS, near) == [1, 0, 2]


def test_thompson_finds_the_better_way():
    router = Thompson()
    for i in range(400):
        way = WAYS[router.rank(WAYS, occasion(draw=i, earned_minor=(1.0, 1.0, 1.0)))[0]]
        router.learn(way, occasion(), approved=i % 10 < {"a": 3, "b": 9, "c": 5}[way])
    last = [router.rank(WAYS, occasion(draw=i, earned_minor=(1.0, 1.0, 1.0)))[0] for i in range(1000, 1100)]
    assert last.count(1) > 90
