"""The second process, as people run it."""

import time
from pathlib import Path

from e2e.server import champion, run, serving
from small_shop import attempt_body

from greenlane.wiring import Places

DAY = "2026-11-{:02}T12:00:00Z"


def test_following_once_writes_the_snapshot_and_closes_the_days(tmp_path: Path) -> None:
    with serving(tmp_path, clock="simulated", parity_sample=1) as server:
        champion(server)
        for number in range(30):
            at = DAY.format(10 + number // 10)
            assert server.decide(attempt_body(number) | {"at": at}).status == 200
        server.ask("POST", "/v1/controls", {"subject": "note", "id": "1", "why": "wait for the disk", "after": {}})
        followed = run("follow", "--data", str(tmp_path), "--once")
        assert followed.returncode == 0, followed.stderr
        assert "PARITY" not in followed.stderr
        places = Places(tmp_path)
        assert [p.stem for p in sorted(places.days.glob("*.parquet"))][-2:] == ["2026-11-10", "2026-11-11"]
        assert len(list(places.snapshots.glob("*.snapshot"))) == 1
    replayed = run("replay", "--data", str(tmp_path), "--refold", "--json")
    assert '"different": 0' in replayed.stdout and '"vectors": 30' in replayed.stdout


def test_the_server_runs_its_own_follower_and_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path, "--follower", snapshot_every_s=1) as server:
        server.decide(attempt_body(1))
        places = Places(tmp_path)
        for _ in range(300):
            if list(places.snapshots.glob("*.snapshot")):
                break
            time.sleep(0.05)
        assert list(places.snapshots.glob("*.snapshot"))
        second = run("follow", "--data", str(tmp_path), "--once")
        assert second.returncode == 2 and "one is enough" in second.stderr
        server.stop()
    after = run("follow", "--data", str(tmp_path), "--once")
    assert after.returncode == 0, "nobody follows any more"
