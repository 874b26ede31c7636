"""What the arms did, counted and compared: against payments whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from small_shop import shop_in

from greenlane.experiments.page import page
from greenlane.experiments.readout import MEASURES, look, readout
from greenlane.experiments.tally import BUCKETS, CELLS, Tallies, Tally
from greenlane.learning.lateness import LABELS_MIN
from greenlane.merchants.economics import Economics
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.arms import Arm, Experiment, Exposure, Otherwise, Rail
from greenlane.ports.journal import SOURCE_BIT, Entry

NOON = 1_790_000_000_000_000


def experiment(**changed: Any) -> Experiment:
    arms = (Arm("control", 500_000), Arm("treatment", 500_000, Otherwise(policy={"plain": {}})))
    plain = {"id": "x", "unit": "card", "arms": arms, "state": "running", "planned": 4_000}
    return Experiment(**plain | changed)


def fed(
    tally: Tally, payments: int, *, approval: tuple[float, float], seed: int = 1, cards: int = 2_000, at_us: int = NOON,
    arms: tuple[str, ...] = ("control", "treatment"),
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, cards)
    for card in rng.integers(0, cards, payments):
        arm = int(hashes[card]) >> 5 & 1
        seen = Exposure("x", ("control", "treatment")[arm], int(hashes[card]))
        approved = float(rng.random() < approval[arm])
        if seen.arm in arms:
            tally.meet(seen, at_us)
            tally.add(seen, at_us, exposed=1.0, decisions=1.0, latency_us=900.0, settled=1.0, attempts=1.0)
            tally.add(seen, at_us, approved=approved, attempts_approved=approved, earned_minor=1_000.0 * approved)


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
    assert sum(arm.met.count() for arm in tally.arms.values()) == pytest.approx(7_812, rel=0.02)


def test_clusters_are_whole_units() -> None:
    """A card's many payments are one observation: the interval is as wide as that of the cards."""
    _, tally = tallies()
    rng = np.random.default_rng(3)
    for card in range(1_500):
        rate, unit = float(rng.random() < 0.5), int(rng.integers(0, 2**63))
        for _ in range(20):
            seen = Exposure("x", ("control", "treatment")[card % 2], unit)
            tally.add(seen, NOON, exposed=1.0, decisions=1.0, settled=1.0, approved=rate)
    found = {each.metric: each for each in readout(tally, now_us=NOON).metrics}["payment_approval"].absolute
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 / 750 * 2), rel=0.15)


def test_forbidden_retries_pause_at_the_first() -> None:
    fold, tally = tallies(guardrails=(Rail(metric="forbidden_retries"),))
    fed(tally, 100, approval=(0.9, 0.9))
    tally.arms["treatment"].forbidden = 1
    assert [pause.metric for _, pause in look(fold, NOON)] == ["forbidden_retries"]


def test_a_broken_ratio_is_told_first() -> None:
    fold, tally = tallies()
    for unit in range(2_000):
        seen = Exposure("x", "control" if unit % 5 < 3 else "treatment", unit << 20 | unit * 7919)
        tally.meet(seen, NOON)
        tally.add(seen, NOON, exposed=1.0, decisions=1.0)
    list(look(fold, NOON))
    shown = readout(tally, now_us=NOON)
    assert shown.srm_p_value < 0.001 and shown.srm_sequential_p_value < 0.001
    assert shown.notes[0].startswith("SAMPLE RATIO")


HOUR = 3_600_000_000


