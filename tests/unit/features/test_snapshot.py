import pytest
from unit.features.cases import journal, many

from greenlane.adapters.sqlite_spill import SqliteSpill
from greenlane.features.definition import FeatureSet
from greenlane.features.snapshot import load, save
from greenlane.features.stream import StreamEngine
from greenlane.ports.journal import Position

AT = Position(2, 150)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "features.snapshot"


@pytest.fixture
def saved(path):
    made = StreamEngine(many())
    made.apply_many(journal(3, 150))
    save(made, path, AT)
    return made


def test_loaded_engine_goes_on_as_if_nothing_had_happened(saved, path):
    loaded, position = load(many(), path)
    rest = journal(3, 300)[150:]
    _, wanted = saved.fold_and_read(rest, lambda _e: True)
    _, found = loaded.fold_and_read(rest, lambda _e: True)
    assert position == AT
    assert (wanted == found).all()
    assert saved.canonical() == loaded.canonical()


def test_first_complete_instant_is_remembered(path):
    save(StreamEngine(many(), first_complete_us=5), path, AT)
    loaded, _ = load(many(), path)
    assert loaded.canonical() == StreamEngine(many(), first_complete_us=5).canonical()


def test_empty_engine_learns_the_first_instant_after_loading(path):
    save(StreamEngine(many()), path, AT)
    loaded, _ = load(many(), path)
    fresh = StreamEngine(many())
    for made in (loaded, fresh):
        made.apply_many(journal(4, 20))
    assert loaded.canonical() == fresh.canonical()


def test_other_definition_does_not_load(saved, path):
    assert load(FeatureSet(many().aggregations[1:]), path) is None


def test_missing_file_does_not_load(path):
    assert load(many(), path) is None


@pytest.mark.parametrize("keep", [0, 1, 40, 400, -8, -1])
def test_truncated_file_does_not_load(saved, path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    assert load(many(), path) is None


@pytest.mark.parametrize("at", [0, 20, 300, -300, -1])
def test_damaged_file_does_not_load(saved, path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    loaded = load(many(), path)
    assert loaded is None


def test_longer_file_does_not_load(saved, path):
    path.write_bytes(path.read_bytes() + bytes(8))
    assert load(many(), path) is None


def test_half_written_snapshot_leaves_the_one_before(saved, path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space"):
        save(StreamEngine(many()), path, AT)
    assert path.read_bytes() == before


@pytest.mark.parametrize("spill", [None, SqliteSpill(":memory:")])
def test_spilled_histories_are_in_the_snapshot(path, spill):
    made = StreamEngine(many(), capacity_records=3, spill=SqliteSpill(":memory:"))
    made.apply_many(journal(3, 150))
    save(made, path, AT)
    loaded, _ = load(many(), path, capacity_records=3 if spill else None, spill=spill)
    assert loaded.canonical() == made.canonical()


def test_dropped_keys_are_in_the_snapshot(path):
    made = StreamEngine(many(), capacity_records=3)
    made.apply_many(journal(3, 150))
    save(made, path, AT)
    loaded, _ = load(many(), path)
    assert loaded.canonical() == made.canonical()
    last = journal(3, 150)[-1]
    assert made.read(last.facts, last.ingest_us).tolist() == loaded.read(last.facts, last.ingest_us).tolist()
