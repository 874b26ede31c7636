"""What a whole decision costs: stage by stage in process, over HTTP against an echo, under load, on disk, in replay.

    python benchmarks/decision.py [--json OUT] [--turns N]

The path is the served one, with nothing left out: the live catalogue of features with a month of history; a fraud model
of 500 trees of 64 leaves over one row; an approval model of as many over 24 rows, as each of the eight routes is asked
about plain, exempted and authenticated; a third of as many over the same 24 rows (`beside`); the worth of a
decline, limits, breakers, health, prices, the exploration ledger, the policy over eight ways, and the journal. Half of
the merchants have acquirers that ask for exemptions. Nothing is explored, as no budget is set.

The server runs on one core, the load comes from this process on another; the sides of every bar take turns in one run.
"""

import argparse
import gc
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from beside import third_model
from journal import body
from load import Connection, open_loop, request
from naive_fold import NaiveFold
from shop import EXEMPTING, FIRST_NEW, shop
from table import Bar, bar, report

from greenlane import decide as core
from greenlane.decisions.packing import pack
from greenlane.decisions.record import ANSWER_ENCODER, DecisionRecord, answer_of
from greenlane.decisions.redact import redacted
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.stream import StreamEngine
from greenlane.payments.attempt import ATTEMPT_DECODER
from greenlane.payments.checks import check_attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.policy.gather import ApprovalBelief
from greenlane.policy.priors import Approval
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.serving.access import KeyFile
from greenlane.serving.app import Doors
from greenlane.serving.bodies import idempotency_key
from greenlane.serving.http import Request
from greenlane.wiring import freeze_memory, open_reader, open_system

NUMBERS = itertools.count(FIRST_NEW)
GATHERING = "approvals, limits, breakers, prices, worth of a decline"
EXEMPTED = ("without exemptions", "with exemptions: eight more actions")
APPROVING = "  of that, approval model and the third over 24 rows each, health"
WARMING_NEXT = 50
TICK_US = 2_000
"""Of the journal's writer: one commit."""
WARMING = 2_000
"""Decisions before the clock runs: a server that has been up for a while has seen most of its payers."""


class Lapped:
    """Notes how long the approvals take, inside of what is gathered."""

    def __init__(self, inner: ApprovalBelief, laps: "Laps"):
        self.inner, self.laps = inner, laps

    def approvals(self, *args: Any, **named: Any) -> tuple[Approval, ...]:
        start = time.perf_counter_ns()
        found = self.inner.approvals(*args, **named)
        self.laps.ns.setdefault(APPROVING, []).append(time.perf_counter_ns() - start)
        return found


