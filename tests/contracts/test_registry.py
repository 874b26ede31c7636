"""What every Registry must do."""

import pytest

from greenlane.adapters.sqlite_registry import SqliteRegistry
from greenlane.ports.registry import MemoryRegistry, Move, Registered


@pytest.fixture(params=["memory", "sqlite"])
def registry(request, tmp_path):
    return MemoryRegistry() if request.param == "memory" else SqliteRegistry(tmp_path / "registry.sqlite")


def model(id_: str, *, kind: str = "fraud", at_us: int = 1) -> Registered:
    card = {"cost": {"p99_us": 9.5}, "lineage": {}}
    return Registered(id=id_, kind=kind, family="f", registered_us=at_us, who="anna", parent="", card=card)


def move(seq: int, model: str, *, alias: str = "fraud/champion", before: str = "") -> Move:
    return Move(
        seq=seq, at_us=seq, subject="model", alias=alias, model=model, before=before, who="anna", why="better",
        verdicts=({"gate": "latency", "passed": True},),
    )  # fmt: skip


def test_empty(registry):
    assert (registry.upto_seq(), registry.models(), registry.moves()) == (0, [], [])


def test_what_was_taken_is_found_whole(registry):
    registry.take([model("mdl_1")], [move(7, "mdl_1")], upto_seq=8)
    assert registry.models() == [model("mdl_1")]
    assert registry.moves() == [move(7, "mdl_1")]
    assert registry.upto_seq() == 8


def test_models_come_in_the_order_of_their_registration_and_by_kind(registry):
    registry.take([model("mdl_2", at_us=2), model("mdl_1", at_us=3)], [], upto_seq=1)
    registry.take([model("mdl_3", kind="approval", at_us=1)], [], upto_seq=2)
    assert [m.id for m in registry.models()] == ["mdl_3", "mdl_2", "mdl_1"]
    assert [m.id for m in registry.models(kind="fraud")] == ["mdl_2", "mdl_1"]


def test_registering_again_replaces(registry):
    registry.take([model("mdl_1", at_us=1)], [], upto_seq=1)
    registry.take([model("mdl_1", at_us=5)], [], upto_seq=2)
    assert registry.models() == [model("mdl_1", at_us=5)]


def test_moves_of_a_model_are_those_that_put_it_somewhere_or_took_it_away(registry):
    moves = [move(1, "mdl_1"), move(2, "mdl_2", before="mdl_1"), move(3, "mdl_3", before="mdl_2")]
    registry.take([], moves, upto_seq=3)
    assert registry.moves(model="mdl_1") == moves[:2]
    assert registry.moves(limit=1) == moves[2:]


def test_two_moves_of_one_entry_and_the_same_move_twice(registry):
    both = [move(1, "mdl_1"), move(1, "mdl_1", alias="fraud/shadow")]
    registry.take([], both, upto_seq=1)
    registry.take([], both, upto_seq=1)
    assert registry.moves() == both


def test_clear(registry):
    registry.take([model("mdl_1")], [move(7, "mdl_1")], upto_seq=8)
    registry.clear()
    assert (registry.upto_seq(), registry.models(), registry.moves()) == (0, [], [])


def test_the_file_keeps_it_and_another_version_of_it_is_emptied(tmp_path):
    path = tmp_path / "registry.sqlite"
    first = SqliteRegistry(path)
    first.take([model("mdl_1")], [], upto_seq=8)
    assert SqliteRegistry(path).models() == [model("mdl_1")]
    first._db.execute("PRAGMA user_version = 99")
    first.close()
    assert SqliteRegistry(path).upto_seq() == 0
