"""A body that does not come to its end."""

import asyncio
from typing import Any

import pytest

from greenlane.errors import InputError
from greenlane.serving import http


def test_a_body_that_is_held_back_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_S_MAX", 0.01)
    first = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if first:
            return first.pop()
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    with pytest.raises(InputError) as refused:
        asyncio.run(http.read_body(receive, 1000))
    assert (refused.value.status, refused.value.code) == (408, "body_too_slow")
