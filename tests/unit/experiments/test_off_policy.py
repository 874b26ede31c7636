import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.clusters import Groups
from greenlane.experiments.estimators import ipw
from greenlane.experiments.off_policy import between, differences, overlap, overlap_of_sequences, term, values


def log(rng, rows):
    """Two routes; the second is better for large payments. -> (logging, target, action, reward, model, truth)"""
    size = rng.normal(0.0, 1.0, rows)
    second = 0.2 + 0.6 / (1.0 + np.exp(-size))
    logging = np.stack([1.0 - second, second], axis=1)
    target = np.stack([0.2 + 0.0 * size, 0.8 + 0.0 * size], axis=1)
    worth = np.stack([1.0 - 0.2 * size, 1.0 + 0.2 * size], axis=1)
    action = (rng.random(rows) < second).astype(int)
    reward = worth[np.arange(rows), action] + rng.normal(0.0, 1.0, rows)
    return logging, target, action, reward, worth, float(((target - logging) * worth).sum(axis=1).mean())


def test_every_estimator_finds_the_true_difference():
    rng = np.random.default_rng(1)
    logging, target, action, reward, worth, truth = log(rng, 40_000)
    seen = overlap(target, logging, action=action)
    found = differences(seen, term(seen, reward, model=worth))
    assert set(found) == {"DR", "IPW", "SNIPW", "direct"}
    for one in found.values():
        assert abs(one.value - truth) < 4.0 * max(one.se, 1e-3)
    assert found["DR"].se < found["SNIPW"].se < found["IPW"].se


def test_a_wrong_model_does_not_mislead_the_doubly_robust():
    rng = np.random.default_rng(2)
    logging, target, action, reward, worth, truth = log(rng, 40_000)
    seen = overlap(target, logging, action=action)
    found = differences(seen, term(seen, reward, model=worth + np.array([0.0, 3.0])))
    assert abs(found["direct"].value - truth) > 0.5
    assert abs(found["DR"].value - truth) < 4.0 * found["DR"].se


def test_a_policy_differs_from_itself_by_nothing():
    rng = np.random.default_rng(3)
    logging, _, action, reward, worth, _ = log(rng, 500)
    seen = overlap(logging, logging, action=action)
    for one in differences(seen, term(seen, reward, model=worth)).values():
        assert abs(one.value) < 1e-12


def test_terms_add_up_to_their_total():
    rng = np.random.default_rng(4)
    logging, target, action, reward, worth, _ = log(rng, 2_000)
    seen = overlap(target, logging, action=action)
    gain, loss = term(seen, reward, model=worth), term(seen, np.where(rng.random(2_000) < 0.1, -4.0, 0.0))
    parts = [differences(seen, one)["DR"].value for one in (gain, loss)]
    total = differences(seen, gain + loss)
    assert total["DR"].value == pytest.approx(sum(parts))
    assert "direct" not in total


def test_rows_of_one_card_count_as_one():
    rng = np.random.default_rng(5)
    logging, target, action, reward, worth, _ = log(rng, 3_000)
    five = [np.repeat(rows, 5, axis=0) for rows in (target, logging, action, reward, worth)]
    alone, copied = overlap(target, logging, action=action), overlap(*five[:2], action=five[2])
    by_card = overlap(*five[:2], action=five[2], cluster=np.repeat(np.arange(3_000), 5))
    once = differences(alone, term(alone, reward, model=worth))["DR"].se
    assert differences(copied, term(copied, five[3], model=five[4]))["DR"].se < 0.5 * once
    assert differences(by_card, term(by_card, five[3], model=five[4]))["DR"].se == pytest.approx(once, rel=1e-3)


def test_a_shock_to_an_hour_widens_the_interval_over_hours():
    rng = np.random.default_rng(6)
    logging, target, action, reward, *_ = log(rng, 5_000)
    hour = np.arange(5_000) // 100
    shocked = reward + rng.normal(0.0, 2.0, 50)[hour]
    alone, timed = overlap(target, logging, action=action), overlap(target, logging, action=action, block=hour)
    plain, blocked = (differences(seen, term(seen, shocked))["IPW"].se for seen in (alone, timed))
    assert blocked >= plain


