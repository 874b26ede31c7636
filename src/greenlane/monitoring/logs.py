"""Does the log say enough to learn from and to be evaluated? Where it does not, readouts are blocked.

distributions   every decision's masses sum to 2^32
propensities    what is left to chance happens as often as it should, by bin of probability
answers         what was sent is answered, by route
ratio           arms of an experiment get their shares
parity          what was served is what is computed again
"""

from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.experiments.srm import sequential_check
from greenlane.monitoring.alarms import Alarm, Cause, ControlProposal, Finding
from greenlane.monitoring.calibration import alarm_of
from greenlane.payments.arrays import Floats
from greenlane.payments.times import HOUR_US
from greenlane.policy.arms import Experiment, Exposure
from greenlane.policy.distribution import TOTAL, sums
from greenlane.policy.explore import Explored

BINS: Final = 10
DRAWS_MIN: Final = 100.0
"""Variance, in draws, of a bin before it is judged."""
SURPRISE_MAX: Final = 5.0
"""Standard errors; looked at every hour for years."""
SENT_MIN: Final = 200
ANSWERED_MIN: Final = 0.9
RATIO_ALPHA: Final = 1e-4
UNITS: Final = 1 << 17
TOGETHER_MAX: Final = 1_024
"""Draws that are counted at once."""
ROUTES_MAX: Final = 1_024

Kind = Literal["distributions", "propensities", "answers", "ratio", "parity"]


class Split(Struct, array_like=True):
    """Units of each arm of an experiment, each unit once: a bit stands for those of one hash."""

    shares: dict[str, int]
    counts: dict[str, int]
    known: bytearray

    def meet(self, seen: Exposure) -> None:
        byte, bit = divmod(seen.unit % UNITS, 8)
        if not self.known[byte] >> bit & 1:
            self.known[byte] |= 1 << bit
            self.counts[seen.arm] += 1

    def chance(self) -> float:
        """Of such counts by these shares, at any look."""
        return float(sequential_check(list(self.counts.values()), list(self.shares.values())))


