"""Kill -9 at random instants under load, start again, and look whether everything that was promised is there.

    python benchmarks/crash.py --kills 50 [--seed S] [--json OUT]

Two shops take turns, one by the system's clock and one whose clock runs five minutes per decision, so that days close
all the time. Four threads decide, report and send again; a fifth swaps the champion to and fro. Each kill aims at
something: any instant, a snapshot being written, a day being closed, a model being swapped, or the start itself; half
of the kills take the follower along. Exit status 1 where a promise does not hold. A failure is found again by its seed
as nearly as processes allow.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from journal import body
from load import Connection, request
from shop import FIRST_NEW, shop
from table import Bar, about, bar, shown

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.features.stream import StreamEngine
from greenlane.jobs.replaying import replay_sample
from greenlane.payments.times import DAY_US, SECOND_US, format_rfc3339
from greenlane.ports.clock import SystemClock
from greenlane.ports.journal import Entry
from greenlane.serving.access import KeyFile
from greenlane.settings import read_settings, write_settings
from greenlane.wiring import Places, complete_from, current_engine, day_entries, open_reader

THREADS = 4
STEP_US = 300 * SECOND_US
AIMS = ("any", "swap", "snapshot", "day close", "start")
AIM_TIMEOUT_S = 15.0
SENT_AGAIN = 20


@dataclass
class Acknowledged:
    """What the server has said "yes" to, and when."""

    message: bytes
    digest: bytes
    position: tuple[int, int]
    acked_at: float


@dataclass
class Found:
    """Everything counted over all kills."""

    kills: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    asynchronous: int = 0
    synchronous: int = 0
    lost_async: int = 0
    repeated: int = 0
    replayed: int = 0
    days: int = 0
    from_snapshot: int = 0

    def expect(self, holds: bool, promise: str, detail: object = "") -> None:
        if not holds:
            self.broken[promise] += 1
            print(f"\nBROKEN: {promise} {detail}", flush=True)


class Shop:
    """One data directory, its server, and what was acknowledged to this side."""

    def __init__(self, work: Path, *, simulated: bool, history: int, trees: int):
        clock = "simulated" if simulated else "system"
        self.directory, self.simulated = work / clock, simulated
        self.models = shop(self.directory, history=history, trees=trees, clock=clock)
        settings = read_settings(self.directory)
        write_settings(self.directory, msgspec.structs.replace(settings, snapshot_every_s=1, parity_sample=20))
        self.places = Places(self.directory)
        self.key = KeyFile(self.places.keys).create(("admin",), created="")
        self.numbers = itertools.count(FIRST_NEW)
        self.start_us = SystemClock().now_us()
        self.decisions: dict[str, Acknowledged] = {}
        self.sync: dict[tuple[str, str], tuple[int, int] | None] = {}
        self.outcomes: list[tuple[bytes, bytes]] = []
        self.generation = 0
        self.lock = threading.Lock()
        self.killed_at = 0.0
        self.swapping = threading.Event()

    # ---- the server

    def start(self) -> subprocess.Popen[bytes]:
        self.places.server.unlink(missing_ok=True)
        command = [sys.executable, "-m", "greenlane", "serve", "--data", str(self.directory), "--port", "0"]
        log = (self.directory.parent / f"{self.directory.name}.log").open("ab")
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def port(self, process: subprocess.Popen[bytes]) -> int:
        while not self.places.server.exists():
            if process.poll() is not None:
                raise SystemExit(f"the server does not start: see {self.directory.parent}")
            time.sleep(0.005)
        return int(str(json.loads(self.places.server.read_bytes())["url"]).rsplit(":", 1)[1])

    # ---- load

    def decide(self, connection: Connection, _chance: random.Random) -> None:
        with self.lock:
            n = next(self.numbers)
        sent = body(n)
        if self.simulated:
            at = format_rfc3339(self.start_us + (n - FIRST_NEW) * STEP_US)
            sent = b'{"at": "' + at.encode() + b'", ' + sent[1:]
        message = request("/v1/decisions", sent, key=self.key)
        answer = connection.ask(message)
        acked_at = time.monotonic()
        told = msgspec.json.decode(answer)
        position = told["journal_position"]["generation"], told["journal_position"]["seq"]
        key = f"{told['attempt_id']}/{told['stage']}"
        self.decisions[key] = Acknowledged(message, digest(answer), position, acked_at)

    def report(self, connection: Connection, chance: random.Random) -> None:
        with self.lock:
            recent = list(self.decisions)[-50:] if self.decisions else []
        if not recent:
            return
        key = chance.choice(recent)
        event_id = f"{chance.getrandbits(128):032x}"
        kind = chance.choice(({"type": "fraud_report"}, {"type": "authorization", "result": "approved"}))
        outcome = {**kind, "source": "bench", "event_id": event_id, "attempt_id": key.partition("/")[0]}
        message = request("/v1/outcomes", json.dumps(outcome).encode(), key=self.key)
        answer = connection.ask(message)
        self.sync["bench", event_id] = position_of(json.loads(answer)["id"])
        self.outcomes.append((message, digest(answer)))

    def send_again(self, connection: Connection, chance: random.Random) -> None:
        with self.lock:
            recent = list(self.decisions.values())[-200:]
        if recent:
            again = chance.choice(recent)
            if digest(connection.ask(again.message)) != again.digest:
                raise AssertionError("another answer to the same request")

    def swap(self, connection: Connection, chance: random.Random) -> None:
        key = f"{chance.getrandbits(64):x}"
        sent = request(
            f"/v1/models/{chance.choice(self.models)}/promote", b'{"why": "crash", "force": true}', key=self.key
        )
        sent = sent.replace(b"\r\n\r\n", f"\r\nidempotency-key: {key}\r\n\r\n".encode(), 1)
        self.swapping.set()
        connection.ask(sent)
        self.swapping.clear()
        self.sync["control", key] = None
        time.sleep(0.02)

    def drive(self, port: int, seed: int, found: Found, ways: tuple[tuple[Callable[..., None], int], ...]) -> None:
        chance, connection = random.Random(seed), Connection(port)
        acts = [act for act, weight in ways for _ in range(weight)]
        while True:
            try:
                chance.choice(acts)(connection, chance)
            except OSError:
                break
            except (ValueError, AssertionError) as error:
                found.expect(False, "every request is answered as documented", error)
                break
        connection.socket.close()

    def load(self, port: int, seed: int, found: Found) -> list[threading.Thread]:
        mixed = ((self.decide, 14), (self.report, 3), (self.send_again, 3))
        plans = [mixed] * THREADS + [((self.swap, 1),)]
        threads = [
            threading.Thread(target=self.drive, args=(port, seed * 100 + i, found, plan), daemon=True)
            for i, plan in enumerate(plans)
        ]
        for thread in threads:
            thread.start()
        return threads

    # ---- aims

    def wait_for(self, aim: str, chance: random.Random) -> bool:
        """Until the instant to kill at; whether it is the one that was aimed at."""
        time.sleep(chance.uniform(0.2, 1.2))
        if aim == "any":
            return True
        watched = {
            "swap": self.swapping.is_set,
            "snapshot": lambda: any(self.places.snapshots.glob("*.unfinished")),
            "day close": lambda: any(self.places.days.glob("*.partial")),
        }[aim]
        deadline = time.monotonic() + AIM_TIMEOUT_S
        while time.monotonic() < deadline:
            if watched():
                time.sleep(chance.uniform(0, 0.004))
                return True
        return False

    # ---- what is there after a kill

    def audit(self, work: Path, found: Found) -> None:
        copy = work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("models", "*spill*", "*.lock"))
        store = SqliteJournal(copy / "journal.sqlite")  # as the next server will: it finds what waited for its commit
        store.open(simulated=self.simulated)
        store.close()
        reader = open_reader(copy)
        entries = list(reader.entries())
        self.check_sequence(entries, found)
        self.check_acknowledged(entries, found)
        self.check_state(reader, entries, found)
        self.check_days(reader.places, entries, found)
        reader.store.close()
        self.generation = max(self.generation, entries[-1].generation)

    def check_sequence(self, entries: list[Entry], found: Found) -> None:
        seqs = [entry.seq for entry in entries]
        found.expect(seqs == list(range(1, len(seqs) + 1)), "seq has no gap")
        for part in ("generation", "ingest_us"):
            values = [getattr(entry, part) for entry in entries]
            found.expect(values == sorted(values), f"{part} never goes back")

    def check_acknowledged(self, entries: list[Entry], found: Found) -> None:
        there = {(e.source, e.event_id): (e.generation, e.seq) for e in entries}
        controls = {e.event_id for e in entries if e.kind == "control"}
        for (source, event_id), position in self.sync.items():
            held = event_id in controls if position is None else there.get((source, event_id)) == position
            found.expect(held, "what was acknowledged under sync is there", (source, event_id, position))
        for key, acked in list(self.decisions.items()):
            if there.get(("decision", key)) != acked.position:
                del self.decisions[key]
                age_ms = (self.killed_at - acked.acked_at) * 1000
                found.lost_async += 1
                found.expect(False, "what was answered at once is there", f"{key} {age_ms:.1f} ms before the kill")

    def check_state(self, reader: Any, entries: list[Entry], found: Found) -> None:
        recovered = current_engine(reader.places, reader.features, reader.store, settings=reader.settings)
        fresh = StreamEngine(reader.features, first_complete_us=complete_from(reader.store))
        fresh.apply_many(entries)
        found.from_snapshot += any(reader.places.snapshots.glob("*.snapshot"))
        found.expect(recovered.canonical() == fresh.canonical(), "recovered state equals a fresh fold")

    def check_days(self, places: Places, entries: list[Entry], found: Found) -> None:
        for path in sorted(places.days.glob("*.parquet"))[-2:]:
            held = list(day_entries(path))
            found.days += 1
            same = held == entries[held[0].seq - 1 : held[-1].seq]
            whole = {e.ingest_us // DAY_US for e in held} == {held[0].ingest_us // DAY_US}
            found.expect(same and whole, "a day file holds its day", path.name)

    # ---- what the next server says

    def ask_again(self, port: int, chance: random.Random, found: Found) -> None:
        connection = Connection(port)
        kept = list(self.decisions.values())
        for acked in chance.sample(kept, min(SENT_AGAIN, len(kept))):
            found.repeated += 1
            same = digest(connection.ask(acked.message)) == acked.digest
            found.expect(same, "the same request has the same answer", acked.position)
        for message, answered in chance.sample(self.outcomes, min(SENT_AGAIN, len(self.outcomes))):
            found.repeated += 1
            found.expect(digest(connection.ask(message)) == answered, "the same outcome has the same answer")
        ids = [f"dec_{g}_{s}" for g, s in (a.position for a in chance.sample(kept, min(50, len(kept))))]
        if ids:
            sent = request("/v1/replay", json.dumps({"decision_ids": ids}).encode(), key=self.key)
            told = json.loads(connection.ask(sent))
            found.replayed += told["decisions"]
            found.expect(told["different"] == 0, "replay gives the same decisions", told)
        before = self.generation
        self.decide(connection, chance)
        fresh = next(reversed(self.decisions.values()))
        found.expect(fresh.position[0] > before, "the generation rises", (before, fresh.position))
        connection.socket.close()


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def position_of(outcome_id: str) -> tuple[int, int]:
    _, generation, seq = outcome_id.split("_")
    return int(generation), int(seq)


def kill(process: subprocess.Popen[bytes], *, everything: bool) -> None:
    if everything:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def gone(process: subprocess.Popen[bytes], *, within_s: float = 20.0) -> bool:
    """Whether the follower ended too; it is ended here if not."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    return False


