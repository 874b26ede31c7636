"""The composition root: a data directory in, a ready system out. The only place that joins ports to adapters.

DIR/
  greenlane.toml   settings           journal.sqlite  entries           days/       closed days, Parquet
  keys.json        API keys, hashed   subjects.sqlite people's map      snapshots/  feature state
  server.json      while one runs     spill.sqlite    cold state        models/     artefacts, by hash

A snapshot is two files of one position: the features' state, and how everything stands that the policy counts.
"""

import fcntl
import gc
import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from msgspec import to_builtins

import greenlane
from greenlane.adapters.huge_pages import hold_in_huge_pages
from greenlane.adapters.onnx_net import open_net
from greenlane.adapters.prometheus_metrics import Metrics
from greenlane.adapters.sqlite import lock
from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_spill import SqliteSpill
from greenlane.adapters.sqlite_subjects import SqliteSubjects, secret_of
from greenlane.decide import Lane, believed_from
from greenlane.decisions.answer import Versions
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
from greenlane.errors import InputError, JournalError, ModelRefused, NotFound, SettingsError
from greenlane.features import snapshot
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.journal.bulk import BulkSequencer
from greenlane.journal.days import closed_days
from greenlane.journal.freeze import Reporting, freeze
from greenlane.journal.sequencer import Fold, Sequencer, folded
from greenlane.merchants.book import Book
from greenlane.models import artefact
from greenlane.models.approval_model import ApprovalModel, load_approval
from greenlane.models.fraud_model import FraudModel
from greenlane.monitoring.notices import Line, LogChannel
from greenlane.outcomes.accept import draft_of
from greenlane.payments.attempt import Attempt, Card, MethodType, Payment, PaymentMethod
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import day_of, format_day
from greenlane.policy.approving import Approving
from greenlane.policy.arms import Arm, Experiment
from greenlane.policy.choose import choose
from greenlane.policy.explore import Draw, Exploring, secret_draw
from greenlane.policy.gather import Folds
from greenlane.policy.given import Given
from greenlane.policy.multipliers import StatedPrices
from greenlane.policy.parameters import Policy, changed
from greenlane.policy.running import EXPERIMENT, SUBJECTS, Mixture, Running, overriding
from greenlane.ports.clock import Clock, FakeClock, SystemClock
from greenlane.ports.journal import Entry, JournalStore, Position
from greenlane.ports.subjects import SubjectMap
from greenlane.replay import width_of
from greenlane.settings import Settings, make_directory, read_settings, write_whole

if TYPE_CHECKING:
    from greenlane.adapters.duckdb_engine import DuckdbEngine

Progress = Callable[[int, int], None]
HORIZON_DAYS = 400
"""So long a duplicate is recognised and a late outcome finds its payment."""
APPROVAL = "approval/"
"""Aliases of approval models; all others are of fraud models."""
MODEL_ID = re.compile(r"mdl_[0-9a-f]{16}")
SERVER_PID = "GREENLANE_SERVER_PID"
"""How a follower is told which server started it: it ends with that server, however that ends."""
WRITER_WAITS_S = 0.002
"""So long a busy event loop keeps the interpreter from who writes: a decision ends before the writer has its turn."""
REARRANGED = frozenset({*SUBJECTS, RECOVERY, AUTHENTICATION, "budget"})
"""Subjects of control entries after which the lanes of arms are laid anew."""
SUBJECT_KINDS = (*get_args(MethodType), "par", "customer", "email", "phone", "device", "ip", "shipping")
"""What `freeze` makes pseudonyms of: an instrument goes by its method."""

ONLINE_ROOMS = ("decisions", "features", "journal", "merchants", "models", "outcomes", "payments", "policy", "ports")


class Places:
    """Where things lie in a data directory."""

    def __init__(self, root: Path):
        self.root = root
        self.journal, self.subjects = root / "journal.sqlite", root / "subjects.sqlite"
        self.keys, self.server = root / "keys.json", root / "server.json"
        self.models, self.snapshots, self.days = root / "models", root / "snapshots", root / "days"

    def report(self, model_id: str) -> Path:
        """How a model was judged when it was made, for people."""
        return self.root / "reports" / f"{model_id}.html"


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


