"""The main job in three minutes: a simulated shop, its past, a model trained on it, and live traffic over HTTP.

Every policy in the table meets the same payments, and is judged by the true expected value of what it did, with the
world's own probabilities: a lucky coin cannot win. The two simple policies have every advantage of hindsight: their
route and the threshold are the best fixed ones for these very payments.
"""

import heapq
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.client import Client
from greenlane.decisions.answer import Decision
from greenlane.decisions.control import ControlRecord
from greenlane.errors import GreenlaneError
from greenlane.features.catalogue import CATALOGUE
from greenlane.jobs.training import Plan, Trained, train_fraud
from greenlane.payments.outcome import Outcome
from greenlane.serving.access import KeyFile
from greenlane.settings import Settings, make_directory, write_settings
from greenlane.simulation.consequences import Intervention, consequences, history, true_value_minor
from greenlane.simulation.truth import Odds
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import Importer, Places

Tell = Callable[[str], None]
Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]

START_US: Final = 1_767_225_600_000_000
"""2026-01-01: simulated time has its own calendar."""
HISTORY: Final = 50_000
LIVE: Final = 8_000
OUTCOMES_AT_ONCE: Final = 200
DRAWS: Final = 1000
WAIT_S: Final = 60


class Line(Struct, frozen=True):
    """One policy in the table; each figure with its 95 % interval, payers resampled."""

    policy: str
    approval_pct: tuple[float, float, float]
    reported_fraud_bps: tuple[float, float, float]
    """Of approved payments."""
    false_declines_pct: tuple[float, float, float]
    """Good payers turned away by the policy itself."""
    net_per_1000: tuple[float, float, float]
    """Minor units of the reporting currency."""
    against_greenlane: tuple[float, float, float] | None = None
    """Greenlane's net less this policy's, paired by payment."""


class Shown(Struct, frozen=True):
    """All that a demo found out."""

    world: str
    seed: int
    payments: int
    threshold: float
    latency_ms_p50: float
    latency_ms_p99: float
    interventions: dict[str, int]
    lines: list[Line]


@dataclass
class Done:
    """What was decided about one arrival."""

    arrival: Arrival
    decision: Decision
    latency_ms: float


@dataclass
class Demo:
    """One run in one directory; each step leaves what the next one needs."""

    directory: Path
    seed: int
    tell: Tell
    history: int = HISTORY
    live: int = LIVE
    world: World = field(default_factory=lambda: World.load("shop"))

    def arrivals(self) -> Iterator[Arrival]:
        return self.world.payments(start_us=START_US, n=self.history + self.live, seed=self.seed)

    def remember(self, progress: Progress) -> int:
        """The past, as another system decided it (it allowed everything), with all that was known by its end."""
        make_directory(self.directory)
        write_settings(self.directory, Settings(tenant="demo", clock="simulated"))
        journal = Importer(self.directory)
        try:
            journal.declare(CATALOGUE, at_us=START_US)
            for name, economics in self.world.economics.items():
                stated = msgspec.to_builtins(economics)
                change = ControlRecord("merchant", name, "demo", "the shop's own figures", None, stated)
                journal.control(change, source="demo", event_id=f"merchant/{name}", ingest_us=START_US)
            past = Pending()
            for number, arrival in enumerate(self.arrivals()):
                for at_us, outcome in past.until(arrival.at_us):
                    journal.take(outcome, at_us)
                if number == self.history:
                    return arrival.at_us
                past.add(history(arrival))
                if number % 500 == 0:
                    progress(number, self.history)
        finally:
            journal.close()
        raise GreenlaneError("the world ran out of payments")

    def learn(self, now_us: int, progress: Progress) -> Trained:
        return train_fraud(
            self.directory, Plan(cut_us=now_us, seed=self.seed), report=self.directory / "fraud.html", progress=progress
        )

    def decide(self, client: Client, progress: Progress) -> list[Done]:
        """Live traffic through the real door: each payment decided, and the world's answers reported as they come."""
        done: list[Done] = []
        pending, batch = Pending(), list[Outcome]()
        for number, arrival in enumerate(self.arrivals()):
            due = [outcome for _, outcome in pending.until(arrival.at_us)]
            if number < self.history:
                pending.add(later_than_history(arrival, self.history_end_us))
                continue
            batch += due
            if batch:
                report(client, batch)
                batch = []
            started = time.perf_counter()
            decision = client.decide(arrival.attempt)
            done.append(Done(arrival, decision, (time.perf_counter() - started) * 1000))
            action = decision.action
            economics = self.world.economics[arrival.attempt.payment.merchant_id]
            pending.add(consequences(arrival, intervention_of(decision), action.route, economics))
            progress(len(done), self.live)
        return done

    history_end_us: int = 0

    def show(self, done: Sequence[Done]) -> Shown:
        scores = Scores(self.world, done)
        latency = np.array([d.latency_ms for d in done])
        interventions: dict[str, int] = {}
        for one in done:
            name = one.decision.action.intervention
            interventions[name] = interventions.get(name, 0) + 1
        lines, threshold = scores.lines(self.seed)
        return Shown(
            world=self.world.digest[:12],
            seed=self.seed,
            payments=len(done),
            threshold=threshold,
            latency_ms_p50=float(np.percentile(latency, 50)),
            latency_ms_p99=float(np.percentile(latency, 99)),
            interventions=interventions,
            lines=lines,
        )


