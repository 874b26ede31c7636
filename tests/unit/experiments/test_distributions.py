import math

import numpy as np
import pytest

from greenlane.experiments.distributions import (
    chi_square_above,
    log_gamma,
    normal_below,
    student_beyond,
    student_quantile,
)


@pytest.mark.parametrize(
    ("dof", "alpha", "t"),
    [(1, 0.05, 12.706205), (5, 0.05, 2.570582), (30, 0.05, 2.042272), (120, 0.05, 1.979930), (5, 0.01, 4.032143)],
)
def test_student_is_as_tabled(dof, alpha, t):
    assert float(student_quantile(alpha, dof)) == pytest.approx(t, abs=1e-6)
    assert float(student_beyond(t, dof)) == pytest.approx(alpha, abs=1e-7)


def test_student_meets_the_normal_and_keeps_its_extremes():
    assert float(student_beyond(1.959964, 1e9)) == pytest.approx(0.05, abs=1e-6)
    assert student_beyond(np.array([0.0, np.inf]), 7.5).tolist() == [1.0, 0.0]
    assert np.isnan(student_beyond(np.nan, 3.0))


@pytest.mark.parametrize(("x", "dof", "p"), [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (18.307038, 10, 0.05)])
def test_chi_square_is_as_tabled(x, dof, p):
    assert chi_square_above(x, dof) == pytest.approx(p, abs=1e-7)
    assert chi_square_above(0.0, dof) == 1.0


def test_log_gamma_is_the_standard_library_s():
    x = np.geomspace(1e-3, 1e8, 200)
    assert log_gamma(x) == pytest.approx([math.lgamma(one) for one in x], rel=1e-13, abs=1e-12)


def test_the_normal_is_as_tabled():
    assert normal_below(np.array([-1.959964, 0.0, 1.644854])) == pytest.approx([0.025, 0.5, 0.95], abs=1e-7)


def test_tails_are_scipy_s():
    stats = pytest.importorskip("scipy.stats", reason="comes with scikit-learn")
    dof = np.array([1.0, 2.5, 7.0, 80.0, 399.0, 401.0, 1e5])
    t = np.array([[1e-3], [0.7], [2.0], [9.0]])
    assert student_beyond(t, dof) == pytest.approx(2.0 * stats.t.sf(t, dof), rel=1e-9)
    for x in (0.1, 4.0, 60.0):
        for degrees in (1, 2, 5, 12, 31):
            assert chi_square_above(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-10)
