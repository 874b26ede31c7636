"""Of the drift figures, the one that the sample-ratio check computes as well."""

import pytest
from oracles.published import oracle

from greenlane.experiments.srm import chi_square_check


def test_a_categorical_shift_has_the_published_chi_square():
    drift = oracle("drift")
    counts, shares = drift["inputs"]["cat_current_counts"], drift["inputs"]["cat_reference_counts"]
    assert chi_square_check(counts, shares) == pytest.approx(drift["expected"]["cat_chi"], rel=1e-9)
