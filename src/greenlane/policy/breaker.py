"""The fast breaker: a route that fails is left within seconds, watched with a few probes, and taken back by itself.

For each route, issuer, and issuer on a route, two cumulative sums of log-likelihood ratios are kept (Page 1954), each
between "as usual" and "broken": one of technical failures (time-outs and unknown results among them), one of approvals
against what was expected of each attempt. A sum that passes its threshold opens the cell. Expected false alarms: less
than one in e^threshold answers (Lorden 1971).

Whose fault it is: failures of one issuer over several routes are the issuer's, and no route's; failures of several
issuers over one route are the route's. So an open issuer's answers are kept from the routes, and an open route's from
the issuers. Attacked cells weigh nothing, a card that fails again and again counts once; a neutral decline shows that
the way works, and nothing else.

    closed --failures--> open (2 % probes) --two good probes--> half open (20 %) --five--> closed
                          ^ one failure takes a half open cell back; a minute without any answer makes it half open,
                            half an hour closes it
"""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from typing import Final, Literal, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Struct

from greenlane.payments.times import MINUTE_US
from greenlane.policy.heard import Heard
from greenlane.ports.journal import CHANGE_DECODER, Entry

WHOLE_PPM: Final = 1_000_000
OPEN_PPM: Final = 20_000
HALF_OPEN_PPM: Final = 200_000
QUIET_US: Final = MINUTE_US
"""So long without an answer, and an open cell is asked more often."""
FORGOTTEN_US: Final = 30 * MINUTE_US
"""So long without an answer, and nothing is known against it any more."""

TECHNICAL_OPENS: Final = 11_500
"""Thousandths of a nat: 4 failures in a row, one false alarm in 100,000 answers at most."""
APPROVAL_OPENS: Final = 18_500
"""Higher, because residuals of a model are not independent."""
FADES_US: Final = 10 * MINUTE_US // 1_000
"""For each such time a thousandth of a nat fades: old failures say little."""
HALF_OPENS: Final = 1_200
CLOSES: Final = 3_000
BROKEN_TECHNICAL: Final = 0.5
"""The share of technical failures that is tested against the usual one."""
BROKEN_LOG_ODDS: Final = -2.5
"""By so much approval is worse where it has collapsed."""
COUNTED_DECLINES: Final = 0.7
"""Of all declines: those that are not neutral, where nothing else is known."""
USUAL_TECHNICAL: Final = (5, 500)
"""Failures and answers that a cell starts with."""
USUAL_MAX: Final = 4_000
"""Answers in the usual share; then both counts are halved."""
CELLS_MAX: Final = 8_192

OUTAGE: Final = "outage"
KILL_SWITCH: Final = "kill_switch"

State = Literal["closed", "half_open", "open", "scheduled", "killed"]


class Gate(NamedTuple):
    """How much of a way's traffic may pass: all, a probe, or nothing."""

    state: State
    share_ppm: int


CLOSED: Final = Gate("closed", WHOLE_PPM)
HALF_OPEN: Final = Gate("half_open", HALF_OPEN_PPM)
OPEN: Final = Gate("open", OPEN_PPM)
SCHEDULED: Final = Gate("scheduled", 0)
KILLED: Final = Gate("killed", 0)


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """`after` of an `outage` control entry, whose id is the route: from (included) to (not) in UTC microseconds."""

    from_us: int
    to_us: int


WINDOW_DECODER: Final = msgspec.msgpack.Decoder(Window | None)
SWITCH_DECODER: Final = msgspec.msgpack.Decoder(bool | None)


class Watch(Struct, array_like=True, gc=False):
    """One watched cell. Sums in thousandths of a nat."""

    technical: int = 0
    approval: int = 0
    mending: int = 0
    state: Literal["closed", "half_open", "open"] = "closed"
    cause: Literal["", "technical", "approval"] = ""
    heard_us: int = 0
    failures: int = USUAL_TECHNICAL[0]
    answers: int = USUAL_TECHNICAL[1]
    failed_card: int = 0
    failed_across: int = 0
    """Which other halves (issuers of a route, routes of an issuer) failed while the sums grew, as bits."""
    seen_across: int = 0

    def gate(self, at_us: int) -> Gate:
        if self.state == "closed":
            return CLOSED
        quiet_us = at_us - self.heard_us
        if quiet_us >= FORGOTTEN_US:
            return CLOSED
        return HALF_OPEN if self.state == "half_open" or quiet_us >= QUIET_US else OPEN


