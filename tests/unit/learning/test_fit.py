from typing import ClassVar

import numpy as np
import pytest
from unit.learning.synthetic_examples import DAY_US, payments

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import calibrate
from greenlane.learning.estimator import Range
from greenlane.learning.evaluate import evaluate
from greenlane.learning.examples import Examples
from greenlane.learning.fit import Budget, fit, time_folds
from greenlane.learning.publish import Provenance, calibrated, publish
from greenlane.models.artefact import load
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


def test_folds_never_train_on_what_was_not_known_yet():
    for fold in time_folds(EXAMPLES.at_us, gap_us=2 * DAY_US):
        assert EXAMPLES.at_us[fold.train].max() + 2 * DAY_US < EXAMPLES.at_us[fold.valid].min()


def test_folds_hold_out_every_late_row_once():
    held_out = sum(fold.valid.astype(int) for fold in time_folds(EXAMPLES.at_us, gap_us=DAY_US))
    assert set(held_out.tolist()) == {0, 1}
    assert held_out[-1] == 1


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
        folds=1,
        clock=clock,
        on_trial=lambda *_: clock.advance(1_000_000),
    )
    assert len(done.trials) == 2


def test_the_defaults_alone_need_no_search():
    assert len(fit(Quick(threads=1), EXAMPLES, folds=1).trials) == 1


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
    assert set(calibration.losses) == {"isotonic", "beta", "platt"}


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
