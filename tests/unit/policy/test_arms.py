from collections import Counter
from itertools import product

import pytest

from greenlane.errors import InputError
from greenlane.experiments.srm import chi_square_check
from greenlane.policy.arms import PPM, Arm, Assignment, Experiment, point_ppm, switchback_unit

HALVES = (Arm("control", 500_000), Arm("treatment", 500_000))
UNITS = [f"card_{i}" for i in range(20_000)]


def experiment(name="one", **changed):
    return Experiment(**{"id": name, "unit": "card", "arms": HALVES} | changed)


def test_points_are_uniform():
    tenths = Counter(point_ppm("salt", "x", unit) * 10 // PPM for unit in UNITS)
    assert chi_square_check([tenths[i] for i in range(10)], [1.0] * 10) > 0.001


def test_each_arm_gets_its_share():
    arms = (Arm("a", 700_000), Arm("b", 200_000), Arm("c", 100_000))
    running = Assignment("salt", [experiment(arms=arms)])
    counts = Counter(running.arm("one", unit) for unit in UNITS)
    assert chi_square_check([counts[arm] for arm in "abc"], [0.7, 0.2, 0.1]) > 0.001


def test_experiments_of_two_layers_are_independent():
    running = Assignment("salt", [experiment("one", layer="x"), experiment("two", layer="y")])
    cells = Counter((running.arm("one", unit), running.arm("two", unit)) for unit in UNITS)
    arms = ("control", "treatment")
    assert chi_square_check([cells[pair] for pair in product(arms, arms)], [1.0] * 4) > 0.001


def test_another_salt_is_another_draw():
    first, second = (Assignment(salt, [experiment()]) for salt in ("a", "b"))
    same = sum(first.arm("one", unit) == second.arm("one", unit) for unit in UNITS)
    assert chi_square_check([same, len(UNITS) - same], [1.0, 1.0]) > 0.001


def test_experiments_of_one_layer_share_nobody():
    slots = [experiment("one", slot_ppm=(0, 400_000)), experiment("two", slot_ppm=(400_000, 700_000))]
    running = Assignment("salt", slots)
    taking_part = Counter(tuple(running.arm(e.id, unit) is not None for e in slots) for unit in UNITS)
    assert taking_part[True, True] == 0
    assert chi_square_check([taking_part[True, False], taking_part[False, True]], [4.0, 3.0]) > 0.001


def test_a_slot_that_grows_moves_nobody_between_arms():
    small, large = (Assignment("salt", [experiment(slot_ppm=(0, end))]) for end in (100_000, 300_000))
    before = {unit: arm for unit in UNITS if (arm := small.arm("one", unit))}
    assert all(large.arm("one", unit) == arm for unit, arm in before.items())


def test_who_is_excluded_or_held_out_takes_no_part():
    both = [experiment("one", layer="x", slot_ppm=(0, 500_000)), experiment("two", layer="y", excludes=("one",))]
    running = Assignment("salt", both, holdout_ppm=100_000)
    held = [unit for unit in UNITS if running.is_held_out(unit)]
    assert chi_square_check([len(held), len(UNITS) - len(held)], [0.1, 0.9]) > 0.001
    assert all(running.arm("one", unit) is None and running.arm("two", unit) is None for unit in held)
    assert not any(running.arm("one", unit) and running.arm("two", unit) for unit in UNITS)


def test_a_unit_is_exposed_where_the_arms_would_differ():
    running = Assignment("salt", [experiment()])
    differing = {"control": "route_a", "treatment": "route_b"}
    seen = running.exposure("one", "card_1", actions=differing)
    assert seen is not None
    assert seen.arm == running.arm("one", "card_1")
    assert running.exposure("one", "card_1", actions=dict.fromkeys(differing, "route_a")) is None


@pytest.mark.parametrize(
    ("experiments", "told"),
    [
        ([experiment(), experiment()], "called one"),
        ([experiment(slot_ppm=(5, 5))], "slot"),
        ([experiment(arms=(Arm("a", 1), Arm("b", 2)))], "no split"),
        ([experiment(excludes=("two",)), experiment("two", layer="y")], "cannot exclude two"),
        ([experiment(), experiment("two")], "take the same units"),
        ([experiment(slot_ppm=(0, 1)), experiment("two", slot_ppm=(1, 2), unit="merchant")], "share a layer"),
    ],
)
def test_experiments_that_contradict_each_other_are_refused(experiments, told):
    with pytest.raises(InputError, match=told):
        Assignment("salt", experiments)


def test_a_switchback_takes_turns_by_block():
    hours = [switchback_unit("issuer_1|a", hour * 3_600_000_000, block_us=7_200_000_000) for hour in range(4)]
    assert hours[0] == hours[1] != hours[2] == hours[3]
