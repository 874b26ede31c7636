"""Reads the fee rules of DABstep, a public benchmark of payment questions (fees.json), as a schedule.

    fee = fixed_amount + rate x amount / 10,000          amounts in euros; null or an empty list = any

Texts of ranges: "3-5", ">5", "<3" (days), "100k-1m" (euros a month), ">8.3%", "7.7%-8.3%" (fraud over volume, a month).
Both ends of "a-b" are included, those of ">" and "<" are not: neighbouring bands share their border.
"""

import re
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.merchants.fees import FeeRule, Overlap, Range, Region, Schedule, Situation, When, holds

MINOR: Final = 100
"""Cents of a euro."""
PERCENT: Final = 10**7
"""Of 1e-9."""
SCALE: Final = {"": 1, "k": 1_000, "m": 1_000_000}
NUMBER: Final = r"([0-9]+(?:\.[0-9]+)?)([km]?)%?"
BETWEEN: Final = re.compile(rf"{NUMBER}-{NUMBER}")
BEYOND: Final = re.compile(rf"([<>]){NUMBER}")
ELSEWHERE: Final[tuple[Region, ...]] = ("intra_eea", "inter")


class Line(Struct, frozen=True):
    """One rule as the file has it; numbers are read as decimals, exactly as written."""

    ID: int
    fixed_amount: Decimal
    rate: Decimal
    card_scheme: str | None = None
    account_type: tuple[str, ...] | None = None
    capture_delay: str | None = None
    monthly_fraud_level: str | None = None
    monthly_volume: str | None = None
    merchant_category_code: tuple[int, ...] | None = None
    is_credit: bool | None = None
    aci: tuple[str, ...] | None = None
    intracountry: Decimal | bool | None = None


DECODER: Final = msgspec.json.Decoder(list[Line])


def read_dabstep(body: bytes, *, overlap: Overlap = "add") -> Schedule:
    """The schedule of a fees.json; the benchmark charges all rules that apply, hence `overlap`.

    Raises InputError naming the rule that cannot be expressed.

    >>> body = b'[{"ID": 7, "card_scheme": "NexPay", "fixed_amount": 0.1, "rate": 19, "capture_delay": "3-5"}]'
    >>> rule = read_dabstep(body).rules[0]
    >>> rule.price_micro(10_000), rule.when.capture_delay
    (29000000, Range(low=3, high=5))
    """
    try:
        lines = DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise _unreadable(str(error), "$") from error
    rules = tuple(_rule(line, f"$[{at}]") for at, line in enumerate(lines))
    return Schedule(pricing_model="blended", rules=rules, overlap=overlap)


def matching(schedule: Schedule, situation: Situation, amount_minor: int | None = None) -> tuple[str, ...]:
    """Ids of all rules that could price such a payment: what the situation leaves open rules nothing out here.

    >>> rules = (FeeRule(id="1", when=When(aci=("A", "B"))), FeeRule(id="2"), FeeRule(id="3", when=When(aci=("C",))))
    >>> matching(Schedule(pricing_model="blended", rules=rules), Situation(aci="B"))
    ('1', '2')
    """
    rules = schedule.rules
    return tuple(rule.id for rule in rules if holds(rule.when, situation, amount_minor, unknown_holds=True))


def read_range(text: str, *, unit: int, param: str = "$") -> Range:
    """The integers, in 1 / `unit`, that a text of the file means.

    >>> read_range("100k-1m", unit=100)
    Range(low=10000000, high=100000000)
    >>> read_range(">8.3%", unit=PERCENT), read_range("<3", unit=1)
    (Range(low=83000001, high=None), Range(low=None, high=2))
    """
    compact = text.strip().lower().replace(" ", "")
    if between := BETWEEN.fullmatch(compact):
        low, low_scale, high, high_scale = between.groups()
        return Range(low=_exactly(low, SCALE[low_scale] * unit), high=_exactly(high, SCALE[high_scale] * unit))
    if beyond := BEYOND.fullmatch(compact):
        sign, number, scale = beyond.groups()
        border = _exactly(number, SCALE[scale] * unit)
        return Range(low=border + 1) if sign == ">" else Range(high=border - 1)
    raise _unreadable(f"{text[:40]!r} is no range", param)


def _rule(line: Line, where: str) -> FeeRule:
    return FeeRule(
        id=str(line.ID),
        fixed_micro=_exactly(line.fixed_amount, MINOR * 1_000_000),
        rate_ppm=_exactly(line.rate, 100),
        when=When(
            network=(line.card_scheme,) if line.card_scheme else (),
            account_type=line.account_type or (),
            mcc=tuple(f"{code:04d}" for code in line.merchant_category_code or ()),
            funding=_funding(line.is_credit),
            aci=line.aci or (),
            region=() if line.intracountry is None else ("domestic",) if line.intracountry else ELSEWHERE,
            capture_delay=_delay(line.capture_delay, f"{where}.capture_delay"),
            monthly_volume_minor=_band(line.monthly_volume, unit=MINOR, param=f"{where}.monthly_volume"),
            monthly_fraud_e9=_band(line.monthly_fraud_level, unit=PERCENT, param=f"{where}.monthly_fraud_level"),
        ),
    )


def _funding(is_credit: bool | None) -> tuple[str, ...]:
    if is_credit is None:
        return ()
    return ("credit", "charge") if is_credit else ("debit", "prepaid")


def _delay(text: str | None, param: str) -> Range | Literal["immediate", "manual"] | None:
    if text == "immediate":
        return "immediate"
    if text == "manual":
        return "manual"
    return _band(text, unit=1, param=param)


def _band(text: str | None, *, unit: int, param: str) -> Range | None:
    return read_range(text, unit=unit, param=param) if text else None


def _exactly(number: Decimal | str, unit: int) -> int:
    scaled = Decimal(number) * unit
    if scaled != scaled.to_integral_value():
        raise _unreadable(f"{number} has more decimals than can be priced exactly", "$")
    return int(scaled)


def _unreadable(message: str, param: str) -> InputError:
    hint = 'numbers such as 0.05, ranges such as "3-5", ">5", "100k-1m" or "7.7%-8.3%"'
    return InputError(message, code="invalid_schedule", param=param, hint=hint)
