"""Laws of the monitors: thresholds are monotone, distances are distances, a fold does not mind where it is cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.monitoring.cusum import arl, siegmund_arl, threshold
from greenlane.monitoring.distances import hellinger, js_distance, psi
from greenlane.monitoring.streams import Budget, Streams
from greenlane.monitoring.traffic import APPROVAL_TILTS

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
