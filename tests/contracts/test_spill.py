"""What every SpillStore must do."""

import pytest
from unit.features.cases import journal, many

from greenlane.adapters.sqlite_spill import SqliteSpill
from greenlane.features.stream import StreamEngine


@pytest.fixture(params=["memory", "file"])
def spill(request, tmp_path):
    return SqliteSpill(":memory:" if request.param == "memory" else tmp_path / "spill.sqlite")


def test_taken_once(spill):
    spill.put(1, -(2**63), b"a", 5)
    assert spill.take(1, -(2**63)) == b"a"
    assert spill.take(1, -(2**63)) is None


def test_entities_and_keys_are_apart(spill):
    spill.put(1, 2, b"a", 5)
    assert spill.take(2, 1) is None
    assert spill.take(1, 3) is None


def test_put_replaces(spill):
    spill.put(1, 2, b"a", 5)
    spill.put(1, 2, b"b", 6)
    assert list(spill.items()) == [(1, 2, b"b", 6)]


def test_expired_are_forgotten(spill):
    spill.put(1, 2, b"a", 5)
    spill.put(1, 3, b"b", 6)
    spill.forget(6)
    assert list(spill.items()) == [(1, 3, b"b", 6)]


def test_clear(spill):
    spill.put(1, 2, b"a", 5)
    spill.clear()
    assert list(spill.items()) == []


def test_engine_with_little_room_answers_the_same(spill):
    entries = journal(9, 120)
    roomy, tight = StreamEngine(many()), StreamEngine(many(), capacity_records=2, spill=spill)
    _, wanted = roomy.fold_and_read(entries, lambda _e: True)
    _, found = tight.fold_and_read(entries, lambda _e: True)
    assert (wanted == found).all()
    assert roomy.canonical() == tight.canonical()


def test_file_of_an_engine_that_is_gone_is_emptied(tmp_path):
    first = SqliteSpill(tmp_path / "spill.sqlite")
    first.put(1, 2, b"a", 5)
    first.close()
    assert list(SqliteSpill(tmp_path / "spill.sqlite").items()) == []
