"""Draws depend on what they are about, and are distributed as they say."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.simulation.randomness import Draws, normal_quantile

MANY = Draws(11, "payer", np.arange(200_000))


def test_a_draw_never_depends_on_the_draws_before_it_or_on_its_neighbours():
    late = Draws(11, "payer", np.arange(200_000))
    late.uniform("something else")
    assert (late.uniform("age")[::-1] == MANY.uniform("age")[::-1]).all()
    assert Draws(11, "payer", 777).uniform("age")[0] == MANY.uniform("age")[777]
    assert (MANY[np.array([5, 9])].of(3).uniform("x") == MANY.of(3).uniform("x")[[5, 9]]).all()


@pytest.mark.parametrize("other", [Draws(12, "payer", np.arange(200_000)), MANY.of("child"), MANY.of(1)])
def test_other_seeds_and_other_things_have_independent_luck(other):
    assert abs(np.corrcoef(MANY.uniform("age"), other.uniform("age"))[0, 1]) < 0.01


def test_other_purposes_and_neighbours_have_independent_luck():
    age, height = MANY.uniform("age"), MANY.uniform("height")
    assert abs(np.corrcoef(age, height)[0, 1]) < 0.01
    assert abs(np.corrcoef(age[1:], age[:-1])[0, 1]) < 0.01


def test_uniform_draws_fill_every_twentieth_of_the_interval_alike():
    counts = np.histogram(MANY.uniform("age"), bins=20, range=(0, 1))[0]
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 43.8  # the .999 quantile at 19 degrees of freedom


def test_moments_are_those_of_the_named_distribution():
    assert MANY.normal("a").mean() == pytest.approx(0, abs=0.01)
    assert MANY.normal("a").std() == pytest.approx(1, abs=0.01)
    assert MANY.exponential("b").mean() == pytest.approx(1, abs=0.01)
    assert MANY.poisson("c", 2.5).mean() == pytest.approx(2.5, abs=0.02)
    assert MANY.poisson("c", 2.5).var() == pytest.approx(2.5, abs=0.05)
    assert np.bincount(MANY.choice("d", [1, 0, 3])).tolist() == pytest.approx([50_000, 0, 150_000], rel=0.02)


def test_weights_may_differ_from_row_to_row():
    rows = Draws(1, np.arange(1000))
    weights = np.where(np.arange(1000)[:, None] % 2 == 0, [[1.0, 0.0]], [[0.0, 1.0]])
    assert (rows.choice("side", weights) == np.arange(1000) % 2).all()


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-12, 1 - 1e-12))
def test_normal_quantile_equals_the_reference(u):
    assert normal_quantile(np.array([u]))[0] == pytest.approx(NormalDist().inv_cdf(u), rel=2e-9, abs=1e-8)
