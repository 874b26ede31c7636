"""What the arms did, counted and compared: against payments whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from small_shop import shop_in

from greenlane.experiments.page import page
from greenlane.experiments.readout import MEASURES, look, readout
from greenlane.experiments.tally import BUCKETS, Tallies, Tally
from greenlane.merchants.economics import Economics
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import Arm, Experiment, Exposure, Otherwise, Rail

NOON = 1_790_000_000_000_000


def experiment(**changed: Any) -> Experiment:
    arms = (Arm("control", 500_000), Arm("treatment", 500_000, Otherwise(policy={"plain": {}})))
    plain = {"id": "x", "unit": "card", "arms": arms, "state": "running", "planned": 4_000}
    return Experiment(**plain | changed)


def fed(tally: Tally, payments: int, *, approval: tuple[float, float], seed: int = 1, cards: int = 2_000) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, cards)
    for card in rng.integers(0, cards, payments):
        arm = int(hashes[card]) >> 5 & 1
        seen = Exposure("x", ("control", "treatment")[arm], int(hashes[card]))
        approved = float(rng.random() < approval[arm])
        tally.meet(seen, NOON)
        tally.add(seen, exposed=1.0, decisions=1.0, latency_us=900.0, settled=1.0, attempts=1.0, approved=approved)
        tally.add(seen, attempts_approved=approved, earned_minor=1_000.0 * approved)


def tallies(**changed: Any) -> tuple[Tallies, Tally]:
    fold = Tallies(lambda _merchant: Economics())
    tally = fold.of["x"] = Tally(experiment(**changed))
    return fold, tally


def test_a_worse_arm_breaks_its_rail_and_a_page_shows_when_and_why() -> None:
    fold, tally = tallies()
    found = []
    for part in range(40):
        fed(tally, 100, approval=(0.9, 0.75), seed=part)
        found += list(look(fold, NOON + part * 60_000_000))
    (pause,) = [each for _, each in found]
    assert (pause.arm, pause.metric) == ("treatment", "payment_approval") and pause.point.low > 0.01
    assert 200 < pause.point.units < 3_000
    text = page(readout(tally, now_us=NOON))
    assert f"paused at {pause.point.units:,}" in text and "payment_approval is worse by" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_harmless_arm_goes_on() -> None:
    fold, tally = tallies()
    for part in range(30):
        fed(tally, 100, approval=(0.9, 0.9), seed=part)
        assert not list(look(fold, NOON + part))


def test_absolute_and_relative_lift_hold_the_truth_and_cuped_stands_beside() -> None:
    _, tally = tallies(planned=20_000)
    fed(tally, 20_000, approval=(0.8, 0.84))
    found = {each.metric: each for each in readout(tally, now_us=NOON).metrics}["payment_approval"]
    for each, truth in (
        (found.absolute, 0.04),
        (found.relative, 0.05),
        (found.bootstrap, 0.04),
        (found.sequence, 0.04),
    ):
        assert each.low is not None and each.high is not None and each.low < truth < each.high
    assert found.cuped.estimate == pytest.approx(found.absolute.estimate) and found.pre_period_p_value == 1.0
    assert found.sequence.p_value <= found.adjusted_p_value < 0.05


def test_units_are_counted_without_a_list_of_them() -> None:
    _, tally = tallies()
    fed(tally, 30_000, approval=(0.9, 0.9), cards=8_000)
    assert tally.units("control") + tally.units("treatment") == pytest.approx(7_812, rel=0.02)


def test_clusters_are_whole_units() -> None:
    """A card's many payments are one observation: the interval is as wide as that of the cards."""
    _, tally = tallies()
    rng = np.random.default_rng(3)
    for card in range(1_500):
        rate, unit = float(rng.random() < 0.5), int(rng.integers(0, 2**63))
        for _ in range(20):
            seen = Exposure("x", ("control", "treatment")[card % 2], unit)
            tally.add(seen, exposed=1.0, decisions=1.0, settled=1.0, approved=rate)
    found = {each.metric: each for each in readout(tally, now_us=NOON).metrics}["payment_approval"].absolute
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 / 750 * 2), rel=0.15)


def test_forbidden_retries_pause_at_the_first() -> None:
    fold, tally = tallies(guardrails=(Rail(metric="forbidden_retries"),))
    fed(tally, 100, approval=(0.9, 0.9))
    tally.forbidden["treatment"] = 1
    assert [pause.metric for _, pause in look(fold, NOON)] == ["forbidden_retries"]


def test_a_broken_ratio_is_told_first() -> None:
    fold, tally = tallies()
    for unit in range(2_000):
        seen = Exposure("x", "control" if unit % 5 < 3 else "treatment", unit << 20 | unit * 7919)
        tally.meet(seen, NOON)
        tally.add(seen, exposed=1.0, decisions=1.0)
    list(look(fold, NOON))
    shown = readout(tally, now_us=NOON)
    assert shown.srm_p_value < 0.001 and shown.srm_sequential_p_value < 0.001
    assert shown.notes[0].startswith("SAMPLE RATIO")


def test_an_arm_that_was_paused_for_a_while_breaks_no_ratio_and_is_told(tmp_path: Path) -> None:
    system = shop_in(tmp_path)
    fold, plain = Tallies(lambda _merchant: Economics()), experiment()
    for number, state in enumerate(({}, {"paused_arms": ("treatment",)}, {})):
        after = replace(plain, **state)
        fold.apply(system.change_experiment(after, why="a test", who="tests", event_id=f"x{number}"))
        for unit in range(2_000):
            if state and unit % 2:
                continue
            arm = ("control", "treatment")[unit % 2]
            seen = Exposure("x", arm, (number * 2_000 + unit) << 20 | unit * 7919)
            fold.of["x"].meet(seen, NOON)
            fold.of["x"].add(seen, exposed=1.0, decisions=1.0)
    list(look(fold, NOON))
    system.close()
    shown = readout(fold.of["x"], now_us=NOON)
    assert shown.srm_p_value == shown.srm_sequential_p_value == 1.0
    assert shown.notes[0].startswith("treatment was paused")


def test_losses_wait_until_labels_can_have_come() -> None:
    _, tally = tallies()
    fed(tally, 500, approval=(0.9, 0.9))
    for each in tally.experiment.arms:
        tally.add(Exposure("x", each.name, 5), reports=1.0, lost_minor=3_000.0, decisions=1.0)
    young, old = (readout(tally, now_us=NOON + days * DAY_US).arms[0] for days in (1, 60))
    assert young.net_matured_minor is None and old.net_matured_minor is not None
    assert old.lost_matured_minor == pytest.approx(3_000 / old.payments / old.matured_share)


def test_memory_is_bounded_and_survives_a_restart() -> None:
    fold, tally = tallies()
    fed(tally, 3_000, approval=(0.9, 0.8))
    list(look(fold, NOON))
    again = Tallies(lambda _merchant: Economics())
    again.restore(fold.dump())
    assert again.dump() == fold.dump()
    assert readout(again.of["x"], now_us=NOON) == readout(tally, now_us=NOON)
    assert all(len(sums) == BUCKETS for sums in tally.sums.values()) and set(MEASURES) >= {"payment_approval"}