def open_system(directory: Path, *, clock: Clock | None = None, features: FeatureSet = CATALOGUE) -> System:
    """The one writer of a data directory, up to date and warm. `features` are declared where nothing was before.

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
    engine = current_engine(places, live.features, store, settings=settings)
    standing = standing_at(places, store, policy.exploring, seq=journal.position.seq)
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
    believed = None if lane.model is None else believed_from(vector, lane.finaliser, lane.model).fraud_probability_e9
    for probability_e9 in (believed, 1_000_000):
        given = Given(amount_minor=1, fraud_probability_e9=probability_e9)
        choose(attempt, given, economics=lane.economics_of("warm", mcc=None), policy=lane.policy)


def retire_old_days(system: System) -> int:
    """Drop the payloads of days that are old enough and safe in their Parquet file; how many entries that were.

    Facts, names and control entries stay for the horizon: late outcomes, duplicates and replay find them as before.
    """
    today = day_of(system.journal.now().ingest_us)
    with closing(SqliteJournal(system.places.journal, read_only=True)) as store:
        first, _ = store.span()
        before = first
        for day in closed_days(store):
            if day.number >= today - system.settings.days_in_sqlite or not day_path(system.places, day.name).exists():
                break
            before = day.last_seq + 1
    forget_before = beyond_horizon(system.places, today)
    if before > first or forget_before > system.forgotten_before:
        system.store.retire(before, forget_before_seq=forget_before)
        system.forgotten_before = forget_before
    return before - first


def beyond_horizon(places: Places, today: int) -> int:
    """The seq behind the last one of the newest day file older than the horizon; 0 where all are younger."""
    old = [path for path in sorted(places.days.glob("*.parquet")) if path.stem <= format_day(today - HORIZON_DAYS)]
    if not old:
        return 0
    with closing(day_table()) as table:
        return table.last_seq(old[-1]) + 1


def day_path(places: Places, name: str) -> Path:
    return places.days / f"{name}.parquet"


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


def standing_at(places: Places, store: JournalStore, exploring: Exploring, *, seq: int) -> Standing:
    """As of an entry: the newest that was saved before it by this build, and is of this journal, brought up to it."""
    standing, after_seq = Standing(exploring), 0
    for path in sorted(places.snapshots.glob("*.standing"), reverse=True):
        with suppress(ValueError, msgspec.MsgspecError):  # damaged, of another build or not ours: an older one may do
            generation, _, dumped = path.read_bytes().partition(b"\n")
            if int(path.stem) <= seq and holds(store, int(generation), int(path.stem)):
                standing, after_seq = Standing.load(dumped, exploring), int(path.stem)
                break
    for entry in all_entries(places, store, after_seq=after_seq):
        if entry.seq > seq:
            break
        standing.apply(entry)
    return standing


def kept_engine(
    places: Places, features: FeatureSet, store: JournalStore, *, settings: Settings, spill_name: str = "spill.sqlite"
) -> tuple[StreamEngine, Position]:
    """The newest snapshot that is of this journal and these features; an empty engine at position 0 without one."""
    spill, room = SqliteSpill(places.root / spill_name), settings.feature_records_max
    for path in sorted(places.snapshots.glob("*.snapshot"), reverse=True):
        loaded = snapshot.load(features, path, capacity_records=room, spill=spill)
        if loaded is not None and holds(store, loaded[1].generation, loaded[1].seq):
            return loaded
    engine = StreamEngine(features, first_complete_us=complete_from(store), capacity_records=room, spill=spill)
    return engine, Position(0, 0)


def current_engine(places: Places, features: FeatureSet, store: JournalStore, *, settings: Settings) -> StreamEngine:
    """The kept engine, brought up to the last durable entry."""
    engine, position = kept_engine(places, features, store, settings=settings)
    engine.apply_many(all_entries(places, store, after_seq=position.seq))
    return engine


def holds(store: JournalStore, generation: int, seq: int) -> bool:
    """Is this position one of the journal's, and not of a tail that was lost?"""
    first, last = store.span()
    if not first - 1 <= seq <= last:
        return False
    return seq == 0 or seq < first or next(iter(store.read(after_seq=seq - 1, upto_seq=seq))).generation == generation


def complete_from(store: JournalStore) -> int | None:
    """The start of complete history that an import declared; None where the first entry says it."""
    for entry in store.controls():
        record = control_of(entry)
        if (
            record.subject == "import"
            and isinstance(record.after, dict)
            and record.after.get("complete_from_us") is not None
        ):
            return int(record.after["complete_from_us"])
    return None