class Pending:
    """Outcomes that have happened in the world but are not known yet, by the time they will be."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Outcome]] = []
        self.count = 0

    def add(self, happened: Sequence[tuple[int, Outcome]]) -> None:
        for at_us, outcome in happened:
            self.count += 1
            heapq.heappush(self.heap, (at_us, self.count, outcome))

    def until(self, now_us: int) -> Iterator[tuple[int, Outcome]]:
        while self.heap and self.heap[0][0] <= now_us:
            at_us, _, outcome = heapq.heappop(self.heap)
            yield at_us, outcome


def later_than_history(arrival: Arrival, end_us: int) -> list[tuple[int, Outcome]]:
    """What the past still has to tell when live traffic begins: late reports and disputes."""
    return [(at_us, outcome) for at_us, outcome in history(arrival)[1:] if at_us > end_us]


def report(client: Client, outcomes: Sequence[Outcome]) -> None:
    for start in range(0, len(outcomes), OUTCOMES_AT_ONCE):
        for answer in client.report(*outcomes[start : start + OUTCOMES_AT_ONCE]):
            if answer.get("status") == "refused":
                raise GreenlaneError(f"an outcome was refused: {answer.get('error')}")


def intervention_of(decision: Decision) -> Intervention:
    found: Intervention = msgspec.convert(decision.action.intervention, Intervention)
    return found


class Scores:
    """True expected figures of every (payment, action), so that policies are compared payment by payment."""

    def __init__(self, world: World, done: Sequence[Done]):
        self.done = done
        arrivals = [d.arrival for d in done]
        economics = [world.economics[a.attempt.payment.merchant_id] for a in arrivals]
        self.routes = [route.id for route in world.parameters.routes]
        pairs = list(zip(arrivals, economics, strict=True))
        self.allow = np.array([[true_value_minor(a, "allow", r, e) for r in self.routes] for a, e in pairs])
        self.block = np.array([true_value_minor(a, "block", None, e) for a, e in pairs])
        self.probability = np.array(
            [d.decision.probabilities.fraud_probability if d.decision.probabilities else 0.0 for d in done]
        )
        self.fraud = np.array([a.truth.fraud for a in arrivals])
        self.reported = np.array([a.truth.report_probability for a in arrivals])
        self.payer = payers(arrivals)
        self.chosen = np.array(
            [
                true_value_minor(d.arrival, intervention_of(d.decision), d.decision.action.route, e)
                for d, (_, e) in zip(done, pairs, strict=True)
            ]
        )

    def lines(self, seed: int) -> tuple[list[Line], float]:
        weights = (
            np.random.default_rng(seed)
            .poisson(1.0, (DRAWS, int(self.payer.max()) + 1))
            .astype(np.float64)[:, self.payer]
        )
        weights = np.concatenate([np.ones((1, len(self.done))), weights])
        best_route = int(self.allow.sum(axis=0).argmax())
        allowed = self.allow[:, best_route]
        threshold = best_threshold(self.probability, allowed, self.block)
        stopped = self.probability >= threshold
        approval = np.array([d.arrival.truth.odds.approval[best_route] for d in self.done])
        greenlane = [approved(d, self.routes) for d in self.done]
        mine = self.line(
            "Greenlane", self.chosen, np.array([a for a, _ in greenlane]), np.array([t for _, t in greenlane]), weights
        )
        nobody = np.zeros(len(self.done))
        everyone = self.line("allow all", allowed, approval, nobody, weights)
        simple = self.line(
            f"block at {threshold:.3f}",
            np.where(stopped, self.block, allowed),
            np.where(stopped, 0.0, approval),
            stopped.astype(float),
            weights,
        )
        return [mine, simple, everyone], threshold

    def line(self, policy: str, value: Floats, approval: Floats, turned_away: Floats, weights: Floats) -> Line:
        good = ~self.fraud
        against = None
        if policy != "Greenlane":
            against = interval(1000 * ratio(weights, self.chosen - value))
        return Line(
            policy=policy,
            approval_pct=interval(100 * ratio(weights, approval)),
            reported_fraud_bps=interval(1e4 * ratio(weights, approval * self.reported, approval)),
            false_declines_pct=interval(100 * ratio(weights, turned_away * good, good.astype(float))),
            net_per_1000=interval(1000 * ratio(weights, value)),
            against_greenlane=against,
        )


def payers(arrivals: Sequence[Arrival]) -> NDArray[np.int64]:
    """A number for each payer: by customer, else by card."""
    names = [(a.attempt.payment.customer and a.attempt.payment.customer.id) or a.attempt.attempt_id for a in arrivals]
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def ratio(weights: Floats, top: Floats, bottom: Floats | None = None) -> Floats:
    """Weighted means, one for each row of weights; the first row weighs all payments alike."""
    below = weights @ (np.ones(weights.shape[1]) if bottom is None else bottom)
    means: Floats = (weights @ top) / below
    return means


def interval(draws: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return float(draws[0]), float(low), float(high)


def best_threshold(probability: Floats, allowed: Floats, blocked: Floats) -> float:
    """The fixed threshold that would have earned most on these very payments."""
    order = np.argsort(-probability, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((blocked - allowed)[order])])
    best = int(gained.argmax())
    return float(probability[order][best - 1]) if best else 1.0 + 1e-9


def approved(done: Done, routes: Sequence[str]) -> tuple[float, float]:
    """(P(approved), P(a good payer is turned away by us)) of what was decided, by the world's probabilities."""
    truth, action = done.arrival.truth, done.decision.action
    if action.route is None:
        return 0.0, 1.0
    odds, at = truth.odds, routes.index(action.route)
    if action.intervention == "challenge":
        return challenged(odds, truth.unavailable, at)
    if action.intervention == "review":
        passed = (1 - odds.review_cancel) * odds.review_release
        return passed * odds.approval[at], 1 - passed
    return odds.approval[at], 0.0


