"""What issuers remember of a merchant in one card range: points that fade, and what they cost there."""

import heapq
import math
from typing import Final

from greenlane.payments.times import DAY_US
from greenlane.simulation.parameters import Memory as Remembering

NOTHING: Final = (0.0, 0)


class Memory:
    """Of one run. A report is held from the time at which the issuer knows it.

    >>> from greenlane.simulation.parameters import load
    >>> memory = Memory(load("europe")[0].memory)
    >>> memory.hold(0, 1, 0, points=8.0)
    >>> round(memory.points(0, 1, 8 * DAY_US), 6), memory.points(0, 0, 0), memory.drop(0, 1, 0) > 0
    (4.0, 0.0, True)
    """

    def __init__(self, remembering: Remembering):
        self._remembering = remembering
        self._fades_per_day = math.log(2) / remembering.half_life_days
        self._held: dict[tuple[int, int], tuple[float, int]] = {}
        """Points, and when they were counted, by merchant and card range."""
        self._reports: list[tuple[int, int, int]] = []

    def points(self, merchant: int, card_range: int, at_us: int) -> float:
        while self._reports and self._reports[0][0] <= at_us:
            known_us, *cell = heapq.heappop(self._reports)
            self._add(cell[0], cell[1], known_us, points=self._remembering.reported)
        return self._faded(merchant, card_range, at_us)

    def drop(self, merchant: int, card_range: int, at_us: int) -> float:
        """What they take off the latent scale of approval."""
        excess = self.points(merchant, card_range, at_us) / self._remembering.threshold
        return self._remembering.weight * math.log(excess) if excess > 1 else 0.0

    def declined(self, merchant: int, card_range: int, at_us: int, *, retry: bool) -> None:
        held = self._remembering.declined_retry if retry else self._remembering.declined
        self.hold(merchant, card_range, at_us, points=held)

    def hold(self, merchant: int, card_range: int, at_us: int, *, points: float) -> None:
        self.points(merchant, card_range, at_us)
        self._add(merchant, card_range, at_us, points=points)

    def will_be_reported(self, merchant: int, card_range: int, known_us: int) -> None:
        heapq.heappush(self._reports, (known_us, merchant, card_range))

    def _add(self, merchant: int, card_range: int, at_us: int, *, points: float) -> None:
        _, since_us = self._held.get((merchant, card_range), NOTHING)
        faded = self._faded(merchant, card_range, at_us)
        self._held[merchant, card_range] = faded + points, max(at_us, since_us)

    def _faded(self, merchant: int, card_range: int, at_us: int) -> float:
        points, since_us = self._held.get((merchant, card_range), NOTHING)
        return points * math.exp(-self._fades_per_day * (max(0, at_us - since_us) / DAY_US)) if points else 0.0
