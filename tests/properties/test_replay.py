"""Whatever was decided, under whatever merchants and models, comes out the same again; a changed record does not."""

import tempfile
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from small_shop import attempt_body, save_model, shop_in

from greenlane.decide import decide
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.packing import pack, unpack
from greenlane.decisions.record import DecisionRecord, payload_of, record_of
from greenlane.features.catalogue import CATALOGUE
from greenlane.features.inputs import INPUTS
from greenlane.jobs.replaying import replay_sample, replayer_of
from greenlane.merchants.economics import Economics
from greenlane.outcomes.accept import draft_of
from greenlane.payments.attempt import Attempt
from greenlane.payments.outcome import Outcome
from greenlane.ports.journal import Entry
from greenlane.replay import Replayed, width_of
from greenlane.wiring import System, all_entries

NOON = 1_790_000_000_000_000
CODES = ("05", "51", "91", "1A", "43")
ROUTES = (
    [],
    [{"id": "north"}, {"id": "south", "network": "visa"}],
    [{"id": "tokens", "credentials": ["network_token"]}],
)

attempts = st.fixed_dictionaries(
    {
        "payment": st.integers(0, 5),
        "attempt": st.integers(0, 30),
        "stage": st.sampled_from(("pre_authentication", "pre_authorization", "post_authorization")),
        "amount": st.sampled_from((0, 1, 999, 12_999, 250_000, 10**13)),
        "merchant": st.sampled_from(("shop_1", "shop_2")),
        "proxy": st.sampled_from((None, False, True)),
        "routes": st.sampled_from(ROUTES),
        "status": st.sampled_from((None, "Y", "A", "N", "R", "U")),
        "shadow": st.booleans(),
        "deadline_ms": st.sampled_from((None, 1, 50)),
        "later_us": st.sampled_from((0, 1, 1_000_000, 3_600_000_000, 86_400_000_000)),
    }
)
economics = st.builds(
    Economics,
    margin_ppm=st.integers(0, 1_000_000),
    challenge_minor=st.integers(0, 500),
    false_decline_minor=st.integers(0, 5_000),
    amount_max_minor=st.sampled_from((None, 20_000)),
    default_intervention=st.sampled_from(("allow", "block", "review")),
)
merchants = st.tuples(st.sampled_from(("shop_1", "shop_2")), economics)
answers = st.fixed_dictionaries(
    {
        "of": st.integers(0, 30),
        "result": st.sampled_from(("approved", "declined", "unknown")),
        "code": st.sampled_from(CODES),
    }
)
orders = st.sampled_from(
    (
        ("budget", "route", 1_000_000),
        ("budget", "challenge", 1_000_000),
        ("budget", "release", 1_000_000),
        ("kill_switch", "north", True),
        ("kill_switch", "north", False),
        ("outage", "south", {"from_us": 0, "to_us": 2 * NOON}),
        ("price", "programme/shop_1/VAMP", 500_000_000),
        ("price", "review/hours", 200_000_000),
    )
)
steps = st.lists(
    st.one_of(attempts, attempts, attempts, answers, merchants, orders, st.sampled_from((0.0, 1.0, -1.0))), max_size=25
)


def take(system: System, number: int, step: Any) -> None:
    if isinstance(step, float):
        system.promote(save_model(system.places.models, lean=step), event_id=f"m{number}", who="tests", why="a step")
    elif isinstance(step, tuple) and len(step) == 3:
        change = ControlRecord(step[0], step[1], "tests", "a step", None, step[2])
        system.control(change, event_id=f"o{number}", who="tests")
    elif isinstance(step, tuple):
        change = ControlRecord("merchant", step[0], "tests", "a step", None, msgspec.to_builtins(step[1]))
        system.control(change, event_id=f"c{number}", who="tests")
    elif "of" in step:
        system.clock.advance(1_000_000)
        answered(system, number, step)
    else:
        system.clock.advance(step["later_us"])
        decide(asked(step), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))


def answered(system: System, number: int, step: dict[str, Any]) -> None:
    """The issuer's answer to one of the attempts that were asked about, if it was."""
    decided = [entry for entry in asked_before(system) if entry.facts is not None and entry.facts.route_id]
    if not decided:
        return
    facts = decided[step["of"] % len(decided)].facts
    assert facts is not None, "just looked at"
    outcome = Outcome(
        type="authorization",
        source="acquirer",
        event_id=f"a{number}",
        attempt_id=facts.attempt_id,
        result=step["result"],
        network="visa",
        network_response_code=step["code"] if step["result"] == "declined" else None,
    )
    draft = draft_of(
        outcome,
        body_hash=number.to_bytes(16, "big"),
        subjects=system.subjects,
        reporting=system.reporting,
        now_us=system.clock.now_us(),
    )
    system.journal.append(draft)


def asked_before(system: System) -> list[Entry]:
    return [
        e for payment in range(6) for e in system.journal.entries("payment", f"pay_{payment}") if e.kind == "decision"
    ]


def asked(step: dict[str, Any]) -> Attempt:
    body = attempt_body(step["payment"], amount=step["amount"], merchant_id=step["merchant"])
    body["payment"]["device"] |= {} if step["proxy"] is None else {"is_proxy": step["proxy"]}
    body |= {
        "attempt_id": f"att_{step['payment']}_{step['attempt']}",
        "stage": step["stage"],
        "eligible_routes": step["routes"],
    }
    body |= {"mode": "shadow" if step["shadow"] else "live"}
    body |= {} if step["status"] is None else {"verification": {"three_ds": {"trans_status": step["status"]}}}
    body |= {} if step["deadline_ms"] is None else {"deadline_ms": step["deadline_ms"]}
    return msgspec.convert(body, Attempt)


