"""One incident for one thing: with the right cause, size, beginning and end."""

from pathlib import Path
from typing import get_args

from msgspec.structs import replace
from unit.monitoring.made import MINUTE

from greenlane.monitoring.alarms import Alarm, Cause, Signal
from greenlane.monitoring.incidents import Incidents


def alarm(series: str, *causes: Cause, harm: float = 50.0, count: int = 300, start: int = 0, **more) -> Alarm:
    severity = more.pop("severity", "page")
    return Alarm(
        signal=more.pop("signal", "approval"), series=series, severity=severity, started_us=start * MINUTE,
        detected_us=(start + 5) * MINUTE, causes=causes, harm=harm, count=count, **more,
    )  # fmt: skip


ROUTE, OTHER, ISSUER = Cause("route", "a"), Cause("route", "b"), Cause("issuer", "i")


def heard(*alarms: Alarm) -> Incidents:
    incidents = Incidents()
    for each in alarms:
        incidents.hear(each)
    return incidents


def test_a_route_its_parts_and_what_it_is_part_of_are_one_incident_of_the_route():
    parts = alarm("cell", ISSUER, ROUTE, harm=10, count=60, start=2, severity="ticket")
    (one,) = heard(parts, alarm("all", harm=52, count=900), alarm("route a", ROUTE)).open
    assert (one.title, one.severity, one.started_us) == ("approval: route a", "page", 0)


def test_an_issuer_over_one_route_is_told_as_such():
    (one,) = heard(alarm("route a", ROUTE, harm=40, count=500), alarm("cell", ISSUER, ROUTE, harm=40, count=90)).open
    assert str(one.cause) == "issuer i over a"


def test_two_places_are_two_incidents():
    assert len(heard(alarm("route a", ROUTE), alarm("issuer i", ISSUER)).open) == 2


def test_what_began_hours_apart_without_a_common_place_is_not_one():
    lasting = alarm("all", harm=5, count=10_000)
    assert len(heard(lasting, alarm("route b", OTHER, start=300)).open) == 2


def test_where_everything_fails_after_a_release_that_is_the_cause():
    incidents = Incidents()
    incidents.released(0, Cause("model", "mdl_2"))
    incidents.hear(alarm("all", start=10))
    assert str(incidents.open[0].cause) == "model mdl_2"
    late = heard(alarm("all", start=10))
    assert str(late.open[0].cause) == "everything"


def test_it_ends_with_its_last_alarm_and_is_the_same_when_it_comes_back():
    route, whole = alarm("route a", ROUTE), alarm("all")
    incidents = heard(route, whole, replace(route, ended_us=30 * MINUTE))
    assert incidents.open[0].ended_us == 0
    incidents.hear(replace(whole, ended_us=31 * MINUTE))
    assert [one.ended_us for one in incidents.closed] == [31 * MINUTE]
    incidents.hear(replace(route, started_us=35 * MINUTE, detected_us=36 * MINUTE))
    assert [one.id for one in incidents.open] == ["inc_1"]


def test_what_gets_worse_later_is_an_incident_of_its_own():
    mild = alarm("route a", ROUTE, harm=20)
    incidents = heard(mild)
    incidents.update([replace(mild, harm=90, detected_us=100 * MINUTE)])
    incidents.hear(alarm("route a", ROUTE, harm=60, start=120))
    assert [(one.started_us, one.ended_us) for one in incidents.closed] == [(0, 120 * MINUTE)]
    assert [one.started_us for one in incidents.open] == [120 * MINUTE]


def test_size_and_cause_follow_how_things_stand():
    small = alarm("route a", ROUTE, harm=5, count=100, size_minor=500)
    incidents = heard(small, alarm("all", harm=6, count=100, size_minor=600))
    incidents.update([replace(small, harm=90, count=300, size_minor=9_000)])
    assert (incidents.open[0].size_minor, str(incidents.open[0].cause)) == (9_000, "route a")


def test_every_signal_has_its_runbook():
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text()
    assert [signal for signal in get_args(Signal) if f"\n## {signal}\n" not in page] == []


def test_changes_are_told_once_and_state_survives_a_restart():
    incidents = heard(alarm("route a", ROUTE))
    assert len(incidents.changed()) == 1
    assert incidents.changed() == []
    again = Incidents()
    again.load(incidents.dump())
    assert again.open == incidents.open
