"""Every documented refusal, over the wire: its status, its code, its path and its hint."""

import json
from typing import Any

import pytest
from e2e.server import Answer, Server
from small_shop import attempt_body

from greenlane.payments.guard import luhn_valid
from greenlane.settings import Settings

FIELDS = {"type", "code", "message", "param", "hint", "request_id"}


def card_number() -> str:
    """Sixteen digits that pass for a card, made at run time so that none stands in a file."""
    return next(n for n in (f"{400000 * 10**10 + i}" for i in range(100)) if luhn_valid(n))


CARD_NUMBER = card_number()


def refused(answer: Answer, status: int, code: str, param: str | None = None, hint: str = "") -> dict[str, Any]:
    told = answer.json
    assert (answer.status, told["code"]) == (status, code), answer.raw
    assert set(told) == FIELDS
    assert told["message"] and told["type"] and told["request_id"].startswith("req_")
    assert param is None or told["param"] == param
    assert hint in (told["hint"] or "")
    return told


def changed(path: str, value: Any) -> dict[str, Any]:
    """A whole body with one value put in at a dotted path."""
    body = attempt_body(7_000)
    *way, last = path.split(".")
    place: Any = body
    for step in way:
        place = place.setdefault(step, {})
    place[last] = value
    return body


WRONG = [
    ("payment.payment_method.card.fingerprnt", "x", "unknown_field", "did you mean fingerprint?"),
    ("payment.amuont", 5, "unknown_field", "did you mean amount?"),
    ("zzz", 5, "unknown_field", "metadata"),
    ("payment.amount", -1, "invalid_field", "/docs"),
    ("payment.amount", 10**13 + 1, "invalid_field", "/docs"),
    ("payment.amount", 12.5, "invalid_field", "/docs"),
    ("payment.amount", "12", "invalid_field", "/docs"),
    ("payment.currency", "eur", "invalid_field", "/docs"),
    ("payment.currency", "ZZZ", "unknown_currency", ""),
    ("payment.currency", "JPY", "currency_not_configured", "rates.JPY"),
    ("payment.mcc", "58", "invalid_field", "/docs"),
    ("payment.created", "yesterday", "invalid_time", ""),
    ("payment.created", "2026-13-01T00:00:00Z", "invalid_time", ""),
    ("payment.mit_reason", "recurring", "inconsistent_fields", "initiator"),
    ("payment.payment_method.pix", {"fingerprint": "x"}, "inconsistent_fields", "exactly"),
    ("payment.device.ip", "10.0.0.256", "invalid_ip", "IPv4"),
    ("payment.id", "", "invalid_field", "/docs"),
    ("payment.id", "two words", "invalid_field", "/docs"),
    ("payment.id", "x" * 129, "invalid_field", "/docs"),
    ("stage", "later", "invalid_field", "/docs"),
    ("deadline_ms", 0, "invalid_field", "/docs"),
    ("at", "2026-11-21T00:00:00Z", "invalid_request", "leave `at` out"),
]


@pytest.mark.parametrize(("path", "value", "code", "hint"), WRONG, ids=[f"{p}={str(v)[:20]}" for p, v, _, _ in WRONG])
def test_a_wrong_field_is_named_by_its_path(server: Server, path: str, value: Any, code: str, hint: str) -> None:
    refused(server.decide(changed(path, value)), 422, code, f"$.{path}", hint)


@pytest.mark.parametrize("number", [2**64, -(2**70), 10**30])
def test_a_signal_of_more_than_64_bits_is_refused(server: Server, number: int) -> None:
    refused(server.decide(changed("signals.score", number)), 422, "invalid_field", "$.signals[...]")


@pytest.mark.parametrize("after", [{"mismatches": "many"}, {"mismatches": []}, {"n": 10**30}])
def test_a_finding_that_cannot_be_kept_is_refused(server: Server, after: dict[str, Any]) -> None:
    body = {"subject": "parity", "id": "1", "why": "a test", "after": after}
    told = server.ask("POST", "/v1/controls", body)
    assert (told.status, told.json["param"].startswith("$.after")) == (422, True)


