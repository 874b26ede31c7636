"""The door alone, driven by the ASGI messages that a server would send."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from greenlane.errors import GreenlaneError, InputError, JournalError
from greenlane.serving.http import Door, Reply, Request, Slow

FAILED: list[Exception] = []
REFUSED: list[GreenlaneError] = []


def echo(request: Request) -> Reply:
    return Reply(200, request.body)


def fail(request: Request) -> Reply:
    raise ZeroDivisionError("secret")


def refuse(request: Request) -> Reply:
    raise InputError("no", param="$.a", hint="yes")


def unavailable(request: Request) -> Reply:
    raise JournalError("the disk is full")


def durable_reply(request: Request) -> Reply:
    return Reply(200, b"{}", durable_seq=7)


ROUTES = {
    ("POST", "/echo"): echo,
    ("GET", "/fail"): fail,
    ("GET", "/refuse"): refuse,
    ("GET", "/down"): unavailable,
    ("GET", "/slow"): Slow(echo),
    ("GET", "/things/{id}"): echo,
    ("GET", "/things/all"): echo,
    ("PUT", "/things/{id}"): echo,
    ("POST", "/prepared"): Slow(lambda request: None, then=echo),
    ("POST", "/unprepared"): Slow(refuse, then=echo),
    ("GET", "/durable"): durable_reply,
}


def ask(
    method: str, path: str, *parts: bytes, body_max: int = 100, durable: Any = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, decoded body and headers of one request whose body comes in parts."""
    FAILED.clear()
    REFUSED.clear()
    door = Door(
        ROUTES,
        body_max=body_max,
        durable=durable,
        on_error=lambda request, error: FAILED.append(error),
        on_refusal=REFUSED.append,
    )
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
    messages.append({"type": "http.request", "body": parts[-1] if parts else b"", "more_body": False})
    waiting, sent = iter(messages), list[Mapping[str, Any]]()

    async def receive() -> Mapping[str, Any]:
        return next(waiting)

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    asyncio.run(door(scope, receive, send))
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(headers["content-length"]) == len(body["body"])
    return start["status"], msgspec.json.decode(body["body"]) if body["body"] else None, headers


def test_a_body_in_parts_is_one_body() -> None:
    assert ask("POST", "/echo", b'{"a"', b": ", b"1}")[:2] == (200, {"a": 1})


@pytest.mark.parametrize("parts", [(b" " * 101,), (b" " * 60, b" " * 60), (b" " * 60,) * 5, (b" " * 500, b"")])
def test_a_body_over_the_limit_is_refused(parts: tuple[bytes, ...]) -> None:
    status, told, _ = ask("POST", "/echo", *parts)
    assert (status, told["code"], told["type"]) == (413, "body_too_large", "limit_error")


def test_a_body_at_the_limit_passes() -> None:
    assert ask("POST", "/echo", b"1" + b" " * 59, b" " * 40)[0] == 200


def test_patterns_match_one_segment_and_exact_paths_win() -> None:
    assert [ask("GET", path)[0] for path in ("/things/1", "/things/all", "/things/", "/things/1/2")] == [
        200,
        200,
        404,
        404,
    ]


def test_a_method_not_taken_names_those_that_are() -> None:
    status, told, _ = ask("DELETE", "/things/1")
    assert (status, told["code"], told["hint"]) == (405, "method_not_allowed", "use GET, PUT")


def test_a_failure_of_ours_is_counted_and_tells_nothing() -> None:
    status, told, _ = ask("GET", "/fail")
    assert (status, told["code"], len(FAILED)) == (500, "internal_error", 1)
    assert "secret" not in str(told)


def test_a_refusal_is_counted_by_its_code() -> None:
    _, told, _ = ask("GET", "/refuse")
    assert [told["code"]] == [error.code for error in REFUSED]
    ask("GET", "/nowhere")
    assert [error.code for error in REFUSED] == ["not_found"] and not FAILED


def test_a_refusal_is_no_failure() -> None:
    status, told, _ = ask("GET", "/refuse")
    assert (status, told["param"], told["hint"], FAILED) == (422, "$.a", "yes", [])


def test_a_journal_that_cannot_be_written_is_503_and_says_when_to_come_back() -> None:
    status, told, headers = ask("GET", "/down")
    assert (status, told["type"], headers["retry-after"], len(FAILED)) == (503, "unavailable", "1", 1)


def test_what_is_slow_runs_elsewhere_and_its_second_half_here() -> None:
    assert ask("GET", "/slow", b"1")[:2] == (200, 1)
    assert ask("POST", "/prepared", b"1")[:2] == (200, 1)
    assert ask("POST", "/unprepared", b"1")[0] == 422


def test_more_slow_requests_than_are_allowed_at_once_are_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.serving.http.SLOW_MAX", 0)
    status, told, headers = ask("GET", "/slow", b"1")
    assert (status, told["code"], headers["retry-after"]) == (429, "too_many_slow", "1")


def test_a_slow_request_that_failed_makes_room_for_the_next() -> None:
    door = Door(ROUTES, body_max=10, durable=None)
    request = Request("POST", "/unprepared", "", {}, b"")
    for _ in range(5):
        assert asyncio.run(door.slowly(Slow(refuse, then=echo), request)).status == 422
    assert door.slow_now == 0


def test_an_answer_waits_for_what_must_be_durable() -> None:
    waited: list[int] = []

    async def durable(seq: int) -> None:
        waited.append(seq)

    assert ask("GET", "/durable", durable=durable)[0] == 200
    assert waited == [7]


def test_what_will_not_be_durable_is_an_error_and_no_answer() -> None:
    async def durable(seq: int) -> None:
        raise JournalError("a commit failed")

    assert ask("GET", "/durable", durable=durable)[0] == 503
