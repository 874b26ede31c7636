"""The process around a system: its server, its memory, its alarms."""

import gc
import sys
from collections.abc import Callable
from typing import Any

from greenlane.adapters.huge_pages import hold_in_huge_pages
from greenlane.journal.writer import GIVES_WAY_S
from greenlane.monitoring.notices import Line, LogChannel
from greenlane.settings import Settings

SERVER_PID = "GREENLANE_SERVER_PID"
"""How a follower is told which server started it: it ends with that server, however that ends."""


def alarm_lines(settings: Settings, tell: Callable[[str], None]) -> list[Line]:
    """The log, and whatever else the settings name; SettingsError where a name is no address."""
    lines = [Line(channel=LogChannel(tell))]
    if settings.alarm_webhook or settings.alarm_mail:
        from greenlane.adapters.alarm_channels import WebhookChannel, mail_channel
    if settings.alarm_webhook:
        lines.append(Line(channel=WebhookChannel(settings.alarm_webhook, settings.alarm_webhook_secret.encode())))
    if settings.alarm_mail:
        lines.append(Line(channel=mail_channel(settings.alarm_mail), least="page"))
    return lines


def run_http(application: Callable[..., Any], *, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve until told to stop."""
    from greenlane.adapters.uvicorn_server import run

    sys.setswitchinterval(GIVES_WAY_S)
    run(application, host=host, port=port, on_ready=on_ready)


def freeze_memory() -> None:
    """What lives as long as the process is not the collector's business: its pauses would be every latency's tail.

    It lies in large pages, too, where the system has them.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    hold_in_huge_pages()
