"""Observed over expected is judged only by what has matured, and labels that stop coming are missed."""

import numpy as np
import pytest

from greenlane.monitoring.alarms import Alarm, ControlProposal
from greenlane.monitoring.calibration import DAY_US, Believed, Calibration, Cohorts, joined


def filled(*, days: int, factor: float = 1.0, since: int = 0, delay_from: int | None = None, seed: int = 1) -> Cohorts:
    """600 payments a day with p = .02, reports within three weeks; `factor` times as many from day `since` on."""
    cohorts, rng = Cohorts(), np.random.default_rng(seed)
    for day in range(days):
        cohorts.hear([Believed(day * DAY_US, "mdl", 0.02)] * 600)
        for _ in range(600):
            if rng.random() < 0.02 * (factor if day >= since else 1.0):
                delay = int(rng.integers(0, 20)) + (30 if delay_from is not None and day >= delay_from else 0)
                if day + delay < days:
                    cohorts.report(day * DAY_US, 0.02, at_us=(day + delay) * DAY_US)
    return cohorts


def test_young_cohorts_do_not_make_good_probabilities_look_too_high():
    (found,) = filled(days=50).bins(50 * DAY_US)
    assert found.ratio_low < 1.0 < found.ratio_high


def test_twice_the_fraud_is_a_ticket_with_a_proposal_to_recalibrate():
    calibration = Calibration()
    calibration.models["mdl"] = filled(days=50, factor=2.5, since=25)
    found = [one for one in calibration.turn(50 * DAY_US) if not isinstance(one, Alarm) or one.signal == "calibration"]
    assert isinstance(found[0], Alarm)
    assert isinstance(found[1], ControlProposal)
    assert found[1].subject == "recalibrate"
    assert found[0].observed > 1.5


def test_labels_that_come_late_are_missed():
    calibration = Calibration()
    calibration.models["mdl"] = filled(days=60, delay_from=30)
    assert "labels mdl" in {one.series for one in calibration.turn(60 * DAY_US) if isinstance(one, Alarm)}


def test_quiet_days_tell_nothing():
    calibration = Calibration()
    calibration.models["mdl"] = filled(days=60)
    assert calibration.turn(60 * DAY_US) == []


def test_released_blocks_stand_beside_the_estimate():
    cohorts = filled(days=40)
    for day in range(40):
        at_us = day * DAY_US
        cohorts.hear([Believed(at_us, "mdl", 0.5, blocked=True), Believed(at_us, "mdl", 0.5, weight=20.0)])
        if day % 2:
            cohorts.report(day * DAY_US, 0.5, at_us=(day + 1) * DAY_US, weight=20.0)
    found = cohorts.estimate(40 * DAY_US)
    assert found.released[0] == pytest.approx(1.0, abs=0.05)
    assert 0.0 < found.recall < 1.0
    assert 0.0 < found.precision <= 1.0


def test_neighbouring_bins_are_joined_until_they_expect_enough():
    expected = np.array([10.0, 20, 30, 5, 60, 1, 0, 0, 0, 10])
    found = joined(expected, expected, expected)
    assert sum(each.expected for each in found) == pytest.approx(expected.sum())
    assert min(each.expected for each in found) >= 50


def test_the_oldest_day_makes_room():
    cohorts = Cohorts()
    for day in (0, 63, 200):
        cohorts.hear([Believed(day * DAY_US, "mdl", 0.1)])
    assert cohorts.table[:, :, 0].sum() == 1


def test_models_that_take_turns_are_counted_as_one_after_the_other():
    told = [
        Believed(n * DAY_US // 9, f"mdl_{n % 3 if n < 60 else n % 7}", 0.01 * (n % 5), n % 2, n % 11 == 0)
        for n in range(200)
    ]
    one, many = Calibration(), Calibration()
    for each in told:
        one.hear([each])
    many.hear(told)
    assert one.dump() == many.dump()
    assert len(one.models) == 4