def test_a_missing_field_is_named(server: Server) -> None:
    body = attempt_body(7_000)
    del body["payment"]["currency"]
    refused(server.decide(body), 422, "missing_field", "$.payment.currency", "/docs")


@pytest.mark.parametrize(
    "path",
    ["payment.payment_method.card.fingerprint", "payment.metadata", "signals", "payment.id", "attempt_id", "nowhere"],
)
def test_a_card_number_anywhere_is_refused(server: Server, path: str) -> None:
    value = {"note": CARD_NUMBER} if path in ("payment.metadata", "signals") else CARD_NUMBER
    told = refused(server.decide(changed(path, value)), 422, "pan_not_accepted")
    assert told["param"].startswith(f"$.{path}")
    assert CARD_NUMBER not in json.dumps(told)


@pytest.mark.parametrize("name", ["cvv", "cvc", "security_code", "cvv2"])
def test_a_security_code_is_refused(server: Server, name: str) -> None:
    path = f"payment.payment_method.card.{name}"
    refused(server.decide(changed(path, "123")), 422, "pan_not_accepted", hint="cvv_result")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/outcomes"),
        ("POST", "/v1/replay"),
        ("PUT", "/v1/merchants/shop_1"),
        ("POST", "/v1/models/mdl_1/promote"),
        ("POST", "/v1/models/rollback"),
        ("POST", "/v1/controls"),
    ],
)
def test_every_door_that_takes_a_body_refuses_card_numbers_and_what_is_no_json(
    server: Server, method: str, path: str
) -> None:
    assert refused(server.ask(method, path, {"why": CARD_NUMBER}), 422, "pan_not_accepted")["param"] == "$.why"
    for body in (b"", b"{", b"\xff\xfe", b'{"a": \x00}', b"[" * 100_000, b"nonsense"):
        answer = server.ask(method, path, body)
        assert answer.status in (400, 404, 422), answer.raw
        assert set(answer.json) == FIELDS


def test_a_card_number_outside_the_body_is_refused_where_it_would_be_remembered(server: Server) -> None:
    refused(server.decide(attempt_body(7_005), idempotency_key=CARD_NUMBER), 422, "pan_not_accepted")
    refused(server.ask("PUT", f"/v1/merchants/{CARD_NUMBER}", {}), 422, "pan_not_accepted")
    refused(server.ask("PUT", f"/v1/merchants/shop_9?why={CARD_NUMBER}", {}), 422, "pan_not_accepted")


@pytest.mark.parametrize("name", ["a" * 129, "a%20b", "%D0%BA"])
def test_a_merchant_is_named_like_everything_else(server: Server, name: str) -> None:
    refused(server.ask("PUT", f"/v1/merchants/{name}", {}), 422, "invalid_request", "id")


@pytest.mark.parametrize("name", ["mdl_0000000000000000", "..", "mdl_" + "a" * 5000, "%00", "."])
def test_a_model_that_is_not_there_is_404(server: Server, name: str) -> None:
    refused(server.ask("POST", f"/v1/models/{name}/promote", {"why": "x"}), 404, "not_found", "model_id", "known: mdl_")


@pytest.mark.parametrize("body", [b"", b"{", b"{]", b"\xff", b"nonsense", b'{"attempt_id": "a"'])
def test_what_is_no_json_is_400(server: Server, body: bytes) -> None:
    refused(server.decide(body), 400, "invalid_json", hint="UTF-8")


@pytest.mark.parametrize("body", [b"1", b"null", b"[]", b'"text"', b"true"])
def test_json_that_is_no_object_is_422(server: Server, body: bytes) -> None:
    refused(server.decide(body), 422, "invalid_field", "$")


