"""The follower over days of simulated time: what it keeps, what it compares, what it tells."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_shop import attempt, shop_in

from greenlane.client import Refused
from greenlane.decide import decide
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.live import features_change
from greenlane.errors import JournalError
from greenlane.experiments.tally import Pause, Point, Tally
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import FeatureSet
from greenlane.features.inputs import INPUTS
from greenlane.follower import Follower, run_follower
from greenlane.policy.arms import Arm, Experiment
from greenlane.ports.journal import Entry
from greenlane.wiring import Reader, System, lock_follower, open_reader

NOON = 1_790_000_000_000_000
DAY = 86_400_000_000


class Lying:
    """Serves features like the engine it stands for, one number in one answer apart."""

    def __init__(self, whole: Any):
        self.whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def read(self, *args: Any) -> Any:
        vector = self.whole.read(*args)
        vector[len(INPUTS) + 1] += 1
        return vector


class Admin:
    """Stands in for the server's door."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.refuses = False

    def call(self, method: str, path: str, body: Any, kind: Any) -> dict[str, Any]:
        if self.refuses:
            raise Refused("not now")
        self.told.append(body)
        self.asked.append((method, path))
        return {}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[System]:
    system = shop_in(tmp_path, parity_sample=1, snapshot_every_s=1)
    system.clock.set(NOON)
    yield system
    system.close()


def decisions(shop: System, *numbers: int) -> list[Entry]:
    found = []
    for number in numbers:
        shop.clock.advance(60_000_000)
        found.append(decide(attempt(number), lane=shop.lane, event_id=f"d{number}", body_hash=bytes(16))[0])
    shop.journal.writer.wait(shop.journal.position.seq)
    return found


def following(shop: System) -> tuple[Follower, list[str], Admin]:
    said: list[str] = []
    admin = Admin()
    follower = Follower(open_reader(shop.places.root), tell=said.append, admin=admin)  # type: ignore[arg-type] # has `call`
    return follower, said, admin


def test_days_that_closed_become_files_and_the_open_one_does_not(shop: System) -> None:
    for day in range(3):
        decisions(shop, *range(10 * day, 10 * day + 5))
        shop.clock.advance(DAY)
    follower, said, admin = following(shop)
    while follower.step():
        pass
    names = sorted(path.name for path in shop.places.days.glob("*.parquet"))
    assert names == ["1970-01-01.parquet", "2026-09-21.parquet", "2026-09-22.parquet"], "the clock started at 0"
    assert [line.split(":")[0] for line in said] == ["closed 3 days from 1970-01-01 to 2026-09-22"]
    assert [(told["subject"], told["after"]["mismatches"]) for told in admin.told] == [("parity", 0)] * 3


def test_a_day_that_ends_while_it_follows_becomes_a_file(shop: System) -> None:
    decisions(shop, *range(3))
    follower, _, _ = following(shop)
    for day in range(2):
        while follower.step():
            pass
        shop.clock.advance(DAY)
        decisions(shop, 10 + day)
    follower.step()
    assert max(path.stem for path in shop.places.days.iterdir()) == "2026-09-22"


def test_a_snapshot_stands_where_the_fold_stands(shop: System) -> None:
    decisions(shop, *range(5))
    follower, _, _ = following(shop)
    follower.step()
    follower.keep()
    assert f"{shop.journal.position.seq:020d}.snapshot" in {p.name for p in shop.places.snapshots.iterdir()}
    assert follower.engine.canonical() == shop.lane.features.canonical()


def test_every_served_vector_is_compared_at_once(shop: System) -> None:
    follower, said, _ = following(shop)
    decisions(shop, *range(8))
    follower.step()
    assert (follower.parity.vectors, follower.parity.mismatches) == (8, [])
    assert not [line for line in said if "PARITY" in line]


def test_a_vector_that_was_served_wrong_is_found_at_once_and_again_by_sql(shop: System) -> None:
    follower, said, admin = following(shop)
    decisions(shop, 1, 2)
    truth, shop.lane.features = shop.lane.features, Lying(shop.lane.features)
    (wrong,) = decisions(shop, 3)
    shop.lane.features = truth
    decisions(shop, 4)
    follower.step()
    assert [found.seq for found in follower.parity.mismatches] == [wrong.seq]
    assert said[0].startswith(f"PARITY entry {wrong.seq}: seq {wrong.seq}  ")
    shop.clock.advance(DAY)
    decisions(shop, 5)
    follower.step()
    assert [found.seq for found in follower.parity.mismatches] == [wrong.seq, wrong.seq]
    assert admin.told[-1]["after"]["mismatches"] == 2


