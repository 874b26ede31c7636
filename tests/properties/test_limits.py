"""Whatever comes: nothing is granted that a rule in force forbids, as a checker that shares no code counts it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.limit_checker import violations
from properties.limit_streams import ANSWERS, PLASTIC, Step, Traffic, asked_of, random_step

from greenlane.policy.limits import Limits

DAY_US = 86_400_000_000

STEPS = st.lists(
    st.builds(
        Step,
        gap_us=st.sampled_from((1, 10**6, 10**9, 10**10, 5 * 10**10, DAY_US, 7 * DAY_US, 31 * DAY_US)),
        instrument=st.integers(0, len(PLASTIC) - 1),
        merchant=st.just(0) | st.integers(0, 1),
        amount_minor=st.sampled_from((500, 1999)),
        initiator=st.sampled_from(("cit", "mit")),
        answer=st.integers(0, len(ANSWERS) - 1),
        answered_after_us=st.sampled_from((1, 10**6, 10**9, 10**11)),
        granted=st.sampled_from((True, True, True, False)),
        restart=st.sampled_from((False, False, False, True)),
        ahead_us=st.sampled_from((0, 0, 0, 10**9, 3 * DAY_US)),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(steps=STEPS)
def test_nothing_forbidden_is_granted(steps):
    assert violations(Traffic().play(steps).entries) == []


@pytest.mark.parametrize("seed", range(2))
def test_nothing_forbidden_is_granted_in_a_long_run(seed):
    rng = random.Random(seed)
    traffic = Traffic().play([random_step(rng) for _ in range(4_000)])
    assert violations(traffic.entries) == []
    allowed = sum(verdict.allowed for verdict in traffic.verdicts)
    assert 0.2 < allowed / len(traffic.verdicts) < 0.9  # it neither waves through nor refuses all


def test_the_checker_sees_what_an_engine_that_does_not_ask_would_do():
    rng = random.Random(1)
    found = violations(Traffic(obey=False).play([random_step(rng) for _ in range(1_500)]).entries)
    assert {"VISA_CAT1", "MC_MAC_03_21", "MC_MAC_24_30", "HOUSE_24H", "HOUSE_30D", "HOUSE_HARD"} <= {
        violation.rule for violation in found
    }


@settings(max_examples=60)
@given(steps=STEPS)
def test_a_restart_changes_nothing(steps):
    traffic = Traffic().play(steps)
    refolded = Limits()
    for entry in traffic.entries:
        refolded.apply(entry)
    assert refolded.dump() == traffic.limits.dump() == Limits.load(refolded.dump()).dump()


@settings(max_examples=60)
@given(steps=STEPS, instrument=st.integers(0, len(PLASTIC) - 1))
def test_what_is_refused_now_is_allowed_at_the_time_that_is_named_and_not_before(steps, instrument):
    traffic = Traffic().play(steps)
    now_us = traffic.entries[-1].ingest_us if traffic.entries else traffic.now_us
    asked = asked_of(traffic.facts(Step(0, instrument, 0, 500, "cit", 0, 0)), now_us)
    verdict = traffic.limits.verdict(asked)
    if verdict.allowed:
        assert (verdict.earliest_us, verdict.attempts_left > 0) == (now_us, True)
    elif verdict.earliest_us is None:
        assert not traffic.limits.verdict(asked._replace(at_us=now_us + 400 * DAY_US)).allowed
    else:
        assert now_us < verdict.earliest_us
        assert traffic.limits.verdict(asked._replace(at_us=verdict.earliest_us)).allowed
        assert not traffic.limits.verdict(asked._replace(at_us=verdict.earliest_us - 1)).allowed


def test_memory_is_bounded_by_what_can_still_matter():
    rng = random.Random(3)
    traffic = Traffic()
    for _ in range(4_000):
        traffic.take(random_step(rng)._replace(gap_us=DAY_US // 24))
    remembered = [sent for ledger in traffic.limits._ledgers.values() for sent in ledger.sent]
    assert len(traffic.entries) > 1_000
    assert len(remembered) < 2 * 24 * 33  # a month, under two names each
