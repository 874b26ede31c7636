"""The limits of a whole system, behind its own door."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from small_shop import attempt_body, shop_in

from greenlane.serving.access import GRANTS, KeyFile
from greenlane.serving.app import door
from greenlane.serving.http import Door


def asked(application: Door, key: str, body: Any) -> tuple[int, dict[str, Any]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(body)}

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "query_string": b"", "headers": headers}
    reply = asyncio.run(application.reply(scope, receive))
    return reply.status, msgspec.json.decode(reply.body)


def test_more_than_the_stated_rate_is_429_and_the_next_second_is_served(tmp_path: Path) -> None:
    system = shop_in(tmp_path, requests_per_second_max=3)
    keys = KeyFile(system.places.keys)
    mine, yours = keys.create(GRANTS, created=""), keys.create(GRANTS, created="")
    application = door(system, keys, on_failure=lambda request, error: None)
    answers = [asked(application, mine, attempt_body(number)) for number in range(5)]
    assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
    assert (answers[-1][1]["code"], answers[-1][1]["type"]) == ("rate_limited", "limit_error")
    assert asked(application, yours, attempt_body(10))[0] == 200
    system.clock.advance(1_000_000)
    assert asked(application, mine, attempt_body(11))[0] == 200
    system.close()


def test_a_stated_body_limit_holds(tmp_path: Path) -> None:
    system = shop_in(tmp_path, body_bytes_max=1024)
    keys = KeyFile(system.places.keys)
    key = keys.create(GRANTS, created="")
    application = door(system, keys, on_failure=lambda request, error: None)
    assert asked(application, key, attempt_body(1))[0] == 200
    status, told = asked(application, key, attempt_body(2, metadata={"n": "x" * 512, "m": "y" * 512}))
    assert (status, told["code"]) == (413, "body_too_large")
    system.close()
