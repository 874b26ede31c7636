"""Models change under load: promotions and rollbacks in turn while decisions arrive at a steady rate.

    python benchmarks/swap.py [--rate 1000] [--seconds 5] [--every 0.5] [--json OUT]

Arrivals are open loop (Poisson), so that a server that stalls cannot hide it. Afterwards every decision is looked up in
the journal: the versions it names, the model it records and the alias at its position must be one and the same, its
probability must be what that model says of its vector, and replay must give the same bytes.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from load import Connection, open_loop, request
from table import Bar, bar, report

from greenlane.decisions.live import CHAMPION, Live
from greenlane.decisions.record import record_of
from greenlane.jobs.replaying import replay_sample
from greenlane.wiring import Places, open_reader


class Found(NamedTuple):
    """What a run showed. All but the first five are to be 0."""

    rate: float
    """Decisions answered a second."""
    decisions: int
    moves: int
    by_model: dict[str, int]
    latency_us: list[float]
    errors: int
    mixed: int
    """Answers whose versions name another model than their record, or than the alias at their position."""
    different: int
    """Of the replay, whole journal."""


class Swapping(threading.Thread):
    """Promotes the other model, then rolls back, until it is stopped."""

    def __init__(self, port: int, key: str, models: list[str], *, every_s: float):
        super().__init__()
        self.port, self.key, self.every_s, self.stopped = port, key, every_s, threading.Event()
        self.models, self.moves, self.failed = models, 0, list[Exception]()

    def run(self) -> None:
        connection = Connection(self.port)
        body = b'{"why": "to and fro", "force": true}'
        steps = itertools.cycle([f"/v1/models/{self.models[1]}/promote", "/v1/models/rollback"])
        while not self.stopped.wait(self.every_s):
            try:
                connection.ask(request(next(steps), body, key=self.key))
                self.moves += 1
            except (OSError, ValueError) as error:
                self.failed.append(error)
                return


def swap(
    directory: Path, models: list[str], bodies: Iterator[bytes], *, rate: float, seconds: float, every_s: float
) -> Found:
    """One run over a directory whose champion is the first of two models."""
    command = [sys.executable, "-m", "greenlane", "serve", "--data", str(directory), "--port", "0", "--no-follower"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        told = server_of(server, Places(directory))
        port, key = int(told["url"].rpartition(":")[2]), told["admin_key"]
        answers, errors, spent = list[bytes](), 0, list[float]()
        swapping = Swapping(port, key, models, every_s=every_s)
        warm(port, key, bodies)
        messages = (request("/v1/decisions", body, key=key) for body in bodies)
        ready = itertools.chain(list(itertools.islice(messages, round(rate * seconds))), messages)
        swapping.start()
        started_s = time.perf_counter()
        try:
            spent = open_loop(port, ready, rate=rate, seconds=seconds, seed=1, heard=answers.append)
        except (OSError, ValueError) as error:
            print(f"a decision failed: {error}", file=sys.stderr)
            errors += 1
        took_s = time.perf_counter() - started_s
        swapping.stopped.set()
        swapping.join()
    finally:
        server.terminate()
        assert server.wait(60) == 0, "the server did not stop cleanly"
    errors += len(swapping.failed)
    for failed in swapping.failed:
        print(f"a move failed: {failed!r}", file=sys.stderr)
    mixed, by_model = looked_up(directory, answers)
    replayed = replay_sample(directory, sample=10**9, refold=False, progress=lambda *_: None)
    assert not replayed.runtime_differs, "another build decided"
    return Found(
        len(answers) / took_s, len(answers), swapping.moves, by_model, spent, errors, mixed, replayed.different
    )


def warm(port: int, key: str, bodies: Iterator[bytes]) -> None:
    connection = Connection(port)
    for body in itertools.islice(bodies, 50):
        connection.ask(request("/v1/decisions", body, key=key))


def server_of(server: "subprocess.Popen[str]", places: Places) -> dict[str, Any]:
    for _ in range(2_400):
        if places.server.exists():
            found: dict[str, Any] = json.loads(places.server.read_bytes())
            return found
        assert server.poll() is None, server.communicate()
        time.sleep(0.05)
    raise SystemExit("the server did not start within two minutes")


def looked_up(directory: Path, answers: list[bytes]) -> tuple[int, dict[str, int]]:
    """(answers that are of two models, answers by model), against the journal."""
    told = {(answer := json.loads(raw))["journal_position"]["seq"]: answer for raw in answers}
    mixed, by_model, live = len(answers) - len(told), Counter[str](), Live()
    reader = open_reader(directory)
    for entry in reader.entries():
        live.apply(entry)
        answer = told.pop(entry.seq, None)
        if entry.kind == "decision" and answer is not None:
            named = {answer["versions"]["models"]["fraud"], record_of(entry).model, live.aliases[CHAMPION]}
            by_model[min(named)] += 1
            mixed += len(named) > 1
    reader.store.close()
    return mixed + len(told), dict(by_model)


def bars(found: Found, *, rate: float) -> list[Bar]:
    p50, p99 = (float(np.percentile(found.latency_us, q)) for q in (50, 99))
    return [
        bar("decisions answered a second, while models change", found.rate, "1/s", value_min=0.95 * rate),
        bar("decisions", found.decisions, ""),
        bar("promotions and rollbacks", found.moves, "", value_min=2),
        bar("fewest decisions of one model", min(found.by_model.values(), default=0), "", value_min=1),
        bar("failed requests", found.errors, "", value_max=0),
        bar("decisions of two models, or of none", found.mixed, "", value_max=0),
        bar("decisions that replay otherwise", found.different, "", value_max=0),
        bar("answered after, p50", p50, "us"),
        bar("answered after, p99", p99, "us"),
        bar("load of the machine, 1 min", os.getloadavg()[0], ""),
    ]


def main() -> int:
    from journal import body
    from shop import FIRST_NEW, shop

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--every", type=float, default=0.5)
    parser.add_argument("--trees", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenlane_swap_") as work:
        models = shop(Path(work), trees=given.trees)
        bodies = map(body, itertools.count(FIRST_NEW))
        found = swap(Path(work), models, bodies, rate=given.rate, seconds=given.seconds, every_s=given.every)
    return report(bars(found, rate=given.rate), given.json)


if __name__ == "__main__":
    sys.exit(main())
