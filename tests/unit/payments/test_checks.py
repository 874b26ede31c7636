import timeit
from typing import Any

import msgspec
import pytest

from greenlane.errors import InputError
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.payments.checks import check_attempt


def attempt(*, routes: list[dict[str, Any]] | None = None, at: str | None = None, **payment: Any) -> Attempt:
    fields: dict[str, Any] = {
        "id": "pay_1",
        "amount": 1999,
        "currency": "EUR",
        "created": "2026-11-21T20:55:01.123456Z",
        "merchant_id": "shop_1",
        "payment_method": {"type": "card", "card": {"fingerprint": "fp_1", "network": "visa"}},
        "customer": {"id": "cus_1", "account_created": "2024-01-01T00:00:00Z"},
        "device": {"id": "dev_1", "ip": "203.0.113.7"},
    }
    body = {"attempt_id": "att_1", "payment": fields | payment, "eligible_routes": routes or []}
    return ATTEMPT_DECODER.decode(msgspec.json.encode(body | ({"at": at} if at else {})))


def refusal(of: Attempt) -> InputError:
    with pytest.raises(InputError) as caught:
        check_attempt(of)
    assert caught.value.hint
    return caught.value


CARD = {"fingerprint": "fp_1"}


@pytest.mark.parametrize(
    ("method", "member", "says"),
    [
        ({"type": "card"}, "card", "card is missing"),
        ({}, "card", "card is missing"),
        ({"type": "pix"}, "pix", "pix is missing"),
        ({"type": "pix", "card": CARD}, "card", "card is set"),
        ({"type": "card", "card": CARD, "pix": {"fingerprint": "k"}}, "pix", "pix is set"),
        ({"type": "blik", "blik": {"fingerprint": "k"}, "upi": {"fingerprint": "k"}}, "upi", "upi is set"),
    ],
)
def test_a_payment_method_sets_exactly_the_member_its_type_names(
    method: dict[str, Any], member: str, says: str
) -> None:
    error = refusal(attempt(payment_method=method))
    assert says in error.message
    assert (error.code, error.param) == ("inconsistent_fields", f"$.payment.payment_method.{member}")


def test_every_local_method_may_stand_alone() -> None:
    for name in ("pix", "ideal", "sepa_debit", "upi", "us_bank_account", "blik"):
        check_attempt(attempt(payment_method={"type": name, name: {"fingerprint": "fp_1"}}))


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"currency": "EUX"}, "unknown_currency", "$.payment.currency"),
        ({"created": "2026-11-21"}, "invalid_time", "$.payment.created"),
        ({"customer": {"account_created": "yesterday"}}, "invalid_time", "$.payment.customer.account_created"),
        ({"device": {"ip": "203.0.113.256"}}, "invalid_ip", "$.payment.device.ip"),
        ({"device": {"ip": "203.0.113.7:443"}}, "invalid_ip", "$.payment.device.ip"),
        ({"device": {"ip": "203.0.113.7\0"}}, "invalid_ip", "$.payment.device.ip"),
        ({"device": {"ip": ""}}, "invalid_ip", "$.payment.device.ip"),
        ({"mit_reason": "recurring"}, "inconsistent_fields", "$.payment.mit_reason"),
        ({"at": "noon"}, "invalid_time", "$.at"),
        ({"routes": [{"id": "r1"}, {"id": "r2"}, {"id": "r1"}]}, "duplicate_route", "$.eligible_routes[2].id"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_path(fields: dict[str, Any], code: str, param: str) -> None:
    error = refusal(attempt(**fields))
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"device": {"ip": "2001:db8::1"}},
        {"device": {"ip": "::ffff:203.0.113.7"}},
        {"device": {}},
        {"initiator": "mit", "mit_reason": "recurring"},
        {"initiator": "mit"},
        {"customer": None, "device": None, "created": None},
        {"at": "2026-11-21T20:55:01Z", "routes": [{"id": "r1"}, {"id": "r2"}]},
    ],
)
def test_what_fits_passes(fields: dict[str, Any]) -> None:
    check_attempt(attempt(**fields))


def test_a_check_costs_microseconds() -> None:
    usual = attempt(routes=[{"id": "r1"}, {"id": "r2"}])
    assert min(timeit.repeat(lambda: check_attempt(usual), number=200, repeat=5)) / 200 < 40e-6