def test_two_groupings_are_never_surer_than_the_first_and_one_group_is_none():
    rng = np.random.default_rng(7)
    rows, card, hour = rng.normal(0, 1, 400), rng.integers(0, 100, 400), np.arange(400) // 40
    alone, dof_alone = Groups.of(card).variance(rows)
    both, dof_both = Groups.of(card, hour).variance(rows)
    assert both >= alone
    assert (dof_alone, dof_both) == (98.0 if len(np.unique(card)) == 99 else len(np.unique(card)) - 1.0, 9.0)
    with pytest.raises(InputError, match="two groups"):
        Groups.of(np.zeros(4, int))


def ladder(rng, payments):
    """Three tries over two routes, ended by a success; route 1 succeeds more often. -> arrays[payments, 3(, 2)]"""
    logging = np.full((payments, 3, 2), 0.5)
    action = rng.integers(0, 2, (payments, 3))
    success = rng.random((payments, 3)) < np.array([0.3, 0.5])[action]
    failed_before = np.concatenate([np.ones((payments, 1), bool), np.cumprod(~success, axis=1)[:, :-1] > 0], axis=1)
    reward = np.where(failed_before, success * 1.0 - 0.05, 0.0)
    return logging, action, reward, failed_before.sum(axis=1)


def test_a_retry_ladder_is_valued_step_by_step():
    rng = np.random.default_rng(8)
    logging, action, reward, steps = ladder(rng, 60_000)
    target = np.tile([0.1, 0.9], (60_000, 3, 1))

    def worth(route_1, tries):
        chance = 0.3 + 0.2 * route_1
        return 0.0 if tries == 0 else chance - 0.05 + (1.0 - chance) * worth(route_1, tries - 1)

    to_come = np.stack([[0.25 + 0.7 * worth(0.9, 2 - t), 0.45 + 0.5 * worth(0.9, 2 - t)] for t in range(3)])
    model = np.tile(to_come, (60_000, 1, 1))
    truth = worth(0.9, 3) - worth(0.5, 3)
    seen = overlap_of_sequences(target, logging, action=action, steps=steps)
    found = differences(seen, term(seen, reward, model=model))
    for one in found.values():
        assert abs(one.value - truth) < 4.0 * one.se
    assert found["direct"].value == pytest.approx(truth, abs=0.01)
    assert found["DR"].se < found["IPW"].se


def test_one_step_is_a_ladder_of_one_step():
    rng = np.random.default_rng(9)
    logging, target, action, reward, *_ = log(rng, 300)
    single = overlap(target, logging, action=action)
    sequence = overlap_of_sequences(target[:, None], logging[:, None], action=action[:, None], steps=np.ones(300, int))
    assert (single.weight == sequence.weight).all()
    money = term(single, reward)
    assert differences(single, money)["IPW"].value == pytest.approx(float((ipw(single.weight, reward) - reward).mean()))


@pytest.mark.parametrize(
    ("target", "logging", "told"),
    [
        ([0.5, 0.6], [0.5, 0.5], "target"),
        ([0.5, 0.5], [0.9, 0.2], "logging"),
        ([0.5, 0.5], [1.0, 0.0], "probability 0"),
    ],
)
def test_what_is_no_policy_is_refused(target, logging, told):
    with pytest.raises(InputError, match=told):
        overlap(np.tile(target, (4, 1)), np.tile(logging, (4, 1)), action=np.ones(4, int))


def test_values_of_two_policies_differ_as_their_paired_differences_do():
    rng = np.random.default_rng(10)
    logging, target, action, reward, model, _ = log(rng, 2_000)
    seen, logged = overlap(target, logging, action=action), overlap(logging, logging, action=action)
    money = term(seen, reward, model=model)
    own, kept = values(seen, money), values(logged, term(logged, reward))
    paired = between(seen, own["SNIPW"], kept["SNIPW"])
    expected = differences(seen, money)["SNIPW"]
    assert (paired.value, paired.se) == pytest.approx((expected.value, expected.se))
    assert paired.se < own["SNIPW"].se
    assert own["DR"].value == pytest.approx(float(reward.mean()) + differences(seen, money)["DR"].value, abs=0.05)


def test_an_estimate_does_not_differ_from_itself():
    rng = np.random.default_rng(11)
    logging, target, action, reward, *_ = log(rng, 300)
    seen = overlap(target, logging, action=action)
    one = values(seen, term(seen, reward))["DR"]
    same = between(seen, one, one)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
