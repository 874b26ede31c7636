"""A world decided live, without a server in between: real decisions that explore, in a directory of their own.

What is true of each decision is told to whoever watches, and kept out of the journal: so an off-policy estimate can be
made from the directory alone, and be compared with the truth afterwards.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from greenlane.decide import decide
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.live import CHAMPION
from greenlane.decisions.record import DecisionRecord, decision_id
from greenlane.errors import InputError
from greenlane.features.catalogue import CATALOGUE, GROUPS
from greenlane.models.artefact import Golden, Manifest, ModelColumn, golden_rows, save
from greenlane.models.calibration import Platt
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split
from greenlane.outcomes.accept import draft_of
from greenlane.outcomes.happened import Declined, Happened
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import DAY_US, SECOND_US, format_rfc3339
from greenlane.policy.actions import Action
from greenlane.policy.explore import KINDS, Challenging, Exploring, Kind, Releasing, Routing
from greenlane.policy.given import FREE
from greenlane.policy.multipliers import StatedPrices
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import Entry
from greenlane.proceed import proceed
from greenlane.settings import Settings, make_directory, write_settings
from greenlane.simulation.answers import Answer, Sent
from greenlane.simulation.due import Due
from greenlane.simulation.living import START_US, Living
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import Progress, System, open_system

Watch = Callable[[Arrival, Entry, DecisionRecord, Living], None]
"""Told of each first decision, and of each way to try again at once, before it is carried out."""

BUDGET_MINOR: Final = 10**9
"""A day, of each kind: what limits exploring here is its width, not its purse."""
TRIES_MAX: Final = 4
WIDE: Final = Exploring(
    release=Releasing(share_ppm=300_000, ceiling_e9=900_000_000, amount_max_minor=10**9),
    challenge=Challenging(share_ppm=400_000, epsilon_ppm=20_000, amount_max_minor=10**9),
    route=Routing(epsilon_ppm=200_000, temperature_ppm=40_000, floor_ppm=15_000, amount_max_minor=10**9),
)
"""Much wider than a shop would explore, so that a short log says something."""
COLUMNS: Final = ("amount_minor", "is_proxy", "card_velocity.count.1h", "issuer_ip_country_differ")


class Decided(NamedTuple):
    payments: int
    decisions: int
    """The next actions among them."""
    outcomes: int
    until_us: int
    """When the last label had come."""


class Deciding:
    """One run; see the module. `tries`: whether declined payments are followed by next actions."""

    def __init__(self, system: System, living: Living, *, tries: bool, watch: Watch):
        self.system, self.living, self.tries, self.watch = system, living, tries, watch
        self.due = Due[Callable[[int], None]]()
        self.decisions = self.outcomes = 0

    def run(self, payments: int, progress: Progress) -> Decided:
        for number, arrival in enumerate(self.living.arrivals(payments), start=1):
            self.catch_up(arrival.at_us)
            self.ask(arrival, 1, arrival.at_us)
            progress(number, payments)
        self.catch_up(2**62)
        return Decided(payments, self.decisions, self.outcomes, self.system.journal.now().ingest_us)

    def catch_up(self, now_us: int) -> None:
        for at_us, happens in self.due.until(now_us):
            happens(at_us)

    def tell_time(self, at_us: int) -> None:
        assert isinstance(self.system.clock, FakeClock), "a world has a clock of its own"
        self.system.clock.set(max(at_us, self.system.clock.now_us()))

    def ask(self, arrival: Arrival, number: int, at_us: int) -> None:
        """A first attempt, or one whose time has come."""
        self.tell_time(at_us)
        own = arrival.attempt.attempt_id
        name = own if number == 1 else f"{own}.{number}"
        attempt = replace(arrival.attempt, attempt_id=name, at=format_rfc3339(at_us))
        entry, record = decide(attempt, lane=self.system.lane, event_id=name, body_hash=b"simulated")
        self.decisions += 1
        if number == 1:
            self.watch(arrival, entry, record, self.living)
        self.act(arrival, entry, record.chosen.action, number=number, at_us=at_us)

    def act(self, arrival: Arrival, entry: Entry, action: Action, *, number: int, at_us: int) -> None:
        sent = sent_of(action, at_us, number)
        if number > 1 and sent.intervention == "block":
            return
        answer = self.living.send(arrival, sent)
        about = decision_id(entry.generation, entry.seq)
        for told_us, outcome in answer.outcomes:
            known = replace(outcome, attempt_id=None, decision_id=about)
            self.due.put(told_us, partial(self.report, known))
        if self.tries and answer.result == "declined" and number < TRIES_MAX:
            self.due.put(answer.at_us, partial(self.go_on, arrival, entry, answer, number))

    def report(self, outcome: Outcome, at_us: int) -> None:
        system = self.system
        self.tell_time(at_us)
        now_us = system.journal.now().ingest_us
        body_hash = system.subjects.fingerprint(msgspec.json.encode(outcome))
        draft = draft_of(outcome, body_hash=body_hash, subjects=system.subjects, reporting=system.reporting,
                         now_us=now_us)  # fmt: skip
        system.journal.append(draft)
        self.outcomes += 1

    def go_on(self, arrival: Arrival, before: Entry, answer: Answer, number: int, at_us: int) -> None:
        """`next_action` after a decline, and what it leads to."""
        self.tell_time(at_us)
        said = Declined(network_response_code=answer.code, merchant_advice_code=answer.advice or None)
        name = f"next:{arrival.attempt.attempt_id}.{number}"
        happened = Happened(source="acquirer", event_id=name, occurred_at=format_rfc3339(at_us), decline=said)
        entry, record = proceed(happened, before, lane=self.system.lane, event_id=name, body_hash=b"simulated")
        self.decisions += 1
        assert record.further is not None, "proceed says what it found"
        found = record.further.found
        later_us = max(found.at_us, at_us + SECOND_US)
        if found.next == "retry_now" and found.action is not None:
            self.watch(arrival, entry, record, self.living)
            self.due.put(later_us, partial(self.granted, arrival, entry, found.action, number + 1))
        elif found.next == "retry_at":
            self.due.put(later_us, partial(self.again, arrival, number + 1))

    def granted(self, arrival: Arrival, entry: Entry, action: Action, number: int, at_us: int) -> None:
        if self.living.stays(arrival, at_us):
            self.act(arrival, entry, action, number=number, at_us=at_us)

    def again(self, arrival: Arrival, number: int, at_us: int) -> None:
        if self.living.stays(arrival, at_us):
            self.ask(arrival, number, at_us)


def sent_of(action: Action, at_us: int, number: int) -> Sent:
    intervention, exemption = action.intervention, action.exemption
    return Sent(action.route, action.credential or "pan", intervention, exemption, at_us, number)  # type: ignore[arg-type] # any text to an Action, one of five to a Sent


def kinds_of(names: Sequence[str] | None) -> tuple[Kind, ...]:
    """
    >>> kinds_of(None)
    ('release', 'challenge', 'route')
    """
    wrong = sorted(set(names or ()) - set(KINDS))
    if wrong:
        hint = f"one of {', '.join(KINDS)}"
        raise InputError(f"{wrong[0]!r} is no kind of exploration", param="--explore", hint=hint)
    return tuple(kind for kind in KINDS if not names or kind in names)


def decide_world(
    world: World,
    seed: int,
    payments: int,
    directory: Path,
    *,
    exploring: Exploring = WIDE,
    kinds: Sequence[Kind] = KINDS,
    tries: bool = True,
    prices: Multipliers = FREE,
    progress: Progress = lambda _done, _of: None,
    watch: Watch = lambda *_: None,
) -> Decided:
    """`payments` payments decided by the directory's own models, from the day after its last entry on.

    A directory without a fraud champion gets a scorecard that nobody has learned: it fears proxies, foreign addresses
    and haste. `prices` of shared budgets are stated, as if these were scarce. Raises what `open_system` raises.
    """
    make_directory(directory)
    if not (directory / "greenlane.toml").exists():
        name, currency = world.parameters.name, world.parameters.currency
        write_settings(directory, Settings(tenant=name, clock="simulated", reporting_currency=currency))
    with closing(open_system(directory)) as system:
        if system.settings.clock != "simulated":
            raise InputError("this directory holds real time", param="--data", hint="take a fresh directory")
        start_us = max(START_US, (system.journal.now().ingest_us // DAY_US + 1) * DAY_US)
        living = Living(world, seed, start_us=start_us)
        deciding = Deciding(system, living, tries=tries, watch=watch)
        deciding.tell_time(start_us)
        configure(system, world, exploring, kinds=kinds)
        system.lane.folds.prices = StatedPrices(prices)
        return deciding.run(payments, progress)


def configure(system: System, world: World, exploring: Exploring, *, kinds: Sequence[Kind]) -> None:
    """Merchants, budgets, a model, and the policy's exploration of these kinds."""
    for name, economics in world.economics.items():
        write(system, "merchant", name, msgspec.to_builtins(economics))
    for kind in KINDS:
        wanted = getattr(exploring, kind).budget_minor or BUDGET_MINOR
        write(system, "budget", kind, wanted if kind in kinds else 0)
    if CHAMPION not in system.live.aliases:
        model = save_scorecard(system.places.models)
        system.promote(model, event_id="scorecard", who="simulate", why="a directory without a model")
    system.lane.policy = Policy(perspective=system.settings.perspective, exploring=exploring)
    system.release()


