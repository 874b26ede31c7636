"""All monitors as one fold of the journal: the follower calls `apply` for each entry and `due` now and then.

What a decision expected is remembered until its answer comes. An attacked cell says nothing to any other monitor.
Time is the entries' own: the same journal gives the same alarms, live, after a restart, and replayed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.decisions import releases
from greenlane.decisions.control import control_of
from greenlane.decisions.live import FEATURES, MODEL, POLICY
from greenlane.decisions.packing import unpack
from greenlane.features.definition import MARK_MAX, FeatureSet
from greenlane.features.inputs import INPUTS
from greenlane.features.parity import is_sampled
from greenlane.monitoring.alarms import Alarm, Cause, Finding, Signal
from greenlane.monitoring.attacks import Attacks
from greenlane.monitoring.calibration import Believed, Calibration
from greenlane.monitoring.drift import Drift
from greenlane.monitoring.expected import Expected, expected_of, glance
from greenlane.monitoring.incidents import Incidents
from greenlane.monitoring.logs import Logs
from greenlane.monitoring.traffic import Answer, Traffic, told
from greenlane.payments.arrays import Floats
from greenlane.payments.facts import Facts
from greenlane.payments.times import MINUTE_US
from greenlane.policy.attacked import APPROVED, ASKED, DECLINED
from greenlane.policy.explore import Explored
from greenlane.policy.heard import issuer_of, kind_of
from greenlane.policy.running import EXPERIMENT
from greenlane.ports.journal import SOURCE_BIT, Entry, Position
from greenlane.settings import write_whole

ANSWERS: Final = SOURCE_BIT["approvals"] | SOURCE_BIT["declines"]
REPORTS: Final = SOURCE_BIT["fraud_reports"]
WAITING_MAX: Final = 131_072
"""Decisions whose answers are waited for, the latest."""
DRIFT_SAMPLE: Final = 10
"""One decision in so many is looked at for drift."""
IN_FORCE: Final = (releases.SUBJECT, MODEL, FEATURES, POLICY)
"""Subjects of control entries after which things may behave otherwise."""
TOGETHER_MAX: Final = 512
"""Decisions and answers that are worked through at once."""
VERSION: Final = 5
KINDS: Final = tuple[list[bytes], list[tuple[str, Expected]], int]

Asked = tuple[Facts, int, int, "Expected | Believed | Look | None"]
"""For `attacks.answer`, and what else is to be learned of it: of an answer what was expected, ..."""


class Look(Struct, frozen=True, array_like=True, gc=False):
    """What drift is looked for in: of a sampled decision."""

    version: str
    """Of model and release."""
    known: bytes
    """The packed feature vector."""
    fraud: float
    approval: float

    def vector(self, width: int) -> Floats:
        """float64[width + 2], NaN where nothing is known."""
        whole = unpack(self.known, width) if width else np.zeros(0)
        return np.append(np.where(whole > MARK_MAX, whole, np.nan), (self.fraud, self.approval or np.nan))


class Monitors:
    """The fold. `features` name the vectors that drift is looked for in; `decision_of` finds the decision entry that a
    later report is about, where one can be found.

    >>> monitors = Monitors()
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=99, currency="EUR", amount_reporting_minor=99,
    ...               issuer_id="iss", route_id="acq_a", network="visa", code="91", decline_class="soft")
    >>> monitors.apply(Entry(1, 1, 5, "authorization", "acquirer", "1", 5, ANSWERS, 1, b"", facts, b""))
    >>> monitors.due(MINUTE_US), [name for _, name in monitors.traffic.approval.names]
    ([], [(), ('visa',), ('acq_a',), ('iss',), ('iss', 'acq_a', 'visa')])
    """

    def __init__(
        self,
        features: FeatureSet | None = None,
        *,
        decision_of: Callable[[Entry], Entry | None] | None = None,
        has_features: Callable[[str], bool] = lambda _release: True,
    ):
        """`has_features` of a release: are its vectors of `features`? Others are not looked into."""
        self.names = [*INPUTS, *(column.name for column in features.columns)] if features else []
        self.traffic, self.attacks, self.logs = Traffic(), Attacks(), Logs()
        self.calibration, self.incidents = Calibration(), Incidents()
        self.drift = Drift([*self.names, "fraud_probability", "approval_probability"])
        self._decision_of, self._has_features = decision_of, has_features
        self._waiting: dict[str, Expected] = {}
        self._asked: list[Asked] = []
        self._found: list[Finding] = []
        self._minute_us = 0

    def apply(self, entry: Entry) -> None:
        """Any entry, in the order of the journal. Many together cost less than each alone, and say the same."""
        facts, kind = entry.facts, entry.kind
        if kind == "control":
            self._work()
            self._control(entry)
        elif facts is not None and entry.sign > 0:
            if kind == "decision":
                if facts.intervention:
                    self._decided(entry, facts)
            elif entry.emits & ANSWERS or kind == "authorization" or kind == "not_sent":
                self._answered(entry, facts)
            elif entry.emits & REPORTS:
                self._work()
                self._reported(entry)
        if entry.ingest_us - self._minute_us >= MINUTE_US:
            self._turn(entry.ingest_us)
        elif len(self._asked) >= TOGETHER_MAX:
            self._work()

    def due(self, now_us: int) -> list[Finding]:
        """What was found since it was last asked: alarms that opened or ended, and what they propose to change."""
        if now_us - self._minute_us >= MINUTE_US:
            self._turn(now_us)
        self._work()
        found, self._found = self._found, []
        return found

    def dump(self) -> bytes:
        self._work()
        parts = [part.dump() for part in self._parts()]
        return msgspec.msgpack.encode((VERSION, parts, list(self._waiting.items()), self._minute_us))

    def load(self, dumped: bytes) -> bool:
        """False, and nothing taken, where another version of this room wrote it."""
        version, *rest = msgspec.msgpack.decode(dumped)
        if version != VERSION:
            return False
        parts, waiting, self._minute_us = msgspec.convert(rest, type=KINDS)
        self._waiting = dict(waiting)
        for part, each in zip(self._parts(), parts, strict=True):
            part.load(each)
        return True

    def save(self, path: Path, position: Position) -> None:
        """The state after the entry at `position`, put in place whole."""
        write_whole(path, msgspec.msgpack.encode((position, self.dump())))

    def restore(self, path: Path) -> Position | None:
        """The position at which the state was kept; None, and no state to go on from, where none of this version is."""
        with suppress(OSError, ValueError, msgspec.MsgspecError):  # nothing kept, damaged, or not ours
            position, state = msgspec.msgpack.decode(path.read_bytes(), type=tuple[Position, bytes])
            return position if self.load(state) else None
        return None

    def _parts(self) -> tuple[Any, ...]:
        return self.traffic, self.attacks, self.logs, self.calibration, self.drift, self.incidents

    def _decided(self, entry: Entry, facts: Facts) -> None:
        seen, at_us = glance(entry.payload), entry.ingest_us
        expected, waiting = expected_of(entry, seen), self._waiting
        if isinstance(seen.chosen.explored, Explored):
            self.logs.decided(seen.chosen.explored)
        for exposure in seen.arms:
            self.logs.exposed(exposure)
        if facts.intervention == "block":
            believed = Believed(at_us, expected.model, fraud_of(seen), blocked=True)
            self._asked.append((facts, at_us, DECLINED, believed))
        else:
            if waiting.pop(facts.attempt_id, None) is None and expected.passes:
                self.logs.sent(expected.route)
            if len(waiting) >= WAITING_MAX:
                del waiting[next(iter(waiting))]
            waiting[facts.attempt_id] = expected
        if is_sampled(entry.seq, DRIFT_SAMPLE) and seen.model:
            of_ours = seen.known and not seen.vector_of and self._has_features(seen.release)
            if of_ours or not self.names:
                look = Look(f"{seen.model} {seen.release}", seen.known, fraud_of(seen), expected.approval)
                self._asked.append((facts, at_us, ASKED, look))

    def _answered(self, entry: Entry, facts: Facts) -> None:
        expected = self._waiting.pop(facts.attempt_id, None)
        if expected is not None and expected.passes:
            self.logs.answered(expected.route)
        if entry.kind != "not_sent":
            kind = kind_of(facts.decline_class, facts.network, facts.code)
            said = APPROVED if kind == "approved" else ASKED if kind == "technical" else DECLINED
            self._asked.append((facts, entry.ingest_us, said, expected))

    def _work(self) -> None:
        asked, self._asked = self._asked, []
        if asked:
            self._learn(asked)

    def _learn(self, asked: list[Asked]) -> None:
        believed, answers, times = list[Believed](), list[Answer](), list[int]()
        found = list[tuple[int, int, Finding]]()
        """With the answers before it; what is found at an answer stands behind what was found before it."""
        facts, at_us, said, _ = zip(*asked, strict=True)
        for (one, at, what, about), attacked in zip(asked, self.attacks.answer(facts, at_us, said), strict=True):
            if isinstance(about, Believed):
                believed.append(about)
            elif attacked:
                continue
            elif isinstance(about, Look):
                row = partial(about.vector, len(self.names))
                found += [(len(answers), 0, each) for each in self.drift.hear(about.version, row, at)]
            else:
                if one.route_id:
                    approval, money_minor = 0.0 if about is None else about.approval, one.amount_reporting_minor
                    way = issuer_of(one), one.route_id, one.network
                    answers.append(Answer(*way, approval, what == APPROVED, what == ASKED, money_minor))
                    times.append(at)
                if what == APPROVED and about is not None and about.passes:
                    believed.append(Believed(at, about.model, about.fraud, about.weight))
        self.calibration.hear([one for one in believed if one.model])
        found += [(at, 1, one) for at, one in self.traffic.hear(answers, times)]
        self._tell([one for *_, one in sorted(found, key=itemgetter(0, 1))])

    def _reported(self, entry: Entry) -> None:
        """The decision is asked of the journal: reports are few, and come weeks later."""
        decision = self._decision_of(entry) if self._decision_of is not None else None
        if decision is None or not decision.payload:
            return
        waiting = expected_of(decision, glance(decision.payload))
        if waiting.passes and waiting.model:
            cohorts = self.calibration.of(waiting.model)
            cohorts.report(decision.ingest_us, waiting.fraud, at_us=entry.ingest_us, weight=waiting.weight)

    def _control(self, entry: Entry) -> None:
        change = control_of(entry)
        if change.subject == "parity":
            self.logs.parity(change.after)
        elif change.subject == EXPERIMENT:
            self.logs.arranged(change.id, change.after)
        elif change.subject in IN_FORCE:
            self.incidents.released(entry.ingest_us, cause_of(change.subject, change.id, change.after))

    def _turn(self, at_us: int) -> None:
        self._work()
        self._minute_us = at_us
        self.traffic.turn(at_us)
        for part in (self.attacks, self.logs, self.calibration, self.drift):
            self._tell(part.turn(at_us))
        self.incidents.update([*self._standing(at_us), *self.attacks.measured()])

    def _standing(self, at_us: int) -> list[Alarm]:
        """The open alarms of traffic, as large as they are by now."""
        signals: tuple[Signal, ...] = ("approval", "outage")
        found = [one for s in signals for change in self.traffic.streams(s).open for one in told(s, change, at_us)]
        return [one for one in found if isinstance(one, Alarm)]

    def _tell(self, found: Sequence[Finding]) -> None:
        for one in found:
            if isinstance(one, Alarm):
                self.incidents.hear(one)
        self._found += found


def fraud_of(seen: Any) -> float:
    """p, whatever was done about it."""
    return (seen.given.fraud_probability_e9 or 0) / 1e9


def cause_of(subject: str, name: str, after: Any) -> Cause:
    """
    >>> str(cause_of("model", "fraud/champion", "mdl_1"))
    'model mdl_1'
    """
    if subject == MODEL:
        return Cause("model", after if isinstance(after, str) else name)
    return Cause("feature" if subject == FEATURES else "release", name)
