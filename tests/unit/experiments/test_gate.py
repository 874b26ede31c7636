import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.gate import judge
from greenlane.experiments.off_policy import overlap, term

ROWS = 8_000


def world(*, logging=0.5, target=0.9, rows=ROWS, fraud=0.05, gain=0.3, seed=1):
    """-> (overlap, terms): route 1 gains more and bears twice the fraud."""
    rng = np.random.default_rng(seed)
    action = (rng.random(rows) < logging).astype(int)
    policies = [np.tile([1.0 - p, p], (rows, 1)) for p in (target, logging)]
    seen = overlap(*policies, action=action)
    margin = 1.0 + gain * action + rng.normal(0.0, 0.5, rows)
    loss = -4.0 * (rng.random(rows) < fraud * (1.0 + action))
    return seen, {"margin": term(seen, margin, low=0.0, high=2.0), "fraud_loss": term(seen, loss, low=-4.0, high=0.0)}


def failed(verdict):
    return {check.name for check in verdict.checks if not check.passed}


def test_what_is_sound_is_accepted_and_adds_up():
    verdict = judge(*world(), claimed=0.2, excluded={"overridden": 17})
    assert verdict.accepted, verdict.reasons
    assert verdict.total.value == pytest.approx(sum(one.value for one in verdict.terms.values()))
    assert verdict.total.low < 0.4 * (0.3 - 0.2) < verdict.total.high
    assert set(verdict.estimates) == {"DR", "IPW", "SNIPW"}
    assert verdict.excluded == {"overridden": 17}


def test_too_few_rows_are_refused():
    assert "effective rows" in failed(judge(*world(rows=900)))


def test_a_term_with_too_few_events_has_bounds_and_the_rest_an_estimate():
    verdict = judge(*world(fraud=0.001), claimed=1.0)
    assert failed(verdict) == {"fraud_loss: effective events"}
    assert "bounds only" in verdict.reasons[0]
    loss = verdict.terms["fraud_loss"]
    assert loss.value is None
    assert (loss.low, loss.high) == (pytest.approx(-1.6), pytest.approx(1.6))
    assert verdict.terms["margin"].value is not None
    assert verdict.total.value is None
    assert verdict.total.low < 0.12 < verdict.total.high


def test_what_the_log_never_did_has_bounds():
    rows = 4_000
    rng = np.random.default_rng(2)
    action = rng.integers(0, 2, rows)
    logging, target = np.tile([0.5, 0.5, 0.0], (rows, 1)), np.tile([0.4, 0.4, 0.2], (rows, 1))
    seen = overlap(target, logging, action=action)
    verdict = judge(seen, {"margin": term(seen, 1.0 + 0.0 * action, low=0.0, high=3.0)}, claimed=1.0)
    assert "unsupported mass" in failed(verdict)
    assert verdict.total.value is None
    assert verdict.total.low == pytest.approx(-0.2, abs=0.01)
    assert verdict.total.high == pytest.approx(0.4, abs=0.01)


def test_a_greedy_log_values_no_other_policy():
    rows = 2_000
    seen = overlap(np.tile([0.0, 1.0], (rows, 1)), np.tile([1.0, 0.0], (rows, 1)), action=np.zeros(rows, int))
    verdict = judge(seen, {"margin": term(seen, np.ones(rows), low=0.0, high=5.0)})
    assert not verdict.accepted
    assert (verdict.total.value, verdict.total.low, verdict.total.high) == (None, pytest.approx(-1), pytest.approx(4))


def test_a_weight_of_hundreds_is_refused():
    verdict = judge(*world(logging=0.003, target=0.9, rows=20_000))
    assert {"largest weight", "effective rows"} <= failed(verdict)


def test_one_row_must_not_carry_the_estimate():
    seen, terms = world()
    reward = terms["margin"].reward.copy()
    reward[0] = np.abs(reward).sum()
    assert "largest row's share" in failed(judge(seen, {"margin": term(seen, reward)}))


def test_an_interval_wider_than_the_claim_is_refused():
    seen, terms = world()
    assert "half-width" in failed(judge(seen, terms, claimed=0.001))


def test_a_model_that_disagrees_with_the_log_is_refused():
    seen, terms = world()
    wrong = term(seen, terms["margin"].reward, model=np.tile([1.0, 2.0], (ROWS, 1)))
    verdict = judge(seen, {"margin": wrong}, claimed=1.0)
    assert failed(verdict) == {"direct against DR"}


def test_propensities_that_were_not_followed_are_refused():
    rng = np.random.default_rng(3)
    action = (rng.random(ROWS) < 0.5).astype(int)
    seen = overlap(np.tile([0.5, 0.5], (ROWS, 1)), np.tile([0.4, 0.6], (ROWS, 1)), action=action)
    verdict = judge(seen, {"margin": term(seen, 1.0 + rng.normal(0, 0.1, ROWS))}, claimed=1.0)
    assert "propensities, worst bin" in failed(verdict)


def test_propensities_that_were_followed_seldom_alarm():
    alarms = sum("propensities, worst bin" in failed(judge(*world(seed=seed, rows=1_500))) for seed in range(200))
    assert alarms <= 3


def test_young_labels_are_refused():
    seen, terms = world()
    verdict = judge(seen, terms, claimed=1.0, maturity=np.linspace(0.1, 1.0, ROWS))
    assert failed(verdict) == {"labels come"}


def test_an_evaluation_without_money_is_refused():
    with pytest.raises(InputError, match="term"):
        judge(world()[0], {})
