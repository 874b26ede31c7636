import numpy as np
import pytest
from oracles.published import oracle

from greenlane.experiments.clusters import Groups
from greenlane.experiments.estimators import (
    bernstein_lower,
    cressie_read,
    direct,
    doubly_robust,
    hoeffding_lower,
    ipw,
    self_normalised,
    self_normalised_doubly_robust,
    student_lower,
)
from greenlane.experiments.off_policy import differences, overlap, term
from greenlane.experiments.weights import clipped, effective_size, importance, optimistic, subgaussian, switched

LOG = oracle("ope_small_log")
TARGET, LOGGING, MODEL = (np.array(LOG["inputs"][name]) for name in ("pi_e", "pi_b", "q_hat"))
ACTION, REWARD = np.array(LOG["inputs"]["action"]), np.array(LOG["inputs"]["reward"])
WEIGHT = importance(TARGET, LOGGING, ACTION)
ANSWER = {"predicted": MODEL[np.arange(len(ACTION)), ACTION], "direct": direct(TARGET, MODEL)}
TAMED = {"clip": clipped, "tau": switched, "dros": optimistic, "sg": subgaussian}


def rows_of(name):
    kind, number = name.rsplit("_", 1)[0], name.rsplit("_", 1)[-1]
    if name == "snips":
        return self_normalised(WEIGHT, REWARD)
    if name == "dm":
        return ANSWER["direct"]
    if name == "sndr":
        return self_normalised_doubly_robust(WEIGHT, REWARD, **ANSWER)
    if name == "replay_deterministic":
        agreed = np.array(LOG["inputs"]["replay_deterministic_action"]) == ACTION
        return self_normalised(agreed.astype(float), REWARD)
    tame = next(tame for part, tame in TAMED.items() if part in kind)
    weight = tame(WEIGHT, float(number))
    return ipw(weight, REWARD) if "ips" in kind else doubly_robust(weight, REWARD, **ANSWER)


@pytest.mark.parametrize("name", LOG["expected"])
def test_an_estimate_is_the_published_one(name):
    rows = rows_of(name)
    assert float(rows.mean()) == pytest.approx(LOG["expected"][name], abs=1e-9)
    if name in LOG["expected_round_rewards"]:
        assert rows == pytest.approx(LOG["expected_round_rewards"][name], abs=1e-9)


def test_the_weights_are_the_published_ones():
    diagnostics = LOG["diagnostics"]
    assert WEIGHT.tolist() == pytest.approx(diagnostics["weights"])
    assert effective_size(WEIGHT) == pytest.approx(diagnostics["ess_kish"])
    assert float(overlap(TARGET, LOGGING, action=ACTION).unsupported().sum()) == diagnostics["n_unsupported_rounds"]


def test_errors_are_the_published_ones():
    intervals = LOG["intervals"]
    rows = ipw(WEIGHT, REWARD)
    variance, dof = Groups.of(np.arange(10)).variance(rows / 10)
    half = 1.959963984540054 * variance**0.5
    assert [rows.mean() - half, rows.mean() + half] == pytest.approx(intervals["ips_normal_95"], rel=1e-6)
    assert dof == 9.0
    one_sided = student_lower(rows, alpha=0.025)
    assert one_sided == pytest.approx(intervals["ips_student_t_95"][0], rel=1e-9)
    value = float(WEIGHT @ REWARD / WEIGHT.sum())
    influence = WEIGHT * (REWARD - value) / WEIGHT.sum()
    assert float(influence @ influence) ** 0.5 == pytest.approx(intervals["snips_delta_se"], rel=1e-9)


def test_a_redrawn_interval_is_near_the_published_one():
    expected = LOG["intervals"]["obp_bootstrap_10000_seed12345"]
    draws = np.random.default_rng(1).choice(ipw(WEIGHT, REWARD), size=(10_000, 10)).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert low == pytest.approx(expected["95.0% CI (lower)"], abs=0.6)
    assert high == pytest.approx(expected["95.0% CI (upper)"], abs=0.6)


def test_lower_bounds_are_the_published_ones():
    bounds = LOG["concentration_lower_bounds"]
    rows, alpha = np.array(bounds["x"]), bounds["delta"]
    assert hoeffding_lower(rows, largest=1.0, alpha=alpha) == pytest.approx(bounds["estimate_hoeffding_lower_bound"])
    assert bernstein_lower(rows, largest=1.0, alpha=alpha) == pytest.approx(bounds["estimate_bernstein_lower_bound"])
    assert student_lower(rows, alpha=alpha) == pytest.approx(bounds["estimate_student_t_lower_bound"])


def test_scaled_rewards_are_valued_as_published():
    expected = LOG["vw_estimators_0_2_2"]["expected"]
    scaled = (REWARD + 25.0) / 28.0
    assert float(ipw(WEIGHT, scaled).mean()) == pytest.approx(expected["ips"])
    assert float(self_normalised(WEIGHT, scaled).mean()) == pytest.approx(expected["snips"])
    assert cressie_read(WEIGHT, scaled) == pytest.approx(expected["cressieread"])


def test_a_paired_difference_is_the_estimate_less_what_was_earned():
    seen = overlap(TARGET, LOGGING, action=ACTION)
    found = differences(seen, term(seen, REWARD, model=MODEL))
    earned = float(REWARD.mean())
    assert found["IPW"].value == pytest.approx(LOG["expected"]["ips_clip_inf"] - earned)
    assert found["SNIPW"].value == pytest.approx(LOG["expected"]["snips"] - earned)
    logged = float((direct(LOGGING, MODEL) + REWARD - ANSWER["predicted"]).mean())
    assert found["DR"].value == pytest.approx(LOG["expected"]["dr_clip_inf"] - logged)
    assert found["direct"].value == pytest.approx(LOG["expected"]["dm"] - float(direct(LOGGING, MODEL).mean()))
