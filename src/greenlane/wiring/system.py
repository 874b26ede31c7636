"""Everything that answers, joined once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
from msgspec import to_builtins

from greenlane.adapters.onnx_net import open_net
from greenlane.adapters.prometheus_metrics import Metrics
from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_subjects import SqliteSubjects
from greenlane.decide import Lane, believed_from
from greenlane.decisions.control import ControlRecord, control_draft, control_of, same_change
from greenlane.decisions.live import (
    APPROVAL_CHAMPION,
    AUTHENTICATION,
    CHAMPION,
    RECOVERY,
    Live,
    alias_change,
    features_change,
    policy_change,
)
from greenlane.decisions.packing import pack, unpack
from greenlane.decisions.releases import Releases, digest_of
from greenlane.decisions.standing import Gates, Standing
from greenlane.errors import InputError, ModelRefused, NotFound
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.journal.freeze import Reporting, freeze
from greenlane.journal.sequencer import Fold, Sequencer
from greenlane.merchants.book import Book
from greenlane.models import artefact
from greenlane.models.approval_model import ApprovalModel, load_approval
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod
from greenlane.payments.facts import Facts
from greenlane.payments.times import day_of, format_day
from greenlane.policy.approving import Approving
from greenlane.policy.arms import Arm, Experiment
from greenlane.policy.attacked import Attacked
from greenlane.policy.choose import choose
from greenlane.policy.explore import Draw, secret_draw
from greenlane.policy.gather import Folds
from greenlane.policy.given import Given
from greenlane.policy.multipliers import StatedPrices
from greenlane.policy.parameters import Policy, changed
from greenlane.policy.running import EXPERIMENT, SUBJECTS, Mixture, Running, overriding
from greenlane.ports.clock import Clock, FakeClock, SystemClock
from greenlane.ports.journal import Entry, JournalStore
from greenlane.ports.subjects import SubjectMap
from greenlane.replay import width_of
from greenlane.settings import Settings, make_directory, read_settings
from greenlane.wiring.kept import current_engine, day_entries, save_snapshot, standing_at
from greenlane.wiring.places import Places, model_path
from greenlane.wiring.versions import versions_of

APPROVAL = "approval/"
"""Aliases of approval models; all others are of fraud models."""
REARRANGED = frozenset({*SUBJECTS, RECOVERY, AUTHENTICATION, "budget"})
"""Subjects of control entries after which the lanes of arms are laid anew."""


@dataclass
class System:
    """Everything that answers: held by the one process that writes this directory."""

    places: Places
    settings: Settings
    clock: Clock
    journal: Sequencer
    store: JournalStore
    subjects: SubjectMap
    book: Book
    live: Live
    releases: Releases
    lane: Lane
    standing: Standing
    metrics: Metrics
    reporting: Reporting
    approving: Approving
    experiments: Running
    models: dict[str, FraudModel] = field(default_factory=dict)
    approval_models: dict[str, ApprovalModel] = field(default_factory=dict)
    forgotten_before: int = 0
    """Names of entries before this seq are forgotten: they lie beyond the horizon."""

    def control(self, record: ControlRecord, *, event_id: str, who: str) -> Entry:
        """Append a change of the running system; the folds have it when this returns. Asked again, it is the same."""
        earlier = self.journal.stored(who, event_id)
        if earlier is not None and same_change(control_of(earlier), record):
            return earlier
        entry = self.journal.append(control_draft(record, source=who, event_id=event_id))
        self.lane.folds.recovery = self.live.recovery
        self.lane.folds.authentication = self.live.authentication
        if record.subject in REARRANGED:
            self.arrange()
        return entry

    def bound(self, model_id: str) -> FraudModel:
        """A model loaded, verified, warmed and bound to the live features; ModelRefused or NotFound."""
        if model_id not in self.models:
            self.models[model_id] = load_model(self.places, model_id).bind(
                self.lane.finaliser.names, versions=self.lane.features.features.versions
            )
        return self.models[model_id]

    def ready(self, alias: str, model_id: str) -> None:
        """The slow half of a move: load, verify, warm, as the alias's kind is; ModelRefused or NotFound."""
        if not alias.startswith(APPROVAL):
            self.bound(model_id)
        elif model_id not in self.approval_models:
            self.approval_models[model_id] = load_approval(model_path(self.places, model_id), open_net=open_net)

    def believe(self) -> None:
        """The lane's models are those that the aliases name."""
        aliases = self.live.aliases
        if CHAMPION in aliases:
            self.lane.model = self.bound(aliases[CHAMPION])
        if APPROVAL_CHAMPION in aliases:
            self.ready(APPROVAL_CHAMPION, aliases[APPROVAL_CHAMPION])
            self.approving.model = self.approval_models[aliases[APPROVAL_CHAMPION]]

    def prepare(self, experiment: Experiment) -> None:
        """The slow half of a start: every arm's models are loaded, verified, warmed; ModelRefused or NotFound."""
        for arm in experiment.arms:
            if arm.otherwise.fraud_model is not None:
                self.ready(CHAMPION, arm.otherwise.fraud_model)
            if arm.otherwise.approval_model is not None:
                self.ready(APPROVAL_CHAMPION, arm.otherwise.approval_model)
            changed(self.lane.policy, arm.otherwise.policy)

    def change_experiment(
        self, after: Experiment | None, *, why: str, who: str, event_id: str, name: str = ""
    ) -> Entry:
        """Create, start, pause, ramp or stop one, or take a draft back (None, by its name): one control entry.

        Whatever may fail is done before it is written. InputError where it cannot be, or cannot run beside those that
        do; ModelRefused or NotFound. What is slow happened in `prepare`.
        """
        name = name if after is None else after.id
        if after is not None:
            if after.state == "running":
                self.prepare(after)
            self.lanes(self.experiments.check(after))
        before = self.experiments.known.get(name)
        record = ControlRecord(EXPERIMENT, name, who, why, to_builtins(before), to_builtins(after))
        return self.control(record, event_id=event_id, who=who)

    def arrange(self) -> None:
        """A lane for each mixture of arms that a decision may ask for, and its versions written down."""
        self.lane.mixtures = self.lanes(self.experiments)
        for lane in self.lane.mixtures.values():
            lane.release = self.written(lane)

    def lanes(self, running: Running) -> dict[Mixture, Lane]:
        return {mixture: self.mixed(mixture, running.arms(mixture)) for mixture in running.mixtures()}

    def mixed(self, mixture: Mixture, arms: Sequence[Arm]) -> Lane:
        """The lane as these arms have it: their models, policy and prices, and what their attempts taught."""
        lane = self.lane
        fraud, approval = overriding(arms, "fraud_model"), overriding(arms, "approval_model")
        policy = changed(lane.policy, *[arm.otherwise.policy for arm in arms])
        approving = Approving(
            self.standing.online.learner(mixture),
            policy.priors,
            lambda id_, mcc: self.book.economics(id_, mcc=mcc),
            self.approving.model if approval is None else self.approval_models[approval],
        )
        folds = replace(lane.folds, approvals=approving)
        prices = overriding(arms, "multipliers")
        if prices is not None:
            folds.prices = StatedPrices(prices)
        model = lane.model if fraud is None else self.bound(fraud)
        return replace(lane, model=model, policy=policy, folds=folds, mixtures={})

    def promote(self, model_id: str, *, event_id: str, who: str, why: str, alias: str = CHAMPION) -> Entry:
        """Hot swap: the next decision believes the new champion. Everything slow happened in `ready`."""
        self.ready(alias, model_id)
        entry = self.control(alias_change(self.live, alias, model_id, who=who, why=why), event_id=event_id, who=who)
        if alias in (CHAMPION, APPROVAL_CHAMPION):
            self.believe()
            self.release()
        return entry

    def retired_entry(self, entry: Entry) -> Entry:
        """The whole entry, out of its day file, where only its facts are still in the store."""
        path = self.places.days / f"{format_day(day_of(entry.ingest_us))}.parquet"
        for kept in day_entries(path, seq=entry.seq) if path.exists() else ():
            return kept
        raise NotFound(f"entry {entry.seq} has retired and {path.name} is not here", hint="restore the day file")

    def named_features(self, packed: bytes, digest: str) -> dict[str, float | None]:
        """What a decision knew, by name; None where it was missing."""
        features = self.live.known_features[digest]
        finaliser = self.lane.finaliser if digest == self.live.digest else Finaliser(features)
        values = finaliser.values64(unpack(packed, width_of(features)).reshape(1, -1))[0].tolist()
        return {n: None if v != v else v for n, v in zip(finaliser.names, values, strict=True)}

    def release(self) -> None:
        """Write down which versions are in force, where that changed."""
        self.lane.release = self.written(self.lane)
        self.arrange()

    def written(self, lane: Lane) -> str:
        """The digest of the versions that a lane decides by, which the journal knows."""
        policy, versions = lane.policy, versions_of(lane)
        digest, at = digest_of(versions), f"{self.journal.position}"
        if policy.version not in self.live.policies:
            change = policy_change(policy, who="engine", why="the policy in force")
            self.control(change, event_id=f"policy/{at}", who="engine")
        if digest not in self.releases.known:
            self.control(Releases.change(versions), event_id=f"release/{at}", who="engine")
        return digest

    def close(self) -> None:
        """Finish what was accepted, keep the feature state for a quick start, let go of the directory."""
        position = self.journal.position
        try:
            self.journal.close()
            save_snapshot(self.places, self.lane.features, position, standing=self.standing)
        finally:
            self.subjects.close()
            self.lane.features.close()


