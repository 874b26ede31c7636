"""One server process: a system, its door, and the follower beside it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from greenlane.errors import JournalError
from greenlane.payments.times import format_rfc3339
from greenlane.serving.access import GRANTS, KeyFile
from greenlane.serving.app import door
from greenlane.serving.http import Request
from greenlane.wiring import (
    SERVER_PID,
    Places,
    System,
    freeze_memory,
    open_system,
    retire_old_days,
    run_http,
    write_server_file,
)

LOOK_EVERY_S = 10.0
RETIRE_EVERY_LOOKS = 360
TOLD_EVERY_S = 3.0


def run_server(directory: Path, *, host: str, port: int, with_follower: bool, tell: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. Raises SettingsError or JournalError before it listens, never after."""
    system = open_system(directory, progress=slowly(tell))
    keys = KeyFile(system.places.keys)
    created = format_rfc3339(system.clock.now_us())
    first_key = "" if keys.stored() else keys.create(GRANTS, created=created)
    application = door(system, keys, on_failure=failure_of(system, tell))
    beside = Beside(system, with_follower=with_follower, tell=tell)

    def ready(bound_port: int) -> None:
        freeze_memory()
        url = f"http://{host}:{bound_port}"
        admin_key = keys.local("admin")
        write_server_file(system.places, url=url, admin_key=admin_key)
        tell(f"greenlane serves {directory} at {url}  (docs: {url}/docs)")
        if first_key:
            tell(f"API key, shown once: {first_key}")
            tell(curl_line(url, first_key))
        beside.start()

    try:
        run_http(application, host=host, port=port, on_ready=ready)
    finally:
        system.places.server.unlink(missing_ok=True)
        beside.stop()


def slowly(tell: Callable[[str], None], *, every_s: float = TOLD_EVERY_S) -> Callable[[str, int, int], None]:
    """A line now and then while a journal is folded that no snapshot stands for, as after an import."""
    told_at = time.monotonic()

    def progress(what: str, seq: int, last: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= every_s:
            told_at = time.monotonic()
            tell(f"folding the journal into {what}: {seq:,} of {last:,} entries")

    return progress


class Beside:
    """What goes on beside the answers: a follower that runs, and old days that leave SQLite."""

    def __init__(self, system: System, *, with_follower: bool, tell: Callable[[str], None]):
        self.system, self.with_follower, self.tell = system, with_follower, tell
        self.follower: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, name="beside", daemon=True)

    def start(self) -> None:
        self.follow()
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()
        if self.follower is not None:
            self.follower.send_signal(signal.SIGTERM)
            self.follower.wait(timeout=30)

    def run(self) -> None:
        looks = 0
        while not self.stopping.wait(LOOK_EVERY_S):
            looks += 1
            self.follow()
            if looks % RETIRE_EVERY_LOOKS == 0:
                self.retire()

    def follow(self) -> None:
        """Start the follower, and again where it has ended: without it there are no snapshots, days and parity."""
        ended = None if self.follower is None else self.follower.poll()
        if ended is not None:
            self.tell(f"the follower ended with status {ended}; it is started again")
        if self.with_follower and (self.follower is None or ended is not None):
            self.follower = start_follower(self.system.places)

    def retire(self) -> None:
        try:
            retired = retire_old_days(self.system)
        except JournalError as error:  # the journal is closing, or its disk is full: the hot path tells it louder
            self.tell(f"nothing retired: {error}")
            return
        if retired:
            self.tell(f"{retired} entries retired into their day files")


def failure_of(system: System, tell: Callable[[str], None]) -> Callable[[Request, Exception], None]:
    def failed(request: Request, error: Exception) -> None:
        """Never the body, nor an id in the path: they may hold what must not be logged."""
        system.metrics.failed.inc()
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f"{place[0].filename}:{place[0].lineno}" if place else "?"
        resource = "/".join(request.path.split("/")[:3])
        tell(f"{request.method} {resource} failed: {type(error).__name__} at {where}")

    return failed


def start_follower(places: Places) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "greenlane", "follow", "--data", str(places.root)]
    environment = {**os.environ, SERVER_PID: str(os.getpid())}
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603 - our own program


def curl_line(url: str, key: str) -> str:
    body = {
        "attempt_id": "att_0",
        "payment": {
            "id": "pay_0",
            "amount": 12999,
            "currency": "EUR",
            "merchant_id": "shop_1",
            "payment_method": {"card": {"fingerprint": "fp_0", "network": "visa", "issuer_country": "DE"}},
        },
    }
    return f"try: curl -s {url}/v1/decisions -H 'Authorization: Bearer {key}' -d '{json.dumps(body)}'"
