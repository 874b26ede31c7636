from dataclasses import replace

import numpy as np
import pytest
from unit.learning.synthetic_examples import payments

from greenlane.errors import TrainingError
from greenlane.learning import weighing
from greenlane.learning.signs import FRAUD_RISES_WITH, signs_of
from greenlane.learning.weighing import Weighing, cost_of_error, drawn, without_negative

EXAMPLES, _ = payments(2_000, seed=1)


def test_both_labels_of_a_payment_cost_the_same():
    flipped = replace(EXAMPLES, y=(1 - EXAMPLES.y).astype(np.int8))
    weighing = Weighing(by_cost=True)
    ours, theirs = (weighing.for_fit(each, negative=True).weight for each in (EXAMPLES, flipped))
    assert np.array_equal(ours, theirs)
    assert cost_of_error(EXAMPLES.amount_minor).mean() == pytest.approx(1.0)


def test_negative_weights_are_taken_from_payments_without_a_report_and_totals_stay():
    weight = np.where(EXAMPLES.y == 1, 2.0, 1.0)
    weight[np.flatnonzero(EXAMPLES.y == 0)[:20]] = -1.0
    young = replace(EXAMPLES, weight=weight)
    found = without_negative(young)
    assert (found.weight >= 0.0).all()
    assert found.weight.sum() == pytest.approx(weight.sum())
    assert found.weight @ found.y == pytest.approx(weight @ EXAMPLES.y)
    with pytest.raises(TrainingError, match="outnumber"):
        without_negative(replace(EXAMPLES, weight=np.where(np.arange(2_000) < 20, 1.0, -1.0)))


def test_a_class_weight_is_a_positive_number():
    with pytest.raises(TrainingError, match="class weight"):
        Weighing(event_weight=0.0)


def test_known_signs_are_of_features_that_exist():
    from greenlane.features.catalogue import CATALOGUE
    from greenlane.features.finalise import Finaliser

    names = Finaliser(CATALOGUE).names
    assert all(signs_of([name for name in names if name.startswith(p.split("*")[0])]) for p in FRAUD_RISES_WITH)
    assert 0 < len(signs_of(names)) < len(names) / 4


def test_of_many_rows_a_draw_is_fitted_on_that_weighs_as_much(monkeypatch):
    events = int(EXAMPLES.y.sum())
    assert drawn(EXAMPLES, seed=1) is EXAMPLES
    monkeypatch.setattr(weighing, "ROWS_PER_LABEL_MAX", events + 400)
    found = drawn(EXAMPLES, seed=1)
    assert found.y.sum() == events, "the rarer label is kept whole"
    assert len(found) - events == pytest.approx(events + 400, rel=0.1)
    assert found.weight.sum() == pytest.approx(EXAMPLES.weight.sum(), rel=0.05)
    young = replace(EXAMPLES, weight=np.where(np.arange(2_000) < 30, -0.5, 1.0))
    assert (drawn(young, seed=1).weight < 0.0).sum() == 30
