"""Replay: was every answer what these inputs give, and were these inputs what the journal gives?

`decide` level: the inputs as they were logged, through the same code, give the same choice to the byte.
`refold` level: the journal, folded again from its beginning, gives the same feature vectors.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from greenlane.decide import SOURCE, Believed, attempt_no, believed_from
from greenlane.decisions.answer import Versions
from greenlane.decisions.live import CHAMPION, Live
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import ENCODER, DecisionRecord, Further, decision_id, record_of
from greenlane.decisions.releases import Releases
from greenlane.errors import JournalError
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS
from greenlane.features.stream import StreamEngine
from greenlane.merchants.book import Book
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.facts import Facts
from greenlane.policy.choose import Chosen, choose
from greenlane.policy.explore import recorded_draw
from greenlane.policy.next_action import Next, next_action
from greenlane.policy.parameters import Policy
from greenlane.policy.running import Running, mixture_of, overriding
from greenlane.ports.journal import Entry
from greenlane.proceed import Case, approval_of, chosen_of


@dataclass(frozen=True)
class Difference:
    """One thing that came out otherwise."""

    decision_id: str
    what: str
    logged: str
    recomputed: str


@dataclass
class Replayed:
    """What a replay found; `differences` is expected to be empty."""

    decisions: int = 0
    vectors: int = 0
    differences: list[Difference] = field(default_factory=list)
    runtime_differs: set[str] = field(default_factory=set)
    """Decisions made by another engine or runtime than this one: byte equality is not promised for them."""

    @property
    def different(self) -> int:
        """Decisions that came out otherwise although nothing that decides had changed."""
        return len({d.decision_id for d in self.differences} - self.runtime_differs)


class Replayer:
    """Recomputes decisions while it walks the journal in order, so that it knows what was in force at each.

    `models` gives a loaded artefact by id; `named` the entries under a name of the journal, or nothing where numbers
    of attempts are not checked. Entries before the first wanted decision may be control entries only, unless they
    are to be folded again, with the features of `refold`: that takes every entry from the first on.
    """

    def __init__(
        self,
        models: Callable[[str], FraudModel],
        *,
        policy: Policy,
        versions: Versions,
        refold: FeatureSet | None = None,
        first_complete_us: int | None = None,
        named: Callable[[str, str], Sequence[Entry]] = lambda _space, _name: (),
    ):
        self.named = named
        self.models, self.policy, self.versions = models, policy, versions
        self.book, self.releases, self.live, self.running = Book(), Releases(), Live(), Running()
        self.finalisers: dict[str, Finaliser] = {}
        self.bound: dict[tuple[str, str], FraudModel] = {}
        self.engine = None if refold is None else StreamEngine(refold, first_complete_us=first_complete_us)
        self.found = Replayed()

    def walk(self, entries: Iterable[Entry], wanted: Collection[str] | None) -> Iterator[Entry]:
        """Recomputes the wanted decisions (None = all) and passes every entry on, for progress."""
        for entry in entries:
            if entry.kind == "decision" and (wanted is None or name(entry) in wanted):
                self.check(entry)
            for fold in (self.book, self.releases, self.live, self.running):
                fold.apply(entry)
            if self.engine is not None:
                self.fold(entry, self.engine)
            yield entry

    def fold(self, entry: Entry, engine: StreamEngine) -> None:
        if self.live.features not in (None, engine.features):
            raise JournalError(
                "the features changed inside this journal", hint="replay without --refold: each decision has its vector"
            )
        engine.apply(entry)

    def check(self, entry: Entry) -> None:
        record = record_of(entry)
        made_by = self.releases.versions(record.release)
        self.found.decisions += 1
        if (made_by.engine, made_by.runtime) != (self.versions.engine, self.versions.runtime):
            self.found.runtime_differs.add(name(entry))
        believed = self.believed(record, made_by)
        self.compare(entry, "fraud_probability_e9", record.fraud_probability_e9, believed.fraud_probability_e9)
        arms = self.running.arms(mixture_of(record.arms))
        champion = self.live.aliases.get(CHAMPION, "")
        self.compare(entry, "model", record.model, overriding(arms, "fraud_model") or champion)
        self.compare(entry, "reasons", record.reasons, believed.reasons)
        self.compare(entry, "amount_minor", record.given.amount_minor, amount_of(entry))
        self.compare(entry, "ingest_us", record.given.ingest_us, entry.ingest_us)
        if record.further is None:
            self.check_number(entry, record)
            chosen = self.chosen(record)
        else:
            chosen = self.check_next(entry, record, record.further)
        for part in Chosen.__struct_fields__:
            self.compare(entry, f"chosen.{part}", getattr(record.chosen, part), getattr(chosen, part))
        if self.engine is not None and record.known and not record.vector_of:
            self.check_vector(entry, record, self.engine)

    def check_next(self, entry: Entry, record: DecisionRecord, further: Further) -> Chosen:
        """What was found, what was believed of it, and the choice that follows."""
        assert entry.facts is not None, "a decision always has facts"
        found = self.next(record, further)
        self.compare(entry, "next", further.found, found)
        payment = record.attempt.payment
        economics = self.book.economics(payment.merchant_id, mcc=payment.mcc)
        case = Case(record.attempt, entry.facts, record.given, further.outlooks, economics)
        self.compare(entry, "approval", further.approval, approval_of(found, case))
        return chosen_of(found, case, self.policy_of(record))

    def believed(self, record: DecisionRecord, made_by: Versions) -> Believed:
        if not record.known or not record.model or record.fraud_probability_e9 is None:
            return Believed(record.fraud_probability_e9, record.reasons)
        features = self.live.known_features[made_by.features]
        finaliser = self.finalisers.setdefault(features.digest, Finaliser(features))
        key = record.model, features.digest
        if key not in self.bound:
            self.bound[key] = self.models(record.model).bind(finaliser.names)
        return believed_from(unpack(record.known, width_of(features)), finaliser, self.bound[key])

    def chosen(self, record: DecisionRecord) -> Chosen:
        payment = record.attempt.payment
        return choose(
            record.attempt,
            record.given,
            economics=self.book.economics(payment.merchant_id, mcc=payment.mcc),
            policy=self.policy_of(record),
            draw=recorded_draw(record.chosen.explored.draw),
        )

    def policy_of(self, record: DecisionRecord) -> Policy:
        return self.live.policies.get(record.chosen.policy_version, self.policy)

    def next(self, record: DecisionRecord, further: Further) -> Next:
        payment = record.attempt.payment
        return next_action(
            record.attempt,
            record.given,
            further.outlooks,
            economics=self.book.economics(payment.merchant_id, mcc=payment.mcc),
            policy=self.policy_of(record),
            table=self.live.recovery,
            partial_accepted=further.partial_accepted,
            left_minor=further.capturable_minor,
            draw=recorded_draw(record.chosen.explored.draw),
        )

    def check_number(self, entry: Entry, record: DecisionRecord) -> None:
        """Counted again over what the journal held of the payment before; not where that has retired."""
        payment_id, attempt_id = record.attempt.payment.id, record.attempt.attempt_id
        past = self.named("payment", payment_id)
        earlier = [e for e in self.named("attempt", attempt_id) if e.kind == SOURCE and e.seq < entry.seq]
        if past and past[-1].seq >= entry.seq and all(e.payload for e in earlier[:1]):
            again = attempt_no(earlier, [e for e in past if e.seq < entry.seq])
            self.compare(entry, "attempt_no", record.attempt_no, again)

    def check_vector(self, entry: Entry, record: DecisionRecord, engine: StreamEngine) -> None:
        assert entry.facts is not None, "a decision always has facts"
        again = engine.read(facts_asked(record, entry.facts), entry.ingest_us).tolist()
        logged = unpack(record.known, width_of(engine.features)).tolist()
        self.found.vectors += 1
        names = [*INPUTS, *(c.name for c in engine.features.columns)]
        for column, was, now in zip(names, logged, again, strict=True):
            self.compare(entry, column, was, now)

    def compare(self, entry: Entry, what: str, logged: object, recomputed: object) -> None:
        if ENCODER.encode(logged) != ENCODER.encode(recomputed):
            self.found.differences.append(Difference(name(entry), what, repr(logged), repr(recomputed)))


def facts_asked(record: DecisionRecord, facts: Facts) -> Facts:
    """A decision's facts as they were when its features were read: before anything was chosen."""
    card = record.attempt.payment.payment_method.card
    return replace(facts, intervention="", route_id="", credential="" if card is None else card.credential)


def amount_of(entry: Entry) -> int:
    assert entry.facts is not None, "a decision always has facts"
    return entry.facts.amount_reporting_minor


def name(entry: Entry) -> str:
    return decision_id(entry.generation, entry.seq)


def width_of(features: FeatureSet) -> int:
    return len(INPUTS) + len(features.columns)
