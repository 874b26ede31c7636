"""All monitors as one fold of the journal: the follower calls `apply` for each entry and `due` now and then.

What a decision expected is remembered until its answer comes. An attacked cell says nothing to any other monitor.
Time is the entries' own: the same journal gives the same alarms, live, after a restart, and replayed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from greenlane.decisions import releases
from greenlane.decisions.control import control_of
from greenlane.decisions.live import FEATURES, MODEL, POLICY
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import record_of
from greenlane.features.definition import MARK_MAX, FeatureSet
from greenlane.features.inputs import INPUTS
from greenlane.features.parity import is_sampled
from greenlane.monitoring.alarms import Alarm, Cause, Finding, Signal
from greenlane.monitoring.attacks import Attacks
from greenlane.monitoring.calibration import Calibration
from greenlane.monitoring.drift import Drift
from greenlane.monitoring.expected import Expected, expected_of
from greenlane.monitoring.incidents import Incidents
from greenlane.monitoring.logs import Logs
from greenlane.monitoring.traffic import Answer, Traffic, told
from greenlane.payments.facts import Facts
from greenlane.policy.arms import Exposure
from greenlane.policy.explore import Explored
from greenlane.policy.running import EXPERIMENT
from greenlane.ports.journal import SOURCE_BIT, Entry, Position
from greenlane.settings import write_whole

ANSWERS: Final = SOURCE_BIT["approvals"] | SOURCE_BIT["declines"]
REPORTS: Final = SOURCE_BIT["fraud_reports"]
MINUTE_US: Final = 60_000_000
WAITING_MAX: Final = 131_072
"""Decisions whose answers are waited for, the latest."""
DRIFT_SAMPLE: Final = 10
"""One decision in so many is looked at for drift."""
IN_FORCE: Final = (releases.SUBJECT, MODEL, FEATURES, POLICY)
"""Subjects of control entries after which things may behave otherwise."""


TOGETHER_MAX: Final = 512
"""Decisions and answers that are worked through at once."""
VERSION: Final = 3
KINDS: Final = tuple[list[bytes], list[tuple[str, Expected]], int, int]


class Decided(NamedTuple):
    """What is looked at of a decision."""

    at_us: int
    facts: Facts
    expected: Expected
    explored: Explored
    arms: tuple[Exposure, ...]
    fraud: float
    """p, whatever was done about it."""
    is_block: bool
    is_sampled: bool
    known: bytes
    """The packed feature vector; b"" where an earlier one of the attempt was used again, or it is not sampled."""
    release: str


def decided(entry: Entry) -> Decided:
    record, facts = record_of(entry), entry.facts
    assert facts is not None, "a decision always has facts"
    sampled = bool(record.model) and is_sampled(entry.seq, DRIFT_SAMPLE)
    return Decided(
        entry.ingest_us,
        facts,
        expected_of(record),
        record.chosen.explored,
        record.arms,
        (record.given.fraud_probability_e9 or 0) / 1e9,
        record.chosen.action.intervention == "block",
        sampled,
        record.known if sampled and not record.vector_of else b"",
        record.release,
    )


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
        self._heard: list[Decided | Entry] = []
        self._found: list[Finding] = []
        self._minute_us = 0
        self.alarms = 0

    def apply(self, entry: Entry) -> None:
        """Any entry, in the order of the journal. Many together cost less than each alone, and say the same."""
        if entry.kind == "decision":
            if entry.facts is not None and entry.facts.intervention and entry.sign > 0:
                self._heard.append(decided(entry))
        elif entry.kind == "control":
            self._work()
            self._control(entry)
        elif entry.facts is not None and entry.sign > 0:
            if entry.emits & ANSWERS or entry.kind in ("authorization", "not_sent"):
                self._heard.append(entry)
            elif entry.emits & REPORTS:
                self._work()
                self._reported(entry)
        if len(self._heard) >= TOGETHER_MAX:
            self._work()
        if entry.ingest_us - self._minute_us >= MINUTE_US:
            self._turn(entry.ingest_us)

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
        return msgspec.msgpack.encode((VERSION, parts, list(self._waiting.items()), self._minute_us, self.alarms))

    def load(self, dumped: bytes) -> bool:
        """False, and nothing taken, where another version of this room wrote it."""
        version, *rest = msgspec.msgpack.decode(dumped)
        if version != VERSION:
            return False
        parts, waiting, self._minute_us, self.alarms = msgspec.convert(rest, type=KINDS)
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

    def _work(self) -> None:
        heard, self._heard = self._heard, []
        for one in heard:
            if isinstance(one, Decided):
                self._decided(one)
            else:
                self._answered(one)
        self._tell(self.traffic.told())

    def _decided(self, one: Decided) -> None:
        facts, at_us, expected = one.facts, one.at_us, one.expected
        counted = expected.passes and facts.attempt_id not in self._waiting
        self.logs.decided(one.explored, route=expected.route if counted else "")
        for exposure in one.arms:
            self.logs.exposed(exposure)
        if one.is_block:
            self.attacks.answer(facts, at_us, approved=False)
            if expected.model:
                self.calibration.of(expected.model).block(at_us, one.fraud)
        else:
            self._remember(facts.attempt_id, expected)
        if one.is_sampled and not self.attacks.cells.covers(facts, at_us):
            self._look(one)

    def _look(self, one: Decided) -> None:
        """Drift, in a vector and in the probabilities made of it."""
        if self.names and not (one.known and self._has_features(one.release)):
            return
        found = self.drift.hear(f"{one.expected.model} {one.release}", partial(self._vector, one), one.at_us)
        if found:
            self._tell(self.traffic.told())  # what came before
            self._tell(found)

    def _vector(self, one: Decided) -> NDArray[np.float64]:
        whole = unpack(one.known, len(self.names)) if self.names else np.zeros(0)
        return np.append(np.where(whole > MARK_MAX, whole, np.nan), (one.fraud, one.expected.approval or np.nan))

    def _answered(self, entry: Entry) -> None:
        facts, at_us = entry.facts, entry.ingest_us
        assert facts is not None, "an answer has its payment's facts"
        waiting = self._waiting.pop(facts.attempt_id, None)
        if waiting is not None and waiting.passes:
            self.logs.answered(waiting.route)
        if entry.kind == "not_sent":
            return
        answer = Answer.of(facts, waiting.approval if waiting else 0.0)
        if answer.technical:
            attacked = self.attacks.cells.covers(facts, at_us)
        else:
            attacked = self.attacks.answer(facts, at_us, approved=answer.approved)
        if attacked:
            return
        if answer.route:
            self.traffic.hear(answer, at_us)
        if answer.approved and waiting is not None and waiting.passes and waiting.model:
            self.calibration.of(waiting.model).approve(at_us, waiting.fraud, weight=waiting.weight)

    def _reported(self, entry: Entry) -> None:
        """The decision is asked of the journal: reports are few, and come weeks later."""
        decision = self._decision_of(entry) if self._decision_of is not None else None
        if decision is None or not decision.payload:
            return
        waiting = expected_of(record_of(decision))
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
                self.alarms += not one.ended_us
                self.incidents.hear(one)
        self._found += found

    def _remember(self, attempt_id: str, waiting: Expected) -> None:
        self._waiting.pop(attempt_id, None)
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[attempt_id] = waiting


def cause_of(subject: str, name: str, after: Any) -> Cause:
    """
    >>> str(cause_of("model", "fraud/champion", "mdl_1"))
    'model mdl_1'
    """
    if subject == MODEL:
        return Cause("model", after if isinstance(after, str) else name)
    return Cause("feature" if subject == FEATURES else "release", name)
