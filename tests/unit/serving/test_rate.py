import pytest

from greenlane.errors import LimitExceeded
from greenlane.serving.rate import RateLimit


def taken(limit: RateLimit, key: str, *, now_us: int, tries: int) -> int:
    passed = 0
    for _ in range(tries):
        try:
            limit.take(key, now_us=now_us)
            passed += 1
        except LimitExceeded as error:
            assert (error.status, error.code) == (429, "rate_limited")
    return passed


def test_a_burst_passes_and_then_the_stated_rate() -> None:
    limit = RateLimit(per_second=10, burst=5)
    assert taken(limit, "k", now_us=0, tries=9) == 5
    assert taken(limit, "k", now_us=300_000, tries=9) == 3
    assert taken(limit, "k", now_us=10_000_000, tries=9) == 5


def test_one_key_does_not_slow_another() -> None:
    limit = RateLimit(per_second=1, burst=1)
    assert taken(limit, "a", now_us=0, tries=5) == 1
    assert taken(limit, "b", now_us=0, tries=5) == 1


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    limit = RateLimit(per_second=1, burst=1)
    assert taken(limit, "a", now_us=5_000_000, tries=1) == 1
    with pytest.raises(LimitExceeded):
        limit.take("a", now_us=0)
