import pytest
from oracles.published import oracle

from greenlane.monitoring.cusum import arl, siegmund_arl, two_sided

ORACLE = oracle("cusum_arl")


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: f"h{case['h']:g} shift {case['shift_sigma']:g}")
def test_the_markov_chain_gives_the_published_run_lengths(case):
    found = arl(case["k"], case["h"], shift=case["shift_sigma"])
    assert found == pytest.approx(case["one_sided_arl"], rel=1e-9)


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: f"h{case['h']:g} shift {case['shift_sigma']:g}")
def test_siegmunds_formula_is_within_five_per_cent(case):
    found = siegmund_arl(case["k"], case["h"], shift=case["shift_sigma"])
    assert found == pytest.approx(case["one_sided_arl"], rel=0.05)


@pytest.mark.parametrize("h", [4, 5])
def test_two_sides_together_run_half_as_long(h):
    one = arl(0.5, float(h))
    assert two_sided(one, one) == pytest.approx(ORACLE["two_sided_arl0"][f"h{h}"], rel=1e-9)
