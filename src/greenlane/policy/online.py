"""The online layer as one fold: what was expected of an attempt, what was answered, and who learns from it.

The order matters and stands here once: first an answer may mark its cell as attacked, then the breaker judges it, then,
unless it belongs to a known outage, health learns from it: from declines when the epoch ends, because only then it is
known which of them began an attack, and nothing reads them sooner.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from greenlane.payments.facts import Facts
from greenlane.policy.arms import Experiment, Exposure
from greenlane.policy.attacked import Attacked, keys_of
from greenlane.policy.breaker import Breaker
from greenlane.policy.health import Health
from greenlane.policy.heard import Heard, issuer_of, kind_of
from greenlane.policy.parameters import EPOCH_US
from greenlane.policy.running import EXPERIMENT, EXPERIMENT_DECODER, SUBJECTS, Mixture, mixture_of
from greenlane.ports.journal import CHANGE_DECODER, SOURCE_BIT, Entry

ATTEMPTS: Final = SOURCE_BIT["attempts"]
ANSWERS: Final = SOURCE_BIT["approvals"] | SOURCE_BIT["declines"]
WAITING_MAX: Final = 32_768
"""Attempts of which the expectation is remembered until they are answered, the latest."""
LESSONS_MAX: Final = 1_024
"""Declines that wait; one more is heard at once, as one among so many."""
ONE_E9: Final = 1_000_000_000
APPROVAL_CHAMPION: Final = "approval/champion"
"""The alias of the approval model in force."""


class Expected(NamedTuple):
    """What a decision expected of the attempt it granted. Probabilities are integers 1e-9."""

    attempt_id: str
    route: str
    approval_e9: int
    """Of a good payer, over the chosen way, in the chosen mode."""
    fraud_given_approval_e9: int = 0
    fraud_given_decline_e9: int = 0
    acquirers: tuple[tuple[str, str], ...] = ()
    """(route, acquirer) of what was offered, as far as told."""
    adapted: bool = True
    """Were the offsets of health in it?"""
    arms: tuple[Exposure, ...] = ()
    """In which arms it was decided: whose learner its answer teaches."""
    first: bool = True
    """The payment's first attempt. What is tried again after a decline is declined for the payer's reasons more often
    than others, so that health would take the ways that retries go over for better than they are: it does not learn
    from them."""


class Waiting(Struct, frozen=True, array_like=True, gc=False):
    """An expectation until its answer comes; then `answered` says which kinds came already."""

    route: str
    approval_e9: int
    offset_millilogit: int
    fraud_given_approval_e9: int
    fraud_given_decline_e9: int
    answered: str = ""
    first: bool = True
    learner: str = ""
    """The arm that has one of its own."""


class Lesson(Struct, frozen=True, array_like=True, gc=False):
    """A decline that health has not heard yet: it may be the first of an attack."""

    keys: tuple[str, ...]
    heard: Heard
    learners: tuple[str, ...]
    """Whose it is: arms with one of their own, "" for the one that all have in common."""


NOTHING: Final = Waiting("", 0, 0, 0, 0)
Reader = Callable[[Entry], Expected | None]


class Online:
    """A fold. `expected` reads a decision entry; None where nothing was granted or nothing was believed.

    >>> online = Online(lambda entry: None)
    >>> for n in range(1, 5):
    ...     facts = Facts(payment_id="p", payment_us=0, amount_minor=99, currency="EUR", amount_reporting_minor=99,
    ...                   issuer_id="iss", route_id="acq_a", network="visa", code="91", decline_class="soft", card=n)
    ...     online.apply(Entry(n, 1, n, "authorization", "acquirer", str(n), n, ANSWERS, 1, b"", facts, b""))
    >>> online.breaker.gates("iss", ["acq_a"], 4)[0].state
    'open'
    """

    def __init__(self, expected: Reader):
        self._expected = expected
        self.attacked, self.breaker, self.health = Attacked(), Breaker(), Health()
        self.arms: dict[str, Health] = {}
        """What each arm with a learner of its own has learned, by EXPERIMENT/ARM."""
        self._foreign: set[str] = set()
        """Arms whose attempts another approval model foresaw: their answers say nothing against the champion's."""
        self._waiting: dict[str, Waiting] = {}
        self._lessons: list[Lesson] = []
        self._epoch_us = 0
        self._changes = 0
        self.turns = 0
        """How many epochs ended early."""

    def advance(self, at_us: int) -> None:
        """Begin the policy epoch that `at_us` lies in: before anything is read at that time. Asked again, nothing."""
        begins_us = at_us // EPOCH_US * EPOCH_US
        if begins_us > self._epoch_us:
            self._epoch_us = begins_us
            self._turn(begins_us)

    def apply(self, entry: Entry) -> None:
        self.advance(entry.ingest_us)
        if entry.kind == "control":
            self._ordered(entry)
        elif entry.facts is not None and entry.sign > 0:
            if entry.kind == "decision":
                self._decided(entry, entry.facts)
            elif entry.kind in ("authorization", "not_sent") or (entry.kind == "link" and entry.emits & ANSWERS):
                self._answered(entry, entry.facts)
        if self.breaker.changes != self._changes:
            self._changes = self.breaker.changes
            self.turns += 1
            self._turn(entry.ingest_us)

    def learner(self, mixture: Mixture) -> Health:
        """What these arms go by: the first one's that has its own, else what all have in common."""
        return self.arms.get(self._learner(mixture), self.health)

    def decided(self, expected: Expected, *, issuer: str, bin8: str) -> None:
        """An attempt was granted: remember what was expected until its answer comes."""
        learner = self._learner(mixture_of(expected.arms))
        for health in self._all():
            health.acquires(expected.acquirers)
        health = self.arms.get(learner, self.health)
        offset = health.offsets(issuer, bin8, (expected.route,))[0] if expected.adapted else 0
        self._remember(expected.attempt_id, Waiting(
            expected.route, expected.approval_e9, offset, expected.fraud_given_approval_e9,
            expected.fraud_given_decline_e9, first=expected.first, learner=learner,
        ))  # fmt: skip

    def hear(self, facts: Facts, at_us: int) -> None:
        """An attempt was answered, as its facts tell: route, code and decline class are the answer's."""
        kind = kind_of(facts.decline_class, facts.network, facts.code)
        waiting = self._waiting.get(facts.attempt_id, NOTHING)
        if kind in waiting.answered:
            return
        if kind != "technical":
            self.attacked.answer(facts, at_us, declined=kind != "approved")
        if not facts.route_id:
            return
        known = waiting if waiting.route == facts.route_id else NOTHING
        fraud_e9 = known.fraud_given_approval_e9 if kind == "approved" else known.fraud_given_decline_e9
        heard = Heard(
            at_us=at_us,
            kind=kind,
            issuer=issuer_of(facts),
            bin8=facts.bin8,
            route=facts.route_id,
            initiator=facts.initiator,
            card=facts.card,
            approval_e9=known.approval_e9,
            offset_millilogit=known.offset_millilogit,
            genuine_ppm=self.attacked.weight_ppm(facts, at_us) * (ONE_E9 - fraud_e9) // ONE_E9,
        )
        self.breaker.hear(heard)
        if heard.genuine_ppm and waiting.first and not self.breaker.is_known_outage(heard.issuer, heard.route):
            own = (waiting.learner,) if waiting.learner in self.arms else ()
            keys = tuple(key for key in keys_of(facts) if key)
            lesson = Lesson(keys, heard, own if waiting.learner in self._foreign else ("", *own))
            if keys and kind != "approved" and len(self._lessons) < LESSONS_MAX:
                self._lessons.append(lesson)
            else:
                self._learn(lesson)
        if facts.attempt_id:
            self._remember(
                facts.attempt_id, msgspec.structs.replace(waiting, answered=f"{waiting.answered} {kind}".strip())
            )

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((
            self.attacked.dump(), self.breaker.dump(), self.health.dump(), list(self._waiting.items()),
            self._epoch_us, self._changes, self.turns,
            [(name, health.dump(), name in self._foreign) for name, health in self.arms.items()], self._lessons,
        ))  # fmt: skip

    @classmethod
    def load(cls, dumped: bytes, expected: Reader) -> "Online":
        kinds = tuple[
            bytes, bytes, bytes, list[tuple[str, Waiting]], int, int, int, list[tuple[str, bytes, bool]], list[Lesson]
        ]  # fmt: skip
        attacked, breaker, health, waiting, *counts, arms, lessons = msgspec.msgpack.decode(dumped, type=kinds)
        found = cls(expected)
        found._lessons = lessons
        found.attacked, found.breaker = Attacked.load(attacked), Breaker.load(breaker)
        found.health, found._waiting = Health.load(health), dict(waiting)
        found._epoch_us, found._changes, found.turns = counts
        found.arms = {name: Health.load(learned) for name, learned, _ in arms}
        found._foreign = {name for name, _, foreign in arms if foreign}
        return found

    def _ordered(self, entry: Entry) -> None:
        """A breaker's order, or another approval model: then health starts anew, and what it is measured against."""
        self.breaker.control(entry)
        change = CHANGE_DECODER.decode(entry.payload)
        renewed = change.subject == "model" and change.id == APPROVAL_CHAMPION
        if not renewed and change.subject not in SUBJECTS:
            return
        self._turn(entry.ingest_us)  # whoever begins with what is known, or keeps some of it, has heard what waited
        if renewed:
            self._waiting.clear()
            self._lessons.clear()
            for health in self._all():
                health.forget()
        elif change.subject == EXPERIMENT:
            self._staffed(change.id, EXPERIMENT_DECODER.decode(change.after))
        self._turn(entry.ingest_us)
        self.turns += 1

    def _staffed(self, name: str, experiment: Experiment | None) -> None:
        """Each arm of an experiment that runs has a learner of its own, which begins with what all know by then."""
        on = experiment is not None and experiment.state == "running" and experiment.learner == "own"
        wanted = {f"{name}/{arm.name}": arm for arm in experiment.arms} if on and experiment is not None else {}
        for key in [key for key in self.arms if key.startswith(f"{name}/") and key not in wanted]:
            del self.arms[key]
            self._foreign.discard(key)
        for key, arm in wanted.items():
            if key not in self.arms:
                self.arms[key] = Health.load(self.health.dump())
                if arm.otherwise.approval_model is not None:
                    self.arms[key].forget()
                    self._foreign.add(key)

    def _learner(self, mixture: Mixture) -> str:
        if not self.arms:
            return ""
        return next((key for pair in mixture if (key := "/".join(pair)) in self.arms), "")

    def _all(self) -> tuple[Health, ...]:
        return (self.health, *self.arms.values()) if self.arms else (self.health,)

    def _learn(self, lesson: Lesson) -> None:
        for name in lesson.learners:
            health = self.arms.get(name) if name else self.health
            if health is not None:
                health.hear(lesson.heard)

    def _turn(self, at_us: int) -> None:
        lessons, self._lessons = self._lessons, []
        for lesson in lessons:
            verdict = self.attacked.verdict(lesson.keys, heard_us=lesson.heard.at_us, at_us=at_us)
            if verdict == "suspect":
                self._lessons.append(lesson)
            elif verdict == "genuine":
                self._learn(lesson)
        for health in self._all():
            health.turn(at_us)

    def _decided(self, entry: Entry, facts: Facts) -> None:
        if entry.emits & ATTEMPTS and facts.intervention == "block":
            self.attacked.answer(facts, entry.ingest_us, declined=True)
        expected = self._expected(entry)
        if expected is not None:
            self.decided(expected, issuer=issuer_of(facts), bin8=facts.bin8)

    def _answered(self, entry: Entry, facts: Facts) -> None:
        if entry.kind == "not_sent":
            facts = msgspec.structs.replace(facts, decline_class="unknown")
        self.hear(facts, entry.ingest_us)

    def _remember(self, attempt_id: str, waiting: Waiting) -> None:
        self._waiting.pop(attempt_id, None)
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[attempt_id] = waiting
