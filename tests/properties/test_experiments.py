"""Laws of what an experiment remembers and says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.experiments.ab import compare
from greenlane.experiments.moments import Moments
from greenlane.experiments.multiple import benjamini_hochberg, holm
from greenlane.experiments.sequences import always_valid

VALUES = st.lists(st.floats(-1e4, 1e4, allow_nan=False, width=32), min_size=2, max_size=30)


def arm(values, *, offset=0.0):
    y = np.array(values) + offset
    return Moments.of(y, np.arange(1.0, len(y) + 1.0), np.sin(y))


@settings(max_examples=60)
@given(VALUES, VALUES, VALUES)
def test_moments_add_in_any_order_to_those_of_the_whole(one, two, three):
    whole = arm_of_all = Moments.of(np.array(one + two + three))
    left = (Moments.of(np.array(one)) + Moments.of(np.array(two))) + Moments.of(np.array(three))
    right = Moments.of(np.array(three)) + (Moments.of(np.array(two)) + Moments.of(np.array(one)))
    for found in (left, right):
        assert found.count == whole.count
        assert found.mean == pytest.approx(arm_of_all.mean, rel=1e-9, abs=1e-7)
        assert found.comoment == pytest.approx(whole.comoment, rel=1e-9, abs=1e-5)


@settings(max_examples=60)
@given(VALUES, VALUES)
def test_exchanging_the_arms_turns_the_effect_around(one, two):
    there, back = compare(arm(one), arm(two)), compare(arm(two), arm(one))
    assert float(there.estimate) == pytest.approx(-float(back.estimate), abs=1e-9)
    assert float(there.low) == pytest.approx(-float(back.high), rel=1e-9, abs=1e-9)
    assert float(there.p_value) == pytest.approx(float(back.p_value), abs=1e-12)


@settings(max_examples=60)
@given(VALUES, VALUES, st.floats(0.01, 1e3))
def test_a_relative_lift_has_no_unit(one, two, scale):
    base = 2e4
    a, b = Moments.of(np.array(one) + base), Moments.of(np.array(two) + base)
    scaled = [Moments.of((np.array(values) + base) * scale) for values in (one, two)]
    there, here = compare(*scaled, relative=True), compare(a, b, relative=True)
    assert float(there.estimate) == pytest.approx(float(here.estimate), rel=1e-6, abs=1e-9)
    assert float(there.se) == pytest.approx(float(here.se), rel=1e-6, abs=1e-9)


@settings(max_examples=60)
@given(VALUES, VALUES, st.integers(60, 10**6))
def test_looking_at_any_time_is_never_narrower_than_looking_once(one, two, planned):
    fixed = compare(Moments.of(np.tile(one, 30)), Moments.of(np.tile(two, 30)))
    seen = always_valid(fixed, planned=planned)
    assert seen.low <= fixed.low
    assert seen.high >= fixed.high


@settings(max_examples=60)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_adjusted_p_values_rise_keep_their_order_and_holm_is_the_stricter(p):
    strict, mild = holm(p), benjamini_hochberg(p)
    order = np.argsort(p, kind="stable")
    for found in (strict, mild):
        assert (found >= np.array(p) * (1 - 1e-12)).all()
        assert (np.diff(found[order]) >= 0.0).all()
        assert found.max() <= 1.0
    assert (strict >= mild * (1 - 1e-12)).all()
