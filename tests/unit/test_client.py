"""The client against a server that is a few lines long."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from small_shop import attempt

from greenlane.client import Client, Refused, Unreachable
from greenlane.decisions.answer import Action
from greenlane.errors import InputError
from greenlane.outcomes.happened import Declined, Happened
from greenlane.payments.outcome import Outcome

STATIC = Action(intervention="allow", route="north")
REPORT = Outcome(type="fraud_report", source="issuer", event_id="1", payment_id="pay_1")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server = self.server
        length = int(self.headers.get("content-length") or 0)
        server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, body, close = server.answers.pop(0) if server.answers else (200, b"{}", False)
        if status:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = close

    do_GET = do_POST = answer  # noqa: N815 - the standard library calls them so

    def log_message(self, *_: object) -> None:
        """Tests are silent."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.answers = [], []
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def client(server: ThreadingHTTPServer) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", key="glk_1", timeout_s=5)


def test_a_request_carries_the_key_and_the_idempotency_key(client: Client, server: ThreadingHTTPServer) -> None:
    server.answers.append((422, b"{}", False))
    with pytest.raises(Refused):
        client.decide(attempt(1), idempotency_key="mine")
    method, path, headers, body = server.asked[0]
    assert (method, path, headers["authorization"]) == ("POST", "/v1/decisions", "Bearer glk_1")
    assert headers["idempotency-key"] == "mine"
    assert msgspec.json.decode(body)["attempt_id"] == "att_1"


def test_a_refusal_says_what_the_server_said(client: Client, server: ThreadingHTTPServer) -> None:
    told = {"type": "x", "code": "unknown_field", "message": "no", "request_id": "r", "param": "$.a", "hint": "b"}
    server.answers.append((422, msgspec.json.encode(told), False))
    with pytest.raises(Refused) as refusal:
        client.payment("pay_1")
    error = refusal.value
    assert (error.status, error.code, error.param, error.hint) == (422, "unknown_field", "$.a", "b")


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"\xff", b"[1]"])
def test_an_error_that_is_not_ours_is_still_a_refusal(client: Client, server: ThreadingHTTPServer, body: bytes) -> None:
    server.answers.append((502, body, False))
    with pytest.raises(Refused) as refusal:
        client.payment("pay_1")
    assert refusal.value.status == 502


def test_a_connection_is_used_again_and_made_anew_when_the_server_closed_it(
    client: Client, server: ThreadingHTTPServer
) -> None:
    server.answers += [(200, b"{}", True), (200, b"{}", False), (0, b"", True), (200, b"{}", False)]
    assert [client.payment("p") for _ in range(3)] == [{}] * 3
    assert len(server.asked) == 4


def test_one_outcome_is_sent_alone_and_several_as_a_list(client: Client, server: ThreadingHTTPServer) -> None:
    server.answers += [(200, b'{"status": "accepted"}', False), (200, b'{"data": [{"id": "a"}, {"id": "b"}]}', False)]
    assert client.report(REPORT) == [{"status": "accepted"}]
    assert client.report(REPORT, REPORT) == [{"id": "a"}, {"id": "b"}]
    assert isinstance(msgspec.json.decode(server.asked[0][3]), dict)
    assert len(msgspec.json.decode(server.asked[1][3])) == 2


def test_what_happened_is_told_where_the_next_action_is_asked_for(client: Client, server: ThreadingHTTPServer) -> None:
    server.answers.append((409, b"{}", False))
    with pytest.raises(Refused):
        client.next_action("dec_1_2", Happened(source="bank", event_id="e", decline=Declined(unknown=True)))
    method, path, _, body = server.asked[0]
    assert (method, path) == ("POST", "/v1/decisions/dec_1_2/next_action")
    assert msgspec.json.decode(body) == {"source": "bank", "event_id": "e", "decline": {"unknown": True}}


def test_an_id_with_odd_signs_stays_one_segment(client: Client, server: ThreadingHTTPServer) -> None:
    client.payment("a/b?c")
    assert server.asked[0][1] == "/v1/payments/a%2Fb%3Fc"


def test_where_nobody_answers_the_callers_own_action_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", key="k", timeout_s=0.2)
    with pytest.raises(Unreachable):
        client.decide(attempt(1))
    assert client.decide_or(attempt(1), STATIC) == STATIC


def test_a_server_that_is_silent_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", key="k", timeout_s=0.1)
        assert client.decide_or(attempt(1), STATIC) == STATIC


def test_a_refusal_is_not_hidden_by_the_fallback(client: Client, server: ThreadingHTTPServer) -> None:
    server.answers.append((401, b"{}", False))
    with pytest.raises(Refused):
        client.decide_or(attempt(1), STATIC)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "", "http://"])
def test_what_is_no_address_is_told_at_once(url: str) -> None:
    with pytest.raises(InputError):
        Client(url, key="k")