def all_entries(places: Places, store: JournalStore, *, after_seq: int = 0) -> Iterator[Entry]:
    """The journal in order: closed days from Parquet where they have retired, the rest from the store."""
    first, _ = store.span()
    if after_seq + 1 < first:
        for path in sorted(places.days.glob("*.parquet")):
            for entry in day_entries(path):
                if after_seq < entry.seq < first:
                    yield entry
    yield from store.read(after_seq=max(after_seq, first - 1))


def day_entries(path: Path, *, seq: int | None = None) -> Iterator[Entry]:
    with closing(day_table()) as engine:
        yield from engine.read_day(path, seq=seq)


def save_snapshot(
    places: Places, engine: StreamEngine, position: Position, *, standing: Standing | None = None, keep: int = 3
) -> Path:
    """Written under its seq; the newest few are kept. Without `standing` what was kept of it before still serves."""
    places.snapshots.mkdir(exist_ok=True)
    path = places.snapshots / f"{position.seq:020d}.snapshot"
    if standing is not None:
        write_whole(path.with_suffix(".standing"), b"%d\n%b" % (position.generation, standing.dump()))
    snapshot.save(engine, path, position)
    for kind in ("snapshot", "standing"):
        for old in sorted(places.snapshots.glob(f"*.{kind}"))[:-keep]:
            old.unlink(missing_ok=True)
    return path


def load_model(places: Places, model_id: str) -> FraudModel:
    return artefact.load(model_path(places, model_id), open_net=open_net)


def model_path(places: Places, model_id: str) -> Path:
    path = places.models / model_id
    if not MODEL_ID.fullmatch(model_id) or not path.is_dir():
        known = sorted(p.name for p in places.models.glob("mdl_*"))
        raise NotFound(
            f"there is no model {model_id}", param="model_id", hint=f"known: {', '.join(known) or 'none yet'}"
        )
    return path


def reporting_of(settings: Settings) -> Reporting:
    return Reporting(currency=settings.reporting_currency, rates=settings.rates)


def versions_of(lane: Lane) -> Versions:
    models, approving = {"fraud": lane.model.id} if lane.model is not None else {}, lane.folds.approvals
    if isinstance(approving, Approving) and approving.model is not None:
        models["approval"] = approving.model.id
    return Versions(
        engine=engine_version(),
        runtime=runtime_fingerprint(),
        models=models,
        features=lane.features.features.digest,
        policy=lane.policy.version,
    )


