import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from unit.learning.synthetic_examples import payments

from greenlane.errors import TrainingError
from greenlane.learning import report
from greenlane.learning.evaluate import Beside, Evaluation, Known, evaluate
from greenlane.learning.fit import informed
from greenlane.learning.money import Stakes, cost_curve
from greenlane.learning.reliability import (
    bin_count,
    bins_check,
    check,
    money_check,
    reliability_bins,
    rms_log_ratio,
    slope_check,
    total_check,
)

TEST, TRUTH = payments(40_000, seed=3)
LOG_ODDS = np.log(TRUTH / (1 - TRUTH))


def evaluated(log_odds: np.ndarray, **changes) -> Evaluation:
    return evaluate(log_odds, 1 / (1 + np.exp(-log_odds)), TEST, replicates=60, **changes)


@pytest.fixture(scope="module")
def true_model() -> Evaluation:
    return evaluated(LOG_ODDS)


def test_true_probabilities_are_called_calibrated(true_model):
    assert true_model.verdict == "calibrated"
    assert {c.state for c in true_model.checks} == {"pass"}


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        (LOG_ODDS + 0.3, "total observed/expected"),
        (LOG_ODDS * 1.4 + 0.8, "slope"),
        (LOG_ODDS * 0.7 - 0.9, "slope"),
        (np.full(len(LOG_ODDS), -3.0) + LOG_ODDS * 1e-6, "log-loss skill above the base rate"),
    ],
    ids=["too high", "too steep", "too flat", "no skill"],
)
def test_wrong_probabilities_are_called_wrong(changed, failing):
    found = evaluated(changed)
    assert found.verdict == "not calibrated"
    assert failing in {c.name for c in found.checks if c.state == "fail"}


def test_few_events_leave_the_verdict_open_rather_than_wrong():
    few = TEST.take(np.arange(2500))
    found = evaluate(LOG_ODDS[:2500] + 0.08, 1 / (1 + np.exp(-LOG_ODDS[:2500] - 0.08)), few, replicates=60)
    assert found.verdict != "not calibrated"


def test_equal_seeds_give_equal_evaluations(true_model):
    assert evaluated(LOG_ODDS) == true_model
    assert evaluated(LOG_ODDS, seed=1).auc != true_model.auc


def test_intervals_hold_their_figure(true_model):
    for figure in (true_model.auc, true_model.average_precision):
        assert figure.low < figure.value < figure.high


def test_bins_expect_equally_many_events_and_hold_every_row():
    y = TEST.y.astype(float)
    bins = reliability_bins(TRUTH, y, np.ones(len(y)))
    assert len(bins) == bin_count(TRUTH.sum())
    assert sum(b.rows for b in bins) == len(y)
    assert sum(b.observed for b in bins) == y.sum()
    assert max(b.expected for b in bins) < 1.05 * min(b.expected for b in bins)
    assert min(b.expected for b in bins) >= 50


def test_a_point_outside_its_band_is_undecided_while_its_interval_meets_it():
    states = [check("x", v, interval=(v - 0.05, v + 0.05), band=(0.95, 1.05)).state for v in (1.0, 0.93, 0.8)]
    assert states == ["pass", "undecided", "fail"]


def test_blocking_at_each_payments_break_even_beats_every_fixed_threshold_for_true_probabilities(true_model):
    point = true_model.operating_point
    assert point.cost_per_1000_minor < point.allow_all_cost_per_1000_minor
    assert point.cost_per_1000_minor < 1.02 * point.best_threshold_cost_per_1000_minor


def test_the_cost_curve_is_the_cost_of_blocking_from_each_threshold_on():
    stakes, y = Stakes.of(TEST.amount_minor), TEST.y
    for point in cost_curve(TRUTH, y, stakes=stakes, weight=np.ones(len(y)), points=7):
        blocked = point.threshold <= TRUTH
        assert np.isclose(point.cost_per_1000_minor, stakes.cost(blocked, y).mean() * 1000)
        assert np.isclose(point.blocked_share, blocked.mean())


