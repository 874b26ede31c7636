"""What every Registry must do."""

import pytest

from greenlane.adapters.sqlite_registry import SqliteRegistry
from greenlane.ports.journal import Position
from greenlane.ports.registry import NOWHERE, Move, Registered


@pytest.fixture(params=["memory", "file"])
def registry(request, tmp_path):
    return SqliteRegistry(":memory:" if request.param == "memory" else tmp_path / "registry.sqlite")


def model(id_: str, *, kind: str = "fraud", at_us: int = 1) -> Registered:
    card = {"cost": {"p99_us": 9.5}, "lineage": {}}
    return Registered(id=id_, kind=kind, family="f", registered_us=at_us, who="anna", parent="", card=card)


def move(seq: int, model: str, *, alias: str = "fraud/champion", before: str = "") -> Move:
    return Move(
        seq=seq, at_us=seq, subject="model", alias=alias, model=model, before=before, who="anna", why="better",
        verdicts=({"gate": "latency", "passed": True},),
    )  # fmt: skip


def take(registry, models, moves, *, upto=1):
    assert registry.take(models, moves, seen=registry.upto(), upto=Position(1, upto))


def test_empty(registry):
    assert (registry.upto(), registry.models(), registry.moves()) == (NOWHERE, [], [])


def test_what_was_taken_is_found_whole(registry):
    take(registry, [model("mdl_1")], [move(7, "mdl_1")], upto=8)
    assert registry.models() == [model("mdl_1")]
    assert registry.moves() == [move(7, "mdl_1")]
    assert registry.upto() == Position(1, 8)


def test_models_come_in_the_order_of_their_registration_and_by_kind(registry):
    take(registry, [model("mdl_2", at_us=2), model("mdl_1", at_us=3)], [], upto=1)
    take(registry, [model("mdl_3", kind="approval", at_us=1)], [], upto=2)
    assert [m.id for m in registry.models()] == ["mdl_3", "mdl_2", "mdl_1"]
    assert [m.id for m in registry.models(kind="fraud")] == ["mdl_2", "mdl_1"]


def test_registering_again_replaces(registry):
    take(registry, [model("mdl_1", at_us=1)], [], upto=1)
    take(registry, [model("mdl_1", at_us=5)], [], upto=2)
    assert registry.models() == [model("mdl_1", at_us=5)]


def test_moves_of_a_model_are_those_that_put_it_somewhere_or_took_it_away(registry):
    moves = [move(1, "mdl_1"), move(2, "mdl_2", before="mdl_1"), move(3, "mdl_3", before="mdl_2")]
    take(registry, [], moves, upto=3)
    assert registry.moves(model="mdl_1") == moves[:2]
    assert registry.moves(limit=1) == moves[2:]


def test_two_moves_of_one_entry_and_the_same_move_twice(registry):
    both = [move(1, "mdl_1"), move(1, "mdl_1", alias="fraud/shadow")]
    take(registry, [], both, upto=1)
    take(registry, [], both, upto=1)
    assert registry.moves() == both


def test_who_was_overtaken_takes_nothing_in(registry):
    take(registry, [model("mdl_1")], [], upto=8)
    assert not registry.take([model("mdl_2")], [move(7, "mdl_2")], seen=NOWHERE, upto=Position(1, 7), anew=True)
    assert (registry.upto(), registry.models(), registry.moves()) == (Position(1, 8), [model("mdl_1")], [])


def test_anew_nothing_is_left_of_what_was(registry):
    take(registry, [model("mdl_1")], [move(7, "mdl_1")], upto=8)
    assert registry.take([model("mdl_2")], [], seen=Position(1, 8), upto=Position(2, 5), anew=True)
    assert (registry.upto(), registry.models(), registry.moves()) == (Position(2, 5), [model("mdl_2")], [])


def test_the_file_keeps_it_and_another_version_of_it_is_emptied(tmp_path):
    path = tmp_path / "registry.sqlite"
    first = SqliteRegistry(path)
    take(first, [model("mdl_1")], [], upto=8)
    assert SqliteRegistry(path).models() == [model("mdl_1")]
    first._db.execute("PRAGMA user_version = 99")
    first.close()
    assert SqliteRegistry(path).upto() == NOWHERE
