"""A token bucket per key: more than the stated rate answers 429, never slows the others down."""

from greenlane.errors import LimitExceeded


class RateLimit:
    """
    >>> limit = RateLimit(per_second=2, burst=2)
    >>> limit.take("k", now_us=0); limit.take("k", now_us=0)
    >>> limit.take("k", now_us=0)
    Traceback (most recent call last):
    greenlane.errors.LimitExceeded: more than 2 requests a second
      hint: slow down, or spread the load
    """

    def __init__(self, *, per_second: float, burst: float):
        self.per_second, self.burst = per_second, burst
        self.buckets: dict[str, tuple[float, int]] = {}

    def take(self, key: str, *, now_us: int) -> None:
        left, since_us = self.buckets.get(key, (self.burst, now_us))
        left = min(self.burst, left + max(now_us - since_us, 0) * self.per_second / 1e6)
        if left < 1:
            self.buckets[key] = (left, now_us)
            error = LimitExceeded(
                f"more than {self.per_second:g} requests a second",
                code="rate_limited",
                hint="slow down, or spread the load",
            )
            error.status = 429
            raise error
        self.buckets[key] = (left - 1, now_us)
