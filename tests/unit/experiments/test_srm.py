import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.srm import chi_square_check, log_bayes_factor, sequential_check


def test_the_evidence_does_not_depend_on_the_order_of_arrival():
    by_predictions = 0.0
    seen = np.zeros(2)
    for arm in [0, 0, 1, 0, 1, 1, 0, 0]:
        prior = 100.0 * np.array([0.6, 0.4])
        by_predictions += np.log((prior + seen)[arm] / (prior + seen).sum() / (0.6, 0.4)[arm])
        seen[arm] += 1
    assert float(log_bayes_factor(seen, [0.6, 0.4])) == pytest.approx(by_predictions, abs=1e-9)


def test_an_imbalance_is_found_and_stays_found():
    counts = np.array([[530, 470], [5300, 4700], [53000, 47000]])
    p = sequential_check(counts, [0.5, 0.5])
    assert p[0] > 0.05
    assert (p[1:] < 1e-6).all()


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.0], [0.5, -0.5]])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(InputError, match="shares"):
        chi_square_check([1.0] * len(shares), shares)