@given(given_steps=steps)
@settings(max_examples=15, deadline=None)
def test_every_decision_replays_and_refolds(given_steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        system = shop_in(Path(name), lean=0.0)
        system.clock.set(NOON)
        for number, step in enumerate(given_steps):
            take(system, number, step)
        system.close()
        found = replay_sample(Path(name), sample=10_000, refold=True, progress=lambda done, total: None)
        assert found.differences == []
        assert found.decisions == sum(isinstance(step, dict) and "of" not in step for step in given_steps)


def one_minute_later(known: bytes) -> bytes:
    vector = unpack(known, width_of(CATALOGUE))
    vector[INPUTS.index("minute_of_day")] += 1
    return pack(vector)


def rechosen(record: DecisionRecord, **changes: Any) -> DecisionRecord:
    return replace(record, chosen=replace(record.chosen, **changes))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> System:
    """A closed system with three decisions."""
    system = shop_in(tmp_path_factory.mktemp("tampered"))
    system.clock.set(NOON)
    for number in range(3):
        system.clock.advance(60_000_000)
        body = attempt_body(number, amount=20_000 + number)
        decide(msgspec.convert(body, Attempt), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))
    system.journal.writer.wait(system.journal.position.seq)
    return system


def replayed(system: System, change: Any) -> Replayed:
    """With `change` put into the record of every decision."""

    def tampered(entry: Entry) -> Entry:
        if entry.kind != "decision":
            return entry
        return replace(entry, payload=payload_of(change(record_of(entry)), entry.facts))

    replayer = replayer_of(system.places, system.settings, store=system.store, refold=CATALOGUE)
    for _ in replayer.walk(map(tampered, all_entries(system.places, system.store)), None):
        pass
    return replayer.found


def test_nothing_differs_where_nothing_was_changed(shop: System) -> None:
    found = replayed(shop, lambda record: record)
    assert (found.decisions, found.vectors, found.different) == (3, 3, 0)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (
            "fraud_probability_e9",
            lambda r: replace(r, given=replace(r.given, fraud_probability_e9=r.fraud_probability_e9 + 1)),
        ),
        ("reasons", lambda r: replace(r, reasons=r.reasons[1:])),
        ("chosen.action", lambda r: rechosen(r, action=r.chosen.runner_up)),
        ("chosen.terms_micro", lambda r: rechosen(r, terms_micro=(1, *r.chosen.terms_micro[1:]))),
        (
            "chosen.explored",
            lambda r: rechosen(
                r, explored=replace(r.chosen.explored, distribution=r.chosen.explored.distribution[::-1])
            ),
        ),
        ("attempt_no", lambda r: replace(r, attempt_no=r.attempt_no + 1)),
        ("chosen.economics_version", lambda r: rechosen(r, economics_version="other")),
        ("minute_of_day", lambda r: replace(r, known=one_minute_later(r.known))),
    ],
)
def test_a_tampered_record_differs_and_says_where(shop: System, what: str, change: Any) -> None:
    found = replayed(shop, change)
    assert found.different == 3
    assert found.runtime_differs == set()
    assert what in {difference.what for difference in found.differences}


def test_another_runtime_is_told_apart_from_a_difference(shop: System) -> None:
    replayer = replayer_of(shop.places, shop.settings, store=shop.store)
    replayer.versions = replace(replayer.versions, runtime="another machine")
    for _ in replayer.walk(all_entries(shop.places, shop.store), None):
        pass
    assert (len(replayer.found.runtime_differs), replayer.found.different) == (3, 0)


def test_a_day_on_which_everything_happens_replays(tmp_path: Path) -> None:
    """Budgets, prices, a switch and an outage, declines and second attempts: all that a choice is given is recorded."""
    system, random = shop_in(tmp_path, lean=-1.0), Random(7)
    system.clock.set(NOON)
    for number in range(60):
        ordered = {0: ("budget", "route", 10**6), 1: ("price", "programme/shop_1/VAMP", 5 * 10**6)}
        ordered |= {20: ("kill_switch", "north", True), 30: ("kill_switch", "north", False)}
        if number in ordered:
            take(system, 1_000 + number, ordered[number])
        attempt = {
            "payment": number // 2 % 6, "attempt": number, "stage": "pre_authorization", "merchant": "shop_1",
            "amount": random.choice((999, 12_999)), "proxy": None, "routes": ROUTES[1], "status": None,
            "shadow": False, "deadline_ms": None, "later_us": 600_000_000,
        }  # fmt: skip
        take(system, 2 * number, attempt)
        take(system, 2 * number + 1, {"of": number, "result": "declined", "code": random.choice(CODES[:4])})
    made = [record_of(entry) for entry in asked_before(system)]
    assert sum(record.chosen.explored.kind != "" for record in made) > 5
    assert any(record.chosen.explored.explored for record in made)
    assert any(record.given.barred for record in made)
    assert any(record.given.multipliers.report_minor for record in made)
    assert any(record.given.history and record.given.history.soft_declined for record in made)
    system.close()
    found = replay_sample(tmp_path, sample=10_000, refold=True, progress=lambda done, total: None)
    assert (found.decisions, found.differences) == (60, [])
