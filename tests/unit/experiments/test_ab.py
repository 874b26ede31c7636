import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.ab import adjusted, compare, lift
from greenlane.experiments.bootstrap import cluster_bootstrap
from greenlane.experiments.moments import Moments
from greenlane.experiments.multiple import benjamini_hochberg, holm
from greenlane.experiments.sequences import always_valid, standard_errors


def clusters(rng, count, *, lift):
    """Rows of clusters of 1 to 9, whose members agree more than strangers do."""
    sizes = rng.integers(1, 10, count)
    cluster = np.repeat(np.arange(count), sizes)
    likely = 0.6 + lift + rng.normal(0, 0.1, count)
    return (rng.random(len(cluster)) < likely[cluster]).astype(float), cluster


def test_a_cluster_is_one_unit_however_many_rows_it_has():
    rng = np.random.default_rng(1)
    y, cluster = clusters(rng, 400, lift=0.0)
    rows, units = Moments.of(y), Moments.clustered(y, cluster)
    assert float(rows.value()) == pytest.approx(float(units.value()))
    assert float(units.count) == 400
    assert float(units.variance()) > 1.1 * float(rows.variance())


def test_the_bootstrap_agrees_with_the_delta_method():
    rng = np.random.default_rng(2)
    arms = [clusters(rng, 500, lift=lift) for lift in (0.0, 0.05)]
    sums = [(np.bincount(cluster, y), np.bincount(cluster).astype(float)) for y, cluster in arms]
    for relative in (False, True):
        delta = compare(*(Moments.of(*arm) for arm in sums), relative=relative)
        drawn = cluster_bootstrap(*sums, seed=3, relative=relative)
        assert float(drawn.estimate) == pytest.approx(float(delta.estimate))
        assert float(drawn.se) == pytest.approx(float(delta.se), rel=0.1)
        assert float(drawn.low) == pytest.approx(float(delta.low), abs=float(delta.se) * 0.3)
    again = cluster_bootstrap(*sums, seed=3, relative=True)
    assert (again.low, again.high) == (drawn.low, drawn.high)


def test_a_bootstrap_of_one_cluster_is_refused():
    one = (np.array([1.0]), np.array([2.0]))
    with pytest.raises(InputError, match="two clusters"):
        cluster_bootstrap(one, one, seed=1)


def test_the_adjusted_effect_stands_beside_the_plain_one_and_its_check():
    rng = np.random.default_rng(4)
    before = rng.gamma(2.0, 10.0, (2, 4_000))
    after = 0.9 * before + rng.normal(0.0, 5.0, before.shape)
    after[1] += 1.0
    found = adjusted(Moments.of(after[0], covariate=before[0]), Moments.of(after[1], covariate=before[1]))
    assert float(found.theta) == pytest.approx(0.9, abs=0.03)
    correlation = np.corrcoef(before[0], after[0])[0, 1]
    assert float(found.adjusted.se / found.plain.se) ** 2 == pytest.approx(1.0 - correlation**2, rel=0.1)
    assert float(found.adjusted.low) < 1.0 < float(found.adjusted.high)
    assert float(found.pre_period.p_value) > 0.001


def test_arms_that_differed_before_the_start_are_found_out():
    rng = np.random.default_rng(5)
    before = rng.normal(0.0, 1.0, (2, 4_000)) + np.array([[0.0], [0.2]])
    found = adjusted(*(Moments.of(x, covariate=x) for x in before))
    assert float(found.pre_period.p_value) < 1e-6


def test_a_covariate_that_never_varies_changes_nothing():
    y = np.array([1.0, 2.0, 4.0])
    found = adjusted(Moments.of(y, covariate=np.ones(3)), Moments.of(y + 1, covariate=np.ones(3)))
    assert float(found.adjusted.se) == float(found.plain.se)


def test_where_nothing_varies_nothing_is_claimed():
    still = Moments.of(np.ones(100))
    found = compare(still, still)
    assert (float(found.low), float(found.high), float(found.p_value)) == (-np.inf, np.inf, 1.0)
    seen = always_valid(found, planned=100)
    assert (float(seen.low), float(seen.p_value)) == (-np.inf, 1.0)


def test_a_proportion_and_a_mean_do_not_add():
    with pytest.raises(InputError, match="proportion"):
        Moments.of_proportion(1, 2) + Moments.of(np.ones(2))


def test_a_sequence_is_narrowest_near_the_size_it_is_tuned_to():
    units = np.geomspace(100, 1e6, 200)
    at_planned = float(standard_errors(10_000, planned=10_000))
    assert at_planned / 1.959964 < 1.56
    for other in (1_000, 100_000):
        assert float(standard_errors(10_000, planned=other)) > at_planned
    assert (np.diff(standard_errors(units, planned=10_000) / np.sqrt(units)) < 0.0).all()


def test_interval_and_p_value_of_a_sequence_agree():
    rng = np.random.default_rng(6)
    a, b = Moments.of(rng.normal(0, 1, (500, 300))), Moments.of(rng.normal(0.25, 1, (500, 300)))
    seen = always_valid(compare(a, b), planned=600)
    assert 50 < int(((seen.low > 0) | (seen.high < 0)).sum()) < 450
    assert ((seen.p_value < 0.05) == ((seen.low > 0) | (seen.high < 0))).all()


def test_many_questions_cost_each_of_them_something():
    p = [0.001, 0.008, 0.039, 0.041, 0.9]
    assert holm(p) == pytest.approx([0.005, 0.032, 0.117, 0.117, 0.9])
    assert benjamini_hochberg(p) == pytest.approx([0.005, 0.02, 0.05125, 0.05125, 0.9])


def test_a_relative_lift_of_a_rare_event_waits_until_the_control_is_known():
    rng = np.random.default_rng(8)
    events = np.cumsum(rng.random((2, 200, 3_000)) < 0.03, axis=-1)
    a, b = (Moments.of_proportion(arm, np.arange(1, 3_001)) for arm in events)
    seen = always_valid(lift(a, b, relative=True), planned=6_000)
    assert float(((seen.low <= 0.0) & (seen.high >= 0.0)).all(axis=-1).mean()) >= 0.93
    assert np.isinf(seen.low[:, 200]).all()
    assert np.isfinite(seen.low[:, -1]).mean() > 0.9


def test_a_lift_over_nothing_is_the_whole_line():
    none, some = Moments.of_proportion(0, 100), Moments.of_proportion(5, 100)
    found = compare(none, some, relative=True)
    assert (float(found.low), float(found.high), float(found.p_value)) == (-np.inf, np.inf, 1.0)
