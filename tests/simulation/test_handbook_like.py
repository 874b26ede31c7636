"""The stand-in for the handbook's data has the published shape, and its window features equal a naive count."""

import importlib.util
from pathlib import Path

import pytest

pd = pytest.importorskip("pandas", reason="pandas is in the bench extra")

SPEC = importlib.util.spec_from_file_location(
    "handbook_like", Path(__file__).parents[2] / "benchmarks" / "handbook_like.py"
)
handbook_like = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(handbook_like)


@pytest.fixture(scope="module")
def rows():
    return handbook_like.simulate(customers=300, terminals=600, days=60, seed=3)


def test_the_same_seed_gives_the_same_payments_and_another_seed_others(rows):
    again = handbook_like.simulate(customers=300, terminals=600, days=60, seed=3)
    other = handbook_like.simulate(customers=300, terminals=600, days=60, seed=4)
    pd.testing.assert_frame_equal(rows, again)
    assert not rows.head(100).equals(other.head(100))


def test_payments_come_in_time_order_at_the_published_rate_of_payments_and_fraud(rows):
    assert rows.TX_DATETIME.is_monotonic_increasing
    assert rows.TX_DATETIME.dtype == "datetime64[ns]"
    assert 1.6 < len(rows) / 300 / 60 < 2.3
    assert 0.002 < rows.TX_FRAUD.mean() < 0.02  # a small town: few are ever compromised
    assert set(rows.TX_FRAUD_SCENARIO) == {0, 1, 2, 3}
    assert (rows.TX_AMOUNT[rows.TX_FRAUD_SCENARIO == 1] > 220).all()


def test_window_features_equal_a_naive_count_in_row_order(rows):
    table = handbook_like.with_features(rows, last_days=14)
    second, day = rows.TX_TIME_SECONDS.to_numpy(), 86_400
    for row in table.sample(60, random_state=0).itertuples():
        now, before = row.TX_TIME_SECONDS, rows.index <= row.Index
        for days in (1, 7, 30):
            own = (rows.CUSTOMER_ID == row.CUSTOMER_ID) & before & (second > now - days * day)
            then = (rows.TERMINAL_ID == row.TERMINAL_ID) & (second <= now - 7 * day) & (second > now - (7 + days) * day)
            assert getattr(row, f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW") == own.sum()
            average = getattr(row, f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW")
            assert average == pytest.approx(rows.TX_AMOUNT[own].mean(), rel=1e-12)
            assert getattr(row, f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW") == then.sum()
            risk = rows.TX_FRAUD[then].mean() if then.any() else 0.0
            assert getattr(row, f"TERMINAL_ID_RISK_{days}DAY_WINDOW") == pytest.approx(risk, rel=1e-12)
