"""Times are integer microseconds UTC inside and RFC 3339 outside; this is the border between the two."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from greenlane.errors import InputError

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""What `format_rfc3339` can write."""
_SHAPE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def parse_rfc3339(text: str, *, param: str | None = None) -> int:
    """Microseconds UTC since 1970; finer fractions are cut. `invalid_time` at `param` otherwise.

    >>> parse_rfc3339("1970-01-01T01:00:00.000001+01:00")
    1
    """
    if _SHAPE.fullmatch(text) is None:
        capital = text.upper()  # the standard allows small t and z
        if capital != text and _SHAPE.fullmatch(capital):
            return parse_rfc3339(capital, param=param)
        raise _invalid_time(text, param, _what_is_missing(text))
    try:
        us = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError as problem:
        raise _invalid_time(text, param, str(problem)) from None
    if not FIRST_US <= us <= LAST_US:
        raise _invalid_time(text, param, "in UTC it lies outside the years 0001 to 9999")
    return us


def format_rfc3339(us: int) -> str:
    """Always six decimals and Z, so that texts sort as times do.

    >>> format_rfc3339(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    return (_EPOCH + us * _MICROSECOND).isoformat(timespec="microseconds")[:-6] + "Z"


def day_of(us: int) -> int:
    """The UTC day, counted from 1970.

    >>> day_of(DAY_US - 1), day_of(DAY_US)
    (0, 1)
    """
    return us // DAY_US


def format_day(day: int) -> str:
    """
    >>> format_day(1)
    '1970-01-02'
    """
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def _what_is_missing(text: str) -> str:
    if _SHAPE.fullmatch(f"{text}Z"):
        return "the offset is missing: add Z for UTC"
    if _SHAPE.fullmatch(text.replace(" ", "T", 1)):
        return "write a T between date and time"
    return "the form is 2026-11-21T20:55:01.123456Z"


def _invalid_time(text: str, param: str | None, hint: str) -> InputError:
    return InputError(f"{text[:40]!r} is not an RFC 3339 time", code="invalid_time", param=param, hint=hint)
