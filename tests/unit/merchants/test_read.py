"""A merchant's configuration as people send it."""

import json

import pytest

from greenlane.errors import InputError
from greenlane.merchants.economics import Economics
from greenlane.merchants.inherit import inherit, prior_economics
from greenlane.merchants.read import read_economics


def refusal(body):
    with pytest.raises(InputError) as caught:
        read_economics(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def test_what_is_left_out_comes_from_the_priors():
    read = read_economics(b'{"mcc": "3501", "country": "DE", "handling_minor": 700}')
    assert (read.margin_ppm, read.unrecoverable_ppm, read.handling_minor) == (100_000, 300_000, 700)
    assert read.fees == prior_economics(None, "DE").fees
    assert read_economics(b"{}") == Economics()


def test_what_is_stated_wins_over_the_priors():
    assert read_economics(b'{"mcc": "3501", "margin_ppm": 200000}').margin_ppm == 200_000


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"margin_ppm": 1_000_001}, "$.margin_ppm", "invalid_merchant"),
        ({"margin_ppm": 0.35}, "$.margin_ppm", "invalid_merchant"),
        ({"handling_minor": -1}, "$.handling_minor", "invalid_merchant"),
        ({"mcc": "12"}, "$.mcc", "invalid_merchant"),
        ({"country": "de"}, "$.country", "invalid_merchant"),
        ({"default_intervention": "maybe"}, "$.default_intervention", "invalid_merchant"),
        ({"routes": [{"id": "a"}, {"id": "a"}]}, "$.routes[1].id", "invalid_merchant"),
        ({"routes": [{"network": "visa"}]}, "$.routes[0]", "invalid_merchant"),
        ({"margin": 1}, "$.margin", "unknown_field"),
        ({"fees": {"pct": 1}}, "$.fees.pct", "unknown_field"),
        ({"sca_mandated": True}, "$.country", "invalid_merchant"),
        ([], "$", "invalid_merchant"),
        (b"{", "$", "invalid_merchant"),
    ],
)
def test_the_wrong_field_is_named(body, param, code):
    error = refusal(body)
    assert (error.param, error.code, error.status) == (param, code, 422)
    assert error.hint


def test_a_misspelt_field_is_answered_with_the_right_one():
    assert refusal({"margin": 1}).hint == "did you mean margin_ppm?"


def test_an_unconfigured_merchant_is_held_to_tighter_caps():
    inherited, configured = inherit("5816", "DE"), read_economics(b'{"mcc": "5816", "country": "DE"}')
    assert inherited.margin_ppm == configured.margin_ppm == 800_000
    assert configured.amount_max_minor is None
    assert inherited.amount_max_minor is not None
    assert inherited.unscored_amount_max_minor < configured.unscored_amount_max_minor