class Breaker(Struct, array_like=True, eq=False):
    """A fold of answers and of the control entries `outage` and `kill_switch`.

    >>> breaker = Breaker()
    >>> for second in range(4):
    ...     breaker.hear(Heard(second * 1_000_000, "technical", f"iss_{second % 2}", "", "acq_a", card=second))
    >>> breaker.gates("iss_9", ["acq_a", "acq_b"], 5_000_000)
    (Gate(state='open', share_ppm=20000), Gate(state='closed', share_ppm=1000000))
    """

    _watches: dict[tuple[str, str], Watch] = {}
    """By (issuer, route); "" stands for all."""
    _windows: dict[str, Window] = {}
    _killed: dict[str, bool] = {}
    _not_closed: int = 0
    """Watches that are open or half open: where there are none, nobody need look."""
    changes: int = 0
    """How often a gate moved by what was heard or ordered: each ends the policy epoch."""

    def gates(self, issuer: str, routes: Sequence[str], at_us: int) -> tuple[Gate, ...]:
        """One for each route, as this issuer meets it; an issuer that is down is no reason to leave any route."""
        if not (self._not_closed or self._windows or self._killed):
            return (CLOSED,) * len(routes)
        watches, down = self._watches, self.issuer_is_down(issuer, at_us)
        found = []
        for route in routes:
            gate = self._ordered(route, at_us)
            for key in (("", route),) if down else (("", route), (issuer, route)):
                watch = watches.get(key)
                if watch is not None and watch.state != "closed":
                    gate = min(gate, watch.gate(at_us), key=lambda each: each.share_ppm)
            found.append(gate)
        return tuple(found)

    def issuer_is_down(self, issuer: str, at_us: int) -> bool:
        """It fails over several routes: another route is no help, a later attempt may be."""
        watch = self._watches.get((issuer, ""))
        return watch is not None and watch.gate(at_us) is not CLOSED

    def is_known_outage(self, issuer: str, route: str) -> bool:
        """Does the way fail technically, and is that known, so that nothing slower need learn from its answers?"""
        watches = (self._watches.get(key) for key in (("", route), (issuer, ""), (issuer, route)))
        return any(watch is not None and watch.cause == "technical" for watch in watches)

    def control(self, entry: Entry) -> None:
        """Folds an `outage` or `kill_switch` control entry in, passes over all others."""
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject == OUTAGE:
            window = WINDOW_DECODER.decode(change.after)
            self._windows.pop(change.id, None)
            if window is not None:
                self._windows[change.id] = window
        elif change.subject == KILL_SWITCH:
            self._killed.pop(change.id, None)
            if SWITCH_DECODER.decode(change.after):
                self._killed[change.id] = True
        else:
            return
        self.changes += 1

    def hear(self, heard: Heard) -> None:
        """One answer (or a failure to get one)."""
        if not heard.genuine_ppm or self._ordered(heard.route, heard.at_us) is not CLOSED:
            return
        route = self._watch("", heard.route, heard.at_us)
        issuer = self._watch(heard.issuer, "", heard.at_us) if heard.issuer else None
        pair = self._watch(heard.issuer, heard.route, heard.at_us) if heard.issuer else None
        route_is_closed, issuer_is_closed = route.state == "closed", issuer is None or issuer.state == "closed"
        across = 1 << hash_bit(heard.issuer)
        if issuer_is_closed or not route_is_closed:
            self._judge(route, heard, across, at_least=min(2, (route.seen_across | across).bit_count()))
        if issuer is not None and (route_is_closed or not issuer_is_closed):
            self._judge(issuer, heard, 1 << hash_bit(heard.route), at_least=2)
        if pair is not None and ((route_is_closed and issuer_is_closed) or pair.state != "closed"):
            self._judge(pair, heard, 1, at_least=1)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @staticmethod
    def load(dumped: bytes) -> "Breaker":
        return msgspec.msgpack.decode(dumped, type=Breaker)

    def _ordered(self, route: str, at_us: int) -> Gate:
        """What people said about a route."""
        if route in self._killed:
            return KILLED
        window = self._windows.get(route)
        return SCHEDULED if window is not None and window.from_us <= at_us < window.to_us else CLOSED

    def _watch(self, issuer: str, route: str, at_us: int) -> Watch:
        """The cell, as it has faded since it was last heard of."""
        key = (issuer, route)
        watch = self._watches.pop(key, None)
        if watch is None:
            watch = Watch(heard_us=at_us)
            if len(self._watches) >= CELLS_MAX:
                self._not_closed -= self._watches.pop(next(iter(self._watches))).state != "closed"
        self._watches[key] = watch
        if watch.state != "closed":
            if watch.gate(at_us) is CLOSED:
                self._close(watch)
            return watch
        faded = (at_us - watch.heard_us) // FADES_US
        watch.technical, watch.approval = max(0, watch.technical - faded), max(0, watch.approval - faded)
        return watch

    def _judge(self, watch: Watch, heard: Heard, across: int, *, at_least: int) -> None:
        failed, approved, neutral = (heard.kind == kind for kind in ("technical", "approved", "neutral"))
        watch.seen_across |= across
        if not (approved or neutral) and heard.card:
            if heard.card == watch.failed_card:
                return
            watch.failed_card = heard.card
        watch.heard_us = heard.at_us
        technical = technical_ratio(watch.failures, watch.answers, failed)
        approval = 0 if neutral else approval_ratio(heard.approval_e9, approved) * heard.genuine_ppm // WHOLE_PPM
        if watch.state != "closed":
            self._mend(watch, technical if watch.cause == "technical" else approval)
            return
        watch.technical, watch.approval = max(0, watch.technical + technical), max(0, watch.approval + approval)
        if not watch.technical and not watch.approval:
            watch.failed_across = 0
        elif not approved and not neutral:
            watch.failed_across |= across
        learn_usual(watch, failed)
        if watch.failed_across.bit_count() >= at_least:
            self._open_if_broken(watch)

    def _open_if_broken(self, watch: Watch) -> None:
        if watch.technical >= TECHNICAL_OPENS:
            watch.cause = "technical"
        elif watch.approval >= APPROVAL_OPENS:
            watch.cause = "approval"
        else:
            return
        watch.state, watch.mending = "open", 0
        self._not_closed += 1
        self.changes += 1

    def _mend(self, watch: Watch, ratio: int) -> None:
        """Evidence for health: the same ratios with the other sign."""
        watch.mending = max(0, watch.mending - ratio)
        if watch.mending >= CLOSES:
            self._close(watch)
        elif watch.mending < HALF_OPENS:
            watch.state = "open"
        else:
            watch.state = "half_open"

    def _close(self, watch: Watch) -> None:
        watch.technical = watch.approval = watch.mending = watch.failed_across = watch.failed_card = 0
        watch.state, watch.cause = "closed", ""
        self._not_closed -= 1
        self.changes += 1


