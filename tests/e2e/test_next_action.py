"""After an answer: what to do next, over the wire."""

from typing import Any

import pytest
from e2e.server import Answer, Server
from small_shop import attempt_body

ROUTES = [{"id": "route_a", "acquirer": "acq_a"}, {"id": "route_b", "acquirer": "acq_b"}]


def decided(server: Server, number: int, **payment: Any) -> Any:
    body = attempt_body(number, amount=4_999, **payment) | {"eligible_routes": ROUTES}
    return server.decide(body).json


def next_after(server: Server, decision: str, event: str, **told: Any) -> Answer:
    body = {"source": "acquirer", "event_id": event, **told}
    return server.ask("POST", f"/v1/decisions/{decision}/next_action", body, key="decide")


def test_a_technical_decline_is_tried_again_at_once_over_the_other_route(server: Server) -> None:
    first = decided(server, 9_001)
    answer = next_after(server, first["id"], "n-1", decline={"network_response_code": "91"}).json
    assert (answer["next"], answer["attempts_used"]) == ("retry_now", 1)
    assert answer["route"] == answer["action"]["route"] != first["action"]["route"]
    assert (answer["attempt_id"], answer["attempt_no"]) == ("att_9001.2", 2)
    again = next_after(server, answer["id"], "n-2", decline={"network_response_code": "91"}).json
    assert again["next"] != "retry_now" and again["attempts_used"] == 2


def test_a_timeout_is_queried_before_anything_else(server: Server) -> None:
    first = decided(server, 9_002)
    answer = next_after(server, first["id"], "n-3", decline={"unknown": True}).json
    assert (answer["next"], answer["attempt_id"]) == ("query_or_reverse", "att_9002")
    reversed_ = next_after(server, first["id"], "n-4", reversed=True).json
    assert reversed_["next"] == "retry_now"


def test_a_stolen_card_is_never_tried_again(server: Server) -> None:
    first = decided(server, 9_003)
    answer = next_after(server, first["id"], "n-5", decline={"network_response_code": "43"}).json
    assert answer["next"] == "stop" and answer["action"] is None


def test_an_attempt_made_without_asking_again_counts_once_it_is_reported(server: Server) -> None:
    mit = {"initiator": "mit", "mit_reason": "recurring"}
    planned = decided(server, 9_030, **mit)
    used = []
    for event in range(4):
        planned = next_after(server, planned["id"], f"n-30-{event}", decline={"network_response_code": "51"}).json
        used.append(planned["attempts_used"])
        if planned["next"] != "retry_at":
            break
    assert used == list(range(1, len(used) + 1)) and len(used) > 1


def test_an_approval_is_captured_up_to_its_amount(server: Server) -> None:
    first = decided(server, 9_004)
    answer = next_after(server, first["id"], "n-6", approval={"cvv_result": "M"}).json
    assert (answer["next"], answer["capturable_amount"]) == ("capture", 4_999)


def test_what_is_captured_whole_is_not_captured_again(server: Server) -> None:
    first = decided(server, 9_104)
    next_after(server, first["id"], "n-61", approval={"cvv_result": "M"})
    capture = {"type": "capture", "source": "acquirer", "payment_id": "pay_9104", "amount": 4_000, "currency": "EUR"}
    server.ask("POST", "/v1/outcomes", capture | {"event_id": "n-62"}, key="report")
    answer = next_after(server, first["id"], "n-63").json
    assert (answer["next"], answer["capturable_amount"]) == ("capture", 999)
    server.ask("POST", "/v1/outcomes", capture | {"event_id": "n-64", "amount": 999}, key="report")
    answer = next_after(server, first["id"], "n-65").json
    assert (answer["next"], answer["stop_reason"], answer["capturable_amount"]) == ("stop", "captured_already", 0)
    replayed = server.ask("POST", "/v1/replay", {"decision_ids": [answer["id"]]}, key="read").json
    assert (replayed["decisions"], replayed["different"]) == (1, 0)


def test_after_declines_and_an_unknown_result_the_one_that_was_reversed_is_free(server: Server) -> None:
    first = decided(server, 9_105)
    second = next_after(server, first["id"], "n-66", decline={"network_response_code": "91"}).json
    assert second["next"] == "retry_now"
    unknown = next_after(server, second["id"], "n-67", decline={"unknown": True}).json
    assert (unknown["next"], unknown["attempt_id"]) == ("query_or_reverse", "att_9105.2")
    assert next_after(server, second["id"], "n-68", reversed=True).json["next"] != "query_or_reverse"


def test_a_new_attempt_is_not_sent_beside_an_unknown_one(server: Server) -> None:
    first = decided(server, 9_106)
    next_after(server, first["id"], "n-69", decline={"unknown": True})
    body = attempt_body(9_106, amount=4_999) | {"attempt_id": "att_9106b", "eligible_routes": ROUTES}
    answer = server.decide(body).json
    assert (answer["action"]["intervention"], answer["rule_hits"]) == ("block", ["earlier_attempt_unknown"])


def test_the_same_question_gets_the_same_answer_and_another_body_is_refused(server: Server) -> None:
    first = decided(server, 9_005)
    one = next_after(server, first["id"], "n-7", decline={"network_response_code": "51"})
    two = next_after(server, first["id"], "n-7", decline={"network_response_code": "51"})
    assert one.raw == two.raw
    assert next_after(server, first["id"], "n-7", decline={"network_response_code": "05"}).status == 409


