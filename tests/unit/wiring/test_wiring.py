"""A data directory opened, closed and opened again."""

from pathlib import Path

import pytest
from small_shop import attempt, save_model, shop_in

from greenlane.decide import decide
from greenlane.errors import InputError, JournalError, ModelRefused, NotFound, SettingsError
from greenlane.wiring import Places, System, erase_subject, is_running, open_reader, open_system

NOON = 1_790_000_000_000_000


def decided(system: System, number: int) -> None:
    system.clock.set(max(system.clock.now_us() + 1_000_000, NOON))
    decide(attempt(number), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))


@pytest.mark.parametrize("snapshots", ["kept", "lost", "damaged"])
def test_opened_again_it_stands_where_it_stood(tmp_path: Path, snapshots: str) -> None:
    first = shop_in(tmp_path)
    for number in range(12):
        decided(first, number)
    state, position = first.lane.features.canonical(), first.journal.position
    first.close()
    for path in first.places.snapshots.glob("*") if snapshots != "kept" else ():
        path.unlink() if snapshots == "lost" else path.write_bytes(path.read_bytes()[:-9])
    again = shop_in(tmp_path)
    assert again.lane.features.canonical() == state
    assert again.journal.position.seq == position.seq
    assert again.journal.position.generation == position.generation + 1
    assert again.lane.model.id == first.lane.model.id and again.lane.release == first.lane.release
    again.close()


def test_a_snapshot_of_a_lost_tail_is_not_used(tmp_path: Path) -> None:
    first = shop_in(tmp_path)
    decided(first, 1)
    first.close()
    (newest,) = first.places.snapshots.glob("*.snapshot")
    other = newest.with_name(f"{first.journal.position.seq + 50:020d}.snapshot")
    other.write_bytes(newest.read_bytes())
    again = shop_in(tmp_path)
    decided(again, 2)
    again.close()


def test_one_system_holds_a_directory(tmp_path: Path) -> None:
    system = shop_in(tmp_path, lean=None)
    assert is_running(system.places)
    with pytest.raises(JournalError):
        open_system(tmp_path)
    with pytest.raises(JournalError):
        erase_subject(tmp_path, "card", "fp_1")
    system.close()
    assert not is_running(system.places)


def test_without_a_model_the_static_rung_answers(tmp_path: Path) -> None:
    system = shop_in(tmp_path, lean=None)
    decided(system, 1)
    assert system.metrics.text().count(b"greenlane_fallbacks_total{") == 0
    assert system.lane.model is None
    system.close()


def test_a_damaged_champion_stops_the_start(tmp_path: Path) -> None:
    system = shop_in(tmp_path)
    system.close()
    trees = system.places.models / system.live.aliases["fraud/champion"] / "nodes.npy"
    trees.write_bytes(b"")
    with pytest.raises(ModelRefused):
        open_system(tmp_path)


def test_a_release_is_written_down_once(tmp_path: Path) -> None:
    system = shop_in(tmp_path)
    before = system.journal.position
    system.release()
    assert system.journal.position == before
    system.promote(save_model(system.places.models, lean=0.5), event_id="m", who="tests", why="x")
    assert len(system.releases.known) == 3, "without a model, with one, with the other"
    system.close()


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        open_reader(tmp_path / "nowhere")
    with pytest.raises(JournalError):
        open_reader(tmp_path)
    with pytest.raises(InputError):
        erase_subject(tmp_path, "person", "anna")
    assert not is_running(Places(tmp_path))
    system = shop_in(tmp_path, lean=None)
    with pytest.raises(NotFound):
        system.bound("mdl_0000000000000000")
    system.close()
