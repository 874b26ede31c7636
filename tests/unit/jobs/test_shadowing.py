"""A shadow over a small shop: what it would have done, counted once and priced, at labels where there are any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small_shop import attempt_body, risky, save_model, shop_in

from greenlane.decide import decide
from greenlane.decisions.record import record_of
from greenlane.follower import Follower
from greenlane.jobs.shadowing import Shadows, TimeBudget, shadow_over, shadow_reports
from greenlane.learning.shadow import KEPT_MAX, ShadowReport
from greenlane.outcomes.accept import draft_of
from greenlane.payments.attempt import Attempt
from greenlane.payments.outcome import Outcome
from greenlane.policy.arms import Arm, Experiment, Otherwise
from greenlane.wiring import System, open_reader

NOON = 1_790_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[System]:
    system = shop_in(tmp_path)
    system.clock.set(NOON)
    yield system
    system.close()


def decided(shop: System, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        shop.clock.advance(60_000_000)
        decide(msgspec.convert(body, Attempt), lane=shop.lane, event_id=body["attempt_id"], body_hash=bytes(16))
    shop.journal.writer.wait(shop.journal.position.seq)


def watch(shop: System, *, lean: float) -> str:
    shadow = save_model(shop.places.models, lean=lean)
    shop.promote(shadow, event_id=f"s{lean}", who="tests", why="to watch", alias="fraud/shadow")
    return shadow


def reported_fraud(shop: System, number: int) -> None:
    outcome = Outcome(type="fraud_report", source="network", event_id=f"f{number}", attempt_id=f"att_{number}")
    shop.journal.append(
        draft_of(
            outcome, body_hash=number.to_bytes(16, "big"), subjects=shop.subjects, reporting=shop.reporting,
            now_us=shop.clock.now_us(),
        )
    )  # fmt: skip
    shop.journal.writer.wait(shop.journal.position.seq)


def followed(shop: System) -> Follower:
    follower = Follower(open_reader(shop.places.root), tell=lambda _: None, admin=None)
    while follower.step():
        pass
    follower.keep()
    follower.close()
    return follower


def report(shop: System) -> ShadowReport:
    (found,) = shadow_reports(open_reader(shop.places.root))
    return found


def test_the_same_beliefs_flip_nothing(shop: System) -> None:
    shadow = save_model(shop.places.models, lean=1e-12)
    shop.promote(shadow, event_id="s", who="tests", why="to watch", alias="fraud/shadow")
    decided(shop, *(attempt_body(n) for n in range(10)), *(risky(n) for n in range(10, 15)))
    followed(shop)
    found = report(shop)
    assert (found.decisions, found.scored, found.coverage, found.errors, found.dropped) == (15, 15, 1.0, 0, 0)
    assert (found.flips, found.moved, found.difference.value) == (0, 0, 0.0)
    assert sum(cell.decisions for cell in found.cells) == 15
    assert found.latency_us_p50 > 0


def test_a_fearful_shadow_flips_towards_friction_and_each_side_prefers_its_own(shop: System) -> None:
    decided(shop, attempt_body(1))
    watch(shop, lean=4.0)
    decided(shop, *(attempt_body(n, amount=1_000 * n) for n in range(2, 42)))
    followed(shop)
    found = report(shop)
    assert found.scored == 40, "only what came after it watched"
    flips = [cell for cell in found.cells if cell.champion != cell.shadow]
    assert flips and found.flips == sum(cell.decisions for cell in flips)
    for cell in flips:
        assert cell.by_champion_minor < 0 < cell.by_shadow_minor
        assert cell.labelled == 0 and cell.at_labels_minor is None, "no payment is old enough for a label"
    assert found.resting_on_belief == 1.0 and found.mature == 0.0


def test_what_labels_say_counts_once_payments_are_old_enough(shop: System) -> None:
    watch(shop, lean=4.0)
    decided(shop, *(attempt_body(n, amount=1_000 * n) for n in range(2, 42)))
    reported_fraud(shop, 40)
    shop.clock.advance(8 * DAY)
    decided(shop, attempt_body(98))
    followed(shop)
    assert report(shop).mature == pytest.approx(0.31, abs=0.02), "most reports are still to come"
    shop.clock.advance(52 * DAY)
    decided(shop, attempt_body(99))
    followed(shop)
    found = report(shop)
    flips = [cell for cell in found.cells if cell.champion == "allow" and cell.shadow != "allow"]
    assert sum(cell.labelled for cell in flips) >= sum(cell.moved for cell in flips) - 1, "all but the last"
    assert sum(cell.reported for cell in flips) == 1
    assert found.resting_on_belief < 0.1 and found.mature > 0.9
    assert found.difference.low < found.difference.value < found.difference.high


def test_over_what_was_decided_it_says_the_same_as_beside_it(shop: System) -> None:
    shadow = watch(shop, lean=2.0)
    decided(shop, *(attempt_body(n, amount=3_000 * n) for n in range(2, 42)), *(risky(n) for n in range(50, 55)))
    followed(shop)
    beside, (over,) = report(shop), shadow_over(open_reader(shop.places.root), shadow, progress=lambda *_: None)
    assert over.cells == beside.cells and over.difference == beside.difference


def test_a_restart_counts_nothing_twice(shop: System) -> None:
    watch(shop, lean=1.0)
    decided(shop, *(attempt_body(n) for n in range(10)))
    followed(shop)
    decided(shop, *(attempt_body(n) for n in range(10, 15)))
    followed(shop)
    assert report(shop).decisions == 15
    for path in shop.places.snapshots.glob("*.snapshot"):
        path.unlink()
    followed(shop)
    assert report(shop).decisions == 15, "the journal was folded again from its beginning"


def test_another_champion_is_another_report(shop: System) -> None:
    watch(shop, lean=1.0)
    decided(shop, attempt_body(1))
    shop.promote(save_model(shop.places.models, lean=-1.0), event_id="c", who="tests", why="better")
    decided(shop, attempt_body(2), attempt_body(3))
    followed(shop)
    assert [found.decisions for found in shadow_reports(open_reader(shop.places.root))] == [1, 2]


def test_what_there_is_no_time_for_is_dropped_and_counted(shop: System) -> None:
    watch(shop, lean=1.0)
    decided(shop, *(attempt_body(n) for n in range(5)))
    reader, now = open_reader(shop.places.root), [0.0]
    budget = TimeBudget(0.5, saved_s_max=0.0, clock=lambda: now[0])
    shadows = Shadows(reader, shop.standing, tell=print, budget=budget)
    for entry in reader.entries():
        shadows.apply(entry)
    (watched,) = shadows.watched
    assert (watched.decisions, watched.scored, watched.dropped) == (5, 0, 5)


def test_a_shadow_that_cannot_be_loaded_is_an_error_of_the_report_and_of_nothing_else(shop: System) -> None:
    shadow = watch(shop, lean=1.0)
    (shop.places.models / shadow / "nodes.npy").write_bytes(b"")
    decided(shop, attempt_body(1), attempt_body(2))
    follower = followed(shop)
    assert follower.parity.mismatches == []
    found = report(shop)
    assert (found.decisions, found.errors, found.coverage, found.error_rate) == (2, 2, 0.0, 1.0)


@pytest.mark.parametrize("content", [b"", b"\x93not ours", b"\x81\xa1a\x01"])
def test_a_file_that_is_not_ours_is_no_report_and_no_reason_to_stop(shop: System, content: bytes) -> None:
    watch(shop, lean=1.0)
    decided(shop, attempt_body(1))
    shop.places.snapshots.mkdir(exist_ok=True)
    alien = ("shadows", "experiments", "monitors", "notices", "mine.standing", f"{1:020}.standing", "mine.snapshot")
    for name in alien:
        (shop.places.snapshots / name).write_bytes(content)
    assert shadow_reports(open_reader(shop.places.root)) == []
    followed(shop)
    assert report(shop).decisions == 1


def test_a_shadow_leaves_the_answers_as_they_are(shop: System) -> None:
    decided(shop, attempt_body(1))
    before = record_of(shop.journal.entries("attempt", "att_1")[0])
    watch(shop, lean=4.0)
    decided(shop, attempt_body(1) | {"attempt_id": "att_1b"})
    after = record_of(shop.journal.entries("attempt", "att_1b")[0])
    assert after.model == before.model and after.release == before.release


def test_only_so_many_flips_are_kept(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.learning.shadow.KEPT_MAX", 3)
    watch(shop, lean=4.0)
    decided(shop, *(attempt_body(n, amount=40_000) for n in range(2, 22)))
    followed(shop)
    cell = max(report(shop).cells, key=lambda cell: cell.moved)
    assert cell.kept == 3 < cell.moved <= KEPT_MAX


def test_beside_an_arm_with_a_plain_policy_what_it_did_is_what_the_shadow_is_held_against(shop: System) -> None:
    shadow = save_model(shop.places.models, lean=1e-12)
    shop.promote(shadow, event_id="s", who="tests", why="to watch", alias="fraud/shadow")
    careful = Otherwise(policy={"plain": {"challenge_from_e9": 0}})
    arms = (Arm("control", 1), Arm("careful", 999_999, careful))
    experiment = Experiment(id="plain", unit="payment", arms=arms, state="running")
    shop.change_experiment(experiment, why="a test", who="tests", event_id="x")
    decided(shop, *(attempt_body(n) for n in range(6)))
    followed(shop)
    found = report(shop)
    assert (found.scored, found.flips, found.moved) == (6, 0, 0)
    assert {cell.champion for cell in found.cells} == {"challenge"}
