"""All of the demonstration, step by step, in one directory."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from greenlane.client import Client
from greenlane.demo.caller import Caller, Pursued
from greenlane.demo.outage import Outage, Storm, busiest, measured, with_rush
from greenlane.demo.server import Server
from greenlane.demo.table import Known, Line, known_in, lines
from greenlane.jobs.simulating import simulate
from greenlane.jobs.training import Plan, train_fraud
from greenlane.jobs.training_approval import train_approval
from greenlane.jobs.training_recovery import train_recovery
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import open_reader

Tell = Callable[[str], None]
Bar = Callable[[str], AbstractContextManager[Any]]

HISTORY: Final = 40_000
"""About six weeks: reports of fraud come late, and there must be enough of them to learn from."""
LIVE: Final = 6_000
WORLD: Final = Path(__file__).with_name("world.toml")


class Retries(Struct, frozen=True, kw_only=True):
    """What became of payments whose first attempt was not approved."""

    declined_first: int
    tried_again: int
    further_attempts: int
    recovered: dict[str, int]
    """By the next action that led to the approval."""
    forbidden: int
    """Attempts that a network forbids, by a count that knows nothing of the limit engine."""
    steps: dict[str, int]
    """How often each next action was answered, of all payments."""


class Latency(Struct, frozen=True):
    """Over HTTP, one connection, milliseconds."""

    p50_ms: float
    p99_ms: float


class Shown(Struct, frozen=True, kw_only=True):
    """All that a demo found out."""

    world: str
    seed: int
    currency: str
    payments: int
    counted: int
    """Payments in the table: all that did not arrive in the outage."""
    threshold: float
    decisions: Latency
    next_actions: Latency
    forbidden: int
    """Payments that no policy may send, after what was declined before; they count among the blocked."""
    interventions: dict[str, int]
    lines: list[Line]
    outage: Outage
    retries: Retries


def run_demo(
    directory: Path, *, seed: int, history: int = HISTORY, live: int = LIVE, tell: Tell, bar: Bar
) -> tuple[Shown, Server]:
    """All of it; the server is left running for the caller to stop."""
    world = World.load(WORLD)
    learn(directory, world, seed=seed, history=history, tell=tell, bar=bar)
    people = Living(world, seed).arrivals(history + live)
    arrivals, (from_us, to_us) = with_rush(list(islice(people, history, None)))
    _, past = open_reader(directory).store.span()
    server = Server(directory)
    try:
        with bar("deciding live traffic, and what to do next") as progress:
            caller, storm = decide(server, world, arrivals, from_us, to_us, seed=seed, progress=progress)
        with bar("what others would have earned"):
            return shown(caller, storm, known_in(directory, caller.done, past=past), seed=seed), server
    except BaseException:
        server.stop()
        raise


def learn(directory: Path, world: World, *, seed: int, history: int, tell: Tell, bar: Bar) -> None:
    """Six weeks under a policy that randomises what the law leaves open, and what can be learned from them."""
    with bar("simulating six weeks") as progress:
        past = simulate(world, seed, history, directory, progress)
    plan = Plan(cut_us=past.until_us, seed=seed)
    with bar("learning fraud") as progress:
        fraud = train_fraud(directory, plan, report=directory / "fraud.html", progress=progress)
    tell(f"fraud model {fraud.model_id}: {fraud.summary}")
    with bar("learning approval") as progress:
        approval = train_approval(directory, plan, progress=progress)
    tell(f"approval model {approval.model_id}: {approval.summary}")
    with bar("learning recovery") as progress:
        train_recovery(directory, progress=progress)
    tell(f"recovery: learned from {past.attempts - past.payments:,} further attempts")


def decide(
    server: Server, world: World, arrivals: Sequence[Arrival], from_us: int, to_us: int, *, seed: int, progress: Any
) -> tuple[Caller, Storm]:
    """Live traffic through the real door; as the outage begins, the route that was busiest so far breaks."""
    living = Living(world, seed)
    storm = Storm(living, from_us, to_us)
    caller = Caller(Client(server.url, key=server.key, timeout_s=10), living, storm.fair)

    def tell(done: int) -> None:
        progress(done, len(arrivals))
        if not storm.route and caller.done[-1].arrival.at_us >= from_us:
            storm.route = busiest(caller.done)

    caller.run(arrivals, tell)
    return caller, storm


def shown(caller: Caller, storm: Storm, known: Known, *, seed: int) -> Shown:
    done, world = caller.done, caller.living.world
    counted = np.array([not storm.covers(each.arrival.at_us) for each in done])

    def another() -> Living:
        living = Living(world, seed)
        Storm(living, storm.from_us, storm.to_us).route = storm.route
        return living

    table, threshold = lines(done, known, counted, another, seed=seed)
    return Shown(
        world=world.digest[:12],
        seed=seed,
        currency=world.parameters.currency,
        payments=len(done),
        counted=int(counted.sum()),
        threshold=threshold,
        decisions=latency(caller.latency_ms),
        next_actions=latency(caller.next_latency_ms),
        forbidden=sum(each.forbidden for each in done),
        interventions=Counter(each.sent.intervention for each in done if each.sent),
        lines=table,
        outage=measured(done, storm),
        retries=retries(caller, done),
    )


def retries(caller: Caller, done: Sequence[Pursued]) -> Retries:
    declined = [each for each in done if each.first_declined]
    return Retries(
        declined_first=len(declined),
        tried_again=sum(each.attempts > 1 for each in declined),
        further_attempts=sum(each.attempts - 1 for each in declined),
        recovered=Counter(each.tried_by for each in declined if each.recovered),
        forbidden=caller.checked.violations,
        steps=caller.steps,
    )


def latency(measured_ms: Sequence[float]) -> Latency:
    return Latency(*np.percentile(measured_ms, [50, 99]).tolist())
