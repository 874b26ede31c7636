"""Card numbers are built at run time here: the repository holds none."""

import json
import random
import time
import timeit
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.errors import PanNotAccepted
from greenlane.payments.guard import luhn_valid, refuse_card_data


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn_valid(digits + last))


def off_by_one(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 1) % 10)


card_numbers = st.text("0123456789", min_size=12, max_size=18).map(with_check_digit)
A_NUMBER = with_check_digit("4" + 14 * "1")


def attempt(**changes: object) -> dict[str, object]:
    return {
        "attempt_id": "att_1",
        "payment": {
            "id": "pay_1",
            "amount": 10**13,
            "currency": "EUR",
            "created": "2026-11-21T20:55:01.123456Z",
            "payment_method": {
                "type": "card",
                "card": {"fingerprint": "5e884898da28047151d0e56f8dc62927", "last4": "1"},
            },
            "metadata": changes,
        },
        "verification": {"cvv_result": "M"},
    }


def body_of(value: object) -> bytes:
    return json.dumps(value).encode()


def refusal(body: bytes) -> PanNotAccepted:
    with pytest.raises(PanNotAccepted) as caught:
        refuse_card_data(body)
    return caught.value


@settings(max_examples=150, deadline=None)
@given(
    card_numbers, st.sampled_from(["value", "key", "number", "list", "inside", "escaped", "fullwidth", "nested json"])
)
def test_a_card_number_is_found_wherever_it_is_and_never_repeated(number: str, place: str) -> None:
    planted = {
        "value": {"note": number},
        "key": {number: "note"},
        "number": {"note": int("9" + with_check_digit_after("9", number)[1:])},
        "list": {"note": [1, ["x", number]]},
        "inside": {"note": f"card{number}, thanks"},
        "escaped": {"note": number},
        "fullwidth": {"note": "".join(chr(0xFF10 + int(digit)) for digit in number)},
        "nested json": {"note": json.dumps({"n": number})},
    }[place]
    body = body_of(attempt(**planted))
    if place == "escaped":
        body = body.replace(number.encode(), "".join(f"\\u00{ord(digit):x}" for digit in number).encode())
    error = refusal(body)
    assert error.code == "pan_not_accepted"
    assert error.param is not None
    assert error.param.startswith("$.payment.metadata")
    assert number not in f"{error} {error.param} {error.hint}"


def with_check_digit_after(first: str, number: str) -> str:
    return with_check_digit(first + number[1:-1])


@settings(max_examples=150, deadline=None)
@given(
    card_numbers, st.integers(1, 6), st.sampled_from([" ", "-", "  ", " - ", "\t", "\u00a0", "\u2013"]), st.booleans()
)
def test_spaces_and_dashes_hide_nothing(number: str, width: int, between: str, with_expiry: bool) -> None:
    groups = between.join(number[i : i + width] for i in range(0, len(number), width))
    note = f"pay with {groups} 12/27" if with_expiry else groups
    for ensure_ascii in (True, False):
        body = json.dumps(attempt(note=note), ensure_ascii=ensure_ascii).encode()
        assert refusal(body).param == "$.payment.metadata.note"


def test_a_number_beside_other_groups_of_digits_is_found() -> None:
    spaced = " ".join(A_NUMBER[i : i + 4] for i in range(0, 16, 4))
    assert refusal(body_of({"note": f"17 {spaced} 12 27 123"})).param == "$.note"


def test_a_repeated_key_hides_nothing() -> None:
    assert refusal(b'{"a": "%s", "a": "x"}' % A_NUMBER.encode()).param == "$.a"


def test_a_float_of_a_card_number_is_found() -> None:
    assert refusal(f'{{"n": {A_NUMBER}.0}}'.encode()).param == "$.n"


@pytest.mark.parametrize("body", [A_NUMBER, f'{{"a": {A_NUMBER}', f"a={A_NUMBER}&b=1", f"\xff{A_NUMBER}"])
def test_a_body_that_is_no_json_is_searched_too(body: str) -> None:
    assert refusal(body.encode("latin-1")).param == "$"


def test_a_body_nested_too_deep_to_decode_is_searched_as_text() -> None:
    assert refusal(b"[" * 100_000 + A_NUMBER.encode()).param == "$"
    refuse_card_data(b"[" * 100_000 + b'"\\u00e9"')


