"""The quick half of a model's move, when something changed since its slow half."""

from pathlib import Path

import pytest
from small_shop import save_model, shop_in

from greenlane.errors import Conflict
from greenlane.learning.gates import Verdict
from greenlane.serving.access import StoredKey
from greenlane.serving.http import Request
from greenlane.serving.models import Judged, ModelDoors

PASSED = (Verdict("money", "passed", "", "", "beside the champion of then"),)


def test_what_was_judged_beside_another_champion_is_judged_anew(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    try:
        doors = ModelDoors(shop, lambda request, scope: StoredKey("key_1", "", ("admin",)))
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