@pytest.mark.parametrize(("approval", "again"), [(0.9, []), (0.7, ["payment_approval"])])
def test_a_resumed_arm_is_judged_by_what_it_does_from_then_on(
    tmp_path: Path, approval: float, again: list[str]
) -> None:
    system, fold, plain = shop_in(tmp_path), Tallies(lambda _merchant: Economics()), experiment(planned=1_000)

    def goes_on(hours: int, both: tuple[float, float] = (0.9, 0.9), **state: Any) -> list[str]:
        system.clock.set(NOON + hours * HOUR)
        entry = system.change_experiment(replace(plain, **state), why="a test", who="tests", event_id=f"x{hours}")
        fold.apply(entry)
        arms = ("control",) if state else ("control", "treatment")
        fed(fold.of["x"], 1_500, approval=both, seed=hours, at_us=entry.ingest_us, arms=arms)
        return [pause.metric for _, pause in look(fold, entry.ingest_us)]

    assert goes_on(0, (0.9, 0.7)) == ["payment_approval"] and not goes_on(1, paused_arms=("treatment",))
    assert goes_on(2, (0.9, approval)) == again
    system.close()
    tally = fold.of["x"]
    for arm in ("control", "treatment"):
        tally.add(Exposure("x", arm, 5), NOON, reports=1.0, decisions=1.0)  # of a payment from before
    shown = readout(tally, now_us=NOON + 2 * HOUR)
    found = {each.metric: each for each in shown.metrics}
    assert found["early_reports"].control == found["early_reports"].value == 0.0
    assert found["payment_approval"].value == pytest.approx(approval, abs=0.04)
    assert found["payment_approval"].cuped.low is None, "its units were met before"
    control, treatment = shown.arms
    assert treatment.payments < 900 < 2_000 < control.payments and treatment.since_us == NOON + 2 * HOUR
    assert shown.srm_p_value is not None and shown.srm_p_value > 0.001 and shown.srm_sequential_p_value > 0.1
    assert shown.notes[0].startswith("treatment was resumed: it is read")
    before = fold.dump()
    fold.restore(before)
    assert fold.dump() == before


@pytest.mark.parametrize(("control_of_five", "broken"), [(2, False), (4, True)])
def test_a_resumed_arm_has_its_share_checked_since_then_and_a_paused_one_not(
    control_of_five: int, broken: bool
) -> None:
    fold, tally = tallies(arms=(Arm("control", 400_000), Arm("treatment", 600_000)))
    fed(tally, 3_000, approval=(0.9, 0.9), arms=("control",))
    running, tally.experiment = tally.experiment, replace(tally.experiment, paused_arms=("treatment",))
    shown = readout(tally, now_us=NOON)
    assert shown.srm_p_value is None and "not checked" in page(shown) and "as intended" not in page(shown)
    tally.experiment = running
    tally.begin_anew("treatment", NOON)
    for unit in range(4_000):
        arm = "control" if unit % 5 < control_of_five else "treatment"
        tally.meet(Exposure("x", arm, unit % 2_000 << 16), NOON)
    fold.restore(fold.dump())
    tally = fold.of["x"]
    look(fold, NOON)
    shown = readout(tally, now_us=NOON)
    assert [arm.units for arm in shown.arms][1] == pytest.approx(400 * (5 - control_of_five), rel=0.01)
    assert (shown.srm_p_value < 0.001, shown.srm_sequential_p_value < 0.001) == (broken, broken)
    assert ("as intended</b>: p" in page(shown)) is not broken


def test_a_ratio_that_broke_before_an_arm_was_resumed_is_not_held_against_it() -> None:
    fold, tally = tallies()
    rng = np.random.default_rng(1)

    def met(share: float, arms: tuple[str, ...] = ("control", "treatment")) -> float:
        for unit in rng.integers(2**63, size=2_000).tolist():
            arm = arms[int(rng.random() < share) % len(arms)]
            tally.meet(Exposure("x", arm, unit), NOON)
        look(fold, NOON)
        return readout(tally, now_us=NOON).srm_sequential_p_value

    assert met(0.4) < 0.001
    running, tally.experiment = tally.experiment, replace(tally.experiment, paused_arms=("treatment",))
    assert met(0.0, ("control",)) < 0.001, "a pause forgives nothing: what is shown was counted before it"
    tally.experiment = running
    tally.begin_anew("treatment", NOON)
    assert readout(tally, now_us=NOON).srm_sequential_p_value == 1.0
    again = met(0.5)
    assert again > 0.001
    fold.restore(fold.dump())
    tally = fold.of["x"]
    assert readout(tally, now_us=NOON).srm_sequential_p_value == again
    assert met(0.4) < 0.001, "what breaks after it is"


