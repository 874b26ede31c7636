"""SIGTERM finishes what was accepted; the next start goes on where the last one stopped."""

import socket
import time
from collections.abc import Iterator

import pytest
from e2e.server import Server, champion, run, serving
from e2e.test_models import Traffic
from small_shop import attempt_body, save_model

from greenlane.wiring import Places


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, to be stopped and started."""
    with serving(tmp_path_factory.mktemp("restarted")) as found:
        champion(found)
        yield found


@pytest.fixture
def shop(started: Server) -> Server:
    """The same, running, whatever became of it in another test."""
    if started.process.poll() is not None:
        started.start()
    return started


def test_sigterm_finishes_what_was_accepted(shop: Server) -> None:
    address = shop.url.removeprefix("http://").split(":")
    with Traffic(shop, threads=2, first=10_000) as traffic:
        while len(traffic.answers) < 50:
            time.sleep(0.01)
        half_sent = socket.create_connection((address[0], int(address[1])))
        body = b'{"type":"abandoned","source":"shop","event_id":"a-1","payment_id":"pay_10001"}'
        head = f"POST /v1/outcomes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shop.keys['report']}\r\n"
        half_sent.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:20])
        time.sleep(0.05)
        shop.process.terminate()
        time.sleep(0.05)
        half_sent.sendall(body[20:])
        said = b"".join(iter(lambda: half_sent.recv(65_536), b""))
        shop.stop()
    assert b"200 OK" in said and b"accepted" in said
    assert shop.process.returncode in (0, -15)
    assert all(isinstance(failure, OSError) for failure in traffic.failed), "refused connections, never a wrong answer"
    assert not Places(shop.data).server.exists()
    shop.start()
    lost = [a["id"] for a in traffic.answers if shop.ask("GET", f"/v1/decisions/{a['id']}", key="read").status != 200]
    assert lost == []


def test_after_a_restart_the_same_request_gets_the_same_bytes_and_replays(shop: Server) -> None:
    before = [shop.decide(attempt_body(number)) for number in range(5)]
    shop.stop()
    shop.start()
    assert [shop.decide(attempt_body(number)).raw for number in range(5)] == [answer.raw for answer in before]
    after = shop.decide(attempt_body(90_000))
    position = after.json["journal_position"]
    assert position["generation"] == before[0].json["journal_position"]["generation"] + 1
    ids = [answer.json["id"] for answer in (*before, after)]
    assert shop.ask("POST", "/v1/replay", {"decision_ids": ids}, key="read").json["different"] == 0


def test_what_was_seen_before_a_restart_is_known_after_it(shop: Server) -> None:
    def seen(number: int) -> float | None:
        body = attempt_body(number, customer={"id": "cus_kept"}, device={"id": "dev_kept"})
        decision = shop.decide(body).json["id"]
        known = shop.ask("GET", f"/v1/decisions/{decision}?expand=features", key="read").json["features"]
        return known["customer_device.seen"]

    before = [seen(91_000), seen(91_001)]
    shop.stop()
    shop.start()
    assert (before, seen(91_002)) == ([None, 1], 1)


def test_the_champion_and_the_merchants_survive(shop: Server) -> None:
    model = champion(shop, lean=0.7)
    shop.ask("PUT", "/v1/merchants/shop_kept", {"amount_max_minor": 1})
    shop.stop()
    shop.start()
    assert shop.ask("GET", "/readyz", key="").json["model"] == model
    decided = shop.decide(attempt_body(92_000, merchant_id="shop_kept")).json
    assert (decided["action"]["intervention"], decided["versions"]["models"]) == ("block", {"fraud": model})


def test_one_directory_has_one_server(shop: Server) -> None:
    second = run("serve", "--data", str(shop.data), "--port", "0", "--no-follower")
    assert second.returncode == 2
    assert "hint" in second.stderr and "Traceback" not in second.stderr
    assert shop.ask("GET", "/healthz", key="").status == 200


def test_replay_finds_nothing_on_the_stopped_directory_after_a_newer_model(shop: Server) -> None:
    shop.stop()
    save_model(Places(shop.data).models, lean=2.0)
    replayed = run("replay", "--data", str(shop.data), "--sample", "10000", "--refold", "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert '"different": 0' in replayed.stdout
