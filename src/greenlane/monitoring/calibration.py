"""Do probabilities still mean what they say? Matured reports over expected ones, by bin; and what is known before that.

Approved payments of a day are a cohort. Reports of a cohort come over weeks: F(age) of them by now (learning.maturity),
so what is expected of a cohort by now is F times the sum of its probabilities. Counted are delays up to a horizon, for
which the journal still holds each report's decision.

Without labels the mean probability is the estimate of quality (confidence-based; Garg et al. 2022): it is right only as
long as the probabilities are, so it is never shown without the early reports and the released sample beside it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.learning.maturity import SHARE_MIN, Maturity, learn_maturity, poisson_interval
from greenlane.learning.reliability import RATIO_BAND, Bin
from greenlane.monitoring.alarms import Alarm, Cause, ControlProposal, Finding, Severity, Signal
from greenlane.payments.arrays import Floats, Ints
from greenlane.payments.times import DAY_US

COHORTS: Final = 64
"""Days that are remembered."""
HORIZON_DAYS: Final = 34
RECENT_DAYS: Final = 21
"""Older cohorts say how reports come, not how good the probabilities are by now."""
EDGES: Final = [10.0 ** (half / 2.0) for half in range(-9, 0)]
BINS: Final = len(EDGES) + 1
EXPECTED_MIN: Final = 50.0
"""Events that a bin must expect, or it is joined with the next."""
LABELS_MIN: Final = 50
"""Reports before their delays are known."""
Z: Final = 3.29
"""Looked at daily, in every bin: 99.9 % intervals."""
DUE_DAYS: Final = 4
DUE_MIN: Final = 12.0
LATE_BELOW: Final = 0.5
QUALITY_CHANGE: Final = 0.25
MODELS_MAX: Final = 4
QUALITY_DAYS: Final = 5
LABELS: Final = Cause("log", "labels")
ROWS, EXPECTED, REPORTED, BLOCKED, BLOCKED_EXPECTED = range(5)


class Believed(Struct, frozen=True, array_like=True, gc=False):
    """Of a payment that passed without a challenge, or was blocked."""

    at_us: int
    model: str
    fraud: float
    """p."""
    weight: float = 0.0
    """1 / propensity of a release."""
    blocked: bool = False


class Estimate(NamedTuple):
    """A day's quality as it is believed, and what is known by now. Shares 0..1; ratios observed/expected."""

    recall: float
    """Of expected fraud, blocked."""
    precision: float
    """Of the blocked, expected fraud."""
    reported: tuple[float, float, float]
    """Early reports over those expected by now: ratio, low, high."""
    released: tuple[float, float, float]
    """The same among released blocks, weighted by 1 / propensity."""


