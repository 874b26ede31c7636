import numpy as np
import pytest

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import logistic_fit
from greenlane.learning.maturity import learn_maturity, learn_pooled, loss_rows, matured_rate, poisson_interval

DAY = 86_400_000_000
NOW = 90 * DAY


@pytest.fixture(scope="module")
def world():
    """Payments over 90 days, 2 % fraud; reports come after 2 to 60 days; the cut is at day 90."""
    rng = np.random.default_rng(5)
    n = 200_000
    age = rng.integers(0, NOW, n)
    fraud = rng.random(n) < 0.02
    delay = ((2 + 58 * rng.beta(1.2, 3.0, n)) * DAY).astype(np.int64)
    return age, fraud, delay, fraud & (delay <= age)


def test_maturity_corrects_for_young_payments(world):
    age, fraud, delay, reported = world
    learned = learn_maturity(delay[reported], age[reported])
    days = np.array([5, 10, 20, 30, 45]) * DAY
    truth = np.array([(delay[fraud] <= d).mean() for d in days])
    naive = np.array([(delay[reported] <= d).mean() for d in days])
    assert np.all(np.abs(learned.at(days) - truth) < 4 * learned.error_at(days) + 0.005)
    assert np.abs(naive - truth).max() > 2 * np.abs(learned.at(days) - truth).max()


def test_a_fixed_delay_is_a_step():
    learned = learn_maturity(np.full(50, 7 * DAY), np.linspace(7 * DAY, 90 * DAY, 50).astype(np.int64))
    assert learned.at(np.array([0, 7 * DAY - 1, 7 * DAY])).tolist() == [0.0, 0.0, 1.0]


def test_a_label_later_than_now_is_refused():
    with pytest.raises(TrainingError):
        learn_maturity(np.array([5]), np.array([4]))


def test_the_matured_rate_is_the_true_rate_long_before_all_labels_are_in(world):
    age, _, delay, reported = world
    young = age < 40 * DAY
    share = learn_maturity(delay[reported], age[reported]).at(age[young])
    rate = matured_rate(int(reported[young].sum()), share)
    assert rate.low < 0.02 < rate.high
    assert rate.state == "mature"
    assert reported[young].mean() < 0.75 * 0.02


def test_weighted_rows_teach_the_final_rate(world):
    age, _, delay, reported = world
    share = learn_maturity(delay[reported], age[reported]).at(age)
    rows = loss_rows(reported.astype(np.int8), share)
    fitted = logistic_fit(np.ones((len(rows.y), 1)), rows.y.astype(float), rows.weight)
    assert abs(1 / (1 + np.exp(-fitted.coefficients[0])) - 0.02) < 0.001
    assert share[rows.row].min() >= 0.3


def test_a_pair_of_rows_has_the_loss_of_its_soft_label():
    rows = loss_rows(np.array([1], np.int8), np.array([0.4]), np.array([3.0]))
    for p in (0.01, 0.5, 0.9):
        paired = -sum(w * (np.log(p) if y else np.log(1 - p)) for y, w in zip(rows.y, rows.weight, strict=True))
        assert np.isclose(paired, -3.0 * (np.log(p) / 0.4 + (1 - 1 / 0.4) * np.log(1 - p)))


def test_a_trainer_learns_from_paired_rows_as_from_final_labels():
    pytest.importorskip("lightgbm", reason="needs the [train] extra")
    from unit.learning.synthetic_examples import payments

    from greenlane.adapters.lightgbm_trainer import LightGbm
    from greenlane.learning.examples import Examples

    examples, truth = payments(30_000, seed=8)
    share = np.full(len(examples), 0.5)
    seen = examples.y * (np.random.default_rng(1).random(len(examples)) < share)
    rows = loss_rows(seen.astype(np.int8), share)
    taken = examples.take(rows.row)
    weighted = Examples(taken.names, taken.X, rows.y, rows.weight, taken.at_us, taken.amount_minor, taken.card)
    estimator = LightGbm(threads=1)
    fitted = estimator.fit(weighted, estimator.default | {"rounds": 60}, seed=0)
    learned = 1 / (1 + np.exp(-fitted.margins(examples.X)))
    assert abs(learned.mean() / truth.mean() - 1) < 0.1


def test_poisson_interval_is_close_to_the_exact_one():
    stats = pytest.importorskip("scipy.stats", reason="needs the [train] extra")
    for events in (1, 5, 50, 400):
        exact = stats.chi2.ppf(0.025, 2 * events) / 2, stats.chi2.ppf(0.975, 2 * events + 2) / 2
        assert np.allclose(poisson_interval(events), exact, rtol=0.02, atol=0.03)


def test_a_rate_of_nothing_matured_is_immature():
    assert matured_rate(0, np.zeros(5)).state == "immature"


def measured(rng, n):
    """Delays of the measured chargeback curve, in microseconds."""
    return (
        np.interp(rng.random(n), [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], [40, 55, 80, 96, 123, 144, 170]) * DAY
    ).astype(np.int64)


def test_chargebacks_on_the_measured_curve_point_to_the_true_rate_within_the_interval():
    rng = np.random.default_rng(3)
    n, now = 200_000, 360 * DAY
    age, fraud, delay = rng.integers(0, now, n), rng.random(n) < 0.004, measured(rng, n)
    seen = fraud & (delay <= age)
    learned = learn_maturity(delay[seen], age[seen])
    for youngest, oldest, state in ((85, 115, "mature"), (90, 200, "mature"), (0, 60, "immature")):
        rows = (age >= youngest * DAY) & (age < oldest * DAY)
        events, share = int(seen[rows].sum()), learned.at(age[rows])
        rate, narrow = matured_rate(events, share, learned.error_at(age[rows])), matured_rate(events, share)
        assert rate.state == state
        if state == "mature":
            assert rate.low < 0.004 < rate.high
            assert rate.low < narrow.low and rate.high > narrow.high


def test_labels_seven_days_late_are_a_step_and_younger_rows_teach_nothing():
    rng = np.random.default_rng(4)
    age = rng.integers(0, 60 * DAY, 50_000)
    seen = (rng.random(len(age)) < 0.02) & (age >= 7 * DAY)
    learned = learn_maturity(np.full(seen.sum(), 7 * DAY), age[seen])
    rows = loss_rows(seen.astype(np.int8), learned.at(age))
    assert age[rows.row].min() >= 7 * DAY
    assert abs(rows.weight[rows.y == 1].sum() / rows.weight.sum() - 0.02) < 0.002


def test_segments_keep_their_own_pace_where_labels_are_many_and_borrow_where_they_are_few():
    rng = np.random.default_rng(6)
    delay = np.concatenate([rng.integers(1, 10, 3000), rng.integers(20, 60, 3000), rng.integers(1, 10, 4)]) * DAY
    segment = np.repeat([0, 1, 2], [3000, 3000, 4])
    pooled = learn_pooled(delay, np.full(len(delay), 90 * DAY), segment)
    at = np.full(4, 15 * DAY)
    shares = pooled.at(at, np.array([0, 1, 2, 3]))
    assert shares[0] > 0.98 and shares[1] < 0.02
    assert 0.5 < shares[2] < 0.6  # four labels weigh little
    assert shares[3] == pooled.overall.at(at)[0]
    errors = pooled.error_at(at, np.array([0, 1, 2, 3]))
    assert errors[2] > errors[0]
