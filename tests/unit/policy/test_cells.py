"""Compiled, and many at once, cells say what each answer by itself says: the same answers, marks and state."""

import numpy as np
import pytest
from unit.monitoring.made import facts
from unit.policy.one_by_one import OneByOne

from greenlane.policy import attacked
from greenlane.policy.attacked import APPROVED, ASKED, DECLINED, Attacked

SECOND = 1_000_000


def told(seed: int, n: int) -> tuple[list, list[int], list[int]]:
    """Trade of a few shops with an attack now and then, pauses of hours and days, and questions in between."""
    rng = np.random.default_rng(seed)
    pause = np.where(rng.random(n) < 0.001, rng.integers(1, 9 * 86_400, n), rng.integers(0, 3, n))
    at_us, attack = np.cumsum(pause * SECOND) + 10**15, np.arange(n) // 500 % 4 == 3
    said = np.where(
        rng.random(n) < 0.1, ASKED, np.where(rng.random(n) < np.where(attack, 0.9, 0.2), DECLINED, APPROVED)
    )
    asked = [
        facts(int(rng.integers(-(2**63), 2**63 - 1)),
              amount_reporting_minor=int(rng.integers(50, 200 if tries else 9_000)),
              merchant_id=f"shop_{1 if tries else rng.integers(90)}", bin8=("", "41111111")[int(rng.random() < 0.8)],
              device=int(rng.choice([0, -7, 7, rng.integers(2**62)])), initiator="mit" if rng.random() < 0.1 else "cit")
        for tries in attack.tolist()
    ]  # fmt: skip
    return asked, at_us.tolist(), said.tolist()


@pytest.mark.parametrize("kept", [40, 16_384])
@pytest.mark.parametrize("together", [1, 7, 300])
def test_many_at_once_are_as_one_by_one(together, kept, monkeypatch):
    monkeypatch.setattr(attacked, "CELLS_MAX", kept)
    asked, at_us, said = told(seed=together, n=3_000)
    one, many, each = OneByOne(), Attacked(), Attacked()
    found = [
        one.covers(facts, at) if what == ASKED else one.answer(facts, at, declined=what == DECLINED)
        for facts, at, what in zip(asked, at_us, said, strict=True)
    ]
    again = list[bool]()
    for first in range(0, len(asked), together):
        if first % 5 == 0:
            many = Attacked.load(many.dump())
        piece = slice(first, first + together)
        again += (many.answer_all(asked[piece], at_us[piece], said[piece]) > 0).tolist()
    assert again == found
    assert found == [
        each.covers(facts, at) if what == ASKED else each.answer(facts, at, declined=what == DECLINED)
        for facts, at, what in zip(asked, at_us, said, strict=True)
    ]
    assert 10 < sum(found) < len(found) // 2
    assert many.marked(at_us[-1]) == one.marked(at_us[-1])
    assert many.dump() == each.dump() == one.dump()
    assert [many.weight_ppm(facts, at_us[-1]) for facts in asked] == [
        one.weight_ppm(facts, at_us[-1]) for facts in asked
    ]