def learn_usual(watch: Watch, failed: bool) -> None:
    """A cell under suspicion does not learn that failing is usual."""
    if watch.technical >= TECHNICAL_OPENS // 2:
        return
    watch.failures, watch.answers = watch.failures + failed, watch.answers + 1
    if watch.answers > USUAL_MAX:
        watch.failures, watch.answers = (watch.failures + 1) // 2, watch.answers // 2


def technical_ratio(failures: int, answers: int, failed: bool) -> int:
    """Log-likelihood ratio of one answer, broken to usual, in thousandths of a nat.

    Twice the measured share counts as usual still, from 2 to 20 %.

    >>> technical_ratio(5, 500, True), technical_ratio(5, 500, False)
    (3219, -673)
    """
    if 100 * failures <= answers:
        return LEAST_TECHNICAL[failed]
    usual = min(0.2, 2.0 * failures / answers)
    return round(1e3 * (log(BROKEN_TECHNICAL / usual) if failed else log((1.0 - BROKEN_TECHNICAL) / (1.0 - usual))))


LEAST_TECHNICAL: Final = (-673, 3_219)
"""Thousandths of a nat where the usual share counts as 2 %: not failed, failed."""


def approval_ratio(approval_e9: int, approved: bool) -> int:
    """The same for approval that collapsed, given what was expected and that the answer is not neutral; 0 unexpected.

    >>> approval_ratio(900_000_000, False), approval_ratio(900_000_000, True), approval_ratio(0, False)
    (1908, -592, 0)
    """
    return approval_ratio_e3((approval_e9 + 500_000) // 1_000_000, approved)


@lru_cache(maxsize=2048)
def approval_ratio_e3(approval_e3: int, approved: bool) -> int:
    """In thousandths: the ratio hardly depends on more."""
    if not approval_e3:
        return 0
    good = approval_e3 / (approval_e3 + (1_000 - approval_e3) * COUNTED_DECLINES)
    good = min(0.99, max(0.02, good))
    odds = good / (1.0 - good)
    bad_odds = odds * exp(BROKEN_LOG_ODDS)
    bad = bad_odds / (1.0 + bad_odds)
    return round(1e3 * (log(bad / good) if approved else log((1.0 - bad) / (1.0 - good))))


@lru_cache(maxsize=4096)
def hash_bit(name: str) -> int:
    """One of 61 bits, the same in every process."""
    return crc32(name.encode()) % 61
