import json
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from greenlane.learning.calibrate import by_margin, fit_beta, fit_curve, fit_isotonic, fit_platt, log_loss, pool
from greenlane.learning.ranking import Ranking
from greenlane.models.calibration import AnyCalibrator, Beta, Identity, Isotonic, Platt, log_odds, prior_corrected

KNOTS = tuple(np.linspace(-8.0, 2.0, 200).tolist())
ALL = [
    Identity(),
    Platt(slope=0.9, intercept=-0.2),
    Beta(a=0.4, b=2.0, c=-1.2),
    Isotonic(margins=KNOTS, log_odds=tuple(k * 1.1 for k in KNOTS)),
]


@pytest.fixture(scope="module")
def oracle():
    for parent in Path(__file__).resolve().parents:
        path = parent.parent / "shared" / "oracles" / "calibration.json"
        if path.exists():
            return json.loads(path.read_text())
    return pytest.skip("../shared/oracles is not here")


@pytest.fixture(scope="module")
def scored(oracle):
    found = oracle["calibrators"]
    score, y = np.array(found["score"]), np.array(found["y"], float)
    return found, log_odds(score), y, np.ones(len(y))


def test_prior_correction_is_the_oracles(oracle):
    found = oracle["downsampling"]
    corrected = [prior_corrected(p, found["beta_keep_negative"]) for p in found["p_on_downsampled"]]
    assert np.allclose(corrected, found["true_p"], rtol=0, atol=1e-12)


def test_platt_is_the_oracles(scored):
    found, margins, y, weight = scored
    fitted = fit_platt(margins, y, weight)
    assert np.isclose(fitted.slope, found["platt_on_logit"]["a"], atol=1e-4)
    assert np.isclose(fitted.intercept, found["platt_on_logit"]["b"], atol=1e-4)


def test_beta_is_the_oracles(scored):
    found, margins, y, weight = scored
    fitted, expected = fit_beta(margins, y, weight), found["beta_abm"]
    assert np.allclose([fitted.a, fitted.b, fitted.c], [expected[k] for k in "abc"], atol=1e-4)


def test_pooled_blocks_are_the_oracles(scored):
    found, margins, y, weight = scored
    ends, means, _ = pool(*by_margin(margins, y, weight)[1:])
    assert np.allclose(np.repeat(means, np.diff(ends, prepend=0)), found["isotonic_fitted"])


def test_log_loss_and_ranking_are_the_oracles(scored):
    found, margins, y, weight = scored
    assert np.isclose(log_loss(np.array(found["score"]), y, weight), found["log_loss"])
    assert np.isclose(Ranking.of(margins, y).auc(), found["roc_auc"])
    assert np.isclose(Ranking.of(margins, y).average_precision(), found["average_precision"])


def test_isotonic_never_falls_and_is_never_certain():
    rng = np.random.default_rng(3)
    margins = rng.normal(-3, 2, 5000)
    y = (rng.random(5000) < 1 / (1 + np.exp(-margins))).astype(float)
    curve = fit_isotonic(margins, y, np.ones(5000))
    probabilities = curve.probabilities(np.linspace(-20, 20, 2000))
    assert np.all(np.diff(probabilities) >= 0)
    assert 0 < probabilities[0] < probabilities[-1] < 1


def test_a_curve_follows_log_odds_that_are_bent_where_a_line_and_a_beta_cannot():
    rng = np.random.default_rng(4)
    margins, one = rng.uniform(-9.0, 3.0, 30_000), np.ones(30_000)
    truth = 1 / (1 + np.exp(-np.interp(margins, [-9.0, -5.0, -3.0, 3.0], [-6.0, -5.5, -1.0, -0.5])))
    y = (rng.random(30_000) < truth).astype(float)
    curve = fit_curve(margins, y, one)
    assert isinstance(curve, Isotonic)
    assert np.all(np.diff(curve.margins) > 0) and np.all(np.diff(curve.log_odds) > 0), "knots rise in both"
    fits, best = (fit_platt, fit_beta, fit_curve), log_loss(truth, y, one)
    line, beta, bent = (log_loss(kind(margins, y, one).probabilities(margins), y, one) - best for kind in fits)
    assert bent < 0.2 * min(line, beta)


def test_a_curve_of_hardly_any_margins_is_a_line():
    y = np.arange(100) % 3 == 0
    assert isinstance(fit_curve(np.where(y, -1.0, -2.0), y.astype(float), np.ones(100)), Platt)


@pytest.mark.parametrize("calibrator", ALL, ids=lambda c: type(c).__name__)
def test_one_row_and_many_rows_get_the_same_probability(calibrator):
    margins = np.random.default_rng(0).normal(-3, 4, 500)
    assert calibrator.probabilities(margins).tolist() == [calibrator.probability(m) for m in margins.tolist()]
    assert calibrator.probabilities_e9(margins).tolist() == [calibrator.probability_e9(m) for m in margins]


@pytest.mark.parametrize("calibrator", ALL, ids=lambda c: type(c).__name__)
def test_probabilities_are_whole_billionths_even_at_the_ends(calibrator):
    for margin in (-1e9, -800.0, 0.0, 800.0, 1e9):
        found = calibrator.probability_e9(margin)
        assert isinstance(found, int)
        assert 0 <= found <= 10**9


@pytest.mark.parametrize("calibrator", ALL, ids=lambda c: type(c).__name__)
def test_a_calibrator_survives_its_json(calibrator):
    assert msgspec.json.decode(msgspec.json.encode(calibrator), type=AnyCalibrator) == calibrator


def test_sampled_negatives_lower_the_probability():
    assert Identity(negatives_kept=0.1).probability(0.0) == pytest.approx(1 / 11)


@pytest.mark.parametrize("calibrator", ALL, ids=lambda c: type(c).__name__)
def test_one_probability_takes_less_than_four_microseconds(calibrator):
    def once() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            calibrator.probability_e9(-3.3)
        return (time.perf_counter() - start) * 1000

    assert min(once() for _ in range(20)) < 4.0
