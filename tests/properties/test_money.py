"""Laws of money: nothing is lost between text and minor units, and rounding is half to even."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.errors import InputError
from greenlane.payments.money import AMOUNT_MAX, EXPONENTS, RATE_ONE, Money, exponent, parse_minor, to_reporting_minor

currencies = st.sampled_from(sorted(EXPONENTS))
amounts = st.integers(-AMOUNT_MAX, AMOUNT_MAX)
small_amounts = st.integers(-(10**9), 10**9)
rates = st.integers(1, 10**16)


@settings(max_examples=300, deadline=None)
@given(amounts, currencies)
def test_what_is_written_is_read_back_exactly(amount_minor: int, currency: str) -> None:
    text, code = str(Money(amount_minor, currency)).split()
    assert Money.parse(text, code) == Money(amount_minor, currency)


@settings(max_examples=300, deadline=None)
@given(small_amounts, rates, currencies, currencies)
def test_conversion_equals_decimal_arithmetic(amount_minor: int, rate_e12: int, source: str, target: str) -> None:
    exact = Decimal(amount_minor).scaleb(-exponent(source)) * Decimal(rate_e12).scaleb(-12)
    expected = int(exact.scaleb(exponent(target)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    if abs(expected) > AMOUNT_MAX:
        with pytest.raises(InputError, match="minor units"):
            to_reporting_minor(amount_minor, source, reporting_currency=target, rate_e12=rate_e12)
    else:
        assert to_reporting_minor(amount_minor, source, reporting_currency=target, rate_e12=rate_e12) == expected


@settings(max_examples=200, deadline=None)
@given(small_amounts, rates)
def test_conversion_treats_both_signs_alike(amount_minor: int, rate_e12: int) -> None:
    def convert(amount: int) -> int:
        return to_reporting_minor(amount, "EUR", reporting_currency="EUR", rate_e12=rate_e12 % RATE_ONE + 1)

    assert convert(-amount_minor) == -convert(amount_minor)


@given(amounts, currencies)
def test_a_rate_of_one_within_one_currency_changes_nothing(amount_minor: int, currency: str) -> None:
    assert to_reporting_minor(amount_minor, currency, reporting_currency=currency, rate_e12=RATE_ONE) == amount_minor


@given(small_amounts, small_amounts, currencies)
def test_money_is_conserved_by_adding_and_taking_away(a: int, b: int, currency: str) -> None:
    assert Money(a, currency) + Money(b, currency) - Money(b, currency) == Money(a, currency)


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_an_input_error(text: str) -> None:
    try:
        parse_minor(text, "EUR")
    except InputError as error:
        assert error.code == "invalid_amount"
        assert error.hint
