import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.released_blocks import block_quality


def draw(rng, payments=40_000):
    """Scores 0 to 1 that are fraud probabilities; blocked above 0.5, released less often the worse, never above 0.9."""
    score = rng.beta(0.3, 1.5, payments)
    fraud = (rng.random(payments) < score).astype(float)
    passed = np.where(score <= 0.5, 1.0, np.where(score <= 0.9, 0.3 * (1.0 - score), 0.0))
    return score, fraud, passed, np.where(rng.random(payments) < passed, fraud, np.nan)


def test_releases_speak_for_the_blocked_and_the_interval_holds_the_truth():
    rng = np.random.default_rng(1)
    inside = bounded = 0
    for _ in range(100):
        score, fraud, passed, seen = draw(rng)
        blocks = score > 0.5
        below = passed > 0.0
        found = block_quality(seen, passed, blocks=blocks)
        true = fraud[blocks & below].mean()
        inside += found.precision.low <= true <= found.precision.high
        assert found.beyond_blocked == int((score > 0.9).sum())
        bounded += found.precision_bounds[0] <= fraud[blocks].mean() <= found.precision_bounds[1]
    assert inside >= 88
    assert bounded >= inside


def test_a_policy_that_lets_the_worst_go_has_a_wide_recall():
    score, fraud, passed, seen = draw(np.random.default_rng(2))
    found = block_quality(seen, passed, blocks=(score > 0.5) & (score <= 0.9))
    assert found.beyond_blocked == 0
    assert found.beyond_passed == int((score > 0.9).sum())
    true = fraud[(score > 0.5) & (score <= 0.9)].sum() / fraud.sum()
    assert found.recall_bounds[0] <= true <= found.recall_bounds[1]
    assert found.recall_bounds[0] < found.recall_bounds[1]


def test_cards_seen_twice_are_one():
    score, _, passed, seen = draw(np.random.default_rng(3), 4_000)
    once = block_quality(seen, passed, blocks=score > 0.5)
    twice = block_quality(
        np.tile(seen, 2), np.tile(passed, 2), blocks=np.tile(score > 0.5, 2), cluster=np.tile(np.arange(4_000), 2)
    )
    assert twice.precision.se == pytest.approx(once.precision.se)


def test_nothing_blocked_has_no_precision():
    found = block_quality(np.array([0.0, 1.0]), np.ones(2), blocks=np.zeros(2, bool))
    assert found.precision is None
    assert found.recall.value == 0.0


def test_an_outcome_above_the_ceiling_is_refused():
    with pytest.raises(InputError, match="ceiling"):
        block_quality(np.array([1.0]), np.array([0.0]), blocks=np.array([True]))
