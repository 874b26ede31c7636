"""Alarms that are one thing: when it began and ended, what it cost, and who or what is probably to blame.

Where one route fails, all that it is a part of fails too, and all its parts: the cause is the series that explains the
harm best. Where that is everything together, and the model or the release had just changed, that did it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from greenlane.monitoring.alarms import RANK, Alarm, Cause, Severity, Signal
from greenlane.payments.times import MINUTE_US, format_rfc3339

GAP_US: Final = 10 * MINUTE_US
"""Alarms that begin or end this near to each other are one incident."""
MORE_HARM: Final = 1.5
TOGETHER_US: Final = 45 * MINUTE_US
RELEASE_US: Final = 60 * MINUTE_US
"""A change this shortly before the start is under suspicion."""
TRAFFIC: Final = ("approval", "outage")
CLOSED_MAX: Final = 1_000
ALARMS_MAX: Final = 200


class Incident(Struct, kw_only=True):
    """What a person is told once. Times are UTC microseconds; `ended_us` 0: it lasts."""

    id: str
    signal: Signal
    severity: Severity
    started_us: int
    detected_us: int
    ended_us: int = 0
    cause: Cause = Cause()
    size_minor: int = 0
    alarms: list[Alarm] = []

    @property
    def title(self) -> str:
        """
        >>> Incident(id="i", signal="approval", severity="page", started_us=0, detected_us=1,
        ...          cause=Cause("route", "acq_a")).title
        'approval: route acq_a'
        """
        return f"{self.signal}: {self.cause}"

    @property
    def runbook(self) -> str:
        return f"docs/monitoring.md#{self.signal}"

    def told(self) -> dict[str, object]:
        """As JSON tells it."""
        return {
            "id": self.id,
            "signal": self.signal,
            "severity": self.severity,
            "title": self.title,
            "cause": {"kind": self.cause.kind, "name": self.cause.name},
            "started_at": format_rfc3339(self.started_us),
            "detected_at": format_rfc3339(self.detected_us),
            "ended_at": format_rfc3339(self.ended_us) if self.ended_us else None,
            "size_minor": self.size_minor,
            "runbook": self.runbook,
            "alarms": [alarm.series for alarm in self.alarms],
        }


class Incidents:
    """A fold of alarms. `changed` tells the incidents that opened, grew worse, or ended since it was last asked.

    >>> incidents = Incidents()
    >>> drop = Alarm(signal="approval", series="route a", severity="page", started_us=0, detected_us=60_000_000,
    ...              causes=(Cause("route", "a"),), harm=50.0)
    >>> incidents.hear(drop)
    >>> incidents.hear(msgspec.structs.replace(drop, ended_us=120_000_000))
    >>> [(one.title, one.ended_us) for one in incidents.changed()]
    [('approval: route a', 120000000)]
    """

    def __init__(self) -> None:
        self.open: list[Incident] = []
        self.closed: list[Incident] = []
        """The latest."""
        self.releases: list[tuple[int, Cause]] = []
        """When what was put into force, the latest few."""
        self._changed: dict[str, Incident] = {}
        self._count = 0

    def changed(self) -> list[Incident]:
        found = list(self._changed.values())
        self._changed.clear()
        return found

    def released(self, at_us: int, cause: Cause) -> None:
        """A model, feature set or engine came into force."""
        self.releases = [*self.releases[-7:], (at_us, cause)]

    def hear(self, alarm: Alarm) -> None:
        """An alarm that opened, or the same with its end."""
        told = ((one, each) for one in self.open for each in one.alarms if each.key == alarm.key and not each.ended_us)
        incident, known = next(told, (None, None))
        if known is not None and alarm.started_us > known.detected_us:
            self.hear(replace(known, ended_us=alarm.started_us))
            incident = None
        incident = incident or next((one for one in self.open if belongs(alarm, one)), None)
        if incident is None:
            if alarm.ended_us:
                return
            incident = self._begin(alarm)
        others = [one for one in incident.alarms if one.key != alarm.key or 0 < one.ended_us <= alarm.started_us]
        incident.alarms = [*others[-ALARMS_MAX:], alarm]
        before = (incident.severity, incident.cause, incident.ended_us)
        if RANK[alarm.severity] > RANK[incident.severity]:
            incident.severity = alarm.severity
            if alarm.started_us > incident.detected_us:  # what was a ticket's until then is not what wakes somebody
                incident.detected_us = alarm.detected_us
        if not alarm.ended_us:
            self._judge(incident)
        if all(each.ended_us for each in incident.alarms):
            self._end(incident)
        if before != (incident.severity, incident.cause, incident.ended_us):
            self._changed[incident.id] = incident

    def update(self, alarms: Iterable[Alarm]) -> None:
        """How the open ones stand by now: their size and cause follow."""
        latest = {alarm.key: alarm for alarm in alarms}
        for incident in self.open:
            fresh = [
                replace(latest[each.key], started_us=each.started_us, detected_us=each.detected_us)
                if each.key in latest and not each.ended_us
                else each
                for each in incident.alarms
            ]
            if fresh != incident.alarms:
                incident.alarms = fresh
                self._judge(incident)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.open, self.closed, self.releases, self._count))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[list[Incident], list[Incident], list[tuple[int, Cause]], int]
        self.open, self.closed, self.releases, self._count = msgspec.msgpack.decode(dumped, type=kinds)

    def _judge(self, incident: Incident) -> None:
        incident.size_minor = max(each.size_minor for each in incident.alarms)
        incident.started_us = probable_start(incident)
        incident.cause = probable_cause(incident.alarms) or self._suspect(incident.started_us)

    def _begin(self, alarm: Alarm) -> Incident:
        again = next((one for one in reversed(self.closed) if comes_back(alarm, one)), None)
        if again is not None:
            self.closed.remove(again)
            again.ended_us = 0
            self.open.append(again)
            return again
        self._count += 1
        incident = Incident(
            id=f"inc_{self._count}",
            signal=alarm.signal,
            severity=alarm.severity,
            started_us=alarm.started_us,
            detected_us=alarm.detected_us,
        )
        self._changed[incident.id] = incident
        self.open.append(incident)
        return incident

    def _end(self, incident: Incident) -> None:
        incident.ended_us = max(each.ended_us for each in incident.alarms)
        self.open.remove(incident)
        self.closed = [*self.closed[-CLOSED_MAX:], incident]

    def _suspect(self, started_us: int) -> Cause:
        recent = [cause for at_us, cause in self.releases if 0 <= started_us - at_us + GAP_US <= RELEASE_US + GAP_US]
        return recent[-1] if recent else Cause()


def comes_back(alarm: Alarm, incident: Incident) -> bool:
    """The same series, soon after it ended."""
    ends = [each.ended_us for each in incident.alarms if each.key == alarm.key and each.ended_us]
    return any(ended_us < alarm.started_us <= ended_us + GAP_US for ended_us in ends)


def belongs(alarm: Alarm, incident: Incident) -> bool:
    """One of the same kind that is a shadow of the incident; or that began before it was known, or is a ticket of the
    same place, and is of the same issuer, route, ..., of everything, or told together with one of everything."""
    family = {alarm.signal, incident.signal}
    if len(family) > 1 and not family <= set(TRAFFIC):
        return False
    mine, theirs = places_of([alarm]), places_of(incident.alarms)
    if alarm.detected_us < incident.started_us - GAP_US:
        return False
    if is_shadow(alarm, incident.alarms) or comes_back(alarm, incident):
        return True
    if alarm.started_us > incident.detected_us + GAP_US and not (mine & theirs and alarm.severity == "ticket"):
        return False
    if not mine or mine & theirs or alarm.signal == "drift":
        return True
    wide = any(not places_of([each]) for each in incident.alarms)
    return wide and abs(alarm.detected_us - incident.detected_us) <= TOGETHER_US


def is_shadow(alarm: Alarm, alarms: Iterable[Alarm]) -> bool:
    """No more harm in all, and at most half of it per trial: as where a failing route is a part of what is counted."""
    lasting = [each for each in alarms if each.harm > 0.0 and each.count and not each.ended_us]
    if not alarm.count or alarm.harm <= 0.0:
        return False
    most = max((each.harm for each in lasting), default=0.0)
    sharpest = max((each.harm / each.count for each in lasting), default=0.0)
    return alarm.harm <= MORE_HARM * most and alarm.harm / alarm.count <= 0.5 * sharpest


def places_of(alarms: Iterable[Alarm]) -> set[Cause]:
    """A network is nearly everything."""
    return {cause for each in alarms for cause in each.causes if cause.kind != "network"}


def explains(alarm: Alarm) -> tuple[float, int, float]:
    return alarm.harm**2 / max(alarm.count, 1), len(alarm.causes), alarm.observed


def probable_start(incident: Incident) -> int:
    """Of the gravest alarm that explains most, and of those of its kind that began shortly before it."""
    gravest = max(RANK[each.severity] for each in incident.alarms)
    known = [each for each in incident.alarms if each.started_us <= incident.detected_us]
    grave = [each for each in known if RANK[each.severity] == gravest] or known
    if not grave:
        return incident.started_us
    best = max(grave, key=explains)
    return min(each.started_us for each in grave if each.started_us >= best.started_us - GAP_US)


def probable_cause(alarms: Sequence[Alarm]) -> Cause | None:
    """Of the series that explains the harm best: it has most of it, in the fewest trials.

    harm^2 / trials goes with the log-likelihood that a change of this series gains. A part of a failing route has less
    of the harm, what lies above it more trials. None where that is everything together.

    >>> above = Alarm(signal="approval", series="all", severity="page", started_us=0, detected_us=0, harm=50, count=900)
    >>> route = msgspec.structs.replace(above, series="route a", causes=(Cause("route", "a"),), count=300)
    >>> probable_cause([above, route])
    Cause(kind='route', name='a')
    """
    best = max(alarms, key=explains)
    if not best.causes:
        return None
    first = best.causes[0]
    over = next((cause.name for cause in best.causes[1:] if cause.kind == "route"), "")
    return Cause(first.kind, f"{first.name} over {over}") if over and first.kind == "issuer" else first