def test_rms_log_ratio_measures_the_distance_from_the_generating_probability():
    assert rms_log_ratio(TRUTH * 1.1, TRUTH) == pytest.approx(np.log(1.1))


def test_what_a_simulation_knows_is_held_against_what_is_said(true_model):
    none_yet = replace(TEST, y=np.where(np.arange(len(TEST)) < len(TEST) // 2, TEST.y, 0).astype(np.int8))
    p = 1 / (1 + np.exp(-LOG_ODDS))
    found = evaluate(LOG_ODDS, p * 1.1, none_yet, beside=Beside(known=Known(TRUTH, TEST.y)), replicates=20).truth
    assert found.rms_log_ratio == pytest.approx(np.log(1.1))
    assert found.rms_log_ratio_of_bins == pytest.approx(np.log(1.1), abs=0.03)
    assert found.rate == TEST.y.mean()
    assert found.total.value == pytest.approx(TEST.y.sum() / TRUTH.sum() / 1.1)
    assert true_model.truth is None


def test_the_informed_oracle_comes_near_the_generating_probabilities():
    pytest.importorskip("lightgbm", reason="needs the [train] extra")
    from greenlane.adapters.lightgbm_trainer import LightGbm

    some, truth = TEST.take(np.arange(15_000)), TRUTH[:15_000]
    believed = informed(LightGbm(threads=1), some, parts=2)
    assert rms_log_ratio(believed, truth) < 0.6 * rms_log_ratio(np.full(len(some), some.y.mean()), truth)


def test_an_interval_of_events_that_come_in_waves_holds_the_truth_as_often_as_it_says():
    """Each day some rows are an attack, of which one day nearly all is reported and on another hardly anything."""
    rng, held = np.random.default_rng(2), {"days": 0, "poisson": 0}
    day, attack = np.repeat(np.arange(60), 200), np.arange(12_000) % 200 < 10
    p, weight = np.where(attack, 0.5, 0.01), np.ones(12_000)
    for _ in range(200):
        y = (rng.random(12_000) < np.where(attack, rng.beta(0.5, 0.5, 60)[day], 0.01)).astype(float)
        for how, days in (("days", day), ("poisson", None)):
            one = total_check(p, y, weight, days)
            held[how] += one.low <= 1.0 <= one.high
    assert held["days"] > 184 and held["poisson"] < 170


def test_what_a_single_day_brought_decides_nothing_not_even_where_it_is_all_there_is():
    p, y, ones, size = np.full(3_000, 0.1), (np.arange(3_000) % 5 == 0) * 1.0, np.ones(3_000), np.arange(3_000) + 1.0
    for others in (0, 1):
        day = np.zeros(3_000, np.int64)
        day[:others] = 1
        assert total_check(p, y, ones, day).state == money_check("", p, y, size, day).state == "undecided"
        assert bins_check(reliability_bins(p, y, ones, day)).state == "undecided"
        assert slope_check(p * size / 1_500, y, ones, day).state == "undecided"
    many = np.arange(3_000) // 100
    assert total_check(p, y, ones, many).state == slope_check(p * size / 1_500, y, ones, many).state == "fail"


def test_a_test_period_without_events_is_refused():
    nothing = TEST.take(TEST.y == 0)
    with pytest.raises(TrainingError):
        evaluate(np.zeros(len(nothing)), np.full(len(nothing), 0.5), nothing)


def test_the_report_is_one_page_that_needs_nothing_beside_it(true_model):
    pytest.importorskip("matplotlib", reason="needs the [train] extra")
    from greenlane.adapters.plots import plots

    text = report.fraud_html(
        true_model, figures=[("AUC", ".9 < 1")], facts={"model": "mdl_1"}, pictures=plots(true_model)
    )
    assert text.count("<svg") == 5
    assert ".9 &lt; 1" in text and 'class="pass">pass' in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert msgspec.convert(true_model.record(), Evaluation) == true_model
