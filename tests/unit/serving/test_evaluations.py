"""Off-policy evaluation over the API: valued in another process, kept, and the same when asked again."""

from pathlib import Path

import msgspec
import pytest
from small_shop import attempt, shop_in

from greenlane.decide import decide
from greenlane.errors import InputError, NotFound
from greenlane.jobs.deciding import decide_world
from greenlane.serving.access import StoredKey
from greenlane.serving.evaluations import Evaluation, EvaluationDoors
from greenlane.serving.http import Request, Slow
from greenlane.simulation.world import World
from greenlane.wiring import System, open_system

ALL = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}


def doors_of(shop: System) -> EvaluationDoors:
    return EvaluationDoors(shop, lambda request, scope: StoredKey("key_1", "", ("admin",)))


def asked(**body: object) -> Request:
    return Request("POST", "/v1/evaluations", "", {}, msgspec.json.encode(ALL | body))


def named(name: str) -> Request:
    return Request("GET", f"/v1/evaluations/{name}", "", {}, b"")


def test_a_candidate_is_valued_once_and_kept(tmp_path: Path) -> None:
    decide_world(World.load("calm"), 1, 30, tmp_path / "live")
    shop = open_system(tmp_path / "live")
    try:
        doors, body = doors_of(shop), {"question": "route", "candidates": ["cheapest", "best value"], "effect": 500.0}
        reply = doors.run(asked(**body))
        found = msgspec.json.decode(reply.body, type=Evaluation)
        assert [one.candidate for one in found.evaluations] == ["cheapest", "best value"]
        assert not found.evaluations[0].accepted and found.evaluations[0].reasons, "thirty payments say too little"
        assert doors.run(asked(**body)).body == reply.body == doors.one(named(found.id)).body
        assert msgspec.json.decode(doors.listed(named("")).body) == {"data": [found.id]}
        assert doors.delete(named(found.id)).body == reply.body
        with pytest.raises(NotFound):
            doors.one(named(found.id))
    finally:
        shop.close()


def test_where_nothing_was_left_to_chance_the_reason_is_told(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    try:
        decide(attempt(1), lane=shop.lane, event_id="e1", body_hash=bytes(16))
        with pytest.raises(InputError, match="nothing here can be valued") as refused:
            doors_of(shop).run(asked(question="route", candidates=["cheapest"]))
        assert refused.value.code == "nothing_to_value"
    finally:
        shop.close()


def test_what_is_not_understood_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    try:
        assert all(isinstance(door, Slow) for _, door in doors_of(shop).table()), "files are not read between decisions"
        for wrong, where in (({"from": "yesterday"}, r"\$.from"), ({"question": "who"}, r"\$.question")):
            with pytest.raises(InputError) as refused:
                doors_of(shop).run(asked(**({"question": "route", "candidates": ["cheapest"]} | wrong)))
            assert refused.value.param == where.replace("\\", "")
        with pytest.raises(NotFound):
            doors_of(shop).one(named("evl_../../keys"))
    finally:
        shop.close()
