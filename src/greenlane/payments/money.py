"""Money is integer minor units and an ISO 4217 currency, because a float cannot hold ten cents."""

import re
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Self

from msgspec import Struct

from greenlane.errors import InputError
from greenlane.payments.tables import rows

AMOUNT_MAX: Final = 10**13
"""Minor units. Larger amounts are refused, so that sums over any window stay far inside 64 bits."""

RATE_ONE: Final = 10**12
"""A rate of exactly one: rates are integers, reporting units per unit, times 10^-12."""

EXPONENTS: Final = MappingProxyType({row["code"]: int(row["exponent"]) for row in rows("currencies")})
"""Decimals by currency: all active codes of ISO 4217, and a few withdrawn ones that imported history still names."""

_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,20})(?:\.([0-9]{1,20}))?")


def exponent(currency: str, *, param: str = "$.currency") -> int:
    """How many decimals the currency has; `unknown_currency` at `param` when there is no such currency.

    >>> exponent("EUR"), exponent("JPY"), exponent("KWD")
    (2, 0, 3)
    """
    known = EXPONENTS.get(currency)
    if known is None:
        raise _unknown_currency(currency, param)
    return known


def to_reporting_minor(amount_minor: int, currency: str, *, reporting_currency: str, rate_e12: int) -> int:
    """The amount in the reporting currency's minor units, rounded half to even, in integers throughout.

    `rate_e12` is reporting units per unit of `currency`, times 10^12.

    >>> to_reporting_minor(1000, "JPY", reporting_currency="EUR", rate_e12=6_125_000_000)  # 1000 yen at 0.006125
    612
    """
    if rate_e12 <= 0:
        raise InputError("an exchange rate must be positive", code="invalid_rate", hint="1.08 is written 1080000000000")
    numerator = amount_minor * rate_e12 * 10 ** exponent(reporting_currency, param="$.reporting_currency")
    converted = _divide_half_even(numerator, RATE_ONE * 10 ** exponent(currency))
    if abs(converted) > AMOUNT_MAX:
        raise InputError(
            f"{amount_minor} {currency} is more than {AMOUNT_MAX} minor units of {reporting_currency}",
            code="amount_too_large",
            param="$.amount",
            hint="check the exchange rate and that the amount is in minor units",
        )
    return converted


class Money(Struct, frozen=True, order=False, gc=False):
    """An amount of one currency; adding two currencies is an error, never a number.

    >>> Money.parse("12.34", "EUR") + Money(66, "EUR")
    Money(amount_minor=1300, currency='EUR')
    >>> str(Money(-5, "KWD"))
    '-0.005 KWD'
    """

    amount_minor: int
    currency: str

    @classmethod
    def parse(cls, text: str, currency: str) -> Self:
        """Exactly the decimal that is written, or `invalid_amount`."""
        return cls(parse_minor(text, currency), currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount_minor + self._alike(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount_minor - self._alike(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount_minor, self.currency)

    def __str__(self) -> str:
        decimals = exponent(self.currency)
        digits = str(abs(self.amount_minor)).rjust(decimals + 1, "0")
        point = len(digits) - decimals
        sign = "-" if self.amount_minor < 0 else ""
        return f"{sign}{digits[:point]}{'.' if decimals else ''}{digits[point:]} {self.currency}"

    def _alike(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise InputError(
                f"{self.currency} and {other.currency} do not add up",
                code="currency_mismatch",
                hint="convert both with to_reporting_minor first",
            )
        return other.amount_minor


def parse_minor(text: str, currency: str, *, param: str = "$.amount") -> int:
    """Minor units of a decimal as people and files write it; nothing is rounded.

    >>> parse_minor("12.34", "EUR"), parse_minor("12", "EUR"), parse_minor("12.345", "KWD")
    (1234, 1200, 12345)
    """
    decimals = exponent(currency)
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        raise _invalid_amount(f"{text[:40]!r} is not a decimal amount", param, "write it like 1234.56")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if len(fraction) > decimals:
        raise _invalid_amount(
            f"{text[:40]!r} has more decimals than {currency} has ({decimals})", param, "round it first"
        )
    amount_minor = int(whole + fraction.ljust(decimals, "0"))
    if amount_minor > AMOUNT_MAX:
        raise _invalid_amount(f"{text[:40]!r} {currency} is above {AMOUNT_MAX} minor units", param, "check the amount")
    return -amount_minor if sign else amount_minor


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))


def _unknown_currency(currency: str, param: str) -> InputError:
    near = get_close_matches(currency.upper(), EXPONENTS, n=4)
    hint = f"did you mean {' or '.join(near)}?" if near else "use an ISO 4217 code such as EUR"
    return InputError(f"{currency[:12]!r} is not a currency", code="unknown_currency", param=param, hint=hint)


def _invalid_amount(message: str, param: str, hint: str) -> InputError:
    return InputError(message, code="invalid_amount", param=param, hint=hint)