def engine_version() -> str:
    """The release, and a hash of the code that answers: two builds of one release are told apart."""
    root = Path(greenlane.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    pages = [root / "decide.py", root / "proceed.py"]
    for path in [*pages, *(p for room in ONLINE_ROOMS for p in sorted((root / room).glob("*.py")))]:
        digest.update(path.read_bytes())
    return f"{greenlane.__version__}+{digest.hexdigest()}"


def runtime_fingerprint() -> str:
    """What besides our code decides the last bit of a float."""
    libraries = "-".join(f"{name}{metadata.version(name)}" for name in ("numpy", "numba", "llvmlite"))
    return f"py{platform.python_version()}-{libraries}-{sys.platform}-{platform.machine()}"


class Importer:
    """The writer of a directory into which history goes: no folds, no decisions, as fast as the disk takes it."""

    def __init__(self, directory: Path):
        make_directory(directory)
        self.places, self.settings = Places(directory), read_settings(directory)
        self.subjects = SqliteSubjects(self.places.subjects)
        simulated = self.settings.clock == "simulated"
        store = SqliteJournal(self.places.journal)
        self.journal = BulkSequencer(
            store, FakeClock() if simulated else SystemClock(), [], importing=True, simulated=simulated,
            before_commit=self.subjects.flush, before_sync=self.subjects.sync,
        )  # fmt: skip
        self.live = folded(Live(), store.controls())
        self.reporting = reporting_of(self.settings)

    def control(self, record: ControlRecord, *, source: str, event_id: str, ingest_us: int) -> None:
        self.journal.append(control_draft(record, source=source, event_id=event_id, ingest_us=ingest_us))

    def declare(self, features: FeatureSet, *, at_us: int) -> None:
        """The features of this directory, where none are declared yet."""
        if self.live.features is None:
            change = features_change(features, None, who="import", why="first features of this directory")
            self.control(change, source="import", event_id="features/1", ingest_us=at_us)

    def take(self, outcome: Outcome, at_us: int) -> Entry:
        """An outcome that became known at `at_us`."""
        draft = draft_of(
            outcome,
            body_hash=self.subjects.fingerprint(msgspec.json.encode(outcome)),
            subjects=self.subjects,
            reporting=self.reporting,
            now_us=at_us,
            ingest_us=at_us,
        )
        return self.journal.append(draft)

    def close(self) -> None:
        try:
            self.journal.close()
        finally:
            self.subjects.close()


@dataclass
class Reader:
    """A directory as people and the follower see it: durable entries only, nothing written."""

    places: Places
    settings: Settings
    store: JournalStore

    @cached_property
    def live(self) -> Live:
        return folded(Live(), self.store.controls())

    @cached_property
    def book(self) -> Book:
        return folded(Book(), self.store.controls())

    @cached_property
    def releases(self) -> Releases:
        return folded(Releases(), self.store.controls())

    @cached_property
    def salt(self) -> str:
        """Of who is in which arm."""
        return secret_of(self.places.subjects, "experiments").hex() if self.places.subjects.exists() else ""

    @property
    def features(self) -> FeatureSet:
        if self.live.features is None:
            raise JournalError("no features are declared here", hint="import history, or start the server once")
        return self.live.features

    def refresh(self) -> None:
        """What control entries say is asked of the journal again, as it stands by then."""
        for fold in ("live", "releases", "book"):
            self.__dict__.pop(fold, None)

    def entries(self, *, after_seq: int = 0) -> Iterator[Entry]:
        return all_entries(self.places, self.store, after_seq=after_seq)


def open_reader(directory: Path) -> Reader:
    if not directory.is_dir():
        raise SettingsError(f"there is no directory {directory}", hint="is --data right?")
    places = Places(directory)
    return Reader(places, read_settings(directory), SqliteJournal(places.journal, read_only=True))


def is_running(places: Places) -> bool:
    """Does a server hold this directory?"""
    lock = places.journal.with_suffix(".lock")
    if not lock.exists():
        return False
    fd = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def erase_subject(directory: Path, kind: str, identifier: str) -> bool:
    """Forget whom a pseudonym stood for; False where nobody was known by it. Entries and features stay as they are.

    Raises JournalError while a server runs: it remembers.
    """
    if kind not in SUBJECT_KINDS:
        raise InputError(f"{kind!r} is no kind of subject", param="KIND", hint=f"one of {', '.join(SUBJECT_KINDS)}")
    places = open_reader(directory).places
    held = lock(places.journal.with_suffix(".lock"))
    try:
        with closing(SqliteSubjects(places.subjects)) as subjects:
            return subjects.erase(kind, identifier)
    finally:
        os.close(held)


def day_table() -> "DuckdbEngine":
    """An empty SQL engine, for day files."""
    from greenlane.adapters.duckdb_engine import DuckdbEngine

    return DuckdbEngine()


@contextmanager
def lock_follower(places: Places) -> Iterator[None]:
    """One follower per directory; a killed one leaves nothing behind."""
    fd = os.open(places.root / "follower.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise JournalError(f"another follower runs on {places.root}", hint="one is enough") from error
    finally:
        os.close(fd)


def alarm_lines(settings: Settings, tell: Callable[[str], None]) -> list[Line]:
    """The log, and whatever else the settings name; SettingsError where a name is no address."""
    lines = [Line(channel=LogChannel(tell))]
    if settings.alarm_webhook or settings.alarm_mail:
        from greenlane.adapters.alarm_channels import WebhookChannel, mail_channel
    if settings.alarm_webhook:
        lines.append(Line(channel=WebhookChannel(settings.alarm_webhook, settings.alarm_webhook_secret.encode())))
    if settings.alarm_mail:
        lines.append(Line(channel=mail_channel(settings.alarm_mail), least="page"))
    return lines


def run_http(application: Callable[..., Any], *, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve until told to stop."""
    from greenlane.adapters.uvicorn_server import run

    sys.setswitchinterval(WRITER_WAITS_S)
    run(application, host=host, port=port, on_ready=on_ready)


def freeze_memory() -> None:
    """What lives as long as the process is not the collector's business: its pauses would be every latency's tail.

    It lies in large pages, too, where the system has them.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    hold_in_huge_pages()


def write_server_file(places: Places, *, url: str, admin_key: str) -> None:
    """Where the running server of this directory is, and the key of its admin door: for its owner's eyes only."""
    write_whole(places.server, msgspec.json.encode({"url": url, "pid": os.getpid(), "admin_key": admin_key}))
