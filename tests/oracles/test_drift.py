"""The drift figures over bins; chi-square is the one that the sample-ratio check computes as well."""

import math

import numpy as np
import pytest
from oracles.published import oracle

from greenlane.experiments.srm import chi_square_check
from greenlane.monitoring.drift import hellinger, js_distance, kl, psi


def test_a_categorical_shift_has_the_published_chi_square():
    drift = oracle("drift")
    counts, shares = drift["inputs"]["cat_current_counts"], drift["inputs"]["cat_reference_counts"]
    assert chi_square_check(counts, shares) == pytest.approx(drift["expected"]["cat_chi"], rel=1e-9)


def test_distances_of_a_categorical_shift_are_the_published_ones():
    drift = oracle("drift")
    reference, current = drift["inputs"]["cat_reference_counts"], drift["inputs"]["cat_current_counts"]
    due = drift["expected"]
    assert psi(reference, current) == pytest.approx(due["own_psi"], rel=1e-9)
    assert kl(reference, current) == pytest.approx(due["cat_kl"], rel=1e-9)
    assert js_distance(reference, current) == pytest.approx(due["own_js_distance_base2"], rel=1e-9)
    assert js_distance(reference, current, base=math.e) == pytest.approx(due["own_js_distance_nat"], rel=1e-9)
    assert hellinger(reference, current) == pytest.approx(due["own_hellinger"], rel=1e-9)


def test_the_index_over_deciles_of_the_reference_is_the_published_one():
    due = oracle("drift")["expected"]
    reference, current = 100 * np.linspace(0, 1, 1000) ** 2, 110 * np.linspace(0, 1, 800) ** 2 + 2
    edges = np.quantile(reference, np.arange(1, 10) / 10)
    counts = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=10) for x in (reference, current)]
    assert (counts[1] / 800).tolist() == pytest.approx(due["deciles_cur"], abs=1e-9)
    assert psi(*counts) == pytest.approx(due["own_psi_reference_deciles"], rel=1e-6)
