import json

import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.impact import STEPS, Arm, bridge_of_arms
from greenlane.jobs.valuing.impacts import impacts_in
from greenlane.jobs.valuing.page import page


def arm(rng, lift, *, payments=6_000):
    won = (rng.random(payments) < 0.8 + lift).astype(float)
    money = np.zeros((payments, len(STEPS)))
    money[:, 0], money[:, 1] = 1_000.0 * won, -40.0 - 10.0 * rng.random(payments)
    money[:, 2] = -8_000.0 * (rng.random(payments) < 0.01) * won
    attempts = np.stack([won, 1.0 + (won == 0.0)], axis=1)
    return Arm(money=money, attempt_approved=attempts, payment_approved=won, unit=np.arange(payments) // 3)


def test_the_steps_of_a_bridge_add_up_to_its_net():
    rng = np.random.default_rng(1)
    found = bridge_of_arms(arm(rng, 0.0), arm(rng, 0.04))
    assert sum(step.value for step in found.steps) == pytest.approx(found.net.value)
    assert found.approval["payments"].low < 40.0 < found.approval["payments"].high
    assert found.approval["attempts"].value != found.approval["payments"].value


def test_units_that_pay_alike_widen_the_interval():
    rng = np.random.default_rng(2)
    one, other = arm(rng, 0.0), arm(rng, 0.0)
    twice = [Arm(money=np.repeat(a.money, 2, 0), attempt_approved=np.repeat(a.attempt_approved, 2, 0),
                 payment_approved=np.repeat(a.payment_approved, 2), unit=np.repeat(a.unit, 2))
             for a in (one, other)]  # fmt: skip
    alone, copied = bridge_of_arms(one, other).net, bridge_of_arms(*twice).net
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=1e-6)


def columns(rng, lift):
    rows = arm(rng, lift, payments=300)
    return {
        "unit": rows.unit.tolist(),
        "attempts": rows.attempt_approved[:, 1].astype(int).tolist(),
        "attempts_approved": rows.attempt_approved[:, 0].astype(int).tolist(),
        "approved": rows.payment_approved.astype(int).tolist(),
        "money": {name: rows.money[:, k].tolist() for k, name in enumerate(STEPS[:3])},
        "groups": {"route": ["a", "b", "c"] * 100},
    }


def test_arms_in_a_file_become_a_page(tmp_path):
    rng, file = np.random.default_rng(4), tmp_path / "arms.json"
    said = {"experiment": "routes", "currency": "EUR",
            "arms": {"control": columns(rng, 0.0), "treatment": columns(rng, 0.1)}}  # fmt: skip
    file.write_text(json.dumps(said))
    (found,) = impacts_in(file)
    assert set(found.groups["route"]) == {"a", "b", "c"}
    shown = page([found], title="Routes")
    assert "<svg" in shown
    assert "treatment instead of control" in shown


def test_an_evaluation_of_policies_becomes_a_bridge_with_its_fees(tmp_path):
    figures = {"attempt_approval_pct": 80.0, "payment_approval_pct": 85.0, "fees_per_1000": 900.0}
    said = {"world": "w", "currency": "EUR", "seeds": 2, "payments": 10, "best_baseline": "cheapest",
            "policies": {"joint": figures | {"fees_per_1000": 950.0, "payment_approval_pct": 86.0},
                         "cheapest": figures},
            "paired": {"joint_minus_cheapest": [300.0, 100.0, 500.0]}}  # fmt: skip
    file = tmp_path / "e.json"
    file.write_text(json.dumps(said))
    (found,) = impacts_in(file)
    assert (found.bridge.net.value, found.bridge.net.low) == (300.0, 100.0)
    assert [step.value for step in found.bridge.steps] == [-50.0, 350.0]
    assert found.bridge.approval["payments"].value == pytest.approx(10.0)
    assert "<svg" in page([found], title="w")
    with pytest.raises(InputError, match="not compared"):
        impacts_in(file, policy="cheapest", baseline="joint")


@pytest.mark.parametrize("text", ["{}", "nothing", '{"arms": {"a": {}}}', '{"evaluations": [{}]}'])
def test_another_file_is_refused(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError):
        impacts_in(file)
