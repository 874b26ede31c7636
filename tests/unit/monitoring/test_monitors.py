"""The whole fold over made streams: faults are found and named, and restarts change nothing."""

from pathlib import Path

import pytest
from monitor_drills import FAST, START_US, Stream, watch
from small_shop import attempt, shop_in
from unit.monitoring.made import MINUTE, control, facts

from greenlane.decide import decide
from greenlane.features.definition import FeatureSet
from greenlane.jobs.monitoring import kept_monitors, monitors_path, replay
from greenlane.monitoring.monitors import Monitors
from greenlane.ports.journal import Entry, Position
from greenlane.wiring import System, open_reader

HOUR = 60 * MINUTE
WARM_US = 26 * HOUR


@pytest.fixture(scope="module")
def warm() -> tuple[bytes, int]:
    stream, monitors = Stream(seed=1, per_minute=25.0), Monitors(FeatureSet(()))
    for entry in stream.entries(START_US, START_US + WARM_US):
        monitors.apply(entry)
    return monitors.dump(), stream.seq


@pytest.mark.parametrize("drill", FAST, ids=lambda drill: drill.name)
def test_every_fault_is_found_and_its_cause_named(warm, drill):
    monitors = Monitors(FeatureSet(()))
    assert monitors.load(warm[0])
    stream = Stream(seed=5, per_minute=25.0)
    stream.seq = warm[1]
    begins_us = START_US + WARM_US
    found = watch(drill, monitors, stream.entries(begins_us, begins_us + 3 * HOUR, drill.fault), begins_us)
    assert (found.detected, found.attributed) == (True, True)
    assert found.delay_s < 3 * 3600


def test_a_restart_changes_nothing(warm):
    one, other = Monitors(FeatureSet(())), Monitors(FeatureSet(()))
    for each in (one, other):
        each.load(warm[0])
    begins_us = START_US + WARM_US
    stream = Stream(seed=6, per_minute=60.0)
    entries = list(stream.entries(begins_us, begins_us + HOUR, FAST[0].fault))
    found, again = [], []
    for number, entry in enumerate(entries):
        if number == len(entries) // 2:
            state, other = other.dump(), Monitors(FeatureSet(()))
            other.load(state)
        one.apply(entry)
        other.apply(entry)
        found += one.due(entry.ingest_us)
        again += other.due(entry.ingest_us)
    assert found == again != []
    assert one.incidents.open == other.incidents.open
    assert one.dump() == other.dump()


@pytest.mark.parametrize(("drill", "together"), [(0, 1), (0, 37), (4, 1), (4, 300)])
def test_entries_worked_through_together_say_what_each_says_alone(warm, drill, together):
    many, few = Monitors(FeatureSet(())), Monitors(FeatureSet(()))
    for each in (many, few):
        each.load(warm[0])
    begins_us = START_US + WARM_US
    entries = list(Stream(seed=7, per_minute=90.0).entries(begins_us, begins_us + HOUR // 2, FAST[drill].fault))
    found, again = [], []
    for number, entry in enumerate(entries):
        many.apply(entry)
        few.apply(entry)
        if number % together == 0:
            again += few.due(entry.ingest_us)
    found += many.due(entries[-1].ingest_us)
    again += few.due(entries[-1].ingest_us)
    assert found == again != []
    assert many.dump() == few.dump()


def test_state_is_kept_with_its_position(warm, tmp_path: Path):
    monitors, path = Monitors(FeatureSet(())), tmp_path / "monitors"
    monitors.load(warm[0])
    monitors.save(path, Position(1, 7))
    assert Monitors(FeatureSet(())).restore(path) == Position(1, 7)
    assert Monitors(FeatureSet(())).restore(tmp_path / "absent") is None


def test_a_decision_that_was_only_shown_says_nothing():
    monitors = Monitors()
    monitors.apply(Entry(1, 1, 5, "decision", "api", "d", 5, 0, 1, b"", facts(1, intervention=""), b"never read"))
    assert monitors.logs.routes == {}


def test_state_of_another_version_is_not_taken():
    import msgspec

    assert not Monitors().load(msgspec.msgpack.encode((0, [], [], 0, 0)))


def test_a_new_model_is_remembered_as_a_suspect():
    monitors = Monitors()
    monitors.apply(control(5, "model", "fraud/champion", "mdl_9"))
    assert [str(cause) for _, cause in monitors.incidents.releases] == ["model mdl_9"]


@pytest.fixture
def shop(tmp_path: Path) -> System:
    system = shop_in(tmp_path)
    system.clock.set(START_US)
    for number in range(5):
        system.clock.advance(MINUTE)
        decide(attempt(number), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))
    system.journal.writer.wait(system.journal.position.seq)
    system.close()
    return system


def test_a_journal_is_replayed(shop: System, tmp_path: Path):
    found = replay(tmp_path)
    assert found.incidents == []
    assert 0 < found.days < 1


def test_what_was_kept_goes_on_from_where_it_stood(shop: System):
    reader = open_reader(shop.places.root)
    whole = list(reader.entries())
    half, last = whole[len(whole) // 2], whole[-1]
    monitors = Monitors(reader.features)
    for entry in whole[: half.seq]:
        monitors.apply(entry)
    assert kept_monitors(reader, last.position).dump() == Monitors(reader.features).dump(), "nothing was kept yet"
    reader.places.snapshots.mkdir(exist_ok=True)
    monitors.save(monitors_path(reader.places), half.position)
    again = kept_monitors(reader, last.position)
    for entry in whole[half.seq :]:
        monitors.apply(entry)
    assert again.dump() == monitors.dump() != Monitors(reader.features).dump()
