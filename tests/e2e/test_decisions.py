"""A payment over the wire: decided, repeated, listed, reported on, replayed."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e.server import Server
from small_shop import attempt_body, risky

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_curl_line_of_the_readme_decides_a_payment(server: Server) -> None:
    start = README.index("curl -s localhost:8080/v1/decisions")
    command = README[start : README.index("```", start)]
    command = command.replace("localhost:8080", server.url).replace("$KEY", server.keys["decide"])
    answer = json.loads(subprocess.run(shlex.split(command), capture_output=True, check=True).stdout)
    assert answer["action"] == {"intervention": "allow", "route": "default", "credential": "pan"}
    value = answer["expected_value"]
    assert sum(value["terms"].values()) == pytest.approx(value["value_minor"], abs=1e-5)
    assert answer["reasons"] and answer["versions"]["models"]["fraud"].startswith("mdl_")
    assert answer["runner_up"]["value_gap_minor"] > 0
    assert sum(answer["exploration"]["distribution"].values()) == 2**32


def test_fraud_is_not_let_through_and_says_why(server: Server) -> None:
    answer = server.decide(risky(1_000)).json
    assert answer["action"]["intervention"] in ("challenge", "block", "review")
    assert answer["probabilities"]["fraud_probability"] > 0.5
    assert {"place", "amount"} >= {
        reason["code"] for reason in answer["reasons"] if reason["contribution_log_odds"] > 1
    }


def test_the_same_request_gets_the_same_bytes(server: Server) -> None:
    for headers in ({}, {"idempotency_key": "key-1001"}):
        body = attempt_body(1_001 + len(headers))
        first = server.decide(body, **headers)
        assert first.status == 200
        assert [server.decide(body, **headers).raw for _ in range(3)] == [first.raw] * 3
        assert server.ask("GET", f"/v1/decisions/{first.json['id']}", key="read").raw == first.raw


def test_features_are_given_when_asked_for(server: Server) -> None:
    decided = server.decide(attempt_body(1_010)).json
    assert "features" not in decided
    known = server.ask("GET", f"/v1/decisions/{decided['id']}?expand=features", key="read").json["features"]
    names = server.ask("GET", "/v1/features", key="read").json
    assert known["amount_minor"] == 12_999
    assert set(known) == {*names["columns"], *names["derived"]}


def test_the_attempts_of_a_payment_are_counted_and_stages_share_their_number(server: Server) -> None:
    first = attempt_body(1_020)
    again = first | {"attempt_id": "att_1020b"}
    numbers = [
        server.decide(body).json["attempt_no"] for body in (first, again, again | {"stage": "pre_authentication"})
    ]
    assert numbers == [1, 2, 2]


def test_decisions_are_listed_page_by_page(server: Server) -> None:
    made = {server.decide(attempt_body(number)).json["id"] for number in range(1_030, 1_035)}
    server.ask("POST", "/v1/controls", {"subject": "note", "id": "1", "why": "wait for the disk", "after": {}})
    seen: list[str] = []
    path = "/v1/decisions?limit=3"
    while path:
        page = server.ask("GET", path, key="read").json
        assert len(page["data"]) <= 3
        seen += [decision["id"] for decision in page["data"]]
        path = f"/v1/decisions?limit=3&cursor={page['next_cursor']}" if page["has_more"] else ""
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


def outcome(event: str, **said: Any) -> dict[str, Any]:
    return {"type": "authorization", "source": "psp", "event_id": event, "result": "approved"} | said


def test_an_outcome_is_taken_once(server: Server) -> None:
    server.decide(attempt_body(1_040))
    body = outcome("o-1040", attempt_id="att_1040")
    first = server.ask("POST", "/v1/outcomes", body, key="report")
    assert first.json["status"] == "accepted" and first.json["id"].startswith("out_")
    assert server.ask("POST", "/v1/outcomes", body, key="report").raw == first.raw
    changed = server.ask("POST", "/v1/outcomes", body | {"result": "declined"}, key="report")
    assert (changed.status, changed.json["code"]) == (409, "idempotency_conflict")


def test_a_batch_answers_each_item_by_itself(server: Server) -> None:
    server.decide(attempt_body(1_050))
    batch = [
        outcome("o-1050", attempt_id="att_1050"),
        outcome("o-1051", attempt_id="att_1050", result=None),
        outcome("o-1052", attempt_id="att_1050") | {"typ": "x"},
        outcome("o-1053", attempt_id="att_nobody"),
        17,
        outcome("o-1050", attempt_id="att_1050"),
        outcome("o-1050", attempt_id="att_1050", result="declined"),
        outcome("o-1054"),
    ]
    answer = server.ask("POST", "/v1/outcomes", batch, key="report")
    assert answer.status == 200
    items = answer.json["data"]
    statuses = ["accepted", "refused", "refused", "waiting", "refused", "accepted", "refused", "refused"]
    assert [item["status"] for item in items] == statuses
    codes = [item["error"]["code"] for item in items if "error" in item]
    assert codes == ["invalid_request", "unknown_field", "invalid_field", "idempotency_conflict", "invalid_request"]
    assert items[0] == items[5]


@pytest.mark.parametrize("size", [0, 1001])
def test_a_batch_has_a_stated_size(server: Server, size: int) -> None:
    answer = server.ask("POST", "/v1/outcomes", [outcome(f"s-{i}", payment_id="p") for i in range(size)], key="report")
    assert answer.status == (413 if size else 422)


def test_an_outcome_that_came_first_is_linked_when_its_payment_comes(server: Server) -> None:
    early = outcome("o-1060", payment_id="pay_1060", type="fraud_report", result=None)
    assert server.ask("POST", "/v1/outcomes", early, key="report").json["status"] == "waiting"
    assert server.ask("GET", "/v1/payments/pay_1060", key="read").status == 404
    server.decide(attempt_body(1_060))
    events = server.ask("GET", "/v1/payments/pay_1060", key="read").json["events"]
    assert [event["type"] for event in events] == ["fraud_report", "decision", "link"]


def test_the_timeline_tells_everything_that_happened_to_a_payment(server: Server) -> None:
    decided = server.decide(attempt_body(1_070)).json
    outcomes = [
        outcome("o-1070", decision_id=decided["id"], network="visa", network_response_code="51", result="declined"),
        outcome(
            "o-1071",
            payment_id="pay_1070",
            type="dispute",
            result="opened",
            reason="10.4",
            amount=12_999,
            currency="EUR",
        ),
        outcome("o-1072", payment_id="pay_1070", type="reversal", result=None, reverses="dispute"),
    ]
    for one in outcomes:
        assert server.ask("POST", "/v1/outcomes", one, key="report").status == 200
    timeline = server.ask("GET", "/v1/payments/pay_1070", key="read").json
    assert (timeline["amount"], timeline["currency"], timeline["merchant_id"]) == (12_999, "EUR", "shop_1")
    assert [event["type"] for event in timeline["events"]] == ["decision", "authorization", "dispute", "reversal"]
    assert timeline["events"][0]["decision"] == decided
    assert timeline["events"][1]["outcome"]["network_response_code"] == "51"
    assert timeline["events"][2]["outcome"]["amount_minor"] == 12_999


def test_a_payment_greenlane_never_saw_may_be_reported_whole(server: Server) -> None:
    payment = attempt_body(1_080)["payment"]
    assert (
        server.ask("POST", "/v1/outcomes", outcome("o-1080", payment=payment), key="report").json["status"]
        == "accepted"
    )
    timeline = server.ask("GET", "/v1/payments/pay_1080", key="read").json
    assert [event["type"] for event in timeline["events"]] == ["authorization"]


def test_a_decision_replays_as_soon_as_it_is_answered(server: Server) -> None:
    ids = [server.decide(body).json["id"] for body in (attempt_body(1_090), risky(1_091), attempt_body(1_092))]
    answer = server.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read")
    assert answer.json == {"decisions": 3, "different": 0, "runtime_differs": 0, "differences": []}


@pytest.mark.parametrize(("ids", "status"), [(["dec_9_9"], 404), ([], 413), (["dec_1_1"] * 1001, 413), ([1], 422)])
def test_what_cannot_be_replayed_is_refused(server: Server, ids: list[Any], status: int) -> None:
    assert server.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read").status == status


def test_a_merchant_is_configured_and_decides_otherwise(server: Server) -> None:
    path = "/v1/merchants/shop_strict"
    assert server.ask("GET", path, key="read").json["configured"] is False
    put = server.ask("PUT", path, {"mcc": "5816", "amount_max_minor": 5_000})
    assert put.json["configured"] is True
    assert put.json["economics"]["amount_max_minor"] == 5_000
    assert put.json["changed"]["amount_max_minor"] == [500_000, 5_000]
    assert put.json["changed"]["unscored_amount_max_minor"] == [5_000, 10_000], "a cap that nobody spoke of is lifted"
    kept = server.ask("GET", path, key="read").json
    assert put.json == kept | {"changed": put.json["changed"]}
    again = server.ask("PUT", path, {"mcc": "5816", "amount_max_minor": 5_000})
    assert again.json == kept | {"changed": {}}
    answer = server.decide(attempt_body(1_100, merchant_id="shop_strict")).json
    assert answer["action"]["intervention"] == "block"
    assert "amount_above_merchant_limit" in answer["rule_hits"]


@pytest.mark.parametrize(
    ("body", "param", "hint"),
    [
        ({"margin": 1}, "$.margin", "margin_ppm"),
        ({"margin_ppm": 1_000_001}, "$.margin_ppm", "ppm"),
        ({"margin_ppm": 0.3}, "$.margin_ppm", "ppm"),
        ({"routes": [{"id": "a"}, {"id": "a"}]}, "$.routes[1].id", "one entry"),
        ({"fees": {"pct": 1}}, "$.fees.pct", "pct_ppm"),
        ({"sca_mandated": True}, "$.country", "DE"),
        ({"mcc": 5816}, "$.mcc", ""),
    ],
)
def test_a_wrong_field_of_a_merchant_is_named(server: Server, body: dict[str, Any], param: str, hint: str) -> None:
    answer = server.ask("PUT", "/v1/merchants/shop_2", body)
    assert (answer.status, answer.json["param"]) == (422, param), answer.raw
    assert hint in answer.json["hint"]


def test_health_readiness_and_metrics(server: Server) -> None:
    assert server.ask("GET", "/healthz", key="").json == {"status": "ok"}
    ready = server.ask("GET", "/readyz", key="").json
    assert ready["ready"] is True and ready["model"].startswith("mdl_")
    metrics = server.ask("GET", "/metrics", key="").raw.decode()
    assert "greenlane_decisions_total{" in metrics and "greenlane_decision_seconds_bucket" in metrics
    assert "greenlane_failed_total 0.0" in metrics


def test_the_document_describes_itself(server: Server) -> None:
    assert b"<title>Greenlane API</title>" in server.ask("GET", "/docs", key="").raw
    assert server.ask("GET", "/openapi.json", key="").json["openapi"].startswith("3.1")


def test_an_id_with_a_slash_is_fetched_as_it_is_quoted(server: Server) -> None:
    body = attempt_body(1_790, id="shop/order:17", merchant_id="shop/1")
    decided = server.decide(body, idempotency_key="slash/1").json
    assert server.ask("GET", "/v1/payments/shop%2Forder:17", key="read").json["id"] == "shop/order:17"
    assert server.ask("GET", "/v1/payments/shop/order:17", key="read").status == 404
    assert server.ask("GET", "/v1/merchants/shop%2f1", key="read").json["id"] == "shop/1"
    assert server.ask("GET", f"/v1/decisions/{decided['id'].replace('_', '%5F')}", key="read").json == decided


def test_the_bare_address_says_where_to_look(server: Server) -> None:
    told = server.ask("GET", "/", key="").json
    assert [server.ask("GET", told[name], key="").status for name in ("openapi", "docs", "health")] == [200] * 3
