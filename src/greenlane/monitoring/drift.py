"""Features and probabilities that no longer look as they did: against bins that were fixed once.

The population stability index of one and the same data is .28 or .73 depending on the bins, so bins are fixed with the
reference and never drawn anew. Effects decide, not p-values: a p-value turns with the sample size. What an index is by
chance alone is subtracted, and nothing is said below a minimum of observations.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from greenlane.monitoring.alarms import Alarm, Cause
from greenlane.monitoring.distances import chance_psi, js_distance, psi
from greenlane.payments.arrays import Floats, Ints
from greenlane.payments.times import DAY_US, HOUR_US

BINS: Final = 10
VALUES_MAX: Final = 30
"""A column of no more values than these has a bin for each."""
REFERENCE_ROWS: Final = 2_000
WINDOW_MIN: Final = 1_000
GROSS_MIN: Final = 200
"""Observations; a quick look at this many finds only what is broken."""
SPREAD: Final = 0x9E3779B97F4A7C15
WINDOW_US: Final = DAY_US
"""A window is as long as the reference, so that days are compared with days."""
PSI_MAX: Final = 0.2
JS_MAX: Final = 0.15
GROSS_PSI: Final = 1.5
MISSING_MAX: Final = 0.1
UNSEEN_MAX: Final = 0.05
BROKEN: Final = "broken: "
"""What an hourly look finds."""
CLOCKS: Final = ("minute_of_day", "hour", "weekday", "is_weekend", "is_night")
"""They move with the sun."""


class Bins(Struct, frozen=True):
    """Where the values of one column fall: between edges, or a bin for each value; then missing; then what is new: a
    value the reference never had, or one out of its range.

    >>> told = Bins.of(np.array([1.0, 1.0, 2.0, 2.0, 3.0, np.nan]))
    >>> told.counts(np.array([1.0, 3.0, 7.0, np.nan])).tolist()
    [1, 0, 1, 1, 1]
    """

    edges: list[float]
    is_values: bool
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> "Bins":
        told = values[~np.isnan(values)]
        distinct = np.unique(told)
        if len(distinct) <= VALUES_MAX:
            return cls(distinct.tolist(), True, 0.0, 0.0)
        edges = np.unique(np.quantile(told, np.arange(1, BINS) / BINS))
        return cls(edges.tolist(), False, float(told.min()), float(told.max()))

    @property
    def size(self) -> int:
        return len(self.edges) + (2 if self.is_values else 3)

    def counts(self, values: Floats) -> Ints:
        edges = np.asarray(self.edges, np.float64)
        if self.is_values:
            at = np.searchsorted(edges, values)
            known = np.append(edges, np.nan)[at] == values
        else:
            at = np.searchsorted(edges, values, side="right")
            known = (values >= self.low) & (values <= self.high)
        places = np.where(known, at, self.size - 1)
        return np.bincount(np.where(np.isnan(values), self.size - 2, places), minlength=self.size).astype(np.int64)


class Look(NamedTuple):
    """One column, now against its reference."""

    column: str
    rows: int
    psi: float
    """Less what chance gives."""
    js: float
    missing: float
    """The rise of the share, 0 where it fell."""
    unseen: float
    """Of values never seen before; of a number: outside the range of the reference."""

    @classmethod
    def at(cls, column: str, reference: Ints, current: Ints) -> "Look":
        before, now = reference.sum(), max(int(current.sum()), 1)
        chance = chance_psi(int((reference > 0).sum()), float(before), float(now))
        rises = current[-2:] / now - reference[-2:] / before
        js = js_distance(reference, current)
        return cls(column, now, psi(reference, current) - chance, js, *np.maximum(rises, 0.0).tolist())

    def verdict(self, *, gross: bool) -> tuple[str, float]:
        """Which effect is too large and how large, ("", 0.0) where none is."""
        if self.rows < (GROSS_MIN if gross else WINDOW_MIN):
            return "", 0.0
        scale = 3.0 if gross else 1.0
        limits = (
            ("missing", self.missing, MISSING_MAX * scale),
            ("unseen", self.unseen, UNSEEN_MAX * scale),
            ("psi", self.psi, GROSS_PSI if gross else PSI_MAX),
            ("js", self.js, 1.0 if gross else JS_MAX + sqrt(1.0 / self.rows)),
        )
        return next(((name, value) for name, value, limit in limits if value > limit), ("", 0.0))


class Drift:
    """Columns of one model. The first day is the reference; then every day is held against it, and every hour, for what
    is broken. Memory: the reference's rows while they are gathered, then bins, and at most an hour's rows.

    >>> drift, rng, at_us = Drift(["amount"]), np.random.default_rng(1), 30_000_000
    >>> calm = [a for n in range(6_000) for a in drift.hear("mdl", lambda: rng.integers(1, 90, 1) * 1.0, n * at_us)]
    >>> stuck = [a for n in range(6_000, 7_000) for a in drift.hear("mdl", lambda: np.array([7.0]), n * at_us)]
    >>> len(calm), stuck[0].series, str(stuck[0].causes[0])
    (0, 'amount', 'feature amount')
    """

    def __init__(self, columns: Sequence[str]):
        self.columns = list(columns)
        self.watched = [at for at, name in enumerate(self.columns) if name not in CLOCKS]
        self._begin("", 0)

    def _begin(self, version: str, at_us: int) -> None:
        """Another model or feature set: another reference, since what it is given may differ rightly."""
        self.version, self.heard = version, 0
        self.rows: list[Callable[[], Floats]] = []
        self.bins: list[Bins] = []
        self.reference: list[Ints] = []
        self.window: list[Ints] = []
        self.window_at_us = self.hour_at_us = at_us
        self.open: dict[str, Alarm] = {}

    def hear(self, version: str, vector: Callable[[], Floats], at_us: int) -> list[Alarm]:
        """A sampled vector, one number a column, NaN where it is missing; `version` of model and features together.

        Kept is, of an hour's many, an even sample; it is read only where it is looked at.
        """
        if version != self.version:
            self._begin(version, at_us)
        found = self.turn(at_us)
        self.heard += 1
        if len(self.rows) < REFERENCE_ROWS:
            self.rows.append(vector)
        else:
            place = self.heard * SPREAD % 2**64 % self.heard
            if place < REFERENCE_ROWS:
                self.rows[place] = vector
        return found

    def learn(self, version: str, rows: Floats, at_us: int) -> None:
        """float64[n, columns] are the reference of `version`: the training set, or the first day."""
        self._begin(version, at_us)
        self.bins = [Bins.of(rows[:, at]) for at in self.watched]
        self.reference = self._counted(rows)
        self.window = [np.zeros_like(each) for each in self.reference]

    def turn(self, at_us: int) -> list[Alarm]:
        """Look, where an hour or a window is over."""
        if not self.bins:
            if self.rows and at_us - self.hour_at_us >= WINDOW_US and self.heard >= WINDOW_MIN:
                self.learn(self.version, self._read(), at_us)
            return []
        if at_us - self.hour_at_us < HOUR_US or len(self.rows) < GROSS_MIN:
            return []
        hour = self._counted(self._read())
        self.window = [all_ + new for all_, new in zip(self.window, hour, strict=True)]
        found = self._judge(hour, at_us, gross=True)
        self.rows, self.heard, self.hour_at_us = [], 0, at_us
        if at_us - self.window_at_us >= WINDOW_US:
            found += self._judge(self.window, at_us, gross=False)
            self.window = [np.zeros_like(each) for each in self.reference]
            self.window_at_us = at_us
        return found

    def dump(self) -> bytes:
        rows = self._read().tobytes() if self.rows else b""
        counts = [[each.tolist() for each in kept] for kept in (self.reference, self.window)]
        times = self.window_at_us, self.hour_at_us
        whole = (self.columns, self.version, self.heard, rows, self.bins, *counts, *times, self.open)
        return msgspec.msgpack.encode(whole)

    def load(self, dumped: bytes) -> None:
        """Of other columns nothing is taken."""
        kinds = tuple[
            list[str], str, int, bytes, list[Bins], list[list[int]], list[list[int]], int, int, dict[str, Alarm]
        ]
        columns, version, heard, rows, bins, reference, window, *_ = found = msgspec.msgpack.decode(dumped, type=kinds)
        if columns != self.columns:
            return
        self.version, self.heard, self.bins = version, heard, bins
        self.rows = [partial(np.asarray, row) for row in np.frombuffer(rows).reshape(-1, len(columns))]
        self.reference, self.window = ([np.array(each, np.int64) for each in kept] for kept in (reference, window))
        self.window_at_us, self.hour_at_us, self.open = found[-3:]

    def _read(self) -> Floats:
        return np.stack([row() for row in self.rows])

    def _counted(self, rows: Floats) -> list[Ints]:
        return [bins.counts(rows[:, at]) for at, bins in zip(self.watched, self.bins, strict=True)]

    def _judge(self, counts: Sequence[Ints], at_us: int, *, gross: bool) -> list[Alarm]:
        columns = [self.columns[at] for at in self.watched]
        looks = [Look.at(*each) for each in zip(columns, self.reference, counts, strict=True)]
        since_us = self.hour_at_us if gross else self.window_at_us
        found = []
        for look in looks:
            what, value = look.verdict(gross=gross)
            open_ = self.open.get(look.column)
            if what and open_ is None:
                said = f"{BROKEN if gross else ''}{what} {value:.2f}"
                found.append(self._open(look, said, value=value, started_us=since_us, at_us=at_us))
            elif not what and open_ is not None and open_.note.startswith(BROKEN) == gross and look.rows >= GROSS_MIN:
                found.append(replace(self.open.pop(look.column), ended_us=since_us))
        return found

    def _open(self, look: Look, note: str, *, value: float, started_us: int, at_us: int) -> Alarm:
        alarm = self.open[look.column] = Alarm(
            signal="drift",
            series=look.column,
            severity="ticket",
            started_us=started_us,
            detected_us=at_us,
            causes=(Cause("feature", look.column),),
            observed=value,
            count=look.rows,
            note=note,
        )
        return alarm
