"""Drift is told by its effect, against bins that stay; not by the size of a sample."""

import numpy as np
import pytest

from greenlane.monitoring.distances import psi
from greenlane.monitoring.drift import Bins, Drift, Look

HOUR = 3_600_000_000


def feed(drift: Drift, values: np.ndarray, *, start_us: int, version: str = "mdl") -> list:
    """A day's values, evenly."""
    step = 24 * HOUR // len(values)
    vectors = [np.atleast_1d(value) for value in values]
    return [a for n, each in enumerate(vectors) for a in drift.hear(version, lambda row=each: row, start_us + n * step)]


def known(seed: int = 1) -> tuple[Drift, np.random.Generator]:
    rng = np.random.default_rng(seed)
    drift = Drift(["amount"])
    drift.learn("mdl", rng.lognormal(8, 1, (4_000, 1)), 0)
    return drift, rng


@pytest.mark.parametrize("rows", [6_000, 24_000])
def test_no_sample_size_turns_the_same_days_into_drift(rows):
    drift, rng = known()
    assert [feed(drift, rng.lognormal(8, 1, rows), start_us=day * 24 * HOUR) for day in range(3)] == [[], [], []]


def test_a_shift_is_told_at_the_end_of_the_day_and_ends_when_it_is_over():
    drift, rng = known()
    feed(drift, rng.lognormal(8.6, 1, 8_000), start_us=0)
    (opened,) = feed(drift, rng.lognormal(8.6, 1, 8_000), start_us=25 * HOUR)
    assert (opened.severity, opened.series, opened.note.split()[0]) == ("ticket", "amount", "psi")
    told = [feed(drift, rng.lognormal(8, 1, 8_000), start_us=day * 25 * HOUR) for day in (2, 3, 4)]
    assert [a.ended_us > 0 for alarms in told for a in alarms] == [True]


@pytest.mark.parametrize(("values", "what"), [(np.nan, "missing"), (7.0, "unseen"), (1e9, "unseen")])
def test_what_is_broken_is_told_within_the_hour(values, what):
    drift, rng = known()
    feed(drift, rng.lognormal(8, 1, 8_000), start_us=0)
    first = feed(drift, np.full(8_000, values), start_us=24 * HOUR)[0]
    assert first.note.startswith(f"broken: {what}")
    assert first.detected_us <= 26 * HOUR


def test_another_model_has_another_reference():
    drift, rng = known()
    assert feed(drift, rng.lognormal(12, 1, 8_000), start_us=24 * HOUR, version="mdl_2") == []
    assert drift.version == "mdl_2"


def test_clocks_are_not_watched():
    assert Drift(["hour", "amount"]).watched == [1]


def test_bins_count_every_value_once():
    rng = np.random.default_rng(3)
    for values in (rng.normal(size=500), rng.integers(0, 5, 500) * 1.0, np.array([np.nan, 1.0])):
        bins = Bins.of(values)
        counts = bins.counts(np.concatenate([values, [1e9, np.nan]]))
        assert counts.sum() == len(values) + 2
        assert counts[-1] == 1


def test_chance_is_subtracted_from_the_index():
    rng = np.random.default_rng(4)
    looks = []
    for _ in range(200):
        before, now = (rng.multinomial(1_000, [0.1] * 10) for _ in range(2))
        looks.append(Look.at("x", np.append(before, [0, 0]), np.append(now, [0, 0])).psi)
    assert abs(np.mean(looks)) < 0.003
    assert psi([500, 500], [500, 500]) == 0.0
