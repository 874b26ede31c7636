"""Laws of the monitors: thresholds are monotone, distances are distances, a fold does not mind where it is cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from properties.test_kept import records

from greenlane.decisions.record import DecisionRecord, payload_of
from greenlane.monitoring.cusum import arl, siegmund_arl, threshold
from greenlane.monitoring.distances import hellinger, js_distance, psi
from greenlane.monitoring.expected import Expected, expected_of, glance
from greenlane.monitoring.streams import Budget, Streams
from greenlane.monitoring.traffic import APPROVAL_TILTS
from greenlane.payments.facts import Facts
from greenlane.policy.believe import mixed_e9
from greenlane.policy.distribution import TOTAL
from greenlane.ports.journal import Entry

counts = st.lists(st.integers(0, 500), min_size=5, max_size=5).filter(lambda each: sum(each) > 0)
SECOND = 1_000_000


@settings(max_examples=50, deadline=None)
@given(st.floats(10, 1e9), st.floats(1e-5, 0.5), st.floats(1, 10))
def test_longer_runs_and_wilder_worlds_need_higher_thresholds(run, information, dispersion):
    least = float(threshold(run, information, dispersion))
    assert least <= float(threshold(run * 2, information, dispersion)) + 1e-9
    assert least <= float(threshold(run, information, dispersion * 1.5)) + 1e-6


@settings(max_examples=10, deadline=None)
@given(st.floats(0.25, 1.0), st.floats(2.0, 5.0), st.floats(0.0, 2.0))
def test_siegmund_agrees_with_the_markov_chain(k, h, shift):
    assert abs(siegmund_arl(k, h, shift=shift) / arl(k, h, shift=shift, states=150) - 1) < 0.12


@settings(max_examples=100, deadline=None)
@given(counts, counts, counts)
def test_distances_are_symmetric_zero_on_equals_and_obey_the_triangle(a, b, c):
    for distance in (psi, js_distance, hellinger):
        assert abs(distance(a, b) - distance(b, a)) < 1e-9
        assert distance(a, a) < 1e-7
        assert distance(a, b) >= 0.0
    for metric in (js_distance, hellinger):
        assert metric(a, c) <= metric(a, b) + metric(b, c) + 1e-9


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1_999))
def test_a_stream_cut_anywhere_and_restored_goes_on_as_if_it_was_not(seed, cut):
    happened = np.random.default_rng(seed).random(2_000) < 0.8
    whole, parts = (Streams(APPROVAL_TILTS, [Budget(("route",), 50.0)], base=0.8) for _ in range(2))
    found: list[list] = [[], []]
    for number, each in enumerate(happened.tolist()):
        if number == cut:
            state = parts.dump()
            parts = Streams(APPROVAL_TILTS, [Budget(("route",), 50.0)], base=0.8)
            parts.load(state)
        for watched, told in ((whole, found[0]), (parts, found[1])):
            at_us = number * 5 * SECOND
            told += watched.hear((("route", (f"{number % 3}",)),), 0.0, happened=each, at_us=at_us)
            watched.turn(at_us)
    assert found[0] == found[1]
    assert whole.dump() == parts.dump()


def as_the_whole_record_says(record: DecisionRecord) -> Expected:
    chosen, given = record.chosen, record.given
    action, seen, drawn = chosen.action, chosen.probabilities, chosen.explored
    approval = 0
    if seen is not None and action.way in chosen.may.ways:
        at = chosen.may.ways.index(action.way)
        approval, p = seen.approval_e9[at], seen.fraud_given_history_e9
        if given.approvals is not None and action.intervention == "challenge":
            approval = mixed_e9(p, good_e9=given.approvals[at].good_3ds_e9, fraud_e9=given.approvals[at].fraud_3ds_e9)
        if given.approvals is not None and action.intervention == "exempt":
            over = given.approvals[at]
            approval = mixed_e9(p, good_e9=over.good_exempt_e9, fraud_e9=over.fraud_exempt_e9)
            approval = approval * (10**9 - over.soft_decline_e9) // 10**9
    fraud = seen.fraud_given_approval_e9 if seen is not None else 0
    released = drawn.explored and drawn.kind == "release" and drawn.distribution[drawn.place]
    weight = TOTAL / drawn.distribution[drawn.place] if released else 0.0
    passes = action.intervention in ("allow", "exempt")
    return Expected(action.route, approval / 1e9, fraud / 1e9, record.model, weight, passes)


@settings(max_examples=250, deadline=None)
@given(records(), st.booleans(), st.booleans())
def test_a_glance_at_a_decision_expects_what_the_whole_record_says(
    found: tuple[DecisionRecord, Facts], released: bool, elsewhere: bool
):
    record, facts = found
    chosen = record.chosen
    if released:
        chosen = replace(chosen, explored=replace(chosen.explored, kind="release", explored=True, draw=5))
    if elsewhere:
        chosen = replace(chosen, action=replace(chosen.action, route="nowhere", credential="pan"))
    record, action = replace(record, chosen=chosen), chosen.action
    facts = replace(facts, intervention=action.intervention, route_id=action.route)
    payload = bytes(bytearray(payload_of(record, facts)))
    entry = Entry(1, 1, 1, "decision", "decision", "a", 1, 0, 1, b"", facts, payload)
    assert expected_of(entry, glance(payload)) == as_the_whole_record_says(record)
    seen = glance(payload)
    assert (seen.known, seen.vector_of, seen.release, seen.arms) == (
        record.known, record.vector_of, record.release, record.arms
    )  # fmt: skip
    assert seen.given.fraud_probability_e9 == record.given.fraud_probability_e9
