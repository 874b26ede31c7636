"""Notices to a web address, signed so that its owner knows that they are ours, and as mail."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from greenlane.errors import SettingsError
from greenlane.monitoring.notices import Notice

SIGNATURE: Final = "Greenlane-Signature"
TIMEOUT_S: Final = 5.0
SUBMISSION: Final = 587


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


class SmtpChannel:
    """One mail a notice, over STARTTLS where the server offers it, and always where there is a password to protect."""

    def __init__(self, host: str, port: int, *, sender: str, to: Sequence[str], user: str = "", password: str = ""):
        if not host or not sender or not to:
            raise SettingsError("mail needs a host, a sender and a receiver", hint="smtp.example, 587")
        self.host, self.port, self.sender, self.to = host, port, sender, list(to)
        self.user, self.password = user, password

    def send(self, notice: Notice) -> None:
        """Raises OSError (smtplib's errors are such) where the server does not take it."""
        import smtplib
        import ssl
        from email.message import EmailMessage

        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = notice.title, self.sender, ", ".join(self.to)
        message.set_content(notice.text)
        with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S) as server:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
            elif self.user:
                raise smtplib.SMTPException("no STARTTLS: the password would be sent in the clear")
            if self.user:
                server.login(self.user, self.password)
            server.send_message(message)


def mail_channel(address: str) -> SmtpChannel:
    """From one address, as the settings hold it.

    >>> mail_channel("smtp://anna:pw@mail.example:25?from=a@shop.example&to=b@shop.example").to
    ['b@shop.example']
    """
    url = urlsplit(address)
    asked = parse_qs(url.query)
    if url.scheme != "smtp":
        raise SettingsError("alarm_mail is no mail address", hint="smtp://user:password@host:587?from=A&to=B")
    return SmtpChannel(
        url.hostname or "",
        url.port or SUBMISSION,
        sender=asked.get("from", [""])[0],
        to=asked.get("to", []),
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
    )
