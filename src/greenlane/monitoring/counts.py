"""Minute counts by response code, where that is all there is: shares and volume held against their own recent past.

    approval   the share of approvals falls                                 page from 5 points on, else ticket
    outage     the share of technical failures rises, or approvals stop     the same
    decline    the share of one decline code rises                          ticket, in the same incident

The first hours are gone through twice: once to learn what is usual, then to be judged by it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log
from typing import Final, NamedTuple

from greenlane.monitoring.alarms import Alarm, Cause, Signal
from greenlane.monitoring.incidents import Incidents
from greenlane.monitoring.streams import Budget, Change, Streams
from greenlane.monitoring.traffic import APPROVAL_TILTS, OUTAGE_TILTS
from greenlane.payments.times import HOUR_US, MINUTE_US
from greenlane.policy.heard import kind_of

WARM_US: Final = 4 * HOUR_US
APPROVED: Final = ("0", "00", "000", "10", "approved", "succeeded", "success")
TECHNICAL: Final = ("failed", "error", "timeout", "unavailable", "unknown", "backend_reversed")
PAGES_FROM: Final = 0.05
"""Of all payments harmed: smaller shifts are nobody's night."""
PER_DAY: Final = 0.1
"""False alarms a day, of each of the four kinds."""
USUAL_US: Final = 15 * MINUTE_US
"""The volume is held against the last quarter of an hour or so; slower changes are the hour of the day."""
VOLUME_DROPS: Final = (0.7, 2.3)
"""In logarithms: to half, to a tenth."""
SLOW: Final = 0.003
"""The weight of a minute in the volume's dispersion."""
SHARP: Final = 0.5
"""Of its limit: a sharper sum this far up dates an outage, not the one that had wandered up before."""
OFF_US: Final = 12 * HOUR_US
BACK: Final = 0.5
"""It is over once a minute is nearer to the usual than to what was seen since."""
OTHERWISE_US: Final = 3 * HOUR_US
"""What lasts for hours is the evening, or the new usual."""


class Minute(NamedTuple):
    """Counts by code of one minute of one group; () is all of them."""

    at_us: int
    group: tuple[str, ...]
    counts: Mapping[str, int]


class Volume:
    """Approvals a minute of one group: a Poisson sum, wider by the dispersion that is seen.

    >>> volume = Volume()
    >>> told = [volume.hear(100 + n % 7 if n < 300 else 5, n * MINUTE_US) for n in range(320)]
    >>> [(change.started_us // MINUTE_US, n) for n, change in enumerate(told) if change]
    [(300, 300)]
    """

    def __init__(self) -> None:
        self.usual = 0.0
        self.spread = 2.0
        self.heard = self.last_us = 0
        self.sums = [0.0] * len(VOLUME_DROPS)
        self.since = [0] * len(VOLUME_DROPS)
        self.lost = 0.0
        self.minutes = 0
        """Since the alarm, like what was lost."""
        self.started_us = 0
        """Of the alarm; 0 where there is none."""

    def hear(self, count: int, at_us: int, *, group: tuple[str, ...] = ()) -> Change | None:
        if at_us - self.last_us >= OFF_US:
            self.usual, self.heard = 0.0, 0
        self.last_us, expected = at_us, max(self.usual, 1.0)
        self.heard += 1
        if self.started_us:
            lost_usually = self.lost / self.minutes
            self.lost, self.minutes = self.lost + expected - count, self.minutes + 1
            if count < expected - BACK * lost_usually:
                self.usual += MINUTE_US / OTHERWISE_US * (count - self.usual)
                return None
            ended, self.started_us, self.sums = self._change(group, ended_us=at_us), 0, [0.0] * len(self.sums)
            return ended
        warm = self.heard * MINUTE_US > USUAL_US
        for at, drop in enumerate(VOLUME_DROPS):
            if self.sums[at] == 0.0:
                self.since[at] = at_us
            ratio = expected * (1.0 - exp(-drop)) - drop * count
            self.sums[at] = max(0.0, self.sums[at] + ratio / self.spread) if warm else 0.0
        limit = log(1440.0 * len(self.sums) / PER_DAY)
        if max(self.sums) >= limit:
            sharp = max(since for since, total in zip(self.since, self.sums, strict=True) if total >= SHARP * limit)
            self.started_us, self.lost, self.minutes = sharp, expected - count, 1
            return self._change(group)
        self._learn(count, expected)
        return None

    def _learn(self, count: int, expected: float) -> None:
        weight = max(1.0 / self.heard, MINUTE_US / USUAL_US)
        surprise = min((count - expected) ** 2 / expected, 25.0 * self.spread)
        if self.heard * MINUTE_US > USUAL_US:
            self.spread = max(1.0, self.spread + max(SLOW, 1.0 / self.heard) * (surprise - self.spread))
        self.usual += weight * (count - self.usual)

    def _change(self, group: tuple[str, ...], *, ended_us: int = 0) -> Change:
        return Change("volume", group, self.started_us, ended_us, self.lost, self.usual, 0.0, self.usual)


