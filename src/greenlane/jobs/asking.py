"""What a job asks of the server that runs on its directory."""

from typing import Any

import msgspec

from greenlane.client import Client
from greenlane.wiring import Places


def server_client(places: Places, *, timeout_s: float = 60.0) -> Client:
    """The running server's own door for this machine's owner."""
    told = msgspec.json.decode(places.server.read_bytes(), type=dict[str, Any])
    return Client(str(told["url"]), key=str(told["admin_key"]), timeout_s=timeout_s)
