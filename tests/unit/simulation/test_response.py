"""How issuers answer: bounded, with thresholds, and the compiled formula equal to the readable one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.simulation.answers import AUTHENTICATED, EXEMPT, PLAIN
from greenlane.simulation.response import (
    COMMON,
    IN_SCOPE,
    ISSUER,
    LIMIT,
    LIMIT_DROP,
    LOG_AMOUNT,
    MODES,
    NUMBER_WORKS,
    approved,
    latent,
    respond,
    soft_declined,
)
from greenlane.simulation.world import World

WORLD = World.load("europe")
BANKS = WORLD.banks
ROUTES = len(WORLD.parameters.routes)
CASES = [a.truth.case for a in WORLD.payments(start_us=0, n=300, seed=1)]


def answered(case, *, row=None, lost=0.0, health=1.0, again=1.0, drift=0.0):
    out = np.empty((ROUTES, 2, MODES, 3))
    respond(
        np.array(case.row) if row is None else row,
        BANKS.issuers[case.issuer],
        BANKS.overs[case.issuer],
        np.full(ROUTES, drift),
        np.full(ROUTES, health),
        lost,
        np.full((ROUTES, 2, MODES), again),
        out,
    )
    return out


@pytest.mark.parametrize("case", CASES[:100:10])
def test_the_compiled_answer_is_the_readable_one(case):
    row, issuer, over = np.array(case.row), BANKS.issuers[case.issuer], BANKS.overs[case.issuer]
    out = answered(case)
    for route in range(ROUTES):
        for mode in (PLAIN, AUTHENTICATED, EXEMPT):
            z = latent.py_func(row, issuer, over[route], mode, 0)
            soft = soft_declined.py_func(row, issuer, over[route], mode)
            expected = approved.py_func(z, issuer) * row[NUMBER_WORKS] * (1 - soft if mode == PLAIN else 1)
            assert out[route, 0, mode, 0] == pytest.approx(expected, rel=1e-12)
            assert out[route, 0, mode, 2] == pytest.approx(soft, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CASES), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1), st.floats(-2, 2))
def test_answers_are_probabilities_below_the_ceiling_and_fall_with_memory_outage_and_retries(
    case, lost, health, again, drift
):
    better, worse = answered(case, drift=drift), answered(case, drift=drift, lost=lost, health=health, again=again)
    assert (better >= 0).all() and (better[..., :2] <= BANKS.issuers[case.issuer][ISSUER.index("ceiling")]).all()
    assert (worse[..., :2] <= better[..., :2] + 1e-12).all()


def test_soft_declines_are_of_payments_in_scope_that_were_not_authenticated():
    for case in CASES:
        soft = answered(case)[..., 2]
        assert (soft[..., AUTHENTICATED] == 0).all()
        assert (soft[..., PLAIN] > 0).all() == (case.row[IN_SCOPE] == 1.0)


def test_above_an_issuers_own_threshold_approval_falls_at_once_and_less_when_authenticated():
    case = max(CASES, key=lambda c: BANKS.issuers[c.issuer, LIMIT_DROP])
    row, limit = np.array(case.row), BANKS.issuers[case.issuer, LIMIT]
    row[IN_SCOPE], row[COMMON] = 0.0, 1.0
    below, above = row.copy(), row.copy()
    below[LOG_AMOUNT], above[LOG_AMOUNT] = limit - 1e-9, limit + 1e-9
    fall = (answered(case, row=below) - answered(case, row=above))[..., 0][:, 0]
    assert (fall[:, PLAIN] > 0.02).all()
    assert (fall[:, AUTHENTICATED] < fall[:, PLAIN]).all()
