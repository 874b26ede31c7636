"""Who hears of an incident, how often, and what happens when nobody answers.

once       a notice for each of: opened, worse, ended; not again for what flaps within half an hour
silence    control entry `silence`, id a part of the title, after {"until_us": ...}: nothing is sent
ack        control entry `incident`, id the incident, after {"ack": true}: no escalation
escalate   a page that nobody acknowledged in a quarter of an hour goes to the second line as well
again      a channel that fails is tried again, later each time, and given up after six tries
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from greenlane.decisions.control import control_of
from greenlane.monitoring.alarms import RANK, Severity
from greenlane.monitoring.incidents import Incident
from greenlane.payments.times import MINUTE_US, format_rfc3339
from greenlane.ports.journal import Entry

ESCALATES_US: Final = 15 * MINUTE_US
FLAPS_US: Final = 30 * MINUTE_US
TRIES_MAX: Final = 6
QUEUE_MAX: Final = 1_000
KNOWN_MAX: Final = 1_000

What = Literal["opened", "worse", "ended", "escalated"]


class Notice(Struct, frozen=True, kw_only=True):
    """What is sent; its JSON is the body of a webhook."""

    what: What
    incident: dict[str, Any]
    sent_at: str

    @property
    def title(self) -> str:
        return f"[{self.incident['severity']}] {self.what}: {self.incident['title']}"

    @property
    def text(self) -> str:
        """For people: one fact a line."""
        told = self.incident
        lines = [self.title, f"since {told['started_at']}, noticed {told['detected_at']}"]
        if told["ended_at"]:
            lines.append(f"over since {told['ended_at']}")
        lines += [f"at stake so far: {told['size_minor']} minor units", f"what to do: {told['runbook']}"]
        return "\n".join([*lines, *(f"  {series}" for series in told["alarms"])])


class Channel(Protocol):
    """A way to tell somebody. Raises OSError where it could not."""

    def send(self, notice: Notice) -> None: ...


class LogChannel:
    """Tells a line, to whoever reads what the process prints; also the one that tests read.

    >>> lines = []
    >>> channel = LogChannel(lines.append)
    >>> incident = Incident(id="inc_1", signal="outage", severity="page", started_us=0, detected_us=1)
    >>> channel.send(Notice(what="opened", incident=incident.told(), sent_at="1970-01-01T00:00:00Z"))
    >>> lines
    ['ALARM [page] opened: outage: everything (docs/monitoring.md#outage)']
    """

    def __init__(self, tell: Any):
        self.tell = tell

    def send(self, notice: Notice) -> None:
        self.tell(f"ALARM {notice.title} ({notice.incident['runbook']})")


class Line(Struct, frozen=True, kw_only=True):
    """A channel with the least severity it carries."""

    channel: Any
    least: Severity = "ticket"
    escalation: bool = False
    """Only pages that nobody acknowledged."""


class Waiting(Struct):
    notice: Notice
    line: int
    due_us: int
    tries: int = 0


class Told(Struct):
    """What was said last of an incident."""

    severity: Severity
    title: str
    at_us: int
    ended: bool = False
    acked: bool = False
    escalated: bool = False


class Notifier:
    """Sends what changed. `apply` reads silences and acknowledgements, `hear` incidents, `deliver` sends what is due.

    >>> lines = []
    >>> notifier = Notifier([Line(channel=LogChannel(lines.append))])
    >>> incident = Incident(id="inc_1", signal="outage", severity="page", started_us=0, detected_us=1)
    >>> notifier.hear([incident, incident], 1)
    >>> notifier.deliver(1)
    >>> len(lines)
    1
    """

    def __init__(self, lines: Sequence[Line]):
        self.lines = list(lines)
        self.known: dict[str, Told] = {}
        self.silences: dict[str, int] = {}
        self.waiting: list[Waiting] = []

    def apply(self, entry: Entry) -> None:
        """A control entry; all but two subjects are passed over."""
        change = control_of(entry)
        after = change.after if isinstance(change.after, dict) else {}
        if change.subject == "silence":
            self.silences[change.id] = int(after.get("until_us", 0))
        elif change.subject == "incident" and change.id in self.known:
            self.known[change.id].acked = bool(after.get("ack"))

    def hear(self, incidents: Sequence[Incident], at_us: int) -> None:
        for incident in incidents:
            what = self._news(incident, at_us)
            if what is not None:
                self._queue(incident, what, at_us)

    def deliver(self, at_us: int, open_incidents: Sequence[Incident] = ()) -> None:
        """Send what is due; of what is open, tell what came back for good, and escalate what nobody acknowledged."""
        self.hear([one for one in open_incidents if one.id in self.known and self.known[one.id].ended], at_us)
        for incident in open_incidents:
            told = self.known.get(incident.id)
            late = told is not None and at_us - told.at_us >= ESCALATES_US
            if told is not None and late and incident.severity == "page" and not (told.acked or told.escalated):
                told.escalated = True
                self._queue(incident, "escalated", at_us)
        due = [each for each in self.waiting if each.due_us <= at_us]
        self.waiting = [each for each in self.waiting if each.due_us > at_us]
        for each in due:
            self._try(each, at_us)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.known, self.silences, self.waiting))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[dict[str, Told], dict[str, int], list[Waiting]]
        self.known, self.silences, self.waiting = msgspec.msgpack.decode(dumped, type=kinds)

    def _news(self, incident: Incident, at_us: int) -> What | None:
        told = self.known.get(incident.id)
        ended = bool(incident.ended_us)
        if told is None:
            if len(self.known) >= KNOWN_MAX:
                del self.known[next(iter(self.known))]
            self.known[incident.id] = Told(incident.severity, incident.title, at_us, ended)
            return "opened"
        moved = incident.title != told.title and at_us - told.at_us >= FLAPS_US
        worse = RANK[incident.severity] > RANK[told.severity] or (moved and not ended)
        flaps = ended == told.ended or (not ended and at_us - told.at_us < FLAPS_US)
        if not worse and flaps:
            return None
        told.severity, told.title, told.ended = incident.severity, incident.title, ended
        told.at_us = at_us if not ended else told.at_us
        return "ended" if ended else "worse" if worse else "opened"

    def _queue(self, incident: Incident, what: What, at_us: int) -> None:
        if any(part in incident.title and at_us < until_us for part, until_us in self.silences.items()):
            return
        notice = Notice(what=what, incident=incident.told(), sent_at=format_rfc3339(at_us))
        for number, line in enumerate(self.lines):
            if RANK[incident.severity] >= RANK[line.least] and line.escalation <= (what == "escalated"):
                self.waiting.append(Waiting(notice, number, at_us))
        self.waiting = self.waiting[-QUEUE_MAX:]

    def _try(self, each: Waiting, at_us: int) -> None:
        if each.line >= len(self.lines):
            return
        try:
            self.lines[each.line].channel.send(each.notice)
        except OSError:
            each.tries += 1
            each.due_us = at_us + MINUTE_US * 2**each.tries
            if each.tries < TRIES_MAX:
                self.waiting.append(each)