def test_what_next_action_was_told_is_the_outcome_that_outcomes_would_take(server: Server) -> None:
    first = decided(server, 9_006)
    next_after(server, first["id"], "n-8", decline={"network_response_code": "51"})
    outcome = {
        "type": "authorization", "result": "declined", "source": "acquirer", "event_id": "n-8",
        "payment_id": "pay_9006", "network_response_code": "51",
    }  # fmt: skip
    assert server.ask("POST", "/v1/outcomes", outcome, key="report").json["status"] == "accepted"
    of_another = outcome | {"attempt_id": "att_of_another"}
    del of_another["payment_id"]
    assert server.ask("POST", "/v1/outcomes", of_another, key="report").status == 409
    events = server.ask("GET", "/v1/payments/pay_9006", key="read").json["events"]
    assert [event["type"] for event in events] == ["decision", "authorization", "decision"]


def test_an_event_of_another_decision_is_another_event(server: Server) -> None:
    first, other = decided(server, 9_107), decided(server, 9_108)
    told: dict[str, Any] = {
        "type": "authorization", "result": "declined", "source": "acquirer", "event_id": "n-70",
        "network_response_code": "51",
    }  # fmt: skip
    answers = [
        server.ask("POST", "/v1/outcomes", told | about, key="report").status
        for about in (
            {"decision_id": first["id"]}, {"attempt_id": "att_9107"}, {"payment_id": "pay_9107"},
            {"decision_id": other["id"]}, {"decision_id": "dec_9_9"},
            {"decision_id": first["id"], "attempt_id": "att_9108"},
        )
    ]  # fmt: skip
    assert answers == [200, 200, 200, 409, 409, 409]
    assert next_after(server, first["id"], "n-70", decline={"network_response_code": "51"}).status == 200
    assert next_after(server, other["id"], "n-70", decline={"network_response_code": "51"}).status == 409


def test_what_was_not_computed_is_left_out(server: Server) -> None:
    asked = next_after(server, decided(server, 9_109)["id"], "n-71", authentication={"trans_status": "C"}).json
    assert (asked["next"], asked["expected_value"], asked["runner_up"]) == ("authorize", None, None)
    stolen = next_after(server, decided(server, 9_110)["id"], "n-72", decline={"network_response_code": "43"}).json
    assert stolen["exploration"] is None and stolen["expected_value"]["terms"] == {}
    assert stolen["expected_value"]["value_minor"] != 0.0
    kept = next_after(server, decided(server, 9_111)["id"], "n-73", approval={"cvv_result": "M"}).json
    assert sum(kept["expected_value"]["terms"].values()) == pytest.approx(kept["expected_value"]["value_minor"])


def test_a_second_approval_of_one_payment_is_to_be_reversed(server: Server) -> None:
    first = decided(server, 9_007)
    retried = next_after(server, first["id"], "n-9", decline={"network_response_code": "91"}).json
    assert retried["next"] == "retry_now"
    late = {"type": "authorization", "result": "approved", "source": "acquirer", "network_response_code": "00"}
    kept = server.ask("POST", "/v1/outcomes", late | {"event_id": "n-10", "attempt_id": "att_9007.2"}, key="report")
    assert "reverse" not in kept.json
    twice = server.ask("POST", "/v1/outcomes", late | {"event_id": "n-11", "attempt_id": "att_9007"}, key="report")
    assert twice.json["reverse"]


def test_next_actions_replay_to_the_same_answer(server: Server) -> None:
    first = decided(server, 9_008)
    answer = next_after(server, first["id"], "n-12", decline={"network_response_code": "05"}).json
    ids = [first["id"], answer["id"]]
    found = server.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read").json
    assert (found["decisions"], found["different"]) == (2, 0), found


@pytest.mark.parametrize(
    ("told", "param"),
    [
        ({"decline": {}}, "$.decline.network_response_code"),
        ({"decline": {"unknown": True}, "not_sent": True}, "$"),
        ({"authentication": {}}, "$.authentication.trans_status"),
        ({"approval": {"cvv": "123"}}, "$.approval"),
    ],
)
def test_half_a_story_is_refused_with_its_path(server: Server, told: dict[str, Any], param: str) -> None:
    first = decided(server, 9_009)
    answer = next_after(server, first["id"], "n-13", **told)
    assert answer.status == 422 and answer.json["param"] == param, answer.json


def test_nothing_follows_a_decision_that_was_never_made(server: Server) -> None:
    assert next_after(server, "dec_1_999999", "n-14", decline={"network_response_code": "05"}).status == 404


def control(server: Server, subject: str, name: str, after: Any) -> Answer:
    body = {"subject": subject, "id": name, "why": "a test", "after": after}
    return server.ask("POST", "/v1/controls", body, key="admin")


def test_a_kill_switch_diverts_from_the_next_decision_on(server: Server) -> None:
    routes = [{"id": "fresh_a"}, {"id": "fresh_b"}]

    def route(number: int) -> Any:
        return server.decide(attempt_body(number, amount=4_999) | {"eligible_routes": routes}).json["action"]["route"]

    taken = route(9_020)
    assert control(server, "kill_switch", taken, True).status == 200
    try:
        assert route(9_021) not in (taken, None)
    finally:
        control(server, "kill_switch", taken, None)
    assert route(9_022) == taken


@pytest.mark.parametrize(
    ("subject", "name", "after"),
    [("kill_switch", "r", "yes"), ("outage", "r", {"from_us": 1}), ("price", "band", 5), ("budget", "route", -1),
     ("model", "m", {})],
)  # fmt: skip
def test_a_change_that_could_not_be_folded_is_refused(server: Server, subject: str, name: str, after: Any) -> None:
    assert control(server, subject, name, after).status == 422
