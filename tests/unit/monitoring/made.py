"""Entries for the monitors' tests."""

from typing import Any

from greenlane.decisions.control import RECORD_ENCODER, ControlRecord
from greenlane.payments.facts import Facts
from greenlane.ports.journal import Entry

DAY = 86_400_000_000
MINUTE = 60_000_000


def facts(number: int = 1, /, **changes: Any) -> Facts:
    told: dict[str, Any] = {
        "payment_id": f"p{number}", "payment_us": 0, "amount_minor": 5_000, "currency": "EUR",
        "amount_reporting_minor": 5_000, "attempt_id": f"a{number}", "merchant_id": "shop", "card": number,
        "device": number, "bin8": "40000000", "network": "visa", "issuer_id": "iss", "route_id": "acq_a",
        "code": "00", "decline_class": "approved",
    }  # fmt: skip
    return Facts(**(told | changes))


def control(at_us: int, subject: str, name: str, after: Any) -> Entry:
    payload = RECORD_ENCODER.encode(ControlRecord(subject, name, "anna", "test", None, after))
    return Entry(1, 1, at_us, "control", "anna", f"c{at_us}", at_us, 0, 1, b"", None, payload)
