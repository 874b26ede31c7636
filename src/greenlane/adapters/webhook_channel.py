"""Notices to a web address, signed so that its owner knows that they are ours."""

import hashlib
import hmac
from typing import Final

import msgspec

from greenlane.errors import SettingsError
from greenlane.monitoring.notices import Notice

SIGNATURE: Final = "Greenlane-Signature"
TIMEOUT_S: Final = 5.0


class WebhookChannel:
    """POSTs the notice as JSON with a signature header over time and body; see `signature`."""

    def __init__(self, url: str, secret: bytes):
        if not url.startswith(("https://", "http://")) or not secret:
            raise SettingsError("a webhook needs an http address and a secret", hint="https://alarms.example/greenlane")
        self.url, self.secret = url, secret

    def send(self, notice: Notice) -> None:
        """Raises OSError where the other side does not answer, or not with success."""
        from urllib.request import Request, urlopen

        body = msgspec.json.encode(notice)
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(self.secret, notice.sent_at, body),
        }
        request = Request(self.url, data=body, headers=headers, method="POST")  # noqa: S310 # http(s) only, checked
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 # the same
            answer.read()


def signature(secret: bytes, sent_at: str, body: bytes) -> str:
    """`t=<sent_at>,v1=<hex HMAC-SHA-256 of sent_at "." body>`: compute it again and compare in constant time.

    >>> signature(b"secret", "2026-11-22T00:00:00Z", b"{}")[:30]
    't=2026-11-22T00:00:00Z,v1=14c4'
    """
    mac = hmac.new(secret, sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={sent_at},v1={mac}"
