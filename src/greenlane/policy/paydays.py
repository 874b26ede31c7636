"""When it is worth asking a card again with nobody present: in the morning, not on Sundays, and when money came in.

Mornings from Tuesday to Thursday are said to be best and Sundays worst; no source publishes how it was measured, so
these are weak priors. Local time is the country's standard time: an hour more or less does not matter here.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from greenlane.payments.times import DAY_US, HOUR_US

MORNING_US: Final = 8 * HOUR_US + HOUR_US // 2
"""08:30, in the middle of the hours from 07 to 10."""

OFFSET_US: Final = {
    country: round(hours * HOUR_US)
    for hours, countries in {
        -6: "US MX CA",
        -3: "BR AR CL UY",
        -5: "CO PE EC",
        0: "GB IE PT IS",
        1: "AT BE CH CZ DE DK ES FR HR HU IT LI LU MT NL NO PL SE SI SK",
        2: "BG CY EE FI GR LT LV RO ZA UA IL EG",
        3: "TR SA KE",
        4: "AE",
        5.5: "IN",
        7: "TH VN ID",
        8: "SG MY PH HK CN TW",
        9: "JP KR",
        10: "AU",
        12: "NZ",
    }.items()
    for country in countries.split()
}
"""Standard time by country; UTC where it is not listed."""

SUNDAY: Final = 6
FRIDAY: Final = 4
WEEKLY: Final = frozenset({"US", "GB", "AU", "NZ", "CA"})
"""Where many are paid by the week or the fortnight, on Fridays."""


def morning_after(us: int, country: str) -> int:
    """The next local morning at or after `us` that is no Sunday.

    >>> from greenlane.payments.times import format_rfc3339, parse_rfc3339
    >>> format_rfc3339(morning_after(parse_rfc3339("2026-11-21T20:00:00Z"), "DE"))[:16]  # a Saturday evening
    '2026-11-23T07:30'
    """
    offset_us = OFFSET_US.get(country, 0)
    day = -(-(us + offset_us - MORNING_US) // DAY_US)
    while _day(day).weekday() == SUNDAY:
        day += 1
    return day * DAY_US + MORNING_US - offset_us


def payday_mornings(from_us: int, until_us: int, country: str) -> Iterator[int]:
    """Mornings on which wages may just have come in: the 1st, 15th, 25th, the last business day, some Fridays.

    >>> from greenlane.payments.times import format_rfc3339, parse_rfc3339
    >>> start = parse_rfc3339("2026-11-16T00:00:00Z")
    >>> [format_rfc3339(us)[5:10] for us in payday_mornings(start, start + 16 * DAY_US, "DE")]
    ['11-25', '11-30', '12-01']
    """
    offset_us = OFFSET_US.get(country, 0)
    for day in range((from_us + offset_us) // DAY_US, (until_us + offset_us) // DAY_US + 1):
        us = day * DAY_US + MORNING_US - offset_us
        if from_us <= us <= until_us and is_payday(day, country):
            yield us


@lru_cache(maxsize=8192)
def is_payday(local_day: int, country: str) -> bool:
    """Of a local day, counted from 1970."""
    today = _day(local_day)
    if today.weekday() == SUNDAY:
        return False
    if today.weekday() == FRIDAY and country in WEEKLY:
        return True
    return today.day in (1, 15, 25) or _last_business_day(today)


def local_day(us: int, country: str) -> int:
    return (us + OFFSET_US.get(country, 0)) // DAY_US


def day_ppm(us: int, country: str) -> int:
    """How good a day is for asking again, against an average one; ppm. Assumed: paydays help want of funds by 40 %."""
    day = local_day(us, country)
    if _day(day).weekday() == SUNDAY:
        return 780_000
    return 1_400_000 if is_payday(day, country) else 1_000_000


def _last_business_day(today: date) -> bool:
    ends = [today + timedelta(days=days) for days in range(1, 4)]
    left = [day for day in ends if day.month == today.month and day.weekday() < 5]
    return today.weekday() < 5 and today.day > 25 and not left


def _day(day: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()