def open_system(
    directory: Path,
    *,
    clock: Clock | None = None,
    features: FeatureSet = CATALOGUE,
    progress: Callable[[str, int, int], None] = lambda _what, _seq, _last: None,
) -> System:
    """The one writer of a data directory, up to date and warm. `features` are declared where nothing was before;
    `progress` hears how far the journal is folded: (into what, seq, last seq).

    Raises SettingsError, JournalError (another server holds it, the clock is behind), ModelRefused.
    """
    make_directory(directory)
    places, settings = Places(directory), read_settings(directory)
    simulated = settings.clock == "simulated"
    clock = clock or (FakeClock() if simulated else SystemClock())
    store, subjects = SqliteJournal(places.journal), SqliteSubjects(places.subjects)
    book, live, releases = Book(), Live(), Releases()
    experiments = Running(subjects.secret("experiments").hex())
    late = Late()
    folds: Sequence[Fold] = (late, book, live, releases, experiments)
    journal = Sequencer(
        store, clock, folds, simulated=simulated, before_commit=subjects.flush, before_sync=subjects.sync
    )
    for entry in store.controls():
        for fold in (book, live, releases, experiments):
            fold.apply(entry)
    if live.features is None:
        change = features_change(features, None, who="engine", why="first features of this directory")
        journal.append(control_draft(change, source="engine", event_id="features/1"))
        journal.writer.wait(journal.position.seq)
    assert live.features is not None, "declared just above"
    policy = Policy(perspective=settings.perspective)
    told = {what: partial(progress, what) for what in ("features", "limits and health")}
    engine = current_engine(places, live.features, store, settings=settings, progress=told["features"])
    standing = standing_at(
        places, store, policy.exploring, seq=journal.position.seq, progress=told["limits and health"]
    )
    late.folds = (engine, standing)
    approving = Approving(standing.online.health, policy.priors, lambda id_, mcc: book.economics(id_, mcc=mcc))
    reporting = reporting_of(settings)
    metrics = Metrics()
    lane = Lane(
        journal=journal,
        freeze=partial(freeze, subjects=subjects, reporting=reporting),
        features=engine,
        finaliser=Finaliser(live.features),
        economics_of=book.economics,
        policy=policy,
        model=None,
        release="",
        failed=lambda what, error: metrics.fell_back(what, error),
        folds=policy_folds(standing, live, approving, secret_draw(subjects.secret("exploration"))),
        experiments=experiments,
    )
    system = System(
        places, settings, clock, journal, store, subjects, book, live, releases, lane, standing, metrics, reporting,
        approving, experiments,
    )  # fmt: skip
    system.believe()
    pause_what_cannot_run(system)
    system.release()
    warm(lane)
    return system


