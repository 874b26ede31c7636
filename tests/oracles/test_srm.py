import pytest
from oracles.published import oracle

from greenlane.experiments.srm import chi_square_check, log_bayes_factor, sequential_check

CASES = oracle("srm")["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["counts"]))
def test_both_checks_are_the_published_ones(case):
    counts, shares, k = case["counts"], case["theta0"], case["k"]
    assert float(log_bayes_factor(counts, shares, concentration=k)) == pytest.approx(case["log_bayes_factor"], abs=1e-9)
    assert float(sequential_check(counts, shares, concentration=k)) == pytest.approx(case["p_value"], rel=1e-9)
    assert chi_square_check(counts, shares) == pytest.approx(case["chi2_p"], rel=1e-9)
