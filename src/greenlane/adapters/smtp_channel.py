"""Notices as mail."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from greenlane.errors import SettingsError
from greenlane.monitoring.notices import Notice

TIMEOUT_S: Final = 10.0
SUBMISSION: Final = 587


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
