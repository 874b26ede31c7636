"""The drift figures over bins; chi-square is the one that the sample-ratio check computes as well."""

import math
import random

import detectors
import numpy as np
import pytest
from oracles.published import oracle

from greenlane.experiments.srm import chi_square_check
from greenlane.monitoring.distances import (
    common_bins,
    hellinger,
    js_distance,
    kl,
    kolmogorov_smirnov,
    psi,
    wasserstein,
)


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


REFERENCE, CURRENT = 100 * np.linspace(0, 1, 1000) ** 2, 110 * np.linspace(0, 1, 800) ** 2 + 2


def test_distances_of_a_shift_of_numbers_are_the_published_ones():
    due, counts = oracle("drift")["expected"], common_bins(REFERENCE, CURRENT)
    assert psi(*counts) == pytest.approx(due["num_psi"], rel=1e-9)
    assert js_distance(*counts, base=math.e) == pytest.approx(due["num_js"], rel=1e-9)
    assert hellinger(*counts) == pytest.approx(due["num_hellinger"], rel=1e-9)
    distance = wasserstein(REFERENCE, CURRENT) / REFERENCE.std()
    assert distance == pytest.approx(due["num_wasserstein_normed"], rel=1e-9)
    assert distance == pytest.approx(due["own_num_wasserstein_over_refstd"], rel=1e-9)


def test_the_exact_chance_of_a_distance_of_distribution_functions_is_the_published_one():
    due = oracle("drift")["expected"]
    distance, chance = kolmogorov_smirnov(REFERENCE, CURRENT)
    assert distance == pytest.approx(due["own_ks_stat"], rel=1e-9)
    assert chance == pytest.approx(due["own_ks_p"], rel=1e-6) == pytest.approx(due["num_ks"], rel=1e-6)


def test_published_detectors_tell_where_it_is_published_that_they_do():
    rng, due = random.Random(12345), oracle("drift")["river_docs_stream"]["expected"]
    stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    assert detectors.told(detectors.Adwin().hear, stream) == due["ADWIN"][:1]
    assert detectors.told(detectors.PageHinkley().hear, stream) == due["PageHinkley"][:1]
    assert detectors.told(detectors.Kswin(alpha=1e-4, seed=42).hear, stream) == due["KSWIN_alpha1e4_seed42"][:1]


def test_published_detectors_tell_of_a_drop_of_approvals_as_measured():
    measured, stream = oracle("drift")["approval_rate_stream"]["measured_river_0_26_1"], detectors.answers(7)
    for name, hear in {
        "ADWIN_delta0.002": detectors.Adwin().hear,
        "ADWIN_delta1e-6": detectors.Adwin(delta=1e-6).hear,
        "PageHinkley_default": detectors.PageHinkley().hear,
        "PageHinkley_down": detectors.PageHinkley(down_only=True).hear,
    }.items():
        found = detectors.told(hear, stream)
        assert [len(found), found[0]] == [measured[name]["n_alarms"], measured[name]["first"]]


def test_a_drop_of_approvals_is_found_sooner_than_by_any_published_detector_without_a_false_alarm():
    """Of those detectors, that is, which gave no false alarm either."""
    measured = oracle("drift")["approval_rate_stream"]["measured_river_0_26_1"].values()
    soonest = min(each["first_after"] for each in measured if not each["false_alarms_before_20000"])
    told = detectors.told(detectors.ours(), detectors.answers(7))
    assert 20_000 < told[0] <= soonest