class Counts:
    """A fold of minutes in order; `incidents` holds what was found.

    >>> counts = Counts()
    >>> calm = [Minute(n * MINUTE_US, (), {"00": 100 + n % 5, "51": 5 + n % 3}) for n in range(600)]
    >>> down = [Minute(n * MINUTE_US, (), {"00": 20, "91": 80}) for n in range(600, 610)]
    >>> incidents = replayed([*calm, *down]).incidents.open
    >>> [(one.title, one.started_us // MINUTE_US) for one in incidents]
    [('outage: everything', 600)]
    """

    def __init__(self) -> None:
        budget = [Budget(("group",), PER_DAY)]
        self.approval = Streams(APPROVAL_TILTS, budget, base=0.9, sharp=SHARP)
        self.technical = Streams(OUTAGE_TILTS, budget, base=0.01, sharp=SHARP)
        self.codes = Streams(OUTAGE_TILTS, [Budget(("code",), PER_DAY)], base=0.02, sharp=SHARP)
        self.volumes: dict[tuple[str, ...], Volume] = {}
        self.incidents = Incidents()
        self.alarms: list[Alarm] = []

    def hear(self, minute: Minute) -> None:
        at_us, group = minute.at_us, minute.group
        for streams in (self.approval, self.technical, self.codes):
            streams.turn(at_us)
        total = sum(minute.counts.values())
        approved = sum(n for code, n in minute.counts.items() if is_approved(code))
        technical = sum(n for code, n in minute.counts.items() if is_technical(code))
        volume = self.volumes.setdefault(group, Volume()).hear(approved, at_us, group=group)
        if volume is not None:
            self._told("outage", volume, at_us, "volume of approvals")
        if not total:
            return
        whole: tuple[tuple[Signal, str, Streams, int], ...] = (
            ("approval", "share of approvals", self.approval, approved),
            ("outage", "share of technical failures", self.technical, technical),
        )
        for signal, what, streams, happened in whole:
            for change in streams.hear((("group", group),), 0.0, happened=happened, trials=total, at_us=at_us):
                self._told(signal, change, at_us, what)
        for code, n in minute.counts.items():
            if not is_approved(code):
                series = (("code", (*group, code)),)
                for change in self.codes.hear(series, 0.0, happened=n, trials=total, at_us=at_us):
                    self._told("approval", change, at_us, f"code {code}")

    def _told(self, signal: Signal, change: Change, at_us: int, what: str) -> None:
        group = change.name if change.level != "code" else change.name[:-1]
        alarm = Alarm(
            signal=signal,
            series=f"{what} {' '.join(group)}".strip(),
            severity="page" if change.level != "code" and change.harm >= PAGES_FROM * change.trials else "ticket",
            started_us=change.started_us,
            detected_us=at_us + MINUTE_US,
            ended_us=change.ended_us,
            causes=tuple(Cause("route", name) for name in group[:1]),
            expected=change.expected,
            count=round(change.trials),
            harm=change.harm,
        )
        self.alarms.append(alarm)
        self.incidents.hear(alarm)


def replayed(minutes: Sequence[Minute]) -> Counts:
    """All minutes, in order; what is missing inside a group counts as nothing."""
    whole = list(filled(minutes))
    learning, judging = Counts(), Counts()
    for minute in whole:
        if minute.at_us - whole[0].at_us >= WARM_US:
            break
        learning.hear(minute)
    for fresh, learned in zip(streams_of(judging), streams_of(learning), strict=True):
        fresh.learn_from(learned)
    for group, volume in learning.volumes.items():
        judging.volumes[group] = Volume()
        judging.volumes[group].spread = volume.spread
    for minute in whole:
        judging.hear(minute)
    return judging


def streams_of(counts: Counts) -> tuple[Streams, ...]:
    return counts.approval, counts.technical, counts.codes


def filled(minutes: Sequence[Minute]) -> list[Minute]:
    """Every minute of every group and every code from the first to the last, in order of time."""
    known = {(minute.at_us, minute.group): minute.counts for minute in minutes}
    groups = sorted({minute.group for minute in minutes})
    seen: dict[tuple[str, ...], set[str]] = {group: set() for group in groups}
    for minute in minutes:
        seen[minute.group].update(minute.counts)
    codes = {group: sorted(found) for group, found in seen.items()}
    return [
        Minute(at_us, group, {code: known.get((at_us, group), {}).get(code, 0) for code in codes[group]})
        for at_us in ticks(sorted({minute.at_us for minute in minutes}))
        for group in groups
    ]


def ticks(told: Sequence[int]) -> list[int]:
    """The minutes that were told of, and those in between from the second missing on: one may be a lost row, more are
    silence. Half a day of nothing was not recorded.

    >>> [at // MINUTE_US for at in ticks([0, 2 * MINUTE_US, 5 * MINUTE_US, 900 * MINUTE_US])]
    [0, 2, 4, 5, 900]
    """
    found = list(told[:1])
    for last, at in pairwise(told):
        found += [*range(last + 2 * MINUTE_US, at, MINUTE_US)] if at - last < OFF_US else []
        found.append(at)
    return found


def is_approved(code: str) -> bool:
    """
    >>> is_approved("00"), is_approved("51")
    (True, False)
    """
    return code.lower() in APPROVED


def is_technical(code: str) -> bool:
    """
    >>> is_technical("91"), is_technical("51"), is_technical("failed")
    (True, False, True)
    """
    return code.lower() in TECHNICAL or (len(code) <= 3 and kind_of("soft", "*", code) == "technical")
