import pytest

from greenlane.errors import InputError
from greenlane.payments.money import AMOUNT_MAX, EXPONENTS, Money, exponent, parse_minor, to_reporting_minor


@pytest.mark.parametrize(
    ("currency", "decimals"), [("EUR", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4), ("ISK", 0)]
)
def test_exponents_are_those_of_iso_4217(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


def test_every_currency_has_a_plausible_exponent() -> None:
    assert len(EXPONENTS) > 160
    assert set(EXPONENTS.values()) == {0, 2, 3, 4}


@pytest.mark.parametrize(("typed", "meant"), [("eur", "EUR"), ("EURO", "EUR"), ("USB", "USD"), ("GPB", "GBP")])
def test_an_unknown_currency_names_itself_its_path_and_a_near_one(typed: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        exponent(typed, param="$.payment.currency")
    assert (caught.value.code, caught.value.param) == ("unknown_currency", "$.payment.currency")
    assert typed in caught.value.message
    assert caught.value.hint is not None
    assert "did you mean" in caught.value.hint
    assert meant in caught.value.hint


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [("12.34", "EUR", 1234), ("0.05", "EUR", 5), ("-1", "EUR", -100), ("7", "JPY", 7), ("1.5", "KWD", 1500)],
)
def test_decimals_become_minor_units(text: str, currency: str, amount_minor: int) -> None:
    assert parse_minor(text, currency) == amount_minor


@pytest.mark.parametrize(
    ("text", "currency", "says"),
    [
        ("12.345", "EUR", "more decimals than EUR has"),
        ("7.0", "JPY", "more decimals than JPY has"),
        ("12,34", "EUR", "not a decimal amount"),
        ("1e3", "EUR", "not a decimal amount"),
        ("", "EUR", "not a decimal amount"),
        ("٣", "EUR", "not a decimal amount"),
        ("100000000000.01", "EUR", "above"),
    ],
)
def test_nothing_is_guessed_or_rounded(text: str, currency: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_minor(text, currency)


def test_halves_go_to_the_even_neighbour() -> None:
    halves = [
        to_reporting_minor(n, "EUR", reporting_currency="EUR", rate_e12=500_000_000_000) for n in (1, 3, 5, -1, -3)
    ]
    assert halves == [0, 2, 2, 0, -2]


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(InputError, match="positive"):
        to_reporting_minor(1, "EUR", reporting_currency="USD", rate_e12=0)


def test_a_converted_amount_must_stay_within_the_bound() -> None:
    with pytest.raises(InputError) as caught:
        to_reporting_minor(AMOUNT_MAX, "EUR", reporting_currency="USD", rate_e12=2 * 10**12)
    assert caught.value.code == "amount_too_large"


def test_two_currencies_do_not_add_up() -> None:
    with pytest.raises(InputError, match="EUR and USD"):
        Money(1, "EUR") + Money(1, "USD")
