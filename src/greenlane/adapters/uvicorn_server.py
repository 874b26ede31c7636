"""The hot server: a bare ASGI callable on uvicorn with uvloop and httptools, one process, one event loop."""

import os
from collections.abc import Callable
from typing import Any

from greenlane.errors import SettingsError

CONNECTIONS_MAX = 4096
"""More at once are answered 503: each may hold a body of the largest size."""


def run(app: Callable[..., Any], *, host: str, port: int, on_ready: Callable[[int], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, finishes what it accepted, then returns. `on_ready` gets the bound port."""
    import asyncio
    import signal
    import socket

    import uvicorn

    try:
        listener = socket.create_server((host, port), backlog=2048)
    except OSError as problem:
        said = os.strerror(problem.errno) if problem.errno else str(problem)
        hint = "take another --port, or 0 for a free one; --host is an address of this machine"
        raise SettingsError(f"cannot listen on {host}:{port}: {said.lower()}", hint=hint) from None
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=20,
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        if on_ready is not None and server.started:
            on_ready(listener.getsockname()[1])
        await running

    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)  # raised once more when the server is done; the caller has work left
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
