"""`greenlane serve` as another process; without its follower, which would take a third of the time of a short run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from greenlane.errors import GreenlaneError
from greenlane.serving.access import KeyFile
from greenlane.wiring import Places

WAIT_S: Final = 60
SCOPES: Final = ("decide", "report", "read", "review", "admin")


class Server:
    """On a free port, with a key of its own; `stop` it."""

    def __init__(self, directory: Path):
        self.key = KeyFile(Places(directory).keys).create(SCOPES, created="demo")
        command = [sys.executable, "-m", "greenlane", "serve", "--data", str(directory), "--port", "0", "--no-follower"]
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
