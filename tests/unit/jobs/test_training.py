"""What a fraud model learns from, where part of the time is held out to judge it."""

import numpy as np
import pytest
from small_history import small_history

from greenlane.errors import TrainingError
from greenlane.jobs.training import Plan, matured, split, train_fraud
from greenlane.learning.labels import GOOD, REPORTED
from greenlane.learning.training_set import TrainingSet
from greenlane.payments.times import DAY_US

DAYS, PLAN = 100, Plan(gap_us=5 * DAY_US)
START_DAY = 80


def found(delay_days):
    """Ten payments a day; of each day's first two, frauds, one is reported at once and one after `delay_days`."""
    at_us = np.sort(np.tile(np.arange(DAYS + 1), 10)) * DAY_US
    number = np.arange(len(at_us)) % 10
    reported_us = np.select([number == 0, number == 1], [at_us + DAY_US, at_us + delay_days * DAY_US], 0)
    cut_us = 400 * DAY_US
    return TrainingSet(
        names=("number",),
        seq=np.arange(len(at_us)),
        at_us=at_us,
        X=number.astype(np.float32)[:, None],
        state=np.where(reported_us > 0, REPORTED, GOOD).astype(np.int8),
        reported_us=reported_us,
        weight=np.ones(len(at_us)),
        amount_minor=np.full(len(at_us), 100),
        card=np.arange(len(at_us)),
        authenticated=np.zeros(len(at_us), np.int8),
        manifest={"label_cut_us": cut_us},
    )


def test_a_report_that_came_in_held_out_time_is_not_learned_from():
    rows = found(delay_days=30)
    earlier, later = split(rows, matured(rows, PLAN), PLAN)
    learned = {(at // DAY_US, int(x)) for at, x, y in zip(earlier.at_us, earlier.X[:, 0], earlier.y, strict=True) if y}
    assert learned == {(day, 0) for day in range(75)} | {(day, 1) for day in range(50)}
    assert later.at_us[0] == START_DAY * DAY_US
    assert {int(x) for x in later.X[later.y == 1, 0]} == {0, 1}


def test_young_rows_weigh_as_much_as_was_known_of_them_then():
    rows = found(delay_days=30)
    earlier, _ = split(rows, matured(rows, PLAN), PLAN)
    young = (earlier.at_us > 55 * DAY_US) & (earlier.y == 1)
    assert earlier.weight[young] == pytest.approx(2.0, rel=0.05)  # half of the reports come within a month
    assert earlier.weight.sum() == pytest.approx(750)


def test_a_model_that_could_have_known_of_no_fraud_is_not_judged():
    rows = found(delay_days=200)
    rows.state[rows.X[:, 0] == 0] = GOOD
    with pytest.raises(TrainingError, match="known before the held-out time, which began on 1970-03-") as refused:
        split(rows, matured(rows, PLAN), PLAN)
    assert "101 fraud reports of 1,010 attempts are known; at this rate 100 take 1,000" in str(refused.value.hint)


def test_a_history_too_short_for_any_label_to_be_final_is_refused():
    rows = found(delay_days=500)
    rows.state[:] = GOOD
    rows.manifest["label_cut_us"] = int(rows.at_us[0]) + DAY_US
    with pytest.raises(TrainingError, match="no payment is older than 5 days on 1970-01-02"):
        matured(rows, PLAN)


def test_a_model_of_disputes_learns_from_disputes_alone(tmp_path):
    pytest.importorskip("lightgbm", reason="fitting needs the train extra")
    data = small_history(tmp_path, label="dispute")
    plan = Plan(label="dispute")
    trained = train_fraud(data, plan, progress=lambda *_: None)
    assert trained.manifest["label"] == "dispute"
    assert trained.evaluation.events > 10
    assert trained.evaluation.average_precision.low > trained.evaluation.events / trained.evaluation.rows
    with pytest.raises(TrainingError, match="no fraud report"):
        train_fraud(data, Plan(), progress=lambda *_: None)


def test_only_xgboost_is_fitted_on_spark(tmp_path):
    with pytest.raises(TrainingError, match="lightgbm is not fitted on Spark"):
        train_fraud(tmp_path, Plan(engine="spark"), progress=lambda _done, _all: None)
