"""Experiments as decisions meet them: who is in which arm, what it does otherwise, and what is kept of it."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from small_shop import attempt, save_model, shop_in

from greenlane.decide import decide
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.record import DecisionRecord, answer_of
from greenlane.errors import InputError, NotFound
from greenlane.jobs.experimenting import Reference, kept_tallies, page, readout_of, save_tallies
from greenlane.jobs.replaying import replay_decisions
from greenlane.outcomes.accept import draft_of
from greenlane.outcomes.happened import Declined, Happened
from greenlane.payments.outcome import Outcome
from greenlane.policy.arms import Arm, Experiment, Otherwise
from greenlane.policy.running import HOLDOUT
from greenlane.ports.journal import Entry
from greenlane.proceed import proceed
from greenlane.wiring import System, open_reader, open_system

NOON = 1_790_000_000_000_000
numbers = count(1)
CAREFUL = Otherwise(policy={"plain": {"challenge_from_e9": 0}})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[System]:
    system = shop_in(tmp_path)
    yield system
    system.close()


def halves(name: str = "careful", otherwise: Otherwise = CAREFUL, **changes: Any) -> Experiment:
    arms = (Arm("control", 500_000), Arm("treatment", 500_000, otherwise))
    return Experiment(**{"id": name, "unit": "card", "arms": arms} | changes)


def started(shop: System, experiment: Experiment) -> Experiment:
    running = replace(experiment, state="running")
    shop.change_experiment(running, why="a test", who="tests", event_id=f"x{next(numbers)}")
    return running


def decided(shop: System, number: int, **more: Any) -> tuple[Entry, DecisionRecord]:
    shop.clock.set(max(shop.clock.now_us() + 1_000_000, NOON))
    return decide(attempt(number, **more), lane=shop.lane, event_id=f"e{next(numbers)}", body_hash=bytes(16))


def is_challenged(record: DecisionRecord) -> bool:
    return record.chosen.action.intervention == "challenge"


def arms_of(record: DecisionRecord) -> dict[str, str]:
    return {each.experiment: each.arm for each in record.arms}


def test_an_arm_decides_otherwise_and_the_record_says_so(shop: System) -> None:
    started(shop, halves())
    seen = {"control": set(), "treatment": set()}
    for number in range(20):
        entry, record = decided(shop, number)
        seen[arms_of(record)["careful"]].add(record.chosen.action.intervention)
        answer = answer_of(entry, record, shop.releases.versions(record.release))
        assert answer.experiments == arms_of(record) and answer.versions.policy == record.chosen.policy_version
    assert seen["treatment"] == {"challenge"} and "challenge" not in seen["control"]


def test_the_same_card_is_always_in_the_same_arm_and_a_payment_stays_in_its_own(shop: System) -> None:
    started(shop, halves())
    first = [decided(shop, number)[1] for number in range(12)]
    again = [decided(shop, number)[1] for number in range(12)]
    assert [record.arms for record in first] == [record.arms for record in again]
    assert {record.attempt_no for record in again} == {1}


def test_another_model_decides_for_its_arm_only_and_versions_are_its_own(shop: System) -> None:
    model = save_model(shop.places.models, lean=3.0)
    started(shop, halves("canary", Otherwise(fraud_model=model)))
    for number in range(20):
        _, record = decided(shop, number)
        expected = model if arms_of(record)["canary"] == "treatment" else shop.live.aliases["fraud/champion"]
        assert record.model == expected == shop.releases.versions(record.release).models["fraud"]


def test_a_model_that_cannot_be_loaded_starts_nothing(shop: System) -> None:
    with pytest.raises(NotFound):
        started(shop, halves("canary", Otherwise(fraud_model="mdl_0123456789abcdef")))
    assert not shop.experiments


def test_what_cannot_be_arranged_is_not_written(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise InputError("no lane can be made of it")

    before = shop.journal.position
    with monkeypatch.context() as patch, pytest.raises(InputError, match="no lane"):
        patch.setattr(System, "mixed", broken)
        started(shop, halves())
    assert shop.journal.position == before and not shop.experiments and not shop.lane.mixtures
    assert decided(shop, 1)[1].arms == ()


def test_what_lost_its_model_can_still_be_stopped(tmp_path: Path) -> None:
    first = shop_in(tmp_path)
    gone = save_model(first.places.models, lean=3.0)
    running = started(first, halves("canary", Otherwise(fraud_model=gone)))
    first.close()
    shutil.rmtree(first.places.models / gone)
    again = open_system(tmp_path)
    again.change_experiment(replace(running, state="stopped"), why="no more", who="tests", event_id="s")
    with pytest.raises(NotFound):
        started(again, running)
    assert again.experiments.known["canary"].state == "stopped"
    again.close()


def test_a_new_champion_reaches_the_control_arm_at_once(shop: System) -> None:
    started(shop, halves())
    model = save_model(shop.places.models, lean=1.0)
    shop.promote(model, event_id="p", who="tests", why="better")
    assert {decided(shop, number)[1].model for number in range(10)} == {model}


def test_a_paused_arm_does_what_everybody_does_and_is_not_exposed(shop: System) -> None:
    running = started(shop, halves())
    before = {number: arms_of(decided(shop, number)[1])["careful"] for number in range(12)}
    started(shop, replace(running, paused_arms=("treatment",)))
    for number, arm in before.items():
        record = decided(shop, number)[1]
        assert arms_of(record) == ({"careful": "control"} if arm == "control" else {})
        assert record.chosen.action.intervention != "challenge"


def test_a_change_ends_the_policy_epoch(shop: System) -> None:
    turns = shop.standing.online.turns
    running = started(shop, halves())
    shop.change_experiment(replace(running, state="stopped"), why="done", who="tests", event_id="s")
    assert shop.standing.online.turns == turns + 2 and not shop.standing.online.arms


def test_next_actions_and_later_stages_keep_the_arm(shop: System) -> None:
    started(shop, halves())
    for number in range(10):
        entry, record = decided(shop, number)
        happened = Happened(source="a", event_id=f"h{number}", decline=Declined(network_response_code="91"))
        _, further = proceed(happened, entry, lane=shop.lane, event_id=f"n{number}", body_hash=bytes(16))
        assert further.arms == record.arms and further.release == record.release


def test_a_payment_begun_before_the_start_stays_outside(shop: System) -> None:
    decided(shop, 1)
    started(shop, halves())
    assert decided(shop, 1, stage="post_authorization")[1].arms == () and decided(shop, 1)[1].arms == ()


def test_who_is_held_out_is_in_no_experiment(shop: System) -> None:
    started(shop, halves())
    change = ControlRecord(HOLDOUT, "all", "tests", "a test", None, 500_000)
    shop.control(change, event_id="hold", who="tests")
    records = [decided(shop, number)[1] for number in range(60)]
    outside = [record for record in records if not record.arms]
    assert 15 < len(outside) < 45
    shop.journal.writer.wait(shop.journal.position.seq)
    reader = open_reader(shop.places.root)
    tallies, _ = kept_tallies(reader, shop.journal.position)
    save_tallies(tallies, reader.places, shop.journal.position)
    shown = readout_of(shop.places.root, HOLDOUT)
    assert [(arm.arm, arm.payments) for arm in shown.arms] == [
        ("held_out", len(outside)),
        ("everybody_else", 60 - len(outside)),
    ]
    rate = {each.metric: each for each in shown.metrics}["challenge_rate"]
    assert (rate.control, rate.value) == (0.0, pytest.approx(sum(map(is_challenged, records)) / (60 - len(outside))))
    assert not shown.guardrails and any("(Holm); the 1 other experiments" in note for note in shown.notes)
    kept, _ = kept_tallies(reader)
    assert kept.everybody.holdout_ppm == 500_000 and kept.dump() == tallies.dump()
    with pytest.raises(InputError, match="no experiment is called holdout"):
        started(shop, halves(HOLDOUT))
    shop.experiments.known[HOLDOUT] = halves(HOLDOUT, state="paused")  # as older journals may have it
    shop.change_experiment(halves(HOLDOUT, state="stopped"), why="over", who="tests", event_id="stop")
    assert shop.experiments.known[HOLDOUT].state == "stopped", "though another has its units by now"


def test_what_is_only_shown_is_in_no_experiment(shop: System) -> None:
    started(shop, halves())
    assert not any(decided(shop, number, mode="shadow")[1].arms for number in range(6))


def test_every_decision_replays_from_its_record(shop: System) -> None:
    model = save_model(shop.places.models, lean=3.0)
    started(shop, halves("canary", Otherwise(fraud_model=model), layer="models"))
    started(shop, halves("router", Otherwise(policy={"priors": {"fraud_approval_ppm": 500_000}}), layer="policy"))
    ids = []
    for number in range(30):
        entry, _ = decided(shop, number)
        ids.append(f"dec_{entry.generation}_{entry.seq}")
    shop.journal.writer.wait(shop.journal.position.seq)
    found = replay_decisions(shop.places, shop.settings, ids)
    assert found.decisions == 30 and not found.differences


def test_opened_again_the_experiment_goes_on(tmp_path: Path) -> None:
    first = shop_in(tmp_path)
    started(first, halves("canary", Otherwise(fraud_model=save_model(first.places.models, lean=3.0))))
    before = {number: decided(first, number)[1].arms for number in range(8)}
    learned = first.standing.dump()
    first.close()
    again = open_system(tmp_path)
    assert {number: decided(again, number)[1].arms for number in range(8)} == before
    assert len(again.lane.mixtures) == 2 and learned
    again.close()


def test_a_model_that_is_gone_at_the_next_start_pauses_its_experiment_and_not_the_server(tmp_path: Path) -> None:
    first = shop_in(tmp_path)
    model = save_model(first.places.models, lean=3.0)
    started(first, halves("canary", Otherwise(fraud_model=model)))
    started(first, halves("careful", layer="friction"))
    first.close()
    shutil.rmtree(first.places.models / model)
    again = open_system(tmp_path)
    assert {name: each.state for name, each in again.experiments.known.items()} == {
        "canary": "paused",
        "careful": "running",
    }
    assert set(arms_of(decided(again, 1)[1])) == {"careful"}
    again.close()


def test_arms_without_a_lane_are_no_arms(shop: System) -> None:
    started(shop, halves())
    shop.lane.mixtures = {}
    assert decided(shop, 1)[1].arms == ()


def test_two_experiments_on_the_same_thing_need_one_layer(shop: System) -> None:
    started(shop, halves("one", layer="x"))
    with pytest.raises(InputError, match=r"both change policy\.plain"):
        started(shop, halves("two", layer="y"))


def test_a_ramp_leaves_payments_in_two_experiments_where_they_were(shop: System) -> None:
    first = started(shop, halves("canary", Otherwise(fraud_model=save_model(shop.places.models, lean=3.0)), layer="x"))
    started(shop, halves("careful", layer="y"))
    before = [decided(shop, number)[1].arms for number in range(8)]
    started(shop, replace(first, slot_ppm=(0, 900_000)))
    assert [decided(shop, number)[1].arms for number in range(8)] == before


def test_each_arm_learns_from_its_own_attempts(shop: System) -> None:
    started(shop, halves())
    online = shop.standing.online
    assert set(online.arms) == {"careful/control", "careful/treatment"}
    assert shop.lane.mixtures[("careful", "treatment"),].folds.approvals._health is online.arms["careful/treatment"]


def test_where_the_first_champion_cannot_be_read_the_expected_loss_is_not_judged(shop: System) -> None:
    champion = shop.live.aliases["fraud/champion"]
    started(shop, halves("canary", Otherwise(fraud_model=save_model(shop.places.models, lean=3.0))))
    shop.journal.writer.wait(shop.journal.position.seq)
    records = [decided(shop, number)[1] for number in range(12)]
    treated = next(record for record in records if record.model != champion)
    yardstick = Reference(open_reader(shop.places.root))
    assert yardstick("canary", treated) not in (None, treated.fraud_probability_e9)
    for name, content in (("nodes.npy", b""), ("manifest.json", b"{"), ("manifest.json", None)):
        file = shop.places.models / champion / name
        file.unlink() if content is None else file.write_bytes(content)
        told = Reference(open_reader(shop.places.root))("canary", treated)
        assert isinstance(told, str) and champion in told
    shown = readout_of(shop.places.root, "canary")
    (rail,) = [rail for rail in shown.guardrails if rail.metric == "expected_loss"]
    assert "cannot be read" in rail.not_judged and rail.not_judged in page(shown) and not rail.paused
    (metric,) = [each for each in shown.metrics if each.metric == "expected_loss"]
    assert metric.value is None and shown.notes[0].startswith("expected_loss is not judged")


def test_an_answer_that_came_before_its_decision_counts_when_it_is_linked(shop: System) -> None:
    started(shop, halves())
    shop.clock.set(NOON)
    for number, kind in ((1, "authorization"), (1, "fraud_report"), (2, "authorization")):
        outcome = Outcome(
            type=kind,
            source="a",
            event_id=f"{kind}{number}",
            attempt_id=f"att_{number}",
            result="approved" if kind == "authorization" else None,
        )
        shop.journal.append(
            draft_of(
                outcome, body_hash=bytes([number]) * 16, subjects=shop.subjects, reporting=shop.reporting, now_us=NOON
            )
        )
    for number in (1, 2):
        decided(shop, number)
    shop.journal.writer.wait(shop.journal.position.seq)
    tallies, _ = kept_tallies(open_reader(shop.places.root), shop.journal.position)
    totals = [sum(arm.total(c) for arm in tallies.of["careful"].arms.values()) for c in ("approved", "reports")]
    assert totals == [2.0, 1.0] and tallies.past[:, 1].sum() == 2
