"""Published detectors of a change in a stream, as the river library (0.26) has them, to hold ours against.

    python benchmarks/detectors.py [--seeds 20] [--json FILE]

Each hears 20,000 answers approved at 88 % and then 20,000 at 80 %: false alarms before the drop, answers after it. Ours
has the budget of one false alarm in twenty days at an answer every three seconds.
"""

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from math import inf, log, sqrt
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from table import Bar, bar, report

from greenlane.monitoring.distances import kolmogorov_smirnov
from greenlane.monitoring.streams import Budget, Streams
from greenlane.monitoring.traffic import APPROVAL_TILTS

CALM: Final = 20_000
BEFORE, AFTER = 0.88, 0.80
Hear = Callable[[float], bool]
"""One more value; True where a change is told, after which the detector begins anew."""


class PageHinkley:
    """Page (1954), with a forgetting factor; both directions unless `down_only`."""

    def __init__(self, *, delta: float = 0.005, limit: float = 50.0, kept: float = 0.9999, down_only: bool = False):
        self.delta, self.limit, self.kept, self.down_only = delta, limit, kept, down_only
        self.begin()

    def begin(self) -> None:
        self.n, self.mean, self.up, self.down, self.least, self.most = 0, 0.0, 0.0, 0.0, inf, -inf

    def hear(self, x: float) -> bool:
        self.n += 1
        self.mean += (x - self.mean) / self.n
        self.up = self.kept * self.up + x - self.mean - self.delta
        self.down = self.kept * self.down + x - self.mean + self.delta
        self.least, self.most = min(self.least, self.up), max(self.most, self.down)
        rise = 0.0 if self.down_only else self.up - self.least
        found = self.n >= 30 and max(rise, self.most - self.down) > self.limit
        if found:
            self.begin()
        return found


class Adwin:
    """An adaptive window of exponential buckets (Bifet and Gavalda 2007)."""

    BUCKETS, CLOCK, GRACE, LEAST = 5, 32, 10, 5

    def __init__(self, *, delta: float = 0.002):
        self.delta = delta
        self.begin()

    def begin(self) -> None:
        self.ticks = 0
        self.rows: list[list[tuple[float, float]]] = [[]]
        """(sum, variance times size) of buckets of 1, 2, 4, ... values, the oldest of each size first."""
        self.width, self.total, self.spread = 0, 0.0, 0.0

    def hear(self, x: float) -> bool:
        self.ticks += 1
        if self.width:
            self.spread += self.width * (x - self.total / self.width) ** 2 / (self.width + 1)
        self.width, self.total = self.width + 1, self.total + x
        self.rows[0].append((x, 0.0))
        self._compress()
        found = False
        while self.ticks % self.CLOCK == 0 and self.width > self.GRACE and self._is_cut():
            self._forget()
            found = True
        if found:
            self.begin()
        return found

    def _compress(self) -> None:
        for at, row in enumerate(self.rows):
            if len(row) <= self.BUCKETS:
                return
            if at + 1 == len(self.rows):
                self.rows.append([])
            (u1, v1), (u2, v2) = row[:2]
            del row[:2]
            size = 2**at
            self.rows[at + 1].append((u1 + u2, v1 + v2 + size * size * (u1 / size - u2 / size) ** 2 / (2 * size)))

    def _is_cut(self) -> bool:
        n0, u0 = 0, 0.0
        for at in range(len(self.rows) - 1, -1, -1):
            for total, _ in self.rows[at][: None if at else -1]:
                n0, u0 = n0 + 2**at, u0 + total
                n1, u1 = self.width - n0, self.total - u0
                if min(n0, n1) >= self.LEAST and abs(u0 / n0 - u1 / n1) > self._allowed(n0, n1):
                    return True
        return False

    def _allowed(self, n0: int, n1: int) -> float:
        chance = log(2.0 * log(self.width) / self.delta)
        harmonic = 1.0 / (n0 - self.LEAST + 1) + 1.0 / (n1 - self.LEAST + 1)
        return sqrt(2.0 * harmonic * self.spread / self.width * chance) + 2.0 / 3.0 * chance * harmonic

    def _forget(self) -> None:
        """The oldest bucket."""
        size, (total, spread) = 2 ** (len(self.rows) - 1), self.rows[-1].pop(0)
        self.width, self.total = self.width - size, self.total - total
        apart = total / size - self.total / self.width
        self.spread -= spread + size * self.width * apart**2 / (size + self.width)
        if not self.rows[-1]:
            self.rows.pop()


class Kswin:
    """The last values against a sample of those before, by Kolmogorov and Smirnov (Raab, Heusinger, Schleif 2020)."""

    def __init__(self, *, alpha: float = 0.005, window: int = 100, recent: int = 30, seed: int = 1):
        self.alpha, self.size, self.recent, self.rng = alpha, window, recent, Random(seed)
        self.window: deque[float] = deque(maxlen=window)

    def hear(self, x: float) -> bool:
        self.window.append(x)
        if len(self.window) < self.size:
            return False
        older = self.size - self.recent
        drawn = [self.window[at] for at in self.rng.sample(range(older), self.recent)]
        latest = list(islice(self.window, older, None))
        distance, chance = kolmogorov_smirnov(drawn, latest)
        found = chance <= self.alpha and distance > 0.1
        if found:
            self.window = deque(latest, maxlen=self.size)
        return found


def ours() -> Hear:
    streams, n = Streams(APPROVAL_TILTS, [Budget(("all",), 0.05)], base=BEFORE), 0

    def hear(x: float) -> bool:
        nonlocal n
        n += 1
        found = streams.hear([("all", ())], 0.0, happened=x, at_us=n * 3_000_000)
        streams.turn(n * 3_000_000)
        return any(not change.ended_us for change in found)

    return hear


DETECTORS: Final[dict[str, Callable[[], Hear]]] = {
    "ours": ours,
    "ADWIN": lambda: Adwin().hear,
    "Page-Hinkley, down": lambda: PageHinkley(down_only=True).hear,
    "Page-Hinkley": lambda: PageHinkley().hear,
}


def told(hear: Hear, stream: Iterable[float]) -> list[int]:
    """The places at which a change is told."""
    return [at for at, x in enumerate(stream) if hear(x)]


def answers(seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    return [*(rng.random(CALM) < BEFORE).astype(float).tolist(), *(rng.random(CALM) < AFTER).astype(float).tolist()]


def measured(seeds: int) -> list[Bar]:
    rows = []
    for name, begin in DETECTORS.items():
        every = [told(begin(), answers(seed)) for seed in range(seeds)]
        delays = [min((at - CALM for at in found if at >= CALM), default=CALM) for found in every]
        false = sum(at < CALM for found in every for at in found) / seeds
        rows += [
            bar(f"{name}: answers after the drop, mean", float(np.mean(delays)), ""),
            bar(f"{name}: false alarms in {CALM:,}", false, ""),
        ]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    return report(measured(given.seeds), given.json)


if __name__ == "__main__":
    sys.exit(main())
