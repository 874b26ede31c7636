"""A log that says too little blocks the readouts that would be made from it."""

import msgspec
import numpy as np
import pytest

from greenlane.monitoring.alarms import Alarm
from greenlane.monitoring.logs import HOUR_US, Logs
from greenlane.policy.arms import Arm, Experiment, Exposure
from greenlane.policy.distribution import TOTAL
from greenlane.policy.explore import Explored


def told(logs: Logs, hour: int) -> list[str]:
    return [one.series for one in logs.turn(hour * HOUR_US) if isinstance(one, Alarm) and not one.ended_us]


def drawn(logs: Logs, share: float, *, truly: float, n: int = 4_000) -> None:
    rng, mass = np.random.default_rng(1), round(TOTAL * share)
    for _ in range(n):
        logs.decided(Explored(distribution=(TOTAL - mass, mass), place=int(rng.random() < truly)))


def test_propensities_that_hold_are_fine_and_others_are_not():
    logs = Logs()
    drawn(logs, 0.1, truly=0.1)
    assert told(logs, 1) == []
    drawn(logs, 0.1, truly=0.2)
    assert told(logs, 2) == ["propensities"]


def test_masses_that_do_not_sum_are_told_and_forgiven_when_they_do():
    logs = Logs()
    logs.decided(Explored(distribution=(1, 2), place=0))
    assert told(logs, 1) == ["distributions"]
    found = logs.turn(2 * HOUR_US)
    assert [one.ended_us for one in found if isinstance(one, Alarm)] == [2 * HOUR_US]


def test_a_route_that_does_not_answer_is_named():
    logs = Logs()
    for n in range(600):
        route = "ab"[n % 2]
        logs.sent(route)
        if route == "a" or n % 4 == 1:
            logs.answered(route)
    alarm = logs.turn(HOUR_US)[0]
    assert isinstance(alarm, Alarm)
    assert (alarm.series, str(alarm.causes[0])) == ("answers", "route b")


ARMS = (Arm("control", 500_000), Arm("treatment", 500_000))
HALVES = Experiment(id="routes", unit="card", arms=ARMS, state="running")


@pytest.mark.parametrize(("times", "said"), [(1, []), (5, []), (0, ["ratio"])], ids=["even", "repeated", "uneven"])
def test_arms_without_their_share_are_told_and_a_unit_counts_once(times, said):
    logs = Logs()
    logs.arranged("routes", msgspec.to_builtins(HALVES))
    for n in range(4_000):
        arm = n % 9 < 4 if not times else n % 2
        for _ in range(1 + times * (n % 10 == 1)):
            logs.exposed(Exposure("routes", "treatment" if arm else "control", n * 7919))
    again = Logs()
    again.load(logs.dump())
    assert told(again, 1) == said
    logs.arranged("routes", msgspec.to_builtins(msgspec.structs.replace(HALVES, state="stopped")))
    assert logs.arms == {}


def test_mismatches_of_the_follower_are_told():
    logs = Logs()
    logs.parity({"vectors": 10, "mismatches": 2})
    assert told(logs, 1) == ["parity"]
