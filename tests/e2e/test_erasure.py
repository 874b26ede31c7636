"""People's data: nothing that names a person is written anywhere, and what points at one can be erased."""

from pathlib import Path
from typing import Any

import pytest
from e2e.server import Server, champion, run, serving
from small_shop import attempt_body

from greenlane.ports.journal import ENCODER
from greenlane.wiring import erase_subject, open_reader

PLANTED = {
    "card": "fp_planted_card_9f3a",
    "par": "par_planted_77b1",
    "customer": "cus_planted_5e0c",
    "email": "mailhash_planted_c4d2",
    "phone": "phonehash_planted_8a8a",
    "device": "dev_planted_1b2c",
    "ip": "198.51.100.231",
    "shipping": "ship_planted_3d4e",
}
ELSEWHERE = ("agent_planted_6f6f", "order note planted 4711", "4242planted")


def body_of_somebody(number: int) -> dict[str, Any]:
    body = attempt_body(number)
    body["payment"] |= {
        "payment_method": {
            "card": {
                "fingerprint": PLANTED["card"],
                "par": PLANTED["par"],
                "last4": "4242",
                "network": "visa",
                "issuer_country": "DE",
            }
        },
        "customer": {
            "id": PLANTED["customer"],
            "email_hash": PLANTED["email"],
            "phone_hash": PLANTED["phone"],
            "email_domain": "mail.example",
        },
        "device": {"id": PLANTED["device"], "ip": PLANTED["ip"], "user_agent_hash": ELSEWHERE[0]},
        "shipping_hash": PLANTED["shipping"],
        "metadata": {"note": ELSEWHERE[1]},
    }
    return body


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory):
    """A stopped server whose directory holds somebody, decided and reported, in three files and a day."""
    with serving(tmp_path_factory.mktemp("people")) as server:
        champion(server)
        for number in range(20):
            assert server.decide(body_of_somebody(number)).status == 200
        whole = {
            "type": "fraud_report",
            "source": "issuer",
            "event_id": "f-1",
            "payment": body_of_somebody(50)["payment"],
        }
        assert server.ask("POST", "/v1/outcomes", whole, key="report").status == 200
        waiting = whole | {"event_id": "f-2", "type": "reversal", "reverses": "dispute"}
        assert server.ask("POST", "/v1/outcomes", waiting, key="report").status == 200
        server.decide(body_of_somebody(3) | {"attempt_id": "x" * 200})
        server.stop()
        yield server


def files_with(data: Path, text: str) -> list[str]:
    wanted = text.encode()
    return [path.name for path in data.rglob("*") if path.is_file() and wanted in path.read_bytes()]


@pytest.mark.parametrize("text", [*PLANTED.values(), *ELSEWHERE[:2]])
def test_no_identifier_is_in_any_file_of_the_directory(shop: Server, text: str) -> None:
    assert files_with(shop.data, text) == []
    assert files_with(shop.data, text.encode().hex()) == []


def test_no_identifier_is_inside_what_is_kept_packed(shop: Server) -> None:
    kept = b"".join(ENCODER.encode(entry.facts) + entry.payload for entry in open_reader(shop.data).entries())
    assert b"pay_1" in kept
    assert [text for text in (*PLANTED.values(), *ELSEWHERE[:2]) if text.encode() in kept] == []


def test_erasing_a_subject_leaves_replay_as_it_was(shop: Server) -> None:
    erased = run("subjects", "erase", "card", PLANTED["card"], "--data", str(shop.data))
    assert (erased.returncode, erased.stdout.strip()) == (0, "erased: no entry leads back to this card")
    assert run("subjects", "erase", "card", PLANTED["card"], "--data", str(shop.data)).returncode == 1
    rest = [(kind, identifier) for kind, identifier in PLANTED.items() if kind != "card"]
    assert [erase_subject(shop.data, *one) for one in rest] == [True] * len(rest)
    assert [erase_subject(shop.data, *one) for one in rest] == [False] * len(rest)
    replayed = run("replay", "--data", str(shop.data), "--refold", "--json")
    assert (replayed.returncode, '"different": 0' in replayed.stdout) == (0, True), replayed.stderr


def test_what_cannot_be_erased_is_told(shop: Server) -> None:
    wrong = run("subjects", "erase", "nobody", "x", "--data", str(shop.data))
    assert wrong.returncode == 2 and "one of card" in wrong.stderr


def test_a_running_server_is_to_be_stopped_first(server: Server) -> None:
    busy = run("subjects", "erase", "card", "fp_1", "--data", str(server.data))
    assert busy.returncode == 2 and "stop the other one" in busy.stderr
