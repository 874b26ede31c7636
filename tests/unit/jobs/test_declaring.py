"""A new feature set on a directory that already has a past, and a champion."""

from pathlib import Path
from typing import Any

import pytest
from small_shop import attempt, shop_in

from greenlane.decide import decide
from greenlane.decisions.record import record_of
from greenlane.errors import JournalError, ModelRefused, SettingsError
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import Aggregation, Count, Entity, FeatureSet
from greenlane.features.stream import StreamEngine
from greenlane.jobs.declaring import declare_features, read_features
from greenlane.jobs.proving import verify_features
from greenlane.jobs.replaying import replay_sample
from greenlane.wiring import System, open_reader, open_system

NOON = 1_790_000_000_000_000
MORE = FeatureSet((Aggregation("shop_pace", Entity("shop", "merchant_id"), "attempts", (Count(),), ("24h/1h",)),))


def decided(system: System, number: int) -> None:
    system.clock.set(max(system.clock.now_us() + 1_000_000, NOON))
    decide(attempt(number), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    system = shop_in(tmp_path)
    for number in range(8):
        decided(system, number)
    system.close()
    return tmp_path


def test_more_features_are_live_and_warm_and_the_past_still_replays(directory: Path) -> None:
    steps: list[Any] = []
    found = declare_features(directory, MORE, why="tests", progress=lambda *step: steps.append(step))
    assert (found.added, found.dropped, found.changed) == (("shop_pace",), (), ())
    assert steps
    system = open_system(directory)
    assert system.live.digest == found.digest
    assert system.lane.model is not None
    fresh = StreamEngine(system.live.features)
    fresh.apply_many(system.store.read())
    assert system.lane.features.canonical() == fresh.canonical()
    decided(system, 8)
    system.journal.writer.wait(system.journal.position.seq)
    record = record_of(system.journal.entries("payment", "pay_8")[0])
    known = system.named_features(record.known, system.live.digest)
    assert known["shop_pace.count.24h"] == 8.0
    system.close()
    assert verify_features(directory, sample=50).mismatches == 0
    assert replay_sample(directory, sample=50, refold=False, progress=quiet).different == 0


def test_the_next_server_starts_from_the_declared_state(directory: Path) -> None:
    found = declare_features(directory, MORE, why="tests", progress=quiet)
    newest = max((directory / "snapshots").glob("*.snapshot"))
    assert int(newest.stem) == found.seq


def test_what_is_live_already_changes_nothing(directory: Path) -> None:
    before = open_reader(directory).store.span()
    assert declare_features(directory, CATALOGUE, why="tests", progress=quiet).seq == 0
    assert open_reader(directory).store.span() == before


def test_a_champion_that_could_not_be_served_keeps_its_features(directory: Path) -> None:
    before = open_reader(directory).store.span()
    with pytest.raises(ModelRefused, match="are not served"):
        declare_features(directory, MORE, replace=True, why="tests", progress=quiet)
    assert open_reader(directory).store.span() == before


def test_beside_a_running_server_nothing_is_declared(directory: Path) -> None:
    system = open_system(directory)
    with pytest.raises(JournalError, match="a server holds"):
        declare_features(directory, MORE, why="tests", progress=quiet)
    system.close()


def test_features_come_from_a_python_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from greenlane.features.catalogue import CATALOGUE as FEATURES\n")
    assert read_features(file).digest == CATALOGUE.digest
    for text, told in (("x = 1\n", "defines no FEATURES"), (None, "there is no Python file")):
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(SettingsError, match=told):
            read_features(file)
