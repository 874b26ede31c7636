"""False alarms stay within their budget, drops are found soon, and what is over is known to be over."""

import numpy as np
import pytest
from monitor_delays import BLOCKS_A_DAY, false_alarms, logit, of_rate

from greenlane.monitoring.cusum import threshold
from greenlane.monitoring.streams import ALARM, BLOCK_US, NEVER, NEWS, OPENED, SUM, TILTS, Budget, Streams, observe
from greenlane.monitoring.traffic import APPROVAL_TILTS

SECOND = 1_000_000
ROUTE = (("route", ("a",)),)


def streams(budget: float = 0.1) -> Streams:
    return Streams(APPROVAL_TILTS, [Budget(("route",), budget)], base=0.88)


def hear(watched: Streams, rng: np.random.Generator, rate: float, *, seconds: range) -> list:
    found = []
    for second in seconds:
        happened = rng.random() < rate
        found += [change for _, change in watched.hear_all(
            ["a"], lambda _key: ROUTE, np.array([logit(0.88)]), happened=np.array([happened], np.float64),
            at_us=np.array([second * SECOND]), money_minor=np.array([100.0]),
        )]  # fmt: skip
        watched.turn(second * SECOND)
    return found


def test_independent_answers_give_no_more_false_alarms_than_the_budget():
    assert false_alarms(np.random.default_rng(1), 40, budget=13.0, days=2) <= 16.0


@pytest.mark.parametrize("deviation", [0.1, 0.3])
def test_answers_that_wander_together_do_not_either(deviation):
    rng, count = np.random.default_rng(2), 20
    watched = Streams(APPROVAL_TILTS, [Budget(("route",), 10.0)], base=0.88)
    for number in range(count):
        watched.hear((("route", (str(number),)),), 0.0, happened=1.0, at_us=1)
    alarms = 0
    for block in range(4 * BLOCKS_A_DAY):
        for row in range(count):
            rate = 1.0 / (1.0 + np.exp(-logit(0.88) - rng.normal(0.0, deviation)))
            answers = rng.binomial(10, rate, 30)
            for minute, approved in enumerate(answers.tolist()):
                at_us = block * BLOCK_US + minute * 30 * SECOND
                observe(watched.state, np.array([row]), watched.tilts, logit(0.88), float(approved), 10.0, 0.0, at_us)
        state = watched.state[:count]
        told = state[:, NEWS] == OPENED
        alarms += int(told.sum()) if block >= 2 * BLOCKS_A_DAY else 0
        state[told, SUM : SUM + TILTS] = 0.0
        state[:, NEWS] = state[:, ALARM] = 0.0
        watched.turn((block + 1) * BLOCK_US)
    assert alarms / 2 <= 10.0
    spread = watched._dispersion(watched.state[:count], "route")
    assert spread.mean() == pytest.approx(1.0 + deviation**2 * 300 * 0.88 * 0.12, rel=0.5)


def test_a_drop_is_found_nearly_as_soon_as_by_a_sum_that_knows_both_rates():
    for delay in of_rate(np.random.default_rng(3), 60.0, (0.05, 0.10), streams=2_000, repeats=100):
        assert delay.ratio <= 1.3


def test_a_drop_is_dated_measured_and_known_to_be_over():
    watched, rng = streams(), np.random.default_rng(4)
    assert hear(watched, rng, 0.88, seconds=range(40_000)) == []
    opened = hear(watched, rng, 0.60, seconds=range(40_000, 41_000))
    assert [change.name for change in opened] == [("a",)]
    assert abs(opened[0].started_us / SECOND - 40_000) < 60
    (standing,) = watched.open
    assert standing.harm == pytest.approx(280, rel=0.25)
    assert standing.money_minor == pytest.approx(28_000, rel=0.25)
    closed = hear(watched, rng, 0.88, seconds=range(41_000, 43_000))
    assert len(closed) == 1
    assert abs(closed[0].ended_us / SECOND - 41_000) < 60


def test_a_drop_that_lasts_is_not_taken_to_be_over():
    watched, rng = streams(), np.random.default_rng(5)
    hear(watched, rng, 0.88, seconds=range(40_000))
    assert len(hear(watched, rng, 0.78, seconds=range(40_000, 60_000))) == 1
    assert watched.open


def test_a_new_series_starts_with_the_offset_of_the_widest():
    watched = Streams(APPROVAL_TILTS, [Budget(("all", "route"), 1.0)], base=0.88)
    rng = np.random.default_rng(6)
    for second in range(5_000):
        watched.hear((("all", ()),), 0.0, happened=rng.random() < 0.6, at_us=second * SECOND)
    watched.hear((("all", ()), ("route", ("new",))), 0.0, happened=1.0, at_us=5_000 * SECOND)
    assert watched.state[1, 0] == pytest.approx(watched.state[0, 0], abs=0.05)


def test_no_series_is_armed_before_it_is_known():
    watched, rng = streams(), np.random.default_rng(7)
    assert hear(watched, rng, 0.05, seconds=range(60)) == []
    assert (watched.state[0, -TILTS:] >= NEVER).all()


def test_beyond_the_most_rows_the_least_heard_are_dropped():
    watched = Streams(APPROVAL_TILTS, [Budget(("route",), 1.0)], base=0.88, rows_max=8)
    for number in range(20):
        for _ in range(1 + (number == 3)):
            watched.hear((("route", (str(number),)),), 0.0, happened=1.0, at_us=number)
    assert len(watched.names) <= 8
    assert ("route", ("3",)) in watched.names


def test_thresholds_rise_with_the_run_length_and_the_dispersion():
    assert threshold(1e6, 0.01) > threshold(1e5, 0.01)
    assert threshold(1e6, 0.01, 2.0) > threshold(1e6, 0.01, 1.0)
