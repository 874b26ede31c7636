import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.ab import compare
from greenlane.experiments.moments import Moments
from greenlane.experiments.planning import Metric, Reading, detectable, plan, sample_size


def test_the_planned_size_finds_the_planned_effect_as_often_as_planned():
    metric, mde = Metric(baseline=0.6), 0.08
    per_arm = sample_size(metric, mde) // 2
    rng = np.random.default_rng(1)
    arms = [Moments.of_proportion(rng.binomial(per_arm, p, 4_000), per_arm) for p in (0.6, 0.68)]
    assert float((compare(*arms).p_value < 0.05).mean()) == pytest.approx(0.8, abs=0.02)


def test_size_and_change_are_one_equation():
    for metric in (Metric(baseline=0.87), Metric(baseline=40.0, sd=25.0, cluster_size=3, icc=0.2)):
        for reading in (Reading(), Reading(look="at any time", power=0.9, treated_share=0.2)):
            units = sample_size(metric, 0.01, reading=reading)
            assert detectable(metric, units, reading=reading) == pytest.approx(0.01, rel=1e-3)


def test_clusters_cost_and_covariates_gain():
    plain = sample_size(Metric(baseline=10.0, sd=4.0), 0.1)
    clustered = sample_size(Metric(baseline=10.0, sd=4.0, cluster_size=5, icc=0.25), 0.1)
    gained = sample_size(Metric(baseline=10.0, sd=4.0, correlation=0.6), 0.1, adjusted=True)
    assert clustered == pytest.approx(plain * 2.0, rel=1e-3)
    assert gained == pytest.approx(plain * 0.64, rel=1e-3)
    assert Metric(baseline=1.0, cluster_size=5, cluster_size_cv=1.0, icc=0.1).design_effect() == pytest.approx(1.9)


def test_a_plan_has_a_line_for_each_way_of_reading_it():
    rows = plan(Metric(baseline=0.87, correlation=0.5), 0.005, daily_units=20_000)
    assert [row.design for row in rows] == [
        "once, at the end",
        "at any time",
        "once, at the end, CUPED",
        "at any time, CUPED",
    ]
    assert rows[0].units == sum(rows[0].units_per_arm)
    assert rows[2].units < rows[0].units < rows[1].units
    assert rows[0].days == 7
    assert all(row.detectable_28_days < row.detectable_14_days for row in rows)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: sample_size(Metric(baseline=1.2), 0.01),
        lambda: sample_size(Metric(baseline=0.995), 0.01),
        lambda: sample_size(Metric(baseline=5.0, sd=-1.0), 0.01),
        lambda: sample_size(Metric(baseline=0.5), 0.0),
        lambda: sample_size(Metric(baseline=0.5, icc=2.0), 0.1),
        lambda: sample_size(Metric(baseline=0.5), 0.1, reading=Reading(power=1.0)),
        lambda: plan(Metric(baseline=0.5), 0.1, daily_units=0),
    ],
)
def test_what_cannot_be_planned_is_refused(asked):
    with pytest.raises(InputError):
        asked()