def test_losses_wait_until_labels_can_have_come() -> None:
    _, tally = tallies()
    fed(tally, 500, approval=(0.9, 0.9))
    for each in tally.experiment.arms:
        tally.add(Exposure("x", each.name, 5), NOON, reports=1.0, lost_minor=2_000.0, decisions=1.0)
        tally.add(Exposure("x", each.name, 5), NOON, disputes=1.0, lost_minor=1_000.0, disputed_minor=1_000.0)
    young, middle, old = (readout(tally, now_us=NOON + days * DAY_US).arms[0] for days in (1, 15, 60))
    assert young.net_matured_minor is None and old.net_matured_minor is not None
    assert middle.matured_share > 0.3 > middle.disputes_matured_share and middle.lost_matured_minor is None
    matured = 2_000 / old.matured_share + 1_000 / old.disputes_matured_share
    assert old.matured_share > old.disputes_matured_share and old.lost_matured_minor == pytest.approx(
        matured / old.payments
    )


def test_losses_grow_by_the_lateness_that_was_learned() -> None:
    """Every report comes on the second day here: on the third nothing is to come any more."""
    fold, tally = tallies()
    fed(tally, 500, approval=(0.9, 0.9))
    facts = Facts(
        payment_id="p", payment_us=NOON - 9 * DAY_US, amount_minor=1, currency="EUR", amount_reporting_minor=1
    )
    for source in ("fraud_reports", "disputes"):
        late = Entry(1, 1, NOON - 7 * DAY_US, source[:-1], "s", "1", 0, SOURCE_BIT[source], 1, b"", facts, b"")
        for _ in range(LABELS_MIN):
            fold.apply(late)
    stated, learned = (readout(tally, now_us=NOON + 3 * DAY_US, lateness=by).arms[0] for by in (None, fold.lateness))
    assert (stated.matured_share, learned.matured_share, learned.disputes_matured_share) == (0.0, 1.0, 1.0)
    assert stated.net_matured_minor is None and learned.net_matured_minor is not None


def test_arms_of_unequal_shares_have_the_same_past_and_a_steadier_answer_by_it() -> None:
    """The covariate is of the time before, once for each unit, whatever the arm did to its payments since."""
    past = np.random.default_rng(5).normal(-0.2, 0.1, CELLS).astype(np.float32)
    tally = Tally(experiment(planned=20_000), past)
    rng = np.random.default_rng(6)
    for card in range(1, 12_000):
        arm, unit = ("treatment" if rng.random() < 0.1 else "control"), int(rng.integers(0, 2**63))
        for _ in range(4 if arm == "treatment" else 2):
            seen, likely = Exposure("x", arm, unit), 0.9 + 2.0 * float(past[card]) + 0.05 * (arm == "treatment")
            tally.meet(seen, NOON, card=card)
            tally.add(seen, NOON, decisions=1.0, exposed=1.0, settled=1.0, approved=float(rng.random() < likely))
    found = {each.metric: each for each in readout(tally, now_us=NOON).metrics}["payment_approval"]
    assert found.pre_period_p_value > 0.01
    for each in (found.absolute, found.cuped):
        assert each.low is not None and each.high is not None and each.low < 0.05 < each.high
    assert found.cuped.high - found.cuped.low < 0.97 * (found.absolute.high - found.absolute.low)


def test_memory_is_bounded_and_survives_a_restart() -> None:
    fold, tally = tallies()
    fed(tally, 3_000, approval=(0.9, 0.8))
    list(look(fold, NOON))
    again = Tallies(lambda _merchant: Economics())
    again.restore(fold.dump())
    assert again.dump() == fold.dump()
    assert readout(again.of["x"], now_us=NOON) == readout(tally, now_us=NOON)
    assert all(len(arm.sums) == BUCKETS for arm in tally.arms.values()) and set(MEASURES) >= {"payment_approval"}
