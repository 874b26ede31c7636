"""A small typed client of the REST door, on the standard library alone.

    client = Client("http://127.0.0.1:8080", key="glk_...")
    decision = client.decide(attempt)
    step = client.next_action(decision.id, Happened("acquirer", "e-1", decline=Declined(network_response_code="91")))
    client.report(outcome)

The timeout contract: `timeout_s` bounds each call, connecting included. When it passes, or Greenlane cannot be reached,
`decide` raises Unreachable, and `decide_or` gives the action the caller keeps for that case. A retry with the same
`attempt_id` and stage gets the first answer again, byte for byte, so retrying after Unreachable is always safe.
"""

import http.client
import threading
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from greenlane.decisions.answer import Action, Decision, NextAction
from greenlane.errors import GreenlaneError, InputError
from greenlane.outcomes.happened import Happened
from greenlane.payments.attempt import Attempt
from greenlane.payments.outcome import Outcome

T = TypeVar("T")


class Unreachable(GreenlaneError):
    """No answer within the timeout."""

    code = "unreachable"
    status = 503


class Refused(InputError):
    """Greenlane answered with an error: `code`, `param`, `hint` and `status` are its own."""


class Client:
    def __init__(self, url: str, *, key: str, timeout_s: float = 1.0):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is not an address", param="url", hint="http://127.0.0.1:8080")
        self.parts, self.timeout_s = parts, timeout_s
        self.headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.mine = threading.local()

    def decide(self, attempt: Attempt, *, idempotency_key: str | None = None) -> Decision:
        """One decision. Raises Refused (4xx, 5xx) or Unreachable."""
        extra = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return self.call("POST", "/v1/decisions", attempt, Decision, headers=extra)

    def decide_or(self, attempt: Attempt, fallback: Action) -> Action:
        """The action decided, or the caller's own where Greenlane is unreachable."""
        try:
            return self.decide(attempt).action
        except Unreachable:
            return fallback

    def next_action(self, decision_id: str, happened: Happened) -> NextAction:
        """What to do now that this came of the decision. The same event again gets the first answer again."""
        return self.call("POST", f"/v1/decisions/{quote(decision_id, safe='')}/next_action", happened, NextAction)

    def report(self, *outcomes: Outcome) -> list[dict[str, Any]]:
        """Outcomes, up to 1,000 at once; one answer per item, in order."""
        body: Sequence[Outcome] | Outcome = outcomes[0] if len(outcomes) == 1 else outcomes
        answer = self.call("POST", "/v1/outcomes", body, dict[str, Any])
        return list(answer["data"]) if "data" in answer else [answer]

    def payment(self, payment_id: str) -> dict[str, Any]:
        """The timeline of one payment."""
        return self.call("GET", f"/v1/payments/{quote(payment_id, safe='')}", None, dict[str, Any])

    def replay(self, *decision_ids: str) -> dict[str, Any]:
        """Recompute decisions; `different` is expected to be 0."""
        return self.call("POST", "/v1/replay", {"decision_ids": decision_ids}, dict[str, Any])

    def call(self, method: str, path: str, body: Any, kind: type[T], *, headers: dict[str, str] | None = None) -> T:
        """Any verb of the API, decoded to `kind`."""
        payload = None if body is None else msgspec.json.encode(body)
        try:
            status, answer = self.exchange(method, path, payload, headers or {})
        except (OSError, http.client.HTTPException) as error:
            self.mine.connection = None
            raise Unreachable(
                f"no answer from {self.parts.netloc}: {error}", hint="is `greenlane serve` running?"
            ) from error
        if status >= 400:
            raise refused(status, answer)
        return msgspec.json.decode(answer, type=kind)

    def exchange(self, method: str, path: str, payload: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = getattr(self.mine, "connection", None)
        reused = connection is not None
        if connection is None:
            secure = self.parts.scheme == "https"
            maker = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            connection = maker(self.parts.hostname or "", self.parts.port, timeout=self.timeout_s)
            self.mine.connection = connection
        try:
            connection.request(method, path, body=payload, headers={**self.headers, **headers})
            response = connection.getresponse()
            return response.status, response.read()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.mine.connection = None
            if not reused:
                raise
            return self.exchange(
                method, path, payload, headers
            )  # the server closed an idle connection: every verb is idempotent


def refused(status: int, answer: bytes) -> Refused:
    try:
        told = msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError:
        told = {"message": answer[:200].decode("utf-8", "replace")}
    error = Refused(
        str(told.get("message", "refused")),
        code=str(told.get("code", status)),
        param=told.get("param"),
        hint=told.get("hint"),
    )
    error.status = status
    return error
