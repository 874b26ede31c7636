"""The real server process, and what a caller needs to talk to it."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from small_shop import save_model

from greenlane.serving.access import GRANTS, KeyFile
from greenlane.settings import Settings, write_settings
from greenlane.wiring import Places


class Answer(NamedTuple):
    status: int
    raw: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)


class Server:
    """One process of `greenlane serve` on a free port; each request opens a connection unless it brings one."""

    def __init__(self, data: Path, *flags: str):
        self.data, self.flags = data, flags
        keys = KeyFile(Places(data).keys)
        self.keys = {scope: keys.create((scope,), created="") for scope in GRANTS}
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "greenlane", "serve", "--data", str(self.data), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *(self.flags or ("--no-follower",))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        told = Places(self.data).server
        for _ in range(1200):
            if told.exists():
                break
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        found = msgspec.json.decode(told.read_bytes())
        self.url = found["url"]
        assert found["pid"] == self.process.pid

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        /,
        *,
        key: str | None = None,
        connection: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        """`key` is a scope's name or a whole key; admin unless given. bytes are sent as they are."""
        payload = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        key = "admin" if key is None else key
        if key:
            told["authorization"] = f"Bearer {self.keys.get(key, key)}"
        mine = connection or self.connect()
        try:
            mine.request(method, path, body=payload, headers=told)
            response = mine.getresponse()
            return Answer(response.status, response.read(), {n.lower(): v for n, v in response.getheaders()})
        finally:
            if connection is None:
                mine.close()

    def decide(self, body: Any, /, **headers: str) -> Answer:
        return self.ask("POST", "/v1/decisions", body, **headers)

    def stop(self) -> str:
        """SIGTERM, and what the process said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=40)
        return said


@contextmanager
def serving(data: Path, *flags: str, **settings: Any) -> Iterator[Server]:
    data.mkdir(parents=True, exist_ok=True)
    write_settings(data, Settings(**settings))
    server = Server(data, *flags)
    try:
        yield server
    finally:
        server.stop()


def champion(server: Server, *, lean: float = 0.0) -> str:
    """Save a model where the server finds it, and promote it over the wire."""
    model = save_model(Places(server.data).models, lean=lean)
    moved = server.ask("POST", f"/v1/models/{model}/promote", {"why": "a test", "force": True})
    assert moved.status == 200, moved.raw
    return model


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One verb of the command line."""
    command = [sys.executable, "-m", "greenlane", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