def test_a_day_is_closed_once(shop: System) -> None:
    decisions(shop, 1)
    shop.clock.advance(DAY)
    decisions(shop, 2)
    first, _, _ = following(shop)
    while first.step():
        pass
    first.close()
    file = next(shop.places.days.glob("*.parquet"))
    before = file.stat().st_mtime_ns
    follower, said, _ = following(shop)
    while follower.step():
        pass
    assert (file.stat().st_mtime_ns, said) == (before, [])


def test_features_declared_long_ago_do_not_hold_up_those_declared_since(
    shop: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions(shop, *range(5))
    smaller = FeatureSet(CATALOGUE.aggregations[:3])
    change = features_change(smaller, CATALOGUE, who="import", why="declared by a mapping")
    shop.control(change, event_id="features/2", who="import")
    decisions(shop, *range(5, 8))
    monkeypatch.setattr("greenlane.follower.BATCH_MAX", 4)
    follower, said, _ = following(shop)
    while follower.step():
        pass
    assert follower.position == shop.journal.position
    assert follower.engine.features == smaller
    assert not [line for line in said if "changed" in line]


def test_a_server_that_refuses_does_not_stop_it(shop: System) -> None:
    decisions(shop, 1)
    shop.clock.advance(DAY)
    decisions(shop, 2)
    follower, said, admin = following(shop)
    admin.refuses = True
    follower.step()
    assert said[-1].startswith("the server did not take it: not now")


def test_there_is_one_follower_of_a_directory(shop: System) -> None:
    reader = open_reader(shop.places.root)
    with lock_follower(reader.places), pytest.raises(JournalError, match="another follower"):
        run_follower(shop.places.root, once=True, tell=print)


def test_a_merchant_that_nobody_configured_loses_its_caps_once_it_is_known(
    shop: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions(shop, 1)
    follower, _, admin = following(shop)
    monkeypatch.setattr(follower.headroom, "seasoned", lambda at_us: [("shop/1", "5816", 1_200)])
    shop.clock.advance(DAY)
    decisions(shop, 2)
    follower.step()
    why = "no%20longer%20new%3A%201200%20payments%20have%20matured"
    assert ("PUT", f"/v1/merchants/shop%2F1?why={why}") in admin.asked
    assert {"mcc": "5816"} in admin.told


def test_a_merchant_that_was_configured_this_moment_keeps_what_it_was_given(
    shop: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions(shop, 1)
    follower, _, admin = following(shop)
    monkeypatch.setattr(follower.headroom, "seasoned", lambda at_us: [("shop_9", "", 1_200)])
    shop.clock.advance(DAY)
    decisions(shop, 2)
    assert "shop_9" not in follower.reader.book.merchants
    change = ControlRecord("merchant", "shop_9", "anna", "ours", None, {"margin_ppm": 5})
    shop.control(change, event_id="m", who="anna")
    shop.journal.writer.wait(shop.journal.position.seq)
    follower.at_us = shop.clock.now_us()
    follower.reprice()
    assert not [path for _, path in admin.asked if "shop_9" in path]


def test_an_arm_is_paused_once_and_not_for_what_happened_long_ago(
    shop: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions(shop, 1, 2, 3)
    follower, _, admin = following(shop)
    while follower.step():
        pass
    arms = (Arm("control", 500_000), Arm("treatment", 500_000))
    tally = follower.tallies.of["x"] = Tally(Experiment(id="x", unit="card", arms=arms, state="running"))
    point = Point(NOON, 900, 0.2, 0.1, 1e-6)
    tally.pauses = [Pause("treatment", metric, point) for metric in ("payment_approval", "challenge_rate")]
    monkeypatch.setattr("greenlane.follower.BATCH_MAX", 2)
    decisions(shop, 4, 5, 6)
    pauses = lambda: [path for _, path in admin.asked if path.endswith("/pause")]  # noqa: E731 # read twice
    follower.step()
    assert not pauses(), "it has not caught up: the arm may have been resumed since"
    follower.step()
    assert pauses() == ["/v1/experiments/x/pause"]
    assert [told["why"][:16] for told in admin.told if told.get("arm") == "treatment"] == ["payment_approval"]


def test_headroom_is_kept_and_not_folded_from_the_first_entry_again(shop: System) -> None:
    decisions(shop, 1, 2)
    follower, _, _ = following(shop)
    while follower.step():
        pass
    follower.keep()
    whole, at_us = follower.headroom.dump(), follower.at_us
    follower.close()
    read = list[int]()

    class Watching(Reader):
        def entries(self, *, after_seq: int = 0) -> Iterator[Entry]:
            read.append(after_seq)
            return super().entries(after_seq=after_seq)

    reader = open_reader(shop.places.root)
    again = Follower(Watching(reader.places, reader.settings, reader.store), tell=print, admin=None)
    assert again.position.seq > 1 and min(read) >= again.position.seq - 1
    assert (again.headroom.dump(), again.at_us) == (whole, at_us)
    again.close()
