"""Approval and outages, by issuer, route and network: held against what each decision expected of its own attempt.

What a model knows already is no news: only what is left over counts. Parents page, children make tickets; the budgets
are false alarms a day of the whole system. Attacked cells say nothing of issuers or routes and are left out.

    approval   all answers           fewer approvals than expected           penalty
    outage     all answers           more technical failures than usual      what the breaker does within seconds is
                                                                             named, and a penalty asked for that stays
"""

from collections.abc import Sequence
from math import log
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec
import numpy as np

from greenlane.monitoring.alarms import Alarm, Cause, CauseKind, ControlProposal, Finding, Severity, Signal
from greenlane.monitoring.streams import Budget, Change, Series, Streams
from greenlane.payments.arrays import Floats
from greenlane.payments.times import HOUR_US

WAY: Final = "issuer x route x network"
PARENTS: Final = ("all", "network", "route", "issuer")
APPROVAL_TILTS: Final = (-0.26, -0.41, -0.75, -2.0)
"""Near 88 % these are 3, 5, 10 and 40 points."""
OUTAGE_TILTS: Final = (0.7, 1.5, 2.5, 4.0)
APPROVAL_BASE: Final = 0.88
TECHNICAL_BASE: Final = 0.01
PAGES_PER_DAY: Final = 0.15
"""Of each of the two signals: together one false page in three days, and two tickets a day."""
TICKETS_PER_DAY: Final = 1.0
PENALTY_US: Final = 6 * HOUR_US
"""A penalty ends by itself, where nobody takes it back."""
KIND_OF_LEVEL: Final[dict[str, CauseKind]] = {"network": "network", "route": "route", "issuer": "issuer"}


class Answer(NamedTuple):
    """One answered attempt. `approval` is what was expected, 0 where nobody decided here."""

    issuer: str
    route: str
    network: str
    approval: float
    approved: bool
    technical: bool
    amount_minor: int


def series_of(way: tuple[str, str, str]) -> Series:
    """Of issuer, route and network; the widest first.

    >>> [level for level, _ in series_of(("iss", "acq_a", "visa"))]
    ['all', 'network', 'route', 'issuer', 'issuer x route x network']
    """
    issuer, route, network = way
    named = (("network", (network,)), ("route", (route,)), ("issuer", (issuer,)), (WAY, (issuer, route, network)))
    return (("all", ()), *((level, name) for level, name in named if all(name)))


class Traffic:
    """Both signals over the same answers.

    >>> traffic = Traffic()
    >>> for hour in range(12):
    ...     seconds = range(hour * 3_600, (hour + 1) * 3_600)
    ...     down = [n > 39_000 and n % 2 == 0 for n in seconds]
    ...     good = [n % 10 > 0 and not is_down for n, is_down in zip(seconds, down)]
    ...     answers = [Answer("iss", "ab"[n % 2], "visa", 0.9, good[n], down[n], 1_000) for n in range(3_600)]
    ...     found = traffic.hear(answers, [n * 1_000_000 for n in seconds])
    ...     traffic.turn(seconds[-1] * 1_000_000)
    >>> sorted({change.name for change in traffic.outage.open if change.level == "route"})
    [('a',)]
    """

    def __init__(self) -> None:
        budgets = [Budget(PARENTS, PAGES_PER_DAY), Budget((WAY,), TICKETS_PER_DAY)]
        self.approval = Streams(APPROVAL_TILTS, budgets, base=APPROVAL_BASE)
        self.outage = Streams(OUTAGE_TILTS, budgets, base=TECHNICAL_BASE)

    def hear(self, answers: Sequence[Answer], at_us: Sequence[int]) -> list[tuple[int, Finding]]:
        """In the order of the journal: what was found, and at which of them. Many together cost far less than each
        alone, and say the same."""
        if not answers:
            return []
        issuers, routes, networks, approvals, approved, technical, money = zip(*answers, strict=True)
        ways = list(zip(issuers, routes, networks, strict=True))
        p = np.minimum(approvals, 0.999)
        logits = np.where(p > 0.001, np.log(np.maximum(p, 0.001) / (1.0 - p)), 0.0)
        money_minor, times = np.array(money, np.float64), np.array(at_us)
        signals: tuple[tuple[Signal, Floats, tuple[bool, ...]], ...] = (
            ("approval", logits, approved), ("outage", np.zeros(len(p)), technical),
        )  # fmt: skip
        found = [
            (at, signal, change)
            for signal, each, happened in signals
            for at, change in self.streams(signal).hear_all(
                ways, series_of, each, happened=np.array(happened, np.float64), at_us=times, money_minor=money_minor
            )
        ]
        in_order = sorted(found, key=itemgetter(0))
        return [(at, one) for at, signal, change in in_order for one in told(signal, change, at_us[at])]

    def turn(self, at_us: int) -> None:
        """Set thresholds, where it is time."""
        self.approval.turn(at_us)
        self.outage.turn(at_us)

    def streams(self, signal: Signal) -> Streams:
        return self.approval if signal == "approval" else self.outage

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.approval.dump(), self.outage.dump()))

    def load(self, dumped: bytes) -> None:
        approval, outage = msgspec.msgpack.decode(dumped, type=tuple[bytes, bytes])
        self.approval.load(approval)
        self.outage.load(outage)


def told(signal: Signal, change: Change, at_us: int) -> list[Finding]:
    """The alarm of a change, and the penalty that it asks for or takes back."""
    severity: Severity = "page" if change.level in PARENTS else "ticket"
    per_trial = change.harm / max(change.trials, 1.0)
    alarm = Alarm(
        signal=signal,
        series=f"{change.level} {' '.join(change.name)}".strip(),
        severity=severity,
        started_us=change.started_us,
        detected_us=at_us,
        ended_us=change.ended_us,
        causes=causes_of(change),
        expected=change.expected,
        observed=change.expected + (per_trial if signal == "outage" else -per_trial),
        count=round(change.trials),
        harm=change.harm,
        size_minor=round(change.money_minor),
    )
    return [alarm, *penalty(signal, change, at_us, per_trial=per_trial)]


def causes_of(change: Change) -> tuple[Cause, ...]:
    if change.level == WAY:
        issuer, route, network = change.name
        return (Cause("issuer", issuer), Cause("route", route), Cause("network", network))
    kind = KIND_OF_LEVEL.get(change.level)
    return (Cause(kind, change.name[0]),) if kind else ()


def penalty(signal: Signal, change: Change, at_us: int, *, per_trial: float) -> list[ControlProposal]:
    """Only a route, or an issuer over one route, can be left for another."""
    if change.level not in ("route", WAY):
        return []
    way = " ".join(change.name[:2] if change.level == WAY else ("", *change.name)).strip()
    if change.ended_us:
        return [ControlProposal(subject="penalty", id=way, why=f"{signal} is back", after=None)]
    usual = change.expected if signal == "approval" else 1.0 - change.expected
    usual = min(max(usual, 0.02), 0.98)
    now = min(max(usual - per_trial, 0.02), 0.98)
    drop = log(usual / (1.0 - usual)) - log(now / (1.0 - now))
    after: dict[str, str | int | float | bool | list[str]] = {
        "millilogit": -round(1e3 * max(drop, 0.0)),
        "until_us": at_us + PENALTY_US,
    }
    return [ControlProposal(subject="penalty", id=way, why=f"{signal} {per_trial:+.3f} against expected", after=after)]