class Logs:
    """A fold of decisions and answers.

    >>> logs = Logs()
    >>> for n in range(1_000):
    ...     logs.decided(Explored(distribution=(TOTAL // 4, 3 * (TOTAL // 4)), place=1))
    >>> alarm, blocked = logs.turn(HOUR_US)[:2]
    >>> alarm.series, blocked.subject
    ('propensities', 'readouts')
    """

    def __init__(self) -> None:
        self.draws: Floats = np.zeros((BINS, 3))
        """Of all but the most probable action, by halvings of its probability: expected, taken, variance."""
        self.drawn: list[tuple[tuple[int, ...], int]] = []
        """Masses and the place that was drawn, not yet counted."""
        self.routes: dict[str, list[int]] = {}
        """Sent and answered, this hour."""
        self.arms: dict[str, Split] = {}
        self.wrong = 0
        self.mismatches = 0
        self.hour_us = 0
        self.open: dict[str, Alarm] = {}

    def decided(self, explored: Explored) -> None:
        """Of a decision that left something to chance."""
        masses = explored.distribution
        drawn = TOTAL not in masses or masses.count(0) < len(masses) - 1
        if explored.degraded or (drawn and not sums(masses)):
            self.wrong += 1
        elif drawn:
            self.drawn.append((masses, explored.place))
            if len(self.drawn) >= TOGETHER_MAX:
                self._count()

    def sent(self, route: str) -> None:
        """Over this route, to be answered."""
        if route in self.routes:
            self.routes[route][0] += 1
        elif route and len(self.routes) < ROUTES_MAX:
            self.routes[route] = [1, 0]

    def _count(self) -> None:
        """The draws so far into their bins: all actions of a draw but the most probable one."""
        drawn, self.drawn = self.drawn, []
        widest = max((len(masses) for masses, _ in drawn), default=0)
        mass = np.array([masses + (0,) * (widest - len(masses)) for masses, _ in drawn], np.float64)
        if not mass.size:
            return
        rows, taken = np.arange(len(drawn)), np.zeros(mass.shape)
        taken[rows, [place for _, place in drawn]] = 1.0
        others = mass > 0.0
        others[rows, mass.argmax(axis=1)] = False
        shares, taken = mass[others] / TOTAL, taken[others]
        bins = np.minimum(-np.log2(shares), BINS - 1).astype(np.int64)
        for column, values in enumerate((shares, taken, shares * (1.0 - shares))):
            self.draws[:, column] += np.bincount(bins, values, BINS)

    def answered(self, route: str) -> None:
        if route in self.routes:
            self.routes[route][1] += 1

    def arranged(self, name: str, after: Any) -> None:
        """An experiment was changed: what runs is counted anew, arm by arm; None takes it away."""
        self.arms.pop(name, None)
        if after is not None:
            experiment = msgspec.convert(after, Experiment)
            steady = [arm for arm in experiment.arms if arm.name not in experiment.paused_arms]
            if experiment.state == "running" and len(steady) > 1:
                shares = {arm.name: arm.share_ppm for arm in steady}
                self.arms[name] = Split(shares, dict.fromkeys(shares, 0), bytearray(UNITS // 8))

    def exposed(self, seen: Exposure) -> None:
        split = self.arms.get(seen.experiment)
        if split is not None and seen.arm in split.shares:
            split.meet(seen)

    def parity(self, after: Any) -> None:
        """What the follower found: the `after` of a control entry on parity."""
        if isinstance(after, dict):
            self.mismatches = max(self.mismatches, int(after.get("mismatches", 0)))

    def turn(self, at_us: int) -> list[Finding]:
        """Judged every hour."""
        if at_us - self.hour_us < HOUR_US:
            return []
        self.hour_us = at_us
        found = self._tell("distributions", float(self.wrong), self.wrong > 0, at_us=at_us)
        worst = self.surprise()
        found += self._tell("propensities", worst, worst > SURPRISE_MAX, at_us=at_us)
        least, route = self._least_answered()
        found += self._tell("answers", least, least < ANSWERED_MIN, at_us=at_us, cause=Cause("route", route))
        chance, name = min(((split.chance(), name) for name, split in self.arms.items()), default=(1.0, ""))
        arms = Cause("log", f"arms of {name}")
        found += self._tell("ratio", chance, chance < RATIO_ALPHA, at_us=at_us, cause=arms)
        found += self._tell("parity", float(self.mismatches), self.mismatches > 0, at_us=at_us)
        self.wrong, self.mismatches = 0, 0
        self.routes.clear()
        return found

    def surprise(self) -> float:
        """The worst bin's distance from what its propensities say, in standard errors."""
        self._count()
        judged = self.draws[self.draws[:, 2] >= DRAWS_MIN]
        if not len(judged):
            return 0.0
        return float(np.max(np.abs(judged[:, 1] - judged[:, 0]) / np.sqrt(judged[:, 2])))

    def dump(self) -> bytes:
        self._count()
        return msgspec.msgpack.encode((
            self.draws.tobytes(), self.routes, self.arms, self.wrong, self.mismatches, self.hour_us, self.open,
        ))  # fmt: skip

    def load(self, dumped: bytes) -> None:
        kinds = tuple[bytes, dict[str, list[int]], dict[str, Split], int, int, int, dict[str, Alarm]]
        draws, self.routes, self.arms, self.wrong, self.mismatches, self.hour_us, self.open = msgspec.msgpack.decode(
            dumped, type=kinds
        )
        self.draws = np.frombuffer(draws).reshape(BINS, 3).copy()

    def _least_answered(self) -> tuple[float, str]:
        told = [(answered / sent, route) for route, (sent, answered) in self.routes.items() if sent >= SENT_MIN]
        return min(told, default=(1.0, ""))

    def _tell(self, kind: Kind, value: float, wrong: bool, *, at_us: int, cause: Cause | None = None) -> list[Finding]:
        known = self.open.get(kind)
        if wrong and known is None:
            note = f"{kind}: {value:.4g}"
            blame = cause or Cause("log", kind)
            alarm = alarm_of("logging", kind, "ticket", note=note, value=value, at_us=at_us, cause=blame)
            self.open[kind] = alarm
            return [alarm, ControlProposal(subject="readouts", id=kind, why=note, after={"blocked": True})]
        if not wrong and known is not None:
            del self.open[kind]
            over = ControlProposal(subject="readouts", id=kind, why=f"{kind} hold again", after=None)
            return [msgspec.structs.replace(known, ended_us=at_us), over]
        return []