def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(server: Server) -> None:
    large = b" " * (Settings().body_bytes_max + 1)
    refused(server.decide(large), 413, "body_too_large")
    connection = server.connect()
    headers = {"authorization": f"Bearer {server.keys['decide']}"}
    connection.request("POST", "/v1/decisions", iter([b" " * 65_536] * 20), headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer glk_nobody", "Basic glk_x", "Bearer  "])
def test_no_valid_key_is_401(server: Server, authorization: str) -> None:
    answer = server.ask("POST", "/v1/decisions", attempt_body(1), key="", authorization=authorization)
    assert refused(answer, 401, "invalid_key", hint="Bearer")["type"] == "authentication_error"


def test_a_key_in_another_script_is_401_and_no_failure(server: Server) -> None:
    refused(
        server.ask("GET", "/v1/models", key="", authorization="Bearer ключ".encode().decode("latin-1")),
        401,
        "invalid_key",
    )


@pytest.mark.parametrize(
    ("key", "method", "path"),
    [
        ("read", "POST", "/v1/decisions"),
        ("decide", "POST", "/v1/outcomes"),
        ("report", "GET", "/v1/decisions/dec_1_1"),
        ("decide", "GET", "/v1/payments/pay_1"),
        ("read", "PUT", "/v1/merchants/shop_1"),
        ("read", "POST", "/v1/models/rollback"),
        ("read", "POST", "/v1/models/mdl_1/promote"),
        ("report", "POST", "/v1/controls"),
        ("decide", "POST", "/v1/replay"),
    ],
)
def test_a_key_without_the_scope_is_403(server: Server, key: str, method: str, path: str) -> None:
    refused(server.ask(method, path, {}, key=key), 403, "missing_scope", hint="scope")


def test_the_same_key_with_another_body_is_409(server: Server) -> None:
    body = attempt_body(7_001)
    assert server.decide(body).status == 200
    refused(server.decide(body | {"deadline_ms": 50}), 409, "idempotency_conflict", "Idempotency-Key", "same body")
    assert server.decide(attempt_body(7_002), idempotency_key="mine").status == 200
    refused(server.decide(attempt_body(7_003), idempotency_key="mine"), 409, "idempotency_conflict")


def test_an_unfit_idempotency_key_is_422(server: Server) -> None:
    answer = server.decide(attempt_body(7_004), idempotency_key="x" * 129)
    refused(answer, 422, "invalid_idempotency_key", "Idempotency-Key")


@pytest.mark.parametrize("path", ["//", "/v1", "/v1/decision", "/v1/decisions/", "/v1/payments/a/b", "/..", "/v1/%00"])
def test_an_unknown_path_is_404(server: Server, path: str) -> None:
    refused(server.ask("GET", path), 404, "not_found", hint="/docs")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/decisions/dec_9_9", "not_found"), ("/v1/decisions/%00", "not_found"), ("/v1/payments/nobody", "not_found")],
)
def test_an_unknown_thing_is_404(server: Server, path: str, code: str) -> None:
    refused(server.ask("GET", path, key="read"), 404, code, "id")


@pytest.mark.parametrize(
    ("method", "path", "use"),
    [("DELETE", "/v1/decisions", "GET, POST"), ("POST", "/v1/merchants/m", "GET, PUT"), ("PUT", "/healthz", "GET")],
)
def test_a_method_that_is_not_taken_is_405_and_says_which_are(server: Server, method: str, path: str, use: str) -> None:
    refused(server.ask(method, path), 405, "method_not_allowed", hint=use)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=-1", "cursor=x", "cursor=٣", "limit=", f"cursor={'0' * 20}{'9' * 5000}"],
)
def test_a_wrong_query_is_422(server: Server, query: str) -> None:
    from urllib.parse import quote

    told = refused(server.ask("GET", f"/v1/decisions?{quote(query, safe='=')}", key="read"), 422, "invalid_request")
    assert told["param"] == query.partition("=")[0]


def test_nothing_of_this_was_a_failure_of_ours(server: Server) -> None:
    assert b"greenlane_failed_total 0.0" in server.ask("GET", "/metrics").raw