def challenged(odds: Odds, unavailable: float, at: int) -> tuple[float, float]:
    passed = (1 - unavailable) * (odds.frictionless + (1 - odds.frictionless) * odds.challenge_success)
    approval = passed * odds.approval_authenticated[at] + unavailable * odds.approval[at]
    return approval, 1 - passed - unavailable


def run_demo(
    directory: Path, *, seed: int, history: int, live: int, tell: Tell, bar: Callable[[str], Any]
) -> tuple[Shown, "Server"]:
    """All of it; the server is left running for the caller to stop."""
    demo = Demo(directory, seed, tell, history, live)
    with bar("remembering the past") as progress:
        demo.history_end_us = demo.remember(progress)
    with bar("learning") as progress:
        trained = demo.learn(demo.history_end_us, progress)
    tell(f"trained {trained.model_id}: {trained.summary}")
    key = KeyFile(Places(directory).keys).create(("decide", "report", "read", "review", "admin"), created="demo")
    server = Server(directory, key)
    try:
        with bar("deciding live traffic") as progress:
            done = demo.decide(Client(server.url, key=key, timeout_s=10), progress)
        return demo.show(done), server
    except BaseException:
        server.stop()
        raise


class Server:
    """`greenlane serve` as another process, on a free port."""

    def __init__(self, directory: Path, key: str):
        self.key = key
        command = [sys.executable, "-m", "greenlane", "serve", "--data", str(directory), "--port", "0"]
        self.log = directory / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, env=dict(os.environ))  # noqa: S603 - our own program
        self.url = self.wait(Places(directory))

    def wait(self, places: Places) -> str:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until and self.process.poll() is None:
            if places.server.exists():
                told = msgspec.json.decode(places.server.read_bytes(), type=dict[str, Any])
                if told["pid"] == self.process.pid:
                    return str(told["url"])
            time.sleep(0.05)
        self.stop()
        raise GreenlaneError("the server did not start", hint=self.log.read_text()[-500:])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
