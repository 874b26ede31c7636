import msgspec
import pytest
from small_shop import attempt_body

from greenlane.decisions.redact import redacted
from greenlane.journal.freeze import Reporting, freeze
from greenlane.payments.attempt import Attempt, LocalMethod, MethodType
from greenlane.payments.facts import Facts
from greenlane.ports.subjects import MemorySubjects


def kept(attempt: Attempt) -> tuple[bytes, Facts]:
    facts = freeze(attempt, subjects=MemorySubjects(), reporting=Reporting("EUR"), ingest_us=0)
    return msgspec.json.encode(redacted(attempt, facts)), facts


def test_nothing_that_points_at_a_person_is_kept() -> None:
    secret = {name: f"secret_{name}" for name in ("id", "email_hash", "phone_hash")}
    body = attempt_body(
        1,
        customer=secret | {"email_domain": "mail.example"},
        device={"id": "secret_device", "ip": "198.51.100.7", "user_agent_hash": "secret_agent", "ip_country": "DE"},
        payment_method={"card": {"fingerprint": "secret_card", "par": "secret_par", "last4": "4242"}},
        shipping_hash="secret_shipping",
        metadata={"note": "secret_note"},
    )
    text, facts = kept(msgspec.convert(body, Attempt))
    for whole in (text, msgspec.json.encode(facts)):
        assert b"secret" not in whole and b"198.51.100" not in whole and b"4242" not in whole
    assert b"mail.example" in text


@pytest.mark.parametrize("method", [m for m in MethodType.__args__ if m != "card"])
def test_other_instruments_are_kept_by_pseudonym_too(method: str) -> None:
    local = LocalMethod(fingerprint="secret_account", bank_country="NL", mandate_id="secret_mandate")
    body = attempt_body(1, payment_method={"type": method, method: msgspec.to_builtins(local)})
    text, _ = kept(msgspec.convert(body, Attempt))
    assert b"secret" not in text and b"NL" in text


def test_what_the_choice_looks_at_is_kept() -> None:
    body = attempt_body(1) | {
        "stage": "post_authorization",
        "deadline_ms": 40,
        "mode": "shadow",
        "verification": {"three_ds": {"trans_status": "Y"}},
        "eligible_routes": [{"id": "a"}],
        "constraints": {"review_allowed": False},
        "signals": {"partner_score": 3},
    }
    attempt = msgspec.convert(body, Attempt)
    facts = freeze(attempt, subjects=MemorySubjects(), reporting=Reporting("EUR"), ingest_us=0)
    after = redacted(attempt, facts)
    for name in ("stage", "deadline_ms", "mode", "verification", "eligible_routes", "constraints", "signals"):
        assert getattr(after, name) == getattr(attempt, name)
