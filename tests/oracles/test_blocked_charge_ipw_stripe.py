import numpy as np
import pytest
from oracles.published import oracle

from greenlane.experiments.released_blocks import block_quality

CASE = oracle("blocked_charge_ipw_stripe")


def test_released_charges_speak_for_the_blocked():
    inputs, expected = CASE["inputs"], CASE["expected"]
    low, above = inputs["observed"]["score_le_50"], inputs["observed"]["score_gt_50_allowed"]
    counts = [low["legit"], low["fraud"], above["legit"], above["fraud"], inputs["observed"]["no_outcome"]]
    fraud = np.repeat([0.0, 1.0, 0.0, 1.0, np.nan], counts)
    passed = np.repeat([1.0, 1.0, *[inputs["reversal_probability"]] * 3], counts)
    found = block_quality(fraud, passed, blocks=np.repeat([False, False, True, True, True], counts))
    assert found.fraud_blocked == pytest.approx(expected["est_fraud_in_blocked"])
    assert found.genuine_blocked == pytest.approx(expected["est_legit_in_blocked"])
    assert found.precision.value == pytest.approx(expected["precision"])
    assert found.recall.value == pytest.approx(expected["recall"])
    assert found.precision.se == pytest.approx(expected["binomial_se_precision"])
    assert found.beyond_blocked == 0


@pytest.mark.parametrize("name", CASE["propensity_variant"]["expected"])
def test_a_release_probability_that_falls_with_the_score_is_weighed(name):
    rows = CASE["propensity_variant"]["rows"]
    expected = CASE["propensity_variant"]["expected"][name]
    fraud = np.array([{"ok": 0.0, "fraud": 1.0, None: np.nan}[row["outcome"]] for row in rows])
    passed = np.array([row["p_allow"] for row in rows])
    blocks = np.array([row["score"] for row in rows]) > int(name.rsplit("_", 1)[1])
    found = block_quality(fraud, passed, blocks=blocks)
    assert found.fraud_blocked == pytest.approx(expected["tp_w"])
    assert found.genuine_blocked == pytest.approx(expected["fp_w"])
    assert found.precision.value == pytest.approx(expected["precision"])
    assert found.recall.value == pytest.approx(expected["recall"])