NAMES_OF_SECRETS = """
    cvv CVV2 cvc cardCvc card_cvv cvv_code cardSecurityCode security_code csc cvn cav2 cid c\\u0076v
    pin card_pin pinBlock track track2 trackData track_1_data
"""


@pytest.mark.parametrize("name", NAMES_OF_SECRETS.split())
def test_names_of_security_codes_are_refused_at_their_parent(name: str) -> None:
    body = body_of(attempt(x="1")).replace(b'"x"', f'"{name}"'.encode())
    error = refusal(body)
    assert (error.param, error.code) == ("$.payment.metadata", "pan_not_accepted")


@pytest.mark.parametrize("note", ["cvv 123", "CVC: 1234", "cvv2=999", '{"cvv": "123"}'])
def test_a_security_code_in_a_text_is_refused(note: str) -> None:
    assert refusal(body_of(attempt(note=note))).param == "$.payment.metadata.note"


@pytest.mark.parametrize(
    "name", ["shipping", "tracking_number", "session_id", "decided", "pine", "cvv_result", "incident", "soundtrack_x"]
)
def test_names_that_only_resemble_them_are_not(name: str) -> None:
    refuse_card_data(body_of(attempt(**{name: "M"})))


@pytest.mark.parametrize("text", [f":0.{A_NUMBER},", f'a":0.{A_NUMBER},', f"0.{A_NUMBER}"])
def test_what_looks_like_a_fraction_inside_a_text_is_still_found(text: str) -> None:
    for body in (body_of(attempt(note=text)), json.dumps(attempt(note=text), separators=(",", ":")).encode()):
        assert refusal(body).param == "$.payment.metadata.note"


def test_hashes_uuids_times_and_scores_pass() -> None:
    draw = random.Random(1)
    for _ in range(3000):
        refuse_card_data(
            body_of(
                attempt(
                    sha256=f"{draw.getrandbits(256):064x}a",
                    object_id="fp_" + f"a{draw.getrandbits(92):023x}",
                    uuid=str(uuid.UUID(int=draw.getrandbits(128))),
                    score=draw.random(),
                    ratio=12345 * draw.random(),
                    at="2026-11-21T20:55:01.123456Z",
                    amount=str(draw.randrange(10**12)),
                    counter=draw.randrange(10**12),
                )
            )
        )


@settings(max_examples=100, deadline=None)
@given(card_numbers)
def test_a_wrong_check_digit_makes_it_an_id(number: str) -> None:
    refuse_card_data(body_of(attempt(note=off_by_one(number), number=f"x{off_by_one(number)}x")))


def test_a_network_transaction_id_of_visa_passes_but_no_amex_number_in_its_place() -> None:
    visa_id = with_check_digit("48329748723150")
    refuse_card_data(body_of({"payment": {"network_transaction_id": visa_id}}))
    assert refusal(body_of({"payment": {"id": visa_id}})).param == "$.payment.id"
    amex = with_check_digit("37" + 12 * "4")
    assert refusal(body_of({"payment": {"network_transaction_id": amex}})).param == "$.payment.network_transaction_id"


def test_more_than_nineteen_digits_are_no_card() -> None:
    refuse_card_data(body_of({"par": "V" + 28 * "0"}))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_clean_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        refuse_card_data(body)
    except PanNotAccepted as error:
        assert error.hint


def test_a_body_made_to_be_slow_is_still_answered() -> None:
    worst = ("1 " * 29 + "x") * 4_000  # ones are never Luhn valid at 13 to 19 digits
    began = time.perf_counter()
    refuse_card_data(body_of({"note": worst}))
    assert refusal(body_of({"note": "1 " * 100_000})).param == "$.note"
    assert time.perf_counter() - began < 10


def test_a_typical_clean_body_costs_microseconds() -> None:
    body = body_of(attempt(**{f"field_{i}": "some ordinary text of an order" for i in range(26)}))
    body = body.replace(str(10**13).encode(), b"1999")
    assert 1350 < len(body) < 1700
    seconds = min(timeit.repeat(lambda: refuse_card_data(body), number=200, repeat=5)) / 200
    assert seconds < 100e-6, f"{seconds * 1e6:.1f} us"
