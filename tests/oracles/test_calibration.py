"""Calibrators and scores against figures that scikit-learn and scipy gave."""

import numpy as np
import pytest
from oracles.published import oracle

from greenlane.learning.calibrate import fit_beta, fit_platt, log_loss, pool
from greenlane.learning.ranking import Ranking
from greenlane.learning.scores import beta_map, brier, calibration_error, temperature, venn_abers
from greenlane.models.calibration import log_odds, prior_corrected

ORACLE = oracle("calibration")
GIVEN = ORACLE["calibrators"]
SCORE, Y = np.array(GIVEN["score"]), np.array(GIVEN["y"], float)
ONES = np.ones(len(Y))


def test_kept_negatives_are_corrected_for():
    case = ORACLE["downsampling"]
    for true, seen in zip(case["true_p"], case["p_on_downsampled"], strict=True):
        assert prior_corrected(seen, case["beta_keep_negative"]) == pytest.approx(true, rel=1e-9)


def test_pooled_neighbours_are_the_published_isotonic_regression():
    ends, means, _ = pool(Y, ONES)
    found = np.repeat(means, np.diff(ends, prepend=0))
    assert found.tolist() == pytest.approx(GIVEN["isotonic_fitted"], abs=1e-12)


def test_platts_slope_and_intercept_are_the_published_ones():
    fitted = fit_platt(log_odds(SCORE), Y, ONES)
    assert fitted.slope == pytest.approx(GIVEN["platt_on_logit"]["a"], rel=1e-4)
    assert fitted.intercept == pytest.approx(GIVEN["platt_on_logit"]["b"], abs=1e-4)


def test_beta_calibration_is_the_published_one():
    fitted, told = fit_beta(log_odds(SCORE), Y, ONES), GIVEN["beta_abm"]
    log_odds_due = told["a"] * np.log(SCORE) - told["b"] * np.log(1 - SCORE) + told["c"]
    due = 1.0 / (1.0 + np.exp(-log_odds_due))
    found = [fitted.probability(margin) for margin in log_odds(SCORE).tolist()]
    assert found == pytest.approx(due.tolist(), abs=1e-4)


def test_scores_of_the_ranking_and_the_log_loss_are_the_published_ones():
    ranking = Ranking.of(SCORE, Y)
    assert ranking.auc() == pytest.approx(GIVEN["roc_auc"], rel=1e-9)
    assert ranking.average_precision() == pytest.approx(GIVEN["average_precision"], rel=1e-9)
    assert log_loss(SCORE, Y, ONES) == pytest.approx(GIVEN["log_loss"], rel=1e-9)


def test_single_figures_of_calibration_are_the_published_ones():
    for bins in (5, 10):
        assert calibration_error(SCORE, Y, bins=bins) == pytest.approx(GIVEN[f"ece_uniform_{bins}"], rel=1e-9)
    assert calibration_error(SCORE, Y, bins=5, equal_mass=True) == pytest.approx(GIVEN["ece_equal_mass_5"], rel=1e-9)
    assert brier(SCORE, Y) == pytest.approx(GIVEN["brier"], rel=1e-9)
    assert temperature(log_odds(SCORE), Y) == pytest.approx(GIVEN["temperature"], rel=1e-5)


def test_venn_abers_says_what_is_published():
    case = ORACLE["venn_abers_1_5_4"]
    found = venn_abers(SCORE, Y, test=np.array(case["test_scores"]))
    assert found.low.tolist() == pytest.approx(case["p0"], abs=1e-12)
    assert found.high.tolist() == pytest.approx(case["p1"], abs=1e-12)
    assert found.probability.tolist() == pytest.approx(case["p"], abs=1e-12)


def test_the_beta_map_is_the_published_one_and_our_fit_is_near_it():
    case = ORACLE["betacal_1_1_0"]
    at = np.array(case["predict_at"])
    found = beta_map(at, a=case["map_a"], b=case["map_b"], m=case["map_m"])
    assert found.tolist() == pytest.approx(case["expected"], rel=1e-5)  # m was found by a search
    fitted = fit_beta(log_odds(SCORE), Y, ONES).probabilities(log_odds(at))
    assert fitted.tolist() == pytest.approx(case["expected"], abs=1e-3)
