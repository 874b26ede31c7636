"""The quick half of a model's move, when something changed since its slow half."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from small_shop import save_model, shop_in

from greenlane.errors import Conflict, NotFound, TimedOut
from greenlane.jobs.canary import move_alias, next_stage
from greenlane.learning.gates import Verdict
from greenlane.serving.access import StoredKey
from greenlane.serving.http import Request
from greenlane.serving.models import Judged, ModelDoors
from greenlane.wiring import System

PASSED = (Verdict("money", "passed", "", "", "beside the champion of then"),)


def doors_of(shop: System) -> ModelDoors:
    return ModelDoors(shop, lambda request, scope: StoredKey("key_1", "", ("admin",)))


def test_a_model_that_takes_too_long_to_judge_is_answered_and_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("greenlane.serving.elsewhere.TAKES_S_MAX", 0.01)
    shop = shop_in(tmp_path)
    try:
        with pytest.raises(TimedOut, match="took more than") as late:
            doors_of(shop).elsewhere("card", save_model(shop.places.models), kind=object)
        assert late.value.status == 503 and "greenlane models card mdl_" in str(late.value.hint)
    finally:
        shop.close()


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("how", ["promoted", "rolled back"])
def test_a_champion_that_changes_ends_its_canary_paused_or_not(tmp_path: Path, how: str, state: str) -> None:
    shop = shop_in(tmp_path)
    try:
        first, second, third = (
            shop.live.aliases["fraud/champion"],
            *(save_model(shop.places.models, lean=x) for x in (1.0, 2.0)),
        )
        shop.promote(second, event_id="p", who="tests", why="better")
        stage = next_stage(shop, third, kind="fraud", share_ppm=10_000, unit="card")
        for number, now in enumerate(("running", state)):
            shop.change_experiment(replace(stage, state=now), why="try it", who="tests", event_id=f"c{number}")
        with pytest.raises(Conflict, match=f"is {state}"):
            next_stage(shop, first, kind="fraud", share_ppm=10_000, unit="card")
        with pytest.raises(NotFound):
            move_alias(shop, "fraud/champion", f"mdl_{'0' * 16}", why="a slip", who="tests", event_id="m")
        assert shop.experiments.known[stage.id].state == state, "what cannot be champion ends nothing"
        asked = Request("POST", "/v1/models/rollback", "", {b"idempotency-key": b"r-1"}, b'{"why": "it was worse"}')
        if how == "promoted":
            asked = asked._replace(path=f"/v1/models/{first}/promote", prepared=Judged(second, ()))
        move = doors_of(shop).rollback if how == "rolled back" else doors_of(shop).promote
        assert move(asked).body == move(asked).body, "asked again, it is the same move"
        assert shop.live.aliases["fraud/champion"] == first
        assert shop.experiments.known[stage.id].state == "stopped" and not shop.lane.mixtures
    finally:
        shop.close()


def test_what_was_judged_beside_another_champion_is_judged_anew(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    try:
        doors = doors_of(shop)
        champion = shop.live.aliases["fraud/champion"]
        model = save_model(shop.places.models, lean=0.5)
        asked = Request("POST", f"/v1/models/{model}/promote", "", {}, b'{"why": "better"}')
        with pytest.raises(Conflict, match="another champion was made meanwhile"):
            doors.promote(asked._replace(prepared=Judged("mdl_0123456789abcdef", PASSED)))
        assert shop.live.aliases["fraud/champion"] == champion
        doors.promote(asked._replace(prepared=Judged(champion, PASSED)))
        assert shop.live.aliases["fraud/champion"] == model
    finally:
        shop.close()