def write(system: System, subject: str, name: str, after: object) -> None:
    at = system.journal.position.seq
    change = ControlRecord(subject, name, "simulate", "the world's file", None, after)
    system.control(change, event_id=f"{subject}/{name}/{at}", who="simulate")


def save_scorecard(directory: Path) -> str:
    """Stated, not learned: three small trees over four features; about 1 payment in 500 is thought to be fraud."""
    trees = FlatTrees.of(
        [
            Split(1, 0.5, True, Leaf(-2.0, 90.0), Leaf(2.5, 10.0)),
            Split(3, 0.5, True, Leaf(-0.5, 80.0), Split(0, 20_000.0, True, Leaf(0.5, 15.0), Leaf(1.5, 5.0))),
            Split(2, 2.5, True, Leaf(-0.4, 70.0), Leaf(1.5, 30.0)),
        ],
        features=len(COLUMNS),
    )
    calibrator = Platt(slope=1.0, intercept=-3.5)
    drawn = np.abs(np.random.default_rng(1).standard_normal((64, len(COLUMNS)))).astype(np.float32)
    rows = golden_rows(drawn, trees, seed=1, rows=64)
    margins = trees.margins(rows)
    manifest = Manifest(
        kind="fraud",
        family="scorecard",
        trainer="stated",
        columns=tuple(ModelColumn(name, GROUPS[name]) for name in COLUMNS),
        feature_set=CATALOGUE.digest,
        feature_versions=CATALOGUE.versions,
        label="fraud reported",
        calibrator=calibrator,
        training_set={},
        evaluation={},
    )
    directory.mkdir(parents=True, exist_ok=True)
    return save(directory, manifest, trees, golden=Golden(rows, margins, calibrator.probabilities(margins)))
