"""Models change under a steady load: nothing fails, nothing is of two models, everything replays."""

import itertools
from pathlib import Path

import msgspec
from small_shop import attempt_body, save_model, shop_in
from swap import swap


def test_swaps_and_rollbacks_under_load_fail_nothing_and_mix_nothing(tmp_path: Path) -> None:
    system = shop_in(tmp_path, clock="system")
    models = [system.live.aliases["fraud/champion"], save_model(system.places.models, lean=1.5)]
    system.close()
    bodies = (msgspec.json.encode(attempt_body(number)) for number in itertools.count(1))
    found = swap(tmp_path, models, bodies, rate=400, seconds=2, every_s=0.1)
    assert (found.errors, found.mixed, found.different) == (0, 0, 0)
    assert found.decisions > 500 and found.moves >= 4
    assert set(found.by_model) == set(models), "both decided"
