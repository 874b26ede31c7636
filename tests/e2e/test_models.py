"""Models change under traffic: no request fails, and each decision says which model it believed."""

import threading
from typing import Any

from e2e.server import Server, champion
from small_shop import attempt_body, save_model

from greenlane.jobs.canary import canary_readout
from greenlane.wiring import Places, open_reader


class Traffic:
    """Threads that decide, one connection each, until told to stop."""

    def __init__(self, server: Server, *, threads: int, first: int):
        self.server, self.stopped = server, threading.Event()
        self.answers: list[dict[str, Any]] = []
        self.failed: list[Any] = []
        self.threads = [threading.Thread(target=self.run, args=(first + 10_000 * t,)) for t in range(threads)]

    def run(self, number: int) -> None:
        connection = self.server.connect()
        while not self.stopped.is_set():
            number += 1
            try:
                answer = self.server.ask("POST", "/v1/decisions", attempt_body(number), connection=connection)
            except OSError as error:
                self.failed.append(error)
                return
            (self.answers if answer.status == 200 else self.failed).append(answer.json)

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)


def test_models_are_swapped_under_load_without_a_failed_request(server: Server) -> None:
    first = server.ask("GET", "/v1/models", key="read").json["aliases"]["fraud/champion"]
    other = save_model(Places(server.data).models, lean=1.5)
    promoted = [first]
    with Traffic(server, threads=3, first=100_000) as traffic:
        for model in (other, first, other, first):
            server.ask("POST", f"/v1/models/{model}/promote", {"why": "to and fro", "force": True})
            promoted.append(model)
            server.decide(attempt_body(190_000 + len(promoted)))
        back = server.ask("POST", "/v1/models/rollback", {"why": "it was worse"})
        assert back.json["model"] == other and back.json["before"] == first
    assert traffic.failed == []
    believed = {
        (tuple(a["versions"]["models"].items()), a["probabilities"]["fraud_probability"]) for a in traffic.answers
    }
    assert {models for models, _ in believed} == {(("fraud", first),), (("fraud", other),)}
    by_model = {m: {p for models, p in believed if models == (("fraud", m),)} for m in (first, other)}
    assert min(by_model[other]) > min(by_model[first])
    moves = server.ask("GET", "/v1/models", key="read").json["moves"]
    assert [move["model"] for move in moves[-5:]] == [other, first, other, first, other]
    assert moves[-1]["why"] == "it was worse" and moves[-1]["who"].startswith("key_")
    assert server.ask("GET", "/readyz", key="").json["model"] == other
    champion(server)


def test_every_decision_of_the_swaps_replays(server: Server) -> None:
    page = server.ask("GET", "/v1/decisions?limit=100", key="read").json
    ids = [decision["id"] for decision in page["data"]]
    while page["has_more"] and len(ids) < 900:
        page = server.ask("GET", f"/v1/decisions?limit=100&cursor={page['next_cursor']}", key="read").json
        ids += [decision["id"] for decision in page["data"]]
    answer = server.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read").json
    assert answer == {"decisions": len(ids), "different": 0, "runtime_differs": 0, "differences": []}


def test_another_alias_takes_no_traffic(server: Server) -> None:
    believed = server.ask("GET", "/readyz", key="").json["model"]
    other = save_model(Places(server.data).models, lean=-1.0)
    moved = server.ask("POST", f"/v1/models/{other}/promote", {"why": "to watch", "alias": "fraud/challenger"})
    assert moved.json["alias"] == "fraud/challenger"
    assert server.ask("GET", "/v1/models", key="read").json["aliases"]["fraud/challenger"] == other
    assert server.decide(attempt_body(200_000)).json["versions"]["models"] == {"fraud": believed}


def test_a_damaged_model_is_refused_and_changes_nothing(server: Server) -> None:
    before = server.ask("GET", "/readyz", key="").json["model"]
    damaged = save_model(Places(server.data).models, lean=0.123)
    nodes = Places(server.data).models / damaged / "nodes.npy"
    nodes.write_bytes(nodes.read_bytes()[:-1] + b"\x01")
    answer = server.ask("POST", f"/v1/models/{damaged}/promote", {"why": "x"})
    assert (answer.status, answer.json["code"]) == (422, "model_hash_differs")
    assert server.ask("GET", "/readyz", key="").json["model"] == before


def test_rolling_back_an_alias_that_never_moved_is_404(server: Server) -> None:
    answer = server.ask("POST", "/v1/models/rollback", {"why": "x", "alias": "approval/champion"})
    assert answer.status == 404


def test_a_change_that_is_asked_for_again_is_the_same_change(server: Server) -> None:
    first = server.ask("GET", "/v1/models", key="read").json["aliases"]["fraud/champion"]
    other = save_model(Places(server.data).models, lean=0.9)
    promote = f"/v1/models/{other}/promote", {"why": "once", "force": True}
    told = server.ask("POST", *promote, idempotency_key="p-1").raw
    back = server.ask("POST", "/v1/models/rollback", {"why": "no"}, idempotency_key="r-1").raw
    assert server.ask("POST", *promote, idempotency_key="p-1").raw == told
    assert server.ask("POST", "/v1/models/rollback", {"why": "no"}, idempotency_key="r-1").raw == back
    assert server.ask("GET", "/readyz", key="").json["model"] == first
    assert server.decide(attempt_body(210_000)).json["versions"]["models"] == {"fraud": first}
    assert server.ask("POST", "/v1/models/rollback", {"why": "other"}, idempotency_key="r-1").status == 409
    for _ in range(2):
        put = server.ask("PUT", "/v1/merchants/shop_twice", {"margin_ppm": 1}, idempotency_key="m-1")
        assert put.status == 200
    assert server.ask("PUT", "/v1/merchants/shop_twice", {"margin_ppm": 2}, idempotency_key="m-1").status == 409