class Laps:
    """Nanoseconds of each stage, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.ns: dict[str, list[int]] = {}
        self.since = 0

    def start(self) -> None:
        self.since = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.ns.setdefault(stage, []).append(now - self.since)
        self.since = time.perf_counter_ns()

    def us(self, stage: str, percentile: float = 50) -> float:
        return float(np.percentile(self.ns[stage], percentile)) / 1000


def staged(doors: Doors, asked: Request, laps: Laps) -> bytes:
    """`Doors.post_decision`, with a look at the clock after each stage."""
    lane, journal = doors.system.lane, doors.system.journal
    laps.start()
    doors.allow(asked, "decide")
    laps.lap("key check, rate limit")
    refuse_card_data(asked.body)
    laps.lap("card number guard")
    attempt = ATTEMPT_DECODER.decode(asked.body)
    check_attempt(attempt)
    laps.lap("parse, validate")
    event_id = idempotency_key(asked.header(b"idempotency-key"), f"{attempt.attempt_id}/{attempt.stage}")
    body_hash = doors.system.subjects.fingerprint(asked.body)
    journal.stored(core.SOURCE, event_id)
    laps.lap("idempotency: hash, look-up")
    moment = journal.now()
    payment_us = journal.payment_us(attempt.payment.id)
    facts = lane.freeze(attempt, ingest_us=moment.ingest_us, payment_us=payment_us)
    laps.lap("freeze facts, pseudonyms")
    kept = redacted(attempt, facts)
    laps.lap("redact")
    earlier = core.earlier_decisions(attempt.attempt_id, journal)
    known = core.read(facts, moment, earlier, mode=kept.mode, lane=lane)
    laps.lap("features read")
    believed = core.believe(known, lane=lane)
    laps.lap("finalise, fraud model, calibration, reasons")
    past = journal.entries("payment", facts.payment_id)
    number = core.attempt_no(earlier, past)
    economics = lane.economics_of(kept.payment.merchant_id, mcc=kept.payment.mcc)
    history = core.history_in(past, kept, card=facts.card)
    base = core.base_of(facts, believed, history, known=known, moment=moment, left_us=core.NO_DEADLINE_US)
    laps.lap("the payment's past")
    assert lane.folds.approvals is not None, "a system has its beliefs"
    folds = replace(lane.folds, approvals=Lapped(lane.folds.approvals, laps))
    laps.start()
    given, may = core.gather(
        kept, facts, base, economics=economics, policy=lane.policy, folds=folds, attempt_no=number, failed=lane.failed
    )
    laps.lap(GATHERING)
    chosen = core.choose(kept, given, economics=economics, policy=lane.policy, may=may, draw=lane.folds.draw)
    laps.lap("policy, 8 ways x 4 interventions and the block")
    assert not chosen.degraded and not chosen.stops, f"a decision as most are, not {chosen.degraded} {chosen.stops}"
    record = DecisionRecord(
        kept, number, pack(known.vector), known.vector_of, lane.model.id, believed.reasons, given, chosen,
        lane.release, 0, chosen.degraded,
    )  # fmt: skip
    laps.lap("record, packed vector")
    entry = core.append(record, facts, lane=lane, moment=moment, event_id=event_id, body_hash=body_hash)
    laps.lap("encode, append, apply to state, enqueue")
    doors.system.metrics.decided(chosen.action.intervention, 100, degraded=bool(chosen.degraded))
    laps.lap("metrics")
    answer = answer_of(entry, record, doors.system.releases.versions(record.release))
    laps.lap("build the answer")
    encoded = ANSWER_ENCODER.encode(answer)
    laps.lap("encode the answer")
    return encoded


def budget(directory: Path, *, turns: int) -> list[Bar]:
    """Every stage, their sum, and the whole as it is served, turn and turn about."""
    system = open_system(directory)
    third_model(system, directory)
    keys = KeyFile(system.places.keys)
    doors = Doors(system, keys)
    headers = {b"authorization": f"Bearer {keys.create(('decide',), created='')}".encode()}
    requests = [Request("POST", "/v1/decisions", "", headers, body(next(NUMBERS))) for _ in range(2 * turns + WARMING)]
    laps, cold = Laps(), Laps()
    for warming in requests[:WARMING]:
        staged(doors, warming, cold)
    freeze_memory()
    for turn in range(turns):
        staged(doors, requests[WARMING + 2 * turn], laps)
        asked = requests[WARMING + 1 + 2 * turn]
        laps.start()
        doors.post_decision(asked)
        laps.lap("whole")
        laps.ns.setdefault(EXEMPTED[exempts(asked)], []).append(laps.ns["whole"][-1])
        time.sleep(0.0005)
    gc.enable()
    system.close()
    stages = [stage for stage in laps.ns if stage not in ("whole", *EXEMPTED)]
    total = sum(laps.us(stage) for stage in stages if stage != APPROVING)
    rows = [bar(f"  {stage}", laps.us(stage), "us p50") for stage in stages]
    return [
        *rows,
        bar("sum of the stages, against the whole as served", total, "us p50", reference=laps.us("whole")),
        bar("whole decision in process, p99", laps.us("whole", 99), "us p99"),
        *(bar(f"  {which}", laps.us(which), "us p50") for which in EXEMPTED),
        bar("  freeze, for payers not seen since the start", first_visits_us(cold), "us p50"),
    ]


def exempts(asked: Request) -> bool:
    """Is it of a merchant whose acquirers ask for exemptions?"""
    return int(json.loads(asked.body)["payment"]["merchant_id"].removeprefix("mrc_")) <= EXEMPTING


def first_visits_us(cold: Laps) -> float:
    """Their six pseudonyms come out of SQLite one by one; most of the first few hundred payers are such."""
    return statistics.median(cold.ns["freeze facts, pseudonyms"][20:320]) / 1000


CORES = sorted(os.sched_getaffinity(0))


class Server:
    """The server with its echo, on the first core; from now on this process keeps to the last one."""

    def __init__(self, directory: Path):
        script = Path(__file__).with_name("echo_server.py")
        command = [sys.executable, str(script), str(directory), str(CORES[0])]
        os.sched_setaffinity(0, {CORES[-1]})
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port, self.key = told["port"], told["key"]

    def decisions(self) -> Iterator[bytes]:
        return (request("/v1/decisions", body(next(NUMBERS)), key=self.key) for _ in itertools.count())

    def echoes(self) -> Iterator[bytes]:
        return (request("/echo", body(next(NUMBERS)), key=self.key) for _ in itertools.count())

    def prepared(self, kind: Callable[[], Iterator[bytes]], count: int) -> Iterator[bytes]:
        """Made before the clock runs; more are made on the way if they do not last."""
        return itertools.chain(list(itertools.islice(kind(), count)), kind())

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0, "the server did not stop cleanly"


def one_connection(server: Server, *, turns: int) -> list[Bar]:
    """A decision and an echo of the same bytes, turn and turn about, over one connection."""
    connection = Connection(server.port)
    spent: dict[str, list[float]] = {"decide": [], "echo": []}
    for n in range(turns + WARMING):
        payload = body(next(NUMBERS))
        for name, path in (("decide", "/v1/decisions"), ("echo", "/echo")):
            message = request(path, payload, key=server.key)
            start = time.perf_counter_ns()
            connection.ask(message)
            if n >= WARMING:
                spent[name].append((time.perf_counter_ns() - start) / 1000)
    decided, echoed = spent["decide"], spent["echo"]
    p50, echo_p50 = statistics.median(decided), statistics.median(echoed)
    p99, echo_p99 = (float(np.percentile(each, 99)) for each in (decided, echoed))
    return [
        bar("decision over HTTP, one connection, p50", p50, "us", reference=echo_p50, ratio_max=7),
        bar("decision over HTTP, one connection, p99", p99, "us", reference=echo_p99),
    ]


def next_actions(server: Server, *, turns: int) -> list[Bar]:
    """A decline reported, and a decline reported with the question what to do next: both durable when answered."""
    connection = Connection(server.port)
    spent: dict[str, list[float]] = {"outcome": [], "next_action": []}
    for n in range(turns + WARMING_NEXT):
        for name in spent:
            decided = json.loads(connection.ask(request("/v1/decisions", body(next(NUMBERS)), key=server.key)))
            path, told = declined(decided["id"], name)
            start = time.perf_counter_ns()
            connection.ask(request(path, told, key=server.key))
            if n >= WARMING_NEXT:
                spent[name].append((time.perf_counter_ns() - start) / 1000)
    (outcome, outcome_p99), (found, found_p99) = (
        (statistics.median(each), float(np.percentile(each, 99))) for each in spent.values()
    )
    limit = outcome + TICK_US
    return [
        bar("next action, p50 (a plain sync outcome + 2 ms)", found, "us", reference=outcome, value_max=limit),
        bar("next action, p99", found_p99, "us", reference=outcome_p99),
    ]


def declined(decision_id: str, how: str) -> tuple[str, bytes]:
    """(path, body) of a decline for want of funds."""
    event: dict[str, object] = {"source": "bench", "event_id": f"answer_{decision_id}"}
    if how == "next_action":
        return f"/v1/decisions/{decision_id}/next_action", json.dumps(
            event | {"decline": {"network_response_code": "51"}}
        ).encode()
    told = {"type": "authorization", "result": "declined", "network_response_code": "51", "decision_id": decision_id}
    return "/v1/outcomes", json.dumps(event | told).encode()


def under_load(server: Server, *, seconds: float) -> list[Bar]:
    """Poisson arrivals at half of what saturates the server; three rounds of each side, medians."""
    full = [
        len(
            open_loop(
                server.port, server.prepared(server.decisions, 4000), rate=float("inf"), seconds=seconds / 2, seed=n
            )
        )
        / (seconds / 2)
        for n in range(2)
    ]
    rate = max(full) / 2
    p99: dict[str, list[float]] = {"decide": [], "echo": []}
    for turn in range(3):
        for name, kind in (("echo", server.echoes), ("decide", server.decisions)):
            messages = server.prepared(kind, int(rate * seconds * 1.1))
            taken = open_loop(server.port, messages, rate=rate, seconds=seconds, seed=turn)
            p99[name].append(float(np.percentile(taken, 99)))
    decided, echoed = statistics.median(p99["decide"]), statistics.median(p99["echo"])
    return [
        bar("saturation", max(full), "req/s"),
        bar(
            f"open loop at {rate:,.0f}/s, p99 (2x the echo's + 1 ms)",
            decided,
            "us",
            reference=echoed,
            value_max=2 * echoed + 1000,
        ),
    ]


def size_of(directory: Path) -> int:
    return sum((directory / name).stat().st_size for name in ("journal.sqlite", "journal.names", "subjects.sqlite"))


def kept(directory: Path, action: Callable[[], list[Bar]]) -> list[Bar]:
    """Bytes that each entry appended by `action` adds to journal and subjects, once the server has stopped."""
    before, first = size_of(directory), last_seq(directory)
    bars = action()
    entries = last_seq(directory) - first
    return [*bars, bar("bytes on disk per decision", (size_of(directory) - before) / entries, "B", value_max=1500)]


def last_seq(directory: Path) -> int:
    reader = open_reader(directory)
    _, last = reader.store.span()
    reader.store.close()
    return last


def refold(directory: Path, *, turns: int = 3) -> list[Bar]:
    """Entries a second of the stream engine and of a plain Python fold, with every attempt's vector, as replay asks.

    Both must give the same vectors. Folding alone is shown too.
    """
    reader = open_reader(directory)
    entries = list(reader.entries())[:20_000]
    reader.store.close()
    spent: dict[str, list[float]] = {"engine": [], "naive": [], "engine alone": [], "naive alone": []}
    for _ in range(turns):
        vectors = timed(spent["engine"], lambda: engine().fold_and_read(entries, is_attempt)[1].tolist())
        expected = timed(spent["naive"], lambda: NaiveFold(CATALOGUE).fold_and_read(entries, is_attempt))
        assert vectors == expected, "the plain fold and the engine answer differently"
        timed(spent["engine alone"], lambda: engine().apply_many(entries))
        timed(spent["naive alone"], lambda: NaiveFold(CATALOGUE).apply_many(entries))
    rate = {side: len(entries) / min(times) for side, times in spent.items()}
    return [
        bar(
            "replay: fold, and read every attempt's vector",
            rate["engine"],
            "entries/s",
            reference=rate["naive"],
            ratio_min=20,
        ),
        bar("replay: fold without reading", rate["engine alone"], "entries/s", reference=rate["naive alone"]),
    ]


def engine() -> StreamEngine:
    return StreamEngine(CATALOGUE, first_complete_us=0)


def is_attempt(entry: Entry) -> bool:
    return bool(entry.emits & SOURCE_BIT["attempts"])


def timed(spent: list[float], action: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = action()
    spent.append(time.perf_counter() - start)
    return found


def measure(*, turns: int, seconds: float) -> list[Bar]:
    work = Path(tempfile.mkdtemp(prefix="greenlane_bench_"))
    try:
        shop(work)
        bars = budget(work, turns=turns)

        def served() -> list[Bar]:
            server = Server(work)
            try:
                return [*one_connection(server, turns=turns), *under_load(server, seconds=seconds)]
            finally:
                server.stop()

        def asked_next() -> list[Bar]:
            server = Server(work)
            try:
                return next_actions(server, turns=turns // 4)
            finally:
                server.stop()

        return [*bars, *kept(work, served), *asked_next(), *refold(work)]
    finally:
        shutil.rmtree(work)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    return report(measure(turns=options.turns, seconds=options.seconds), options.json)


if __name__ == "__main__":
    sys.exit(main())