def one_kill(at: Shop, number: int, aim: str, *, work: Path, found: Found, chance: random.Random) -> None:
    process = at.start()
    if aim == "start":
        time.sleep(chance.uniform(0.05, 1.5))
        hit, threads = not at.places.server.exists(), list[threading.Thread]()
    else:
        port = at.port(process)
        at.ask_again(port, chance, found)
        threads = at.load(port, number, found)
        hit = at.wait_for(aim, chance)
    at.killed_at = time.monotonic()
    kill(process, everything=chance.random() < 0.5)
    for thread in threads:
        thread.join(20)
    found.expect(gone(process), "the follower does not outlive its server")
    found.kills[aim] += 1
    found.hits[aim] += hit
    at.audit(work, found)


def last_life(at: Shop, chance: random.Random, found: Found) -> None:
    """One more start, a clean stop, and every decision replayed from the first entry on."""
    process = at.start()
    at.ask_again(at.port(process), chance, found)
    process.terminate()
    found.expect(process.wait(60) == 0, "the server stops cleanly")
    replayed = replay_sample(at.directory, sample=100_000, refold=True, progress=lambda *_: None)
    found.replayed += replayed.decisions
    found.expect(replayed.different == 0, "replay with refold gives the same decisions", replayed.differences[:3])


def run(*, kills: int, seed: int, history: int, trees: int, tell: Callable[[str], None]) -> list[Bar]:
    found, chance = Found(), random.Random(seed)
    work = Path(tempfile.mkdtemp(prefix="greenlane_crash_"))
    shops = [Shop(work, simulated=simulated, history=history, trees=trees) for simulated in (False, True)]
    for number, aim in enumerate(itertools.islice(aims(), kills)):
        at = shops[1] if aim == "day close" else shops[number % 2]
        one_kill(at, number, aim, work=work, found=found, chance=chance)
        held = sum(len(s.decisions) for s in shops)
        tell(
            f"kill {number + 1}/{kills} ({aim}): {held:,} decisions kept, {sum(found.broken.values())} promises broken"
        )
    for at in shops:
        last_life(at, chance, found)
    found.asynchronous = sum(len(s.decisions) for s in shops) + found.lost_async
    found.synchronous = sum(len(s.sync) for s in shops)
    if not found.broken:
        shutil.rmtree(work)
    return bars_of(found)


