"""A directory whose time is told by its requests."""

from pathlib import Path

from e2e.server import champion, serving
from small_shop import attempt_body


def test_asking_again_later_tells_the_time(tmp_path: Path) -> None:
    with serving(tmp_path, clock="simulated") as server:
        champion(server)
        body = attempt_body(1, amount=4_999) | {"at": "2026-11-10T12:00:00Z"}
        asked = f"/v1/decisions/{server.decide(body).json['id']}/next_action"
        server.ask("POST", asked, {"source": "psp", "event_id": "1", "approval": {}}, key="decide")
        later = {"source": "psp", "event_id": "2", "occurred_at": "2026-11-12T12:00:00Z"}
        assert server.ask("POST", asked, later, key="decide").json["at"] == "2026-11-12T12:00:00.000000Z"
