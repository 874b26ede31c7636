from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.errors import InputError
from greenlane.payments.times import DAY_US, day_of, format_day, format_rfc3339, parse_rfc3339

NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:00:00Z",
        "2026-11-21t12:00:00z",
        "2026-11-21T12:00:00.0Z",
        "2026-11-21T12:00:00.000000999Z",
        "2026-11-21T14:00:00+02:00",
        "2026-11-21T06:30:00-05:30",
        "2026-11-21T12:00:00-00:00",
    ],
)
def test_every_form_of_rfc_3339_is_read(text: str) -> None:
    assert parse_rfc3339(text) == NOON


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2026-11-21T12:00:00", "offset is missing"),
        ("2026-11-21 12:00:00Z", "write a T"),
        ("2026-02-30T12:00:00Z", "day"),
        ("2026-11-21T12:00:60Z", "second"),
        ("2026-11-21T24:00:00Z", "the form is"),
        ("2026-11-21T12:00:00+24:00", "the form is"),
        ("2026-11-21T12:00:00,5Z", "the form is"),
        ("2026-W47-6T12:00:00Z", "the form is"),
        ("20261121T120000Z", "the form is"),
        ("٢٠٢٦-11-21T12:00:00Z", "the form is"),
        ("1763726400", "the form is"),
        ("0001-01-01T00:00:00+00:01", "outside the years"),
        ("9999-12-31T23:59:59-00:01", "outside the years"),
        ("", "the form is"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(text: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_rfc3339(text, param="$.at")
    assert (caught.value.code, caught.value.param) == ("invalid_time", "$.at")
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4_000_000_000_000_000))
def test_what_is_written_is_read_back_exactly(us: int) -> None:
    assert parse_rfc3339(format_rfc3339(us)) == us
    assert format_rfc3339(us).startswith(format_day(day_of(us)))


def test_texts_sort_as_times_do() -> None:
    times = [0, 1, 999_999, 1_000_000, DAY_US - 1, DAY_US, NOON]
    texts = [format_rfc3339(us) for us in times]
    assert texts == sorted(texts)