def pause_what_cannot_run(system: System) -> None:
    """An arm's model that is gone or damaged pauses its experiment, not the server."""
    for experiment in system.experiments.running:
        try:
            system.prepare(experiment)
        except (ModelRefused, InputError) as error:  # of a parameter, perhaps, that this build has no more
            system.lane.failed("experiment", error)
            paused, at = msgspec.structs.replace(experiment, state="paused"), system.journal.position
            change = ControlRecord(
                EXPERIMENT, experiment.id, "engine", str(error), to_builtins(experiment), to_builtins(paused)
            )
            event_id = f"unprepared/{at}"
            system.journal.append(control_draft(change, source="engine", event_id=event_id))


def warm(lane: Lane) -> None:
    """Compile and touch everything a decision runs through, so that the first payer waits no longer than the next."""
    card = Card(fingerprint="warm", network="visa", issuer_country="DE")
    payment = Payment(id="warm", amount=1, currency="EUR", merchant_id="warm", payment_method=PaymentMethod(card=card))
    attempt = Attempt(attempt_id="warm", payment=payment)
    facts = Facts(payment_id="warm", payment_us=0, amount_minor=1, currency="EUR", amount_reporting_minor=1, card=1)
    vector = lane.features.read(facts, lane.journal.now().ingest_us)
    unpack(pack(vector), len(vector))
    Attacked().answer(facts, 0, declined=True)
    believed = None if lane.model is None else believed_from(vector, lane.finaliser, lane.model).fraud_probability_e9
    for probability_e9 in (believed, 1_000_000):
        given = Given(amount_minor=1, fraud_probability_e9=probability_e9)
        choose(attempt, given, economics=lane.economics_of("warm", mcc=None), policy=lane.policy)


class Late:
    """Folds of the sequencer that are put in once they stand where the journal stands."""

    folds: tuple[Fold, ...] = ()

    def apply(self, entry: Entry) -> None:
        for fold in self.folds:
            fold.apply(entry)


def policy_folds(standing: Standing, live: Live, approving: Approving, draw: Draw) -> Folds:
    """Everything that a choice is given besides the attempt, as the policy asks for it."""
    return Folds(
        approvals=approving,
        recovery=live.recovery,
        authentication=live.authentication,
        limits=standing.limits,
        gates=Gates(standing.online, draw),
        prices=standing.prices,
        ledger=standing.ledger,
        draw=draw,
    )


def load_model(places: Places, model_id: str) -> FraudModel:
    return artefact.load(model_path(places, model_id), open_net=open_net)


def reporting_of(settings: Settings) -> Reporting:
    return Reporting(currency=settings.reporting_currency, rates=settings.rates)
