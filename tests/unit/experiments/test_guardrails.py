from functools import partial

import numpy as np

from greenlane.experiments.ab import lift
from greenlane.experiments.guardrails import watch
from greenlane.experiments.moments import Moments
from greenlane.policy.arms import Rail


def test_a_harmful_arm_is_paused_long_before_the_planned_size_and_a_good_one_never():
    rng = np.random.default_rng(1)
    rail = Rail(metric="payment_approval", tolerated=0.002)
    for drop, pausing in ((0.06, True), (0.0, False), (-0.05, False)):
        control, treatment = Moments.of_proportion(0.0, 1e-9), Moments.of_proportion(0.0, 1e-9)
        looks = 0
        while looks < 40:
            control += Moments.of_proportion(rng.binomial(500, 0.87), 500)
            treatment += Moments.of_proportion(rng.binomial(500, 0.87 - drop), 500)
            looks += 1
            if watch(lift(control, treatment), rail, harm="fall", planned=40_000).pause:
                break
        assert (looks < 10) == pausing
        assert pausing or looks == 40


def test_more_is_harm_where_a_rise_is():
    low, high = Moments.of_proportion(100, 10_000), Moments.of_proportion(200, 10_000)
    seen = partial(watch, lift(low, high), Rail(metric="challenge_rate"), planned=20_000)
    assert seen(harm="rise").pause
    assert not seen(harm="fall").pause
    assert seen(harm="rise").harm == 0.01


def test_what_is_tolerated_pauses_nothing_and_nothing_is_said_of_a_few():
    low, high = Moments.of_proportion(100, 10_000), Moments.of_proportion(200, 10_000)
    patient = Rail(metric="challenge_rate", tolerated=0.02)
    assert not watch(lift(low, high), patient, harm="rise", planned=20_000).pause
    few = Moments.of_proportion(0, 10), Moments.of_proportion(10, 10)
    assert watch(lift(*few), Rail(metric="challenge_rate"), harm="rise", planned=100).p_value == 1.0
