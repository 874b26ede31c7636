from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from unit.learning.synthetic_examples import DAY_US, payments

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import calibrate
from greenlane.learning.estimator import Range
from greenlane.learning.evaluate import evaluate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Budget, fit, time_blocks
from greenlane.learning.publish import Provenance, calibrated, publish
from greenlane.models.artefact import load
from greenlane.models.calibration import log_odds
from greenlane.ports.clock import FakeClock

lightgbm = pytest.importorskip("lightgbm", reason="needs the [train] extra")

from greenlane.adapters.lightgbm_trainer import LightGbm  # noqa: E402 - after the skip
from greenlane.adapters.optuna_search import TpeSearch  # noqa: E402 - after the skip

EXAMPLES, _ = payments(12_000, seed=1)


class Quick(LightGbm):
    default: ClassVar = LightGbm.default | {"rounds": 40}
    space: ClassVar = {"learning_rate": Range(0.02, 0.2, log=True), "num_leaves": Range(4, 15, whole=True)}


@pytest.fixture(scope="module")
def tuned():
    return fit(Quick(threads=1), EXAMPLES, gap_us=DAY_US, budget=Budget(2), new_search=TpeSearch, seed=4)


def test_blocks_hold_out_every_row_once_and_learn_from_nothing_within_the_gap():
    at_us, held_out = EXAMPLES.at_us, np.zeros(len(EXAMPLES), int)
    for fold in time_blocks(at_us, gap_us=2 * DAY_US):
        first, last = at_us[fold.valid].min(), at_us[fold.valid].max()
        assert np.all((at_us[fold.train] < first - 2 * DAY_US) | (at_us[fold.train] > last + 2 * DAY_US))
        held_out += fold.valid
    assert set(held_out.tolist()) == {1}
    assert len(list(time_blocks(at_us[:3], gap_us=0))) == 3


def test_a_wave_of_fraud_that_was_not_met_before_does_not_make_everybody_suspect():
    """One wave in the last fourth of what is learned from; afterwards all is as it was before it."""
    examples, _ = payments(24_000, seed=7, days=60)
    wave = (examples.at_us > 40 * DAY_US) & (examples.X[:, 4] > 1.0) & (np.arange(len(examples)) % 3 == 0)
    earlier, later = examples.at_us < 45 * DAY_US, examples.at_us >= 45 * DAY_US
    waved = replace(examples, y=np.where(wave & earlier, 1, examples.y).astype(np.int8))
    found = fit(Quick(threads=1), waved.take(earlier), gap_us=DAY_US)
    test = waved.take(later)
    p = calibrated(found, waved.take(earlier)).calibrator.probabilities(found.fitted.margins(test.X))
    assert 0.8 < test.y.sum() / p.sum() < 1.25


def drifting(days: int, *, cold_days: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(margins, events, times): in the cold days everybody is new, so that a margin tells little."""
    rng = np.random.default_rng(5)
    day = np.sort(rng.uniform(0.0, days, 40_000))
    margins = rng.normal(-4.5, 2.0, len(day))
    truth = np.where(day < cold_days, -4.5 + 0.3 * (margins + 4.5), 1.1 * margins + 0.4)
    y = (rng.random(len(day)) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    return margins, y, (day * DAY_US).astype(np.int64)


def test_what_a_margin_meant_where_the_history_began_does_not_count_for_what_it_means_now():
    margins, y, at_us = drifting(80, cold_days=15.0)
    weight, later = np.ones(len(y)), at_us > 60 * DAY_US
    off = {}
    for fade in (True, False):
        found = calibrate(margins[~later], y[~later], weight[~later], at_us=at_us[~later], fade=fade)
        off[fade] = abs(np.log(y[later].sum() / found.calibrator.probabilities(margins[later]).sum()))
        assert min(found.losses, key=found.losses.__getitem__).endswith("recent") == fade
    assert off[True] < 0.1 and off[True] < off[False] / 2


def test_where_nothing_changed_a_calibrator_learns_from_all_rows_or_loses_nothing_by_not():
    margins, y, at_us = drifting(80, cold_days=0.0)
    found = calibrate(margins, y, np.ones(len(y)), at_us=at_us)
    at = np.linspace(-5.0, 0.0, 6)
    assert np.allclose(log_odds(found.calibrator.probabilities(at)), 1.1 * at + 0.4, atol=0.2)


def test_a_budget_of_trials_is_spent_after_the_defaults(tuned):
    assert len(tuned.trials) == 3
    assert tuned.trials[0].parameters == Quick.default
    assert tuned.parameters == min(tuned.trials, key=lambda t: t.log_loss).parameters


def test_equal_seeds_give_equal_models(tuned):
    again = fit(Quick(threads=1), EXAMPLES, gap_us=DAY_US, budget=Budget(2), new_search=TpeSearch, seed=4)
    assert again.trials == tuned.trials
    assert np.array_equal(again.fitted.margins(EXAMPLES.X), tuned.fitted.margins(EXAMPLES.X))


def test_a_budget_of_seconds_stops_the_search():
    clock = FakeClock()
    done = fit(
        Quick(threads=1),
        EXAMPLES,
        budget=Budget(50, seconds=1.5),
        new_search=TpeSearch,
        blocks=2,
        clock=clock,
        on_trial=lambda *_: clock.advance(1_000_000),
    )
    assert len(done.trials) == 2


def test_the_defaults_alone_need_no_search():
    assert len(fit(Quick(threads=1), EXAMPLES, blocks=2).trials) == 1


def test_what_is_published_is_what_was_fitted_and_loads_again(tuned, tmp_path):
    test, _ = payments(12_000, seed=2)
    calibration = calibrated(tuned, EXAMPLES)
    margins = tuned.fitted.margins(test.X)
    probabilities = calibration.calibrator.probabilities(margins)
    model = publish(
        tmp_path,
        tuned,
        calibration,
        estimator=Quick(),
        examples=EXAMPLES,
        evaluation=evaluate(margins, probabilities, test, replicates=20),
        provenance=Provenance({name: name for name in test.names}, "digest", {}, "fraud reported", {"rows": 12_000}),
    )
    assert np.array_equal(load(tmp_path / model.id).predict_many(test.X), probabilities)
    kinds = ("beta", "curve", "platt")
    assert set(calibration.losses) == {*kinds, *(f"{kind}, recent" for kind in kinds)}, "too few events for steps"


def test_calibration_needs_events():
    with pytest.raises(TrainingError, match="too few"):
        calibrate(np.zeros(50), np.zeros(50, np.int8), np.ones(50), at_us=np.arange(50))


def test_examples_out_of_time_order_are_refused():
    with pytest.raises(TrainingError, match="time order"):
        EXAMPLES.take(np.array([5, 4, 3]) * 100)


def test_nothing_to_learn_from_is_said_so():
    with pytest.raises(TrainingError, match="nothing to learn"):
        fit(Quick(threads=1), EXAMPLES.take(EXAMPLES.y == 0))


def test_columns_of_unequal_length_are_refused():
    parts = {name: getattr(EXAMPLES, name) for name in ("X", "y", "weight", "at_us", "amount_minor")}
    with pytest.raises(TrainingError, match="length"):
        Examples(EXAMPLES.names, **parts, card=np.zeros(3, np.int64))