def aims() -> Iterator[str]:
    return itertools.cycle(AIMS)


PROMISES = (
    "what was acknowledged under sync is there", "what was answered at once is there", "seq has no gap",
    "generation never goes back", "ingest_us never goes back", "recovered state equals a fresh fold",
    "a day file holds its day", "the generation rises", "the same request has the same answer",
    "the same outcome has the same answer", "replay gives the same decisions",
    "replay with refold gives the same decisions", "every request is answered as documented",
    "the follower does not outlive its server", "the server stops cleanly",
)  # fmt: skip


def bars_of(found: Found) -> list[Bar]:
    return [
        bar("kills", found.kills.total(), "kills"),
        *(
            bar(f"  aimed at: {aim}, hit", found.hits[aim], "kills", reference=found.kills[aim], ratio_min=0.5)
            for aim in found.kills
        ),
        bar("decisions acknowledged (async)", found.asynchronous, "entries"),
        bar("  lost", found.lost_async, "entries", value_max=0),
        bar("acknowledged under sync", found.synchronous, "entries"),
        bar("recoveries that had a snapshot", found.from_snapshot, "kills"),
        bar("day files compared with the journal", found.days, "files"),
        bar("requests sent again after a restart", found.repeated, "requests"),
        bar("decisions replayed", found.replayed, "decisions"),
        *(bar(f"broken: {promise}", found.broken[promise], "times", value_max=0) for promise in PROMISES),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--history", type=int, default=1_000, help="payments before the first kill")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    started = time.monotonic()
    bars = run(
        kills=given.kills,
        seed=given.seed,
        history=given.history,
        trees=given.trees,
        tell=lambda line: print(line, flush=True),
    )
    print(shown(bars))
    print(f"seed {given.seed}, {time.monotonic() - started:.0f} s")
    if given.json:
        result = {**about(), "kills": given.kills, "seed": given.seed, "bars": bars}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return int(any(each.passed is False for each in bars))


if __name__ == "__main__":
    sys.exit(main())