class Cohorts:
    """The days of one model. Times are UTC microseconds.

    >>> cohorts = Cohorts()
    >>> for n in range(40_000):
    ...     day, delay = n // 1_000, n // 40 % 9
    ...     if n % 1_000 == 0:
    ...         cohorts.hear([Believed(day * DAY_US, "mdl", 0.01)] * 1_000)
    ...     if n % 40 == 0 and day + delay <= 40:
    ...         cohorts.report(day * DAY_US, 0.01, at_us=(day + delay) * DAY_US)
    >>> [round(each.ratio, 1) for each in cohorts.bins(40 * DAY_US)]
    [2.5]
    """

    def __init__(self) -> None:
        self.first = 0
        self.table = np.zeros((COHORTS, BINS, 5))
        self.delays = np.zeros((COHORTS, HORIZON_DAYS + 1), np.int64)
        self.released = np.zeros((COHORTS, 3))
        """Sums of weight x probability, weight x report, and weight^2 x report."""

    def hear(self, told: Sequence[Believed]) -> None:
        """What was believed of payments, in order."""
        if told and told[0].at_us // DAY_US == told[-1].at_us // DAY_US:
            self._heard(self._row(told[0].at_us), told)
            return
        for day, mine in groupby(told, lambda one: one.at_us // DAY_US):
            self._heard(self._row(day * DAY_US), list(mine))

    def _heard(self, row: int, told: Sequence[Believed]) -> None:
        fraud = np.array([one.fraud for one in told])
        columns = np.array([BLOCKED if one.blocked else ROWS for one in told])
        places = ((row * BINS + np.searchsorted(EDGES, fraud)) * 5 + columns).astype(np.int64)
        flat = self.table.reshape(-1)
        np.add.at(flat, places, 1.0)
        np.add.at(flat, places + 1, fraud)
        for one in told:
            if one.weight:
                self.released[row, 0] += one.weight * one.fraud

    def report(self, approved_us: int, fraud: float, *, at_us: int, weight: float = 0.0) -> None:
        """An approved payment was reported as fraud, for the first time."""
        delay = (at_us - approved_us) // DAY_US
        day = approved_us // DAY_US
        if not 0 <= delay <= HORIZON_DAYS or day < self.first:
            return
        row = self._row(approved_us)
        self.table[row, bin_of(fraud), REPORTED] += 1.0
        self.delays[row, delay] += 1
        self.released[row, 1:] += (weight, weight * weight)

    def maturity(self, now_us: int) -> Maturity | None:
        """How reports come, by what was seen so far; in days."""
        ages = self._ages(now_us)
        cohort, delay = np.nonzero(self.delays)
        count = self.delays[cohort, delay]
        if count.sum() < LABELS_MIN:
            return None
        with np.errstate(invalid="ignore"):  # the error of a share of which nothing is known
            return learn_maturity(np.repeat(delay, count), np.repeat(np.maximum(ages[cohort], delay), count))

    def bins(self, now_us: int) -> list[Bin]:
        """Observed over expected by now, each of at least 50 expected events; [] while that is too early to say."""
        known = self.maturity(now_us)
        if known is None:
            return []
        ages = self._ages(now_us)
        share = known.at(np.minimum(ages, HORIZON_DAYS))
        share = np.where((share >= SHARE_MIN) & (ages <= RECENT_DAYS), share, 0.0)
        expected = share @ self.table[:, :, EXPECTED]
        observed = (share > 0.0) @ self.table[:, :, REPORTED]
        rows = (share > 0.0) @ self.table[:, :, ROWS]
        return joined(expected, observed, rows)

    def due(self, now_us: int) -> tuple[float, float]:
        """Reports that came in the last days, and those that were due: fewer, and the feed of labels is late."""
        known = self.maturity(now_us - DUE_DAYS * DAY_US)
        ages = self._ages(now_us)
        came = sum(int(self.delays[row, max(age - DUE_DAYS, 0) : age].sum()) for row, age in enumerate(ages.tolist()))
        if known is None:
            return float(came), 0.0
        capped = np.minimum(ages, HORIZON_DAYS)
        shares = known.at(capped) - known.at(np.maximum(np.minimum(ages - DUE_DAYS, HORIZON_DAYS), -1))
        old = ages > HORIZON_DAYS // 2
        ratio = self.table[old, :, REPORTED].sum() / max(self.table[old, :, EXPECTED].sum(), 1e-9)
        return float(came), float(ratio * (shares @ self.table[:, :, EXPECTED].sum(axis=1)))

    def estimate(self, now_us: int) -> Estimate:
        """Of the last whole day, on probabilities recalibrated by what is known of each bin."""
        day = self.table[(now_us // DAY_US - 1) % COHORTS]
        factor = self._recalibration(now_us)
        blocked, passed = float(factor @ day[:, BLOCKED_EXPECTED]), float(factor @ day[:, EXPECTED])
        seen = self.bins(now_us)
        expected, observed = sum(each.expected for each in seen), sum(each.observed for each in seen)
        weighted, reports, squares = self.released.sum(axis=0).tolist()
        effective = reports * reports / squares if squares else 0.0
        return Estimate(
            recall=blocked / max(blocked + passed, 1e-12),
            precision=blocked / max(float(day[:, BLOCKED].sum()), 1.0),
            reported=ratio(observed, expected),
            released=ratio(effective, weighted * (effective / reports if reports else 1.0)),
        )

    def _recalibration(self, now_us: int) -> Floats:
        """Observed over expected of each bin, drawn to 1 as if ten more events had been as expected."""
        factor = np.ones(BINS)
        for each in self.bins(now_us):
            inside = slice(bin_of(each.probability_low), bin_of(each.probability_high) + 1)
            factor[inside] = (each.observed + 10.0) / (each.expected + 10.0)
        return factor

    def _ages(self, now_us: int) -> Ints:
        """int64[COHORTS]: whole days since each row's day."""
        today = now_us // DAY_US
        return (today - np.arange(COHORTS)) % COHORTS

    def _row(self, at_us: int) -> int:
        """The row of a day; a new day takes the place of the oldest."""
        day = at_us // DAY_US
        last = self.first + COHORTS - 1
        if day > last:
            fresh = np.arange(max(last + 1, day - COHORTS + 1), day + 1) % COHORTS
            self.table[fresh], self.delays[fresh], self.released[fresh] = 0.0, 0, 0.0
            self.first = day - COHORTS + 1
        return day % COHORTS


def bin_of(fraud: float) -> int:
    return bisect_left(EDGES, fraud)


def ratio(observed: float, expected: float) -> tuple[float, float, float]:
    """Observed over expected, with the Poisson interval."""
    low, high = poisson_interval(observed)
    due = max(expected, 1e-9)
    return (observed / due, low / due, high / due) if expected else (1.0, 0.0, float("inf"))


def joined(expected: Floats, observed: Floats, rows: Floats) -> list[Bin]:
    """Neighbouring bins together until each expects enough; what is left at the end joins the last."""
    groups, due = [[0]], 0.0
    for at in range(BINS):
        if due >= EXPECTED_MIN and float(expected[at:].sum()) >= EXPECTED_MIN:
            groups.append([])
            due = 0.0
        groups[-1] = [*groups[-1], at] if at else [0]
        due += float(expected[at])
    found = []
    for group in groups:
        e, o = float(expected[group].sum()), float(observed[group].sum())
        if e >= EXPECTED_MIN:
            low, high = (bound / e for bound in poisson_interval(o, z=Z))
            least = EDGES[group[0] - 1] * 1.0001 if group[0] else 0.0
            most = EDGES[group[-1]] if group[-1] < len(EDGES) else 1.0
            found.append(Bin(least, most, int(rows[group].sum()), e, o, o / e, low, high))
    return found


class Calibration:
    """The cohorts of the latest models, judged once a day."""

    def __init__(self) -> None:
        self.models: dict[str, Cohorts] = {}
        self.open: dict[str, Alarm] = {}
        self.quality: dict[str, list[float]] = {}
        self.judged_us = 0

    def of(self, model: str) -> Cohorts:
        found = self.models.get(model)
        if found is None:
            if len(self.models) >= MODELS_MAX:
                del self.models[next(iter(self.models))]
            found = self.models[model] = Cohorts()
        return found

    def hear(self, told: Sequence[Believed]) -> None:
        """In order."""
        mine: dict[str, list[Believed]] = {}
        for one in told:
            if one.model not in self.models:  # it may make room for itself
                self._hear(mine)
                self.of(one.model)
            mine.setdefault(one.model, []).append(one)
        self._hear(mine)

    def _hear(self, told: dict[str, list[Believed]]) -> None:
        for model, mine in told.items():
            self.of(model).hear(mine)
        told.clear()

    def turn(self, at_us: int) -> list[Finding]:
        """What is wrong by now, and what is right again, once a day."""
        if at_us - self.judged_us < DAY_US:
            return []
        self.judged_us = at_us // DAY_US * DAY_US
        found: list[Finding] = []
        for model, cohorts in self.models.items():
            found += self._labels(model, cohorts, at_us)
            found += self._calibration(model, cohorts, at_us)
            found += self._quality(model, cohorts.estimate(at_us), at_us)
        return found

    def dump(self) -> bytes:
        kept = {
            name: (c.first, c.table.tobytes(), c.delays.tobytes(), c.released.tobytes())
            for name, c in self.models.items()
        }
        return msgspec.msgpack.encode((kept, self.open, self.quality, self.judged_us))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[dict[str, tuple[int, bytes, bytes, bytes]], dict[str, Alarm], dict[str, list[float]], int]
        kept, self.open, self.quality, self.judged_us = msgspec.msgpack.decode(dumped, type=kinds)
        self.models = {}
        for name, (first, table, delays, released) in kept.items():
            cohorts = self.of(name)
            cohorts.first = first
            cohorts.table = np.frombuffer(table).reshape(cohorts.table.shape).copy()
            cohorts.delays = np.frombuffer(delays, np.int64).reshape(cohorts.delays.shape).copy()
            cohorts.released = np.frombuffer(released).reshape(cohorts.released.shape).copy()

    def _labels(self, model: str, cohorts: Cohorts, at_us: int) -> list[Finding]:
        """Fewer reports than were due are late ones, until they could not come any more."""
        came, due = cohorts.due(at_us)
        low = [each for each in cohorts.bins(at_us) if each.ratio_high < RATIO_BAND[0]]
        late = due >= DUE_MIN and poisson_interval(came, z=Z)[1] < LATE_BELOW * due
        if low:
            came, due = sum(each.observed for each in low), sum(each.expected for each in low)
        note = f"{came:.0f} reports came, {due:.0f} were due" if late or low else ""
        return self._tell("logging", f"labels {model}", note, value=came / max(due, 1.0), at_us=at_us, cause=LABELS)

    def _calibration(self, model: str, cohorts: Cohorts, at_us: int) -> list[Finding]:
        late = self.open.get(f"logging labels {model}")
        waited = late is None or at_us - late.started_us > HORIZON_DAYS * DAY_US
        off = [
            each
            for each in cohorts.bins(at_us)
            if each.ratio_low > RATIO_BAND[1] or (waited and each.ratio_high < RATIO_BAND[0])
        ]
        worst = max(off, key=lambda each: abs(each.observed - each.expected), default=None)
        note = "" if worst is None else f"p up to {worst.probability_high:.2g}: {worst.observed:.0f} reports"
        value = 1.0 if worst is None else worst.ratio
        found = self._tell("calibration", model, note, value=value, at_us=at_us, cause=Cause("model", model))
        if any(isinstance(each, Alarm) and not each.ended_us for each in found):
            found.append(ControlProposal(subject="recalibrate", id=model, why=note, after={"ratio": value}))
        return found

    def _quality(self, model: str, now: Estimate, at_us: int) -> list[Finding]:
        past = self.quality.setdefault(model, [])
        usual = float(np.median(past)) if len(past) >= QUALITY_DAYS else now.recall
        moved = abs(now.recall - usual) > QUALITY_CHANGE * max(usual, 0.05)
        released_off = now.released[2] < 0.5 or now.released[1] > 2.0
        note = (
            f"recall {now.recall:.2f} by confidence, was {usual:.2f}; "
            f"reports {now.reported[0]:.2f} and released blocks {now.released[0]:.2f} of expected"
        )
        self.quality[model] = [*past[-13:], now.recall]
        said = note if moved or released_off else ""
        return self._tell("quality", model, said, value=now.recall, at_us=at_us, cause=Cause("model", model))

    def _tell(self, signal: Signal, series: str, note: str, *, value: float, at_us: int, cause: Cause) -> list[Finding]:
        """A ticket opens with a note, and ends without one."""
        key = f"{signal} {series}"
        known = self.open.get(key)
        if note and known is None:
            self.open[key] = alarm_of(signal, series, "ticket", note=note, value=value, at_us=at_us, cause=cause)
            return [self.open[key]]
        if not note and known is not None:
            return [msgspec.structs.replace(self.open.pop(key), ended_us=at_us)]
        return []


def alarm_of(
    signal: Signal, series: str, severity: Severity, *, note: str, value: float, at_us: int, cause: Cause
) -> Alarm:
    """An alarm of something that is looked at now and then: it starts when it is seen."""
    return Alarm(
        signal=signal,
        series=series,
        severity=severity,
        started_us=at_us,
        detected_us=at_us,
        causes=(cause,),
        observed=value,
        note=note,
    )
