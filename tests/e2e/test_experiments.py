"""An experiment in a live run: a real server and follower, and a simulated world. A harmful arm is paused."""

import time
from pathlib import Path
from typing import Any

import msgspec
from e2e.server import Server, champion, run, serving
from small_shop import attempt_body

from greenlane.simulation.answers import Sent
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival, World

CAREFUL = {"policy": {"plain": {"challenge_from_e9": 0}}}
HALVES = [{"name": "control", "share_ppm": 500_000}, {"name": "careful", "share_ppm": 500_000, "otherwise": CAREFUL}]
EXPERIMENT = {"id": "careful", "unit": "card", "arms": HALVES, "planned": 1_000}
WHY = {"why": "a test"}


def pay(server: Server, living: Living, arrival: Arrival) -> dict[str, Any]:
    """One payment: decided, sent, answered, reported."""
    connection = server.connect()
    decision = server.ask("POST", "/v1/decisions", arrival.attempt, connection=connection).json
    action = decision["action"]
    if action["intervention"] in ("allow", "exempt", "challenge"):
        answer = living.send(arrival, Sent(
            action["route"], action["credential"], action["intervention"], action.get("exemption") or "",
            at_us=arrival.at_us,
        ))  # fmt: skip
        soon = [outcome for _, outcome in answer.outcomes if outcome.type in ("authorization", "authentication")]
        for outcome in soon:
            server.ask("POST", "/v1/outcomes", outcome, connection=connection)
    connection.close()
    return decision


def test_a_harmful_arm_is_paused_while_payments_come_in_and_the_page_shows_why(tmp_path: Path) -> None:
    living, seen = Living(World.load("shop"), seed=1), {"control": 0, "careful": 0, "": 0}
    with serving(tmp_path, "--follower", clock="simulated", reporting_currency="EUR") as server:
        champion(server)
        assert server.ask("POST", "/v1/experiments", EXPERIMENT).json["experiment"]["state"] == "draft"
        assert server.ask("POST", "/v1/experiments/careful/start", WHY).status == 200
        for number, arrival in enumerate(living.arrivals(900)):
            decision = pay(server, living, arrival)
            seen[decision.get("experiments", {}).get("careful", "")] += 1
            if number % 50 == 49:
                time.sleep(0.2)
                if server.ask("GET", "/v1/experiments/careful").json.get("paused_arms"):
                    break
        stopped = server.ask("GET", "/v1/experiments/careful").json
        assert stopped["paused_arms"] == ["careful"] and 10 < seen["careful"] < 450, seen
        after = [pay(server, living, arrival) for arrival in Living(World.load("shop"), seed=2).arrivals(40)]
        assert {each.get("experiments", {}).get("careful", "none") for each in after} == {"control", "none"}
        page = server.ask("GET", "/experiments/careful")
        assert page.status == 200 and page.headers["content-type"].startswith("text/html")
        text = page.raw.decode()
        assert "Arm careful was paused after" in text and "<svg" in text and "Sample ratio" in text
        assert "src=" not in text and "href=" not in text, "nothing from elsewhere"
        shown = server.ask("GET", "/v1/experiments/careful/readout").json
        (broken, *_) = [rail for rail in shown["guardrails"] if rail["paused"]]
        assert broken["paused"]["low"] > broken["tolerated"] and broken["path"]
        ids = [each["id"] for each in after]
        replayed = server.ask("POST", "/v1/replay", {"decision_ids": ids}).json
        assert (replayed["decisions"], replayed["different"]) == (40, 0)
        server.stop()
    report = tmp_path / "careful.html"
    told = run("experiments", "show", "careful", "--data", str(tmp_path), "--report", str(report), "--json")
    assert told.returncode == 0, told.stderr
    assert msgspec.json.decode(told.stdout)["arms"][1]["paused"] and "paused at" in report.read_text()


def test_what_cannot_run_is_refused_with_the_reason(server: Server) -> None:
    missing = [HALVES[0], HALVES[1] | {"otherwise": {"fraud_model": "mdl_0123456789abcdef"}}]
    refused = server.ask("POST", "/v1/experiments", EXPERIMENT | {"arms": missing})
    assert refused.status == 404 and "there is no model" in refused.json["message"]
    unknown = [HALVES[0], HALVES[1] | {"otherwise": {"policy": {"plane": {}}}}]
    refused = server.ask("POST", "/v1/experiments", EXPERIMENT | {"arms": unknown})
    assert refused.status == 422 and "plane" in refused.json["message"]
    uneven = [HALVES[0], HALVES[1] | {"share_ppm": 1}]
    refused = server.ask("POST", "/v1/experiments", EXPERIMENT | {"arms": uneven})
    assert refused.status == 422 and "no split" in refused.json["message"]
    assert server.ask("GET", "/v1/experiments/careful").status == 404


def test_an_experiment_lives_from_draft_to_stopped(server: Server) -> None:
    body = EXPERIMENT | {"id": "life", "slot_ppm": [0, 100_000]}
    first = server.ask("POST", "/v1/experiments", body, idempotency_key="life-1")
    assert first.raw == server.ask("POST", "/v1/experiments", body, idempotency_key="life-1").raw
    assert server.ask("POST", "/v1/experiments", body).status == 409
    other = server.ask("POST", "/v1/experiments", body | {"planned": 9_000}, idempotency_key="life-1")
    assert other.status == 409 and other.json["code"] == "idempotency_conflict"
    assert server.ask("POST", "/v1/experiments/life/pause", WHY | {"arm": "careful"}).status == 409, "a draft"
    assert server.ask("POST", "/v1/experiments/life/stop", WHY).status == 409, "it never started"
    assert server.ask("POST", "/v1/experiments/life/start", WHY).json["experiment"]["state"] == "running"
    assert server.ask("PUT", "/v1/experiments/life", body | {"slot_ppm": [0, 1_000_000]}).status == 200, "a ramp"
    assert server.ask("PUT", "/v1/experiments/life", body | {"planned": 9_000}).status == 409
    assert server.ask("POST", "/v1/experiments/life/pause", WHY | {"arm": "nobody"}).status == 422
    careful = WHY | {"arm": "careful"}
    paused = [server.ask("POST", "/v1/experiments/life/pause", careful).json["experiment"] for _ in range(2)]
    assert paused[0]["paused_arms"] == ["careful"] and paused[0] == paused[1]
    assert server.ask("POST", "/v1/experiments/life/resume", careful).json["experiment"]["paused_arms"] == []
    assert server.ask("DELETE", "/v1/experiments/life").status == 409
    assert server.decide(attempt_body(8_500)).json["experiments"]["life"] in ("control", "careful")
    for step, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        assert server.ask("POST", f"/v1/experiments/life/{step}", WHY).json["experiment"]["state"] == state
    assert "experiments" not in server.decide(attempt_body(8_501)).json
    assert server.ask("POST", "/v1/experiments", body | {"id": "draft"}).status == 200
    assert server.ask("DELETE", "/v1/experiments/draft").status == 200
    listed = server.ask("GET", "/v1/experiments").json
    ids = [each["id"] for each in listed["data"]]
    assert "life" in ids and "draft" not in ids, "other tests have experiments of their own here"


def test_experiments_are_changed_by_admins_only(server: Server) -> None:
    assert server.ask("POST", "/v1/experiments", EXPERIMENT, key="read").status == 403
    assert server.ask("GET", "/v1/experiments", key="read").status == 200
