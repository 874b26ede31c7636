import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.moved_threshold import moved_threshold


def world(rng, payments=5_000):
    """Passing is worth 1 for a genuine payment and -4 for fraud; blocked above 0.3, released below 0.9."""
    score = rng.beta(0.3, 1.5, payments)
    worth = np.where(rng.random(payments) < score, -4.0, 1.0)
    chance = np.where(score <= 0.3, 1.0, np.where(score <= 0.9, 0.2, 0.0))
    return score, worth, chance, np.where(rng.random(payments) < chance, worth, np.nan)


def moved(score, chance, seen, *, to, **changed):
    ends = np.full(len(score), -4.0), np.full(len(score), 1.0)
    return moved_threshold(
        seen,
        chance,
        blocked_value=np.zeros(len(score)),
        value_range=ends,
        before=score > 0.3,
        after=score > to,
        **changed,
    )


@pytest.mark.parametrize("to", [0.1, 0.5])
def test_the_interval_holds_what_the_move_is_worth(to):
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        score, _, chance, seen = world(rng)
        found = moved(score, chance, seen, to=to)
        one = found.tightened if to < 0.3 else found.loosened
        band = (score > min(to, 0.3)) & (score <= max(to, 0.3))
        x = score[band]
        truth = float((1.0 - 5.0 * x).sum() / len(score)) * (-1.0 if to < 0.3 else 1.0)
        inside += one.low <= truth <= one.high
        assert one.payments == int(band.sum())
    assert inside >= 182


def test_what_lies_above_the_ceiling_has_bounds_and_stays_out_of_the_estimate():
    score, worth, chance, seen = world(np.random.default_rng(2))
    to_ceiling, all_open = (moved(score, chance, seen, to=to) for to in (0.9, 1.0))
    assert all_open.loosened == to_ceiling.loosened
    assert (to_ceiling.beyond, to_ceiling.beyond_bounds) == (0, (0.0, 0.0))
    above = score > 0.9
    assert all_open.beyond == int(above.sum())
    assert all_open.beyond_bounds[0] <= worth[above].sum() / len(score) <= all_open.beyond_bounds[1]


def test_a_threshold_that_stays_is_worth_nothing():
    score, _, chance, seen = world(np.random.default_rng(3))
    found = moved(score, chance, seen, to=0.3)
    assert (found.tightened.value, found.loosened.value, found.tightened.payments) == (0.0, 0.0, 0)


def test_outcomes_that_could_not_be_are_refused():
    score, _, chance, _ = world(np.random.default_rng(4), 100)
    with pytest.raises(InputError, match="contradict"):
        moved(score, chance, np.full(100, np.nan), to=0.5)


def test_a_card_with_payments_on_both_sides_counts_once_in_the_error_of_both_together():
    """What each card loses at one score it gains at the other: together that is certain, apart it is not."""
    cards = np.repeat(np.arange(400), 2)
    luck = np.random.default_rng(4).normal(0.0, 1.0, 400)[cards]
    low_score = np.tile([True, False], 400)
    found = moved_threshold(
        luck, np.ones(800), blocked_value=np.zeros(800), value_range=(np.full(800, -9.0), np.full(800, 9.0)),
        before=~low_score, after=low_score, cluster=cards,
    )  # fmt: skip
    assert found.both.high - found.both.low < 1e-9 < 0.09 < found.tightened.high - found.tightened.low
    assert found.both.value == found.tightened.value + found.loosened.value and found.both.payments == 800
