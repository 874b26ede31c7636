"""What the policy makes of probabilities, and where good payers are stopped."""

import numpy as np
import pytest

from greenlane.learning.examples import Examples
from greenlane.learning.policy_money import NOT_THERE, PolicyValues, policy_money
from greenlane.learning.resampling import Resampled
from greenlane.learning.stability import segment_rates, weeks
from greenlane.payments.times import DAY_US
from greenlane.policy.actions import INTERVENTIONS

ALLOW, BLOCK = INTERVENTIONS.index("allow"), INTERVENTIONS.index("block")
N = 400


@pytest.fixture
def values() -> PolicyValues:
    """Letting a good payer pass brings 10, a thief -100; blocking costs 2. Every second row has no block."""
    good, fraud = np.tile([10.0, -2.0], (N, 1)), np.tile([-100.0, 0.0], (N, 1))
    good[1::2, 1] = fraud[1::2, 1] = NOT_THERE
    return PolicyValues(good, fraud, np.tile(np.array([ALLOW, BLOCK], np.int8), (N, 1)))


def money(values: PolicyValues, p, y):
    return policy_money(values, p, y, weight=np.ones(N), cards=Resampled.of(np.arange(N), seed=1, replicates=50))


def test_each_row_takes_what_is_worth_most_of_what_it_has(values: PolicyValues):
    assert values.chosen(np.full(N, 0.05)).tolist() == [0] * N
    assert values.chosen(np.full(N, 0.5)).tolist() == [1, 0] * (N // 2)


def test_knowing_every_label_captures_all_and_the_base_rate_nothing(values: PolicyValues):
    y = (np.arange(N) % 10 == 0).astype(np.int8)
    assert money(values, y.astype(float), y).captured == pytest.approx(1.0)
    assert money(values, np.full(N, 0.1), y).captured == pytest.approx(0.0)
    found = money(values, np.where(y == 1, 0.6, 0.01), y)
    assert found.value_per_1000_minor == found.clairvoyant_per_1000_minor == 9_000
    assert found.shares["block"] == 0.1


def test_believing_too_much_fraud_costs_money(values: PolicyValues):
    rng = np.random.default_rng(2)
    p = rng.beta(0.2, 2.0, N)
    found = money(values, p, (rng.random(N) < p).astype(np.int8))
    by_shift = {point.shift: point.value_per_1000_minor for point in found.curve}
    assert by_shift[4.0] < by_shift[0.0] > by_shift[-4.0]


def test_good_payers_stopped_are_shown_by_segment():
    test = Examples(
        names=("mcc", "network"),
        X=np.column_stack([np.repeat([5411, 5732], N // 2), np.full(N, np.nan)]).astype(np.float32),
        y=(np.arange(N) % 4 == 0).astype(np.int8),
        weight=np.ones(N),
        at_us=np.arange(N),
        amount_minor=np.full(N, 100),
        card=np.arange(N),
    )
    found = segment_rates(test, np.arange(N) < N // 4, Resampled.of(test.card, seed=1, replicates=50))
    shown = {(s.column, s.name): (s.good, s.stopped_share) for s in found}
    assert shown == {("mcc", "5411"): (150, 0.5), ("mcc", "5732"): (150, 0.0), ("network", "not told"): (300, 0.25)}
    assert all(s.low <= s.stopped_share <= s.high for s in found)


def test_weeks_hold_observed_against_expected():
    at_us = np.arange(20) * DAY_US
    found = weeks(at_us, np.full(20, 0.1), (np.arange(20) == 8).astype(float), np.ones(20))
    assert [(w.first_day, w.rows, w.observed) for w in found] == [
        ("1970-01-01", 7, 0.0), ("1970-01-08", 7, 1.0), ("1970-01-15", 6, 0.0),
    ]  # fmt: skip
    assert found[1].low < found[1].ratio < found[1].high
