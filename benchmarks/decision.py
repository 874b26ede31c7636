"""What a whole decision costs: stage by stage in process, over HTTP against an echo, under load, on disk, in replay.

    python benchmarks/decision.py [--json OUT] [--turns N]

Eight routes, the live catalogue of features with a month of history, a fraud model of 500 trees of 64 leaves, the
journal on. The server runs on one core, the load comes from this process on another; the sides of every bar take
turns in one run.
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
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from journal import body
from load import Connection, open_loop, request
from naive_fold import NaiveFold
from shop import FIRST_NEW, shop
from table import Bar, bar, report

from greenlane import decide as core
from greenlane.decisions.packing import pack
from greenlane.decisions.record import ANSWER_ENCODER, DecisionRecord, answer_of
from greenlane.decisions.redact import redacted
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.stream import StreamEngine
from greenlane.models.fraud_model import FraudModel
from greenlane.payments.attempt import ATTEMPT_DECODER
from greenlane.payments.checks import check_attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.serving.access import KeyFile
from greenlane.serving.app import Doors
from greenlane.serving.bodies import idempotency_key
from greenlane.serving.http import Request
from greenlane.wiring import freeze_memory, open_reader, open_system

NUMBERS = itertools.count(FIRST_NEW)
WARMING = 2_000
"""Decisions before the clock runs: a server that has been up for a while has seen most of its payers."""


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
    body_hash = blake2b(asked.body, digest_size=16).digest()
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
    base = core.base_of(
        facts, believed, core.history_in(past, kept), known=known, moment=moment, left_us=core.NO_DEADLINE_US
    )
    laps.lap("the payment's past")
    given, may = core.gather(
        kept, facts, base, economics=economics, policy=lane.policy, folds=lane.folds, attempt_no=number,
        failed=lane.failed,
    )  # fmt: skip
    laps.lap("approval, limits, breakers, budgets")
    chosen = core.choose(kept, given, economics=economics, policy=lane.policy, may=may, draw=lane.folds.draw)
    laps.lap("policy, 8 routes x 5 interventions")
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
    keys = KeyFile(system.places.keys)
    doors = Doors(system, keys)
    headers = {b"authorization": f"Bearer {keys.create(('decide',), created='')}".encode()}
    requests = [Request("POST", "/v1/decisions", "", headers, body(next(NUMBERS))) for _ in range(2 * turns + WARMING)]
    laps, models, cold = Laps(), Laps(), Laps()
    for warming in requests[:WARMING]:
        staged(doors, warming, cold)
    freeze_memory()
    for turn in range(turns):
        staged(doors, requests[WARMING + 2 * turn], laps)
        laps.start()
        doors.post_decision(requests[WARMING + 1 + 2 * turn])
        laps.lap("whole")
        eight_routes(system.lane.model, models, turn)
        time.sleep(0.0005)
    gc.enable()
    system.close()
    stages = [stage for stage in laps.ns if stage != "whole"]
    total = sum(laps.us(stage) for stage in stages)
    rows = [bar(f"  {stage}", laps.us(stage), "us p50") for stage in stages]
    return [
        *rows,
        bar("sum of the stages, against the whole as served", total, "us p50", reference=laps.us("whole")),
        bar("whole decision in process, p99", laps.us("whole", 99), "us p99"),
        bar("  freeze, for payers not seen since the start", first_visits_us(cold), "us p50"),
        bar("  not in the served path yet: approval model, 8 routes", models.us("approval"), "us p50"),
        bar("  not in the served path yet: third model, 8 routes", models.us("third"), "us p50"),
        bar("whole with three models' work", laps.us("whole") + models.us("approval") + models.us("third"), "us p50"),
    ]


def first_visits_us(cold: Laps) -> float:
    """Their six pseudonyms come out of SQLite one by one; most of the first few hundred payers are such."""
    return statistics.median(cold.ns["freeze facts, pseudonyms"][20:320]) / 1000


ROUTE_FEATURES = 20


def eight_routes(model: FraudModel, laps: Laps, turn: int) -> None:
    """Two more models of the same size over eight routes that share all features but the last twenty."""
    rng = np.random.default_rng(turn)
    rows = np.repeat(rng.random((1, model.width), np.float32) * 100, 8, axis=0)
    rows[:, -ROUTE_FEATURES:] = rng.random((8, ROUTE_FEATURES), np.float32) * 100
    for name in ("approval", "third"):
        laps.start()
        model.predict_many(rows)
        laps.lap(name)


class Server:
    """The server with its echo, on the first core."""

    def __init__(self, directory: Path):
        command = [sys.executable, str(Path(__file__).with_name("echo_server.py")), str(directory)]
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
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

        def served() -> list[Bar]:
            server = Server(work)
            try:
                return [*one_connection(server, turns=turns), *under_load(server, seconds=seconds)]
            finally:
                server.stop()

        return [*bars, *kept(work, served), *refold(work)]
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