def test_a_champion_is_made_past_the_gates_by_force_alone(server: Server) -> None:
    before = server.ask("GET", "/readyz", key="").json["model"]
    other = save_model(Places(server.data).models, lean=0.77)
    refused = server.ask("POST", f"/v1/models/{other}/promote", {"why": "it looks good"})
    assert (refused.status, refused.json["code"]) == (422, "gates_not_passed")
    assert "coverage" in refused.json["message"]
    assert server.ask("GET", "/readyz", key="").json["model"] == before
    wrong = server.ask("POST", f"/v1/models/{other}/promote", {"why": "x", "alias": "fraud/prod"})
    assert (wrong.status, wrong.json["param"]) == (422, "$.alias")


def test_a_model_is_registered_over_the_wire_with_its_card(server: Server) -> None:
    other = save_model(Places(server.data).models, lean=0.78)
    told = server.ask("POST", f"/v1/models/{other}/register", {"why": "to look at"})
    assert told.status == 200 and told.json["id"] == other and told.json["cost"]["predictions"] > 0
    assert server.ask("POST", "/v1/models/mdl_1/register", {"why": "x"}).status == 404


def test_a_canary_decides_a_stable_share_stage_by_stage_and_ends_at_once(server: Server) -> None:
    champion = server.ask("GET", "/readyz", key="").json["model"]
    other = save_model(Places(server.data).models, lean=0.79)
    challenge = f"/v1/models/{other}/challenge"

    ids: list[str] = []

    def decided(first: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for number in range(first, first + 60):
            answer = server.decide(attempt_body(number)).json
            ids.append(answer["id"])
            arms, model = answer.get("experiments") or {}, answer["versions"]["models"]["fraud"]
            assert model == (other if "model" in arms.values() else champion)
            for stage, arm in arms.items():
                found.setdefault(stage, []).append(arm)
        return found

    begin = challenge, {"why": "try it", "share_ppm": 250_000}
    one = server.ask("POST", *begin, idempotency_key="c-1").json
    assert server.ask("POST", *begin, idempotency_key="c-1").json == one, "asked again, it ends nothing"
    assert server.ask("POST", challenge, {"why": "more", "share_ppm": 500_000}, idempotency_key="c-1").status == 409
    assert one["stage"].endswith(".1") and one["ended"] == []
    first = decided(300_000)
    assert list(first) == [one["stage"]] and set(first[one["stage"]]) == {"champion", "model"}
    assert len(first[one["stage"]]) < 55, "half of all takes part"
    two = server.ask("POST", challenge, {"why": "go on", "share_ppm": 500_000}).json
    assert (two["stage"], two["ended"]) == (one["stage"][:-1] + "2", [one["stage"]])
    assert {stage: len(arms) for stage, arms in decided(301_000).items()} == {two["stage"]: 60}
    third = save_model(Places(server.data).models, lean=0.8)
    refused = server.ask("POST", f"/v1/models/{third}/challenge", {"why": "me too", "share_ppm": 10_000})
    assert refused.status == 409
    readout = canary_readout(open_reader(server.data), other)
    assert readout is not None and [stage.state for stage in readout.stages] == ["stopped", "running"]
    assert readout.stages[0].treatment == first[one["stage"]].count("model")
    assert readout.stages[1].treatment + readout.stages[1].control == 60
    assert "latency_us" in readout.stages[1].harms and readout.breach == ""
    stop = challenge, {"why": "enough", "share_ppm": 0}
    ended = server.ask("POST", *stop, idempotency_key="c-3").json
    assert server.ask("POST", *stop, idempotency_key="c-3").json["ended"] == ended["ended"]
    assert ended["stage"] == "" and ended["ended"] == [two["stage"]]
    assert decided(302_000) == {}
    replayed = server.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read").json
    assert (replayed["decisions"], replayed["different"], replayed["differences"]) == (180, 0, [])
    wrong = server.ask("POST", challenge, {"why": "x", "share_ppm": 600_000})
    assert (wrong.status, wrong.json["param"]) == (422, "$.share_ppm")


def test_a_canary_that_a_guardrail_ended_does_not_go_on(server: Server) -> None:
    other = save_model(Places(server.data).models, lean=0.81)
    challenge = f"/v1/models/{other}/challenge"
    stage = server.ask("POST", challenge, {"why": "try it", "share_ppm": 500_000}).json["stage"]
    pause = {"why": "approval fell", "arm": "model"}
    assert server.ask("POST", f"/v1/experiments/{stage}/pause", pause).status == 200
    champion = server.ask("GET", "/readyz", key="").json["model"]
    models = {server.decide(attempt_body(n)).json["versions"]["models"]["fraud"] for n in range(310_000, 310_020)}
    assert models == {champion}
    again = server.ask("POST", challenge, {"why": "once more", "share_ppm": 500_000})
    assert (again.status, again.json["message"]) == (409, f"a guardrail ended {stage}")
    readout = canary_readout(open_reader(server.data), other)
    assert readout is not None and readout.breach == f"paused in {stage}"
    server.ask("POST", challenge, {"why": "enough", "share_ppm": 0})
