import numpy as np
import pytest
from oracles.published import oracle

from greenlane.experiments.ab import compare
from greenlane.experiments.moments import Moments
from greenlane.experiments.sequences import always_valid
from greenlane.experiments.srm import chi_square_check

EXPECTED = oracle("ab_gbstats")
PLANNED = {"tuning1000": 1_000, "tuning5000": 5_000, "sequential5000": 5_000}


def arm(sums):
    if "sum_squares" in sums:
        n, total, squares = (np.float64(sums[name]) for name in ("n", "sum", "sum_squares"))
        return Moments.of_mean(n, total / n, squares - total * total / n)
    return Moments.of_proportion(sums["sum"], sums["n"])


@pytest.mark.parametrize("case", EXPECTED["cases"], ids=lambda case: case["id"])
def test_an_effect_is_the_published_one(case):
    found = compare(arm(case["a"]), arm(case["b"]), relative="relative" in case["id"], alpha=case["alpha"])
    planned = next((size for name, size in PLANNED.items() if case["id"].endswith(name)), None)
    if planned:
        found = always_valid(found, planned=planned, alpha=case["alpha"])
    out = case["out"]
    seen = [found.estimate, found.low, found.high, found.se, found.p_value]
    assert seen == pytest.approx([out["expected"], *out["ci"], out["se"], out["p"]], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", EXPECTED["srm_chi2"], ids=lambda case: str(case["users"]))
def test_the_sample_ratio_check_is_the_published_one(case):
    assert chi_square_check(case["users"], case["weights"]) == pytest.approx(case["p"], rel=1e-9)


def test_a_ratio_is_the_published_one():
    expected = EXPECTED["ratio_delta"]
    found = Moments.of(np.array(expected["m"]), np.array(expected["d"]))
    assert float(found.value()) == pytest.approx(expected["mean"])
    assert float(found.variance() * found.count) == pytest.approx(expected["variance"])
    assert float(found.comoment[0, 1]) / 3 == pytest.approx(expected["covariance"])
