"""What a monitor says: that something moved, since when, by how much, and what to change; never a bare number."""

from typing import Final, Literal

from msgspec import Struct

Signal = Literal["approval", "outage", "drift", "calibration", "quality", "attack", "logging"]
Severity = Literal["page", "ticket", "note"]
CauseKind = Literal["issuer", "route", "network", "bin", "merchant", "device", "model", "feature", "release", "log", ""]

RANK: Final[dict[str, int]] = {"note": 0, "ticket": 1, "page": 2}


class Cause(Struct, frozen=True, order=True):
    """What is probably to blame; kind "" where nothing stands out."""

    kind: CauseKind = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip() or "everything"


class Alarm(Struct, frozen=True, kw_only=True):
    """One series that moved; told again with `ended_us` when it is back.

    >>> alarm = Alarm(signal="approval", series="route acq_a", severity="page", started_us=5, detected_us=9)
    >>> alarm.key
    'approval route acq_a'
    """

    signal: Signal
    series: str
    severity: Severity
    started_us: int
    detected_us: int
    ended_us: int = 0
    """0 while it lasts."""
    causes: tuple[Cause, ...] = ()
    """What the series is of, in this order of importance."""
    expected: float = 0.0
    observed: float = 0.0
    """The figure of the signal before and since: an approval rate, a share, a PSI, a ratio."""
    count: int = 0
    """Observations since it started."""
    harm: float = 0.0
    """Events too many, or approvals too few, among them."""
    size_minor: int = 0
    """Money at stake since it started, in the reporting currency."""
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.signal} {self.series}"


class ControlProposal(Struct, frozen=True, kw_only=True):
    """A change that somebody, or the follower where it may, should make through the admin door."""

    subject: Literal["penalty", "rule", "recalibrate", "readouts"]
    id: str
    why: str
    after: dict[str, str | int | float | bool | list[str]] | None
    """None takes an earlier one back."""


Finding = Alarm | ControlProposal
