"""Everybody hears what matters, once; silence, acknowledgement, escalation and failing channels."""

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from unit.monitoring.made import MINUTE, control

from greenlane.adapters.alarm_channels import SIGNATURE, SmtpChannel, WebhookChannel, signature
from greenlane.errors import SettingsError
from greenlane.monitoring.alarms import Cause
from greenlane.monitoring.incidents import Incident
from greenlane.monitoring.notices import TRIES_MAX, Line, LogChannel, Notice, Notifier


class Broken:
    def __init__(self, times: int):
        self.times, self.sent = times, 0

    def send(self, notice: Notice) -> None:
        self.times -= 1
        if self.times >= 0:
            raise ConnectionError("not now")
        self.sent += 1


def incident(**changes) -> Incident:
    told = {"id": "inc_1", "signal": "outage", "severity": "page", "started_us": 0, "detected_us": 1}
    return Incident(**(told | {"cause": Cause("route", "a")} | changes))


def notifier(**line) -> tuple[Notifier, list[str]]:
    lines: list[str] = []
    return Notifier([Line(channel=LogChannel(lines.append), **line)]), lines


def test_opened_and_ended_are_told_once_each():
    told, lines = notifier()
    for one in (incident(), incident(), incident(ended_us=9 * MINUTE), incident(ended_us=9 * MINUTE)):
        told.hear([one], 10 * MINUTE)
        told.deliver(10 * MINUTE)
    assert [line.split(":")[0] for line in lines] == ["ALARM [page] opened", "ALARM [page] ended"]


def test_what_flaps_is_not_told_again():
    told, lines = notifier()
    for minute in range(20):
        told.hear([incident(ended_us=minute * MINUTE if minute % 2 else 0)], minute * MINUTE)
    told.deliver(20 * MINUTE)
    assert len(lines) == 2
    told.deliver(40 * MINUTE, [incident()])
    assert len(lines) == 3, "it came back for good"


def test_what_grows_worse_is_told():
    told, lines = notifier()
    told.hear([incident(severity="ticket")], 0)
    told.hear([incident(severity="page")], MINUTE)
    told.deliver(MINUTE)
    assert [line.split(":")[0] for line in lines] == ["ALARM [ticket] opened", "ALARM [page] worse"]


def test_a_line_carries_what_is_severe_enough_for_it():
    told, lines = notifier(least="page")
    told.hear([incident(severity="ticket")], 0)
    told.deliver(0)
    assert lines == []


def test_silence_holds_until_its_time():
    told, lines = notifier()
    told.apply(control(1, "silence", "route a", {"until_us": 10 * MINUTE}))
    told.hear([incident()], MINUTE)
    told.hear([incident(id="inc_2")], 11 * MINUTE)
    told.deliver(11 * MINUTE)
    assert len(lines) == 1


def test_a_page_that_nobody_acknowledged_is_escalated_once():
    told, lines = notifier(escalation=True)
    told.hear([incident()], 0)
    for minute in (1, 15, 16, 40):
        told.deliver(minute * MINUTE, [incident()])
    assert lines == ["ALARM [page] escalated: outage: route a (docs/monitoring.md#outage)"]


def test_an_acknowledged_page_is_not():
    told, lines = notifier(escalation=True)
    told.hear([incident()], 0)
    told.apply(control(1, "incident", "inc_1", {"ack": True}))
    told.deliver(20 * MINUTE, [incident()])
    assert lines == []


@pytest.mark.parametrize(("fails", "sent"), [(3, 1), (TRIES_MAX, 0)])
def test_a_failing_channel_is_tried_again_later_and_later_then_given_up(fails, sent):
    channel = Broken(fails)
    told = Notifier([Line(channel=channel)])
    told.hear([incident()], 0)
    for minute in range(200):
        told.deliver(minute * MINUTE)
    assert (channel.sent, told.waiting) == (sent, [])


def test_what_waits_survives_a_restart():
    told = Notifier([Line(channel=Broken(1))])
    told.hear([incident()], 0)
    told.deliver(0)
    channel = Broken(0)
    again = Notifier([Line(channel=channel)])
    again.load(told.dump())
    again.hear([incident()], 0)
    again.deliver(5 * MINUTE)
    assert channel.sent == 1


def test_a_webhook_is_signed_so_that_the_receiver_can_check_it():
    got = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got["body"] = self.rfile.read(int(self.headers["Content-Length"]))
            got["signature"] = self.headers[SIGNATURE]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request).start()
    notice = Notice(what="opened", incident=incident().told(), sent_at="2026-01-01T00:00:00Z")
    WebhookChannel(f"http://127.0.0.1:{server.server_port}/", b"secret").send(notice)
    server.server_close()
    mac = hmac.new(b"secret", b"2026-01-01T00:00:00Z." + got["body"], hashlib.sha256).hexdigest()
    assert got["signature"] == f"t=2026-01-01T00:00:00Z,v1={mac}" == signature(b"secret", notice.sent_at, got["body"])
    with pytest.raises(OSError):
        WebhookChannel(f"http://127.0.0.1:{server.server_port}/", b"secret").send(notice)


def test_channels_refuse_settings_that_cannot_work():
    for make in (lambda: WebhookChannel("file:///etc/passwd", b"s"), lambda: WebhookChannel("https://x", b"")):
        with pytest.raises(SettingsError):
            make()
    with pytest.raises(SettingsError):
        SmtpChannel("", 25, sender="a", to=["b"])
    with pytest.raises(OSError):
        SmtpChannel("127.0.0.1", 9, sender="a@example.org", to=["b@example.org"]).send(
            Notice(what="opened", incident=incident().told(), sent_at="")
        )
