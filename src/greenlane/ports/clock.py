"""Time comes from a Clock, so that tests, replay and simulated worlds can say what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_us(self) -> int:
        """UTC microseconds since 1970."""
        ...


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000


class FakeClock:
    """A clock that stands still until told otherwise.

    >>> clock = FakeClock(5)
    >>> clock.advance(2)
    >>> clock.now_us()
    7
    """

    def __init__(self, now_us: int = 0):
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, by_us: int) -> None:
        self._now_us += by_us

    def set(self, now_us: int) -> None:
        self._now_us = now_us
