"""The monitors over what was: a journal's entries, or a file of minute counts; and what they would have told."""

from collections.abc import Callable
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from greenlane.adapters.count_table import read_counts
from greenlane.monitoring.alarms import Alarm, ControlProposal, Finding, Signal
from greenlane.monitoring.counts import WARM_US, replayed
from greenlane.monitoring.incidents import Incident, Incidents
from greenlane.monitoring.monitors import Monitors
from greenlane.monitoring.streams import INFORMATION_MIN, LIMITS_US, Streams
from greenlane.payments.times import DAY_US, MINUTE_US
from greenlane.ports.journal import Entry, JournalStore, Position
from greenlane.wiring import Places, Progress, Reader, holds, open_reader

EVERY = 10_000
"""Entries between two reports of progress."""
SERIES_MAX = 200
ALARMS_KEPT = 10_000
DAY_MIN = 0.9
"""A file of one day may lack its last minutes."""


class Series(Struct, frozen=True):
    """One watched series as it stands at the end."""

    signal: str
    series: str
    usual: float
    harm: float


class Monitored(Struct, frozen=True, kw_only=True):
    """What a replay found; `told` is its JSON."""

    days: float
    too_short: str
    """Why nothing that was not found means anything; "" where there is enough."""
    incidents: list[Incident]
    alarms: list[Alarm]
    proposals: list[ControlProposal]
    series: list[Series]

    @property
    def pages_per_day(self) -> float | None:
        """None of less than a day: what happens once in an hour happens not 24 times a day."""
        if self.too_short or self.days < DAY_MIN:
            return None
        return sum(one.severity == "page" for one in self.incidents) / self.days

    def told(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "too_short": self.too_short or None,
            "incidents": [incident.told() for incident in self.incidents],
            "pages_per_day": self.pages_per_day,
            "alarms": len(self.alarms),
            "proposals": msgspec.to_builtins(self.proposals),
            "series": msgspec.to_builtins(self.series),
        }


def replay(source: Path, *, progress: Progress = lambda _done, _of: None) -> Monitored:
    """Monitors over a data directory, or over a CSV or Parquet file of time, code and count."""
    return replay_directory(source, progress=progress) if source.is_dir() else replay_counts(source)


def replay_directory(directory: Path, *, progress: Progress) -> Monitored:
    reader = open_reader(directory)
    _, last = reader.store.span()
    monitors, found, first_us, last_us = fresh_monitors(reader), list[Finding](), 0, 0
    for entry in reader.entries():
        first_us, last_us = first_us or entry.ingest_us, entry.ingest_us
        monitors.apply(entry)
        if entry.seq % EVERY == 0:
            progress(entry.seq, last)
            found += monitors.due(entry.ingest_us)
    found += monitors.due(last_us)
    reader.store.close()
    return Monitored(
        days=(last_us - first_us) / DAY_US,
        too_short=why_too_short(last_us - first_us, monitors.traffic.approval, least_us=LIMITS_US),
        incidents=in_order(monitors.incidents),
        alarms=[one for one in found if isinstance(one, Alarm)][-ALARMS_KEPT:],
        proposals=[one for one in found if isinstance(one, ControlProposal)][-ALARMS_KEPT:],
        series=list(islice(series_of(monitors), SERIES_MAX)),
    )


def replay_counts(path: Path) -> Monitored:
    minutes = read_counts(path)
    found, lasted_us = replayed(minutes), minutes[-1].at_us - minutes[0].at_us + MINUTE_US
    return Monitored(
        days=lasted_us / DAY_US,
        too_short=why_too_short(lasted_us, found.approval, least_us=WARM_US),
        incidents=in_order(found.incidents),
        alarms=found.alarms,
        proposals=[],
        series=[],
    )


def why_too_short(lasted_us: int, approval: Streams, *, least_us: int) -> str:
    """What is usual is learned from the first hours, and a series is watched only once it is known.

    >>> why_too_short(20 * MINUTE_US, Streams((-0.26, -0.41, -0.75, -2.0), [], base=0.9), least_us=LIMITS_US)
    'what is usual is learned from the first hour, and this is 20 minutes'
    """
    if lasted_us < least_us:
        hours = "hour" if least_us == LIMITS_US else f"{least_us // LIMITS_US} hours"
        return f"what is usual is learned from the first {hours}, and this is {lasted_us // MINUTE_US} minutes"
    if not approval.armed:
        needed = round(INFORMATION_MIN / (approval.base * (1.0 - approval.base)))
        return f"a drop is looked for once some {needed} answers are known of a series, and none has as many"
    return ""


def monitors_path(places: Places) -> Path:
    return places.snapshots / "monitors"


def kept_monitors(reader: Reader, upto: Position) -> Monitors:
    """The monitors as they stand at `upto`: what was kept, and the entries since; fresh where nothing kept fits."""
    monitors = fresh_monitors(reader)
    at = monitors.restore(monitors_path(reader.places))
    if at is None or at.seq > upto.seq or not holds(reader.store, at.generation, at.seq):
        return fresh_monitors(reader)
    for entry in takewhile(lambda entry: entry.seq <= upto.seq, reader.entries(after_seq=at.seq)):
        monitors.apply(entry)
    return monitors


def fresh_monitors(reader: Reader) -> Monitors:
    live = reader.features
    return Monitors(
        live,
        decision_of=decisions_of(reader.store),
        has_features=lambda release: reader.releases.versions(release).features == live.digest,
    )


def decisions_of(store: JournalStore) -> Callable[[Entry], Entry | None]:
    """The decision entry that a later entry is about: the attempt's, else the payment's last."""

    def decision_of(later: Entry) -> Entry | None:
        assert later.facts is not None, "only what has facts is asked about"
        facts = later.facts
        decisions = [one for one in store.of_payment(facts.payment_id) if one.kind == "decision" and one.payload]
        same = [one for one in decisions if one.facts is not None and one.facts.attempt_id == facts.attempt_id]
        return next(reversed(same or decisions), None)

    return decision_of


def in_order(incidents: Incidents) -> list[Incident]:
    return sorted([*incidents.closed, *incidents.open], key=lambda one: one.started_us)


def series_of(monitors: Monitors) -> list[Series]:
    """Those with the most harm first."""
    signals: tuple[Signal, ...] = ("approval", "outage")
    found = [
        Series(signal, f"{one.level} {' '.join(one.name)}".strip(), one.expected, one.harm)
        for signal in signals
        for one in monitors.traffic.streams(signal).all()
    ]
    return sorted(found, key=lambda one: -one.harm)
