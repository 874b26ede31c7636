"""The decision server with an echo at its side: the same process, loop, HTTP stack and door, and nothing decided.

    python benchmarks/echo_server.py DIR CORE

Runs on that core. Prints {"url": ..., "key": ...} when it listens. Without a follower, so that what is measured is the
server alone.
"""

import json
import os
import sys
from pathlib import Path

from beside import third_model

from greenlane.serving.access import KeyFile
from greenlane.serving.app import door
from greenlane.serving.http import Reply, Request
from greenlane.wiring import freeze_memory, open_system, run_http


def main() -> None:
    directory, core = Path(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    system = open_system(directory)
    third_model(system, directory)
    keys = KeyFile(system.places.keys)
    key = keys.create(("decide", "report"), created="")
    application = door(system, keys, on_failure=lambda request, error: print(request.path, repr(error), flush=True))
    application.exact["POST", "/echo"] = echo

    def ready(port: int) -> None:
        freeze_memory()
        print(json.dumps({"port": port, "key": key}), flush=True)

    run_http(application, host="127.0.0.1", port=0, on_ready=ready)


def echo(request: Request) -> Reply:
    return Reply(200, request.body)


if __name__ == "__main__":
    main()
