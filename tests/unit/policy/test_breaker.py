"""The outage drill on a synthetic stream: how soon it diverts, what it keeps as probes, how soon it returns."""

import pytest
from unit.policy.shops_and_issuers import ISSUERS, ROUTES, SECOND_US, Stream, control, nothing_decided_here, trading

from greenlane.policy.breaker import CLOSED, FORGOTTEN_US, KILLED, OPEN, SCHEDULED, Breaker
from greenlane.policy.heard import Heard
from greenlane.policy.online import Online

OUTAGE_S = 1_800


def drilled(*, per_second: int, share: float, seed: int, returns: bool = True) -> tuple[Stream, int]:
    """A stream in which acq_a loses this share of its attempts for half an hour, and when that began."""
    stream = trading(2_000, seed=seed, gap_us=SECOND_US // per_second)
    began_us = stream.at_us
    ends_us = began_us + OUTAGE_S * SECOND_US
    stream.broken = lambda at_us, _issuer, route: share * (route == "acq_a" and began_us <= at_us < ends_us)
    return stream.run((OUTAGE_S + 600 * returns) * per_second), began_us


def diverted_s(stream: Stream, *, from_us: int, back: bool = False) -> float:
    """Seconds until 18 of the next 20 that wanted acq_a went elsewhere (or, `back`, went there)."""
    taken = [(at_us, route == "acq_a") for at_us, _, want, route in stream.sent if want == "acq_a" and at_us >= from_us]
    for k in range(len(taken) - 20):
        if sum(there == back for _, there in taken[k : k + 20]) >= 18:
            return (taken[k][0] - from_us) / SECOND_US
    return float("inf")


@pytest.mark.parametrize(("share", "within_s"), [(1.0, 4.0), (0.9, 4.0), (0.5, 10.0)])
def test_an_outage_is_left_within_seconds_probed_a_little_and_returned_from_within_a_minute(
    share: float, within_s: float
) -> None:
    stream, began_us = drilled(per_second=10, share=share, seed=1)
    ended_us = began_us + OUTAGE_S * SECOND_US
    assert diverted_s(stream, from_us=began_us) <= within_s
    inside = stream.taken(wanted="acq_a", from_us=began_us + 30 * SECOND_US, to_us=ended_us)
    assert 0.005 <= sum(route == "acq_a" for route in inside) / len(inside) <= 0.05
    assert diverted_s(stream, from_us=ended_us, back=True) <= 60.0


def test_at_one_attempt_a_second_it_takes_half_a_minute_and_a_few() -> None:
    stream, began_us = drilled(per_second=1, share=1.0, seed=2)
    assert diverted_s(stream, from_us=began_us) <= 30.0
    assert diverted_s(stream, from_us=began_us + OUTAGE_S * SECOND_US, back=True) <= 240.0


def test_failures_of_one_issuer_on_one_route_close_no_other_way() -> None:
    stream = trading(2_000)
    stream.broken = lambda _at_us, issuer, route: 0.9 * (issuer == "iss_1" and route == "acq_a")
    stream.run(2_000)
    gates = [stream.online.breaker.gates(issuer, ROUTES, stream.at_us) for issuer in ISSUERS[:3]]
    assert [gate.state == "closed" for gate in gates[1]] == [False, True, True]
    assert gates[0] == gates[2] == (CLOSED,) * 3


def test_an_issuer_that_is_down_everywhere_closes_no_route() -> None:
    stream = trading(2_000)
    stream.broken = lambda _at_us, issuer, _route: 0.95 * (issuer == "iss_1")
    stream.run(600)
    breaker = stream.online.breaker
    assert breaker.issuer_is_down("iss_1", stream.at_us)
    assert breaker.gates("iss_1", ROUTES, stream.at_us) == breaker.gates("iss_2", ROUTES, stream.at_us) == (CLOSED,) * 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("amounts", [(50, 300), (2_000, 20_000)])
def test_an_enumeration_attack_diverts_nothing(seed: int, amounts: tuple[int, int]) -> None:
    stream = trading(3_000, seed=seed)
    before = stream.online.breaker.changes
    for n in range(1_500):
        kind = "refused" if n % 15 else "approved"
        stream.attempt("iss_3", "acq_a", amount=int(stream.rng.integers(*amounts)), kind=kind, bin8="40000300")
        if n % 2:
            stream.run(1)
    assert stream.online.breaker.changes == before


def test_an_attack_hides_no_outage() -> None:
    stream = trading(3_000, gap_us=SECOND_US // 10)
    began_us = stream.at_us
    stream.broken = lambda _at_us, _issuer, route: 0.9 * (route == "acq_a")
    for n in range(600):
        stream.attempt("iss_3", "acq_b", amount=99, kind="refused", bin8="40000300", card=n + 1)
        stream.run(1)
    assert diverted_s(stream, from_us=began_us) <= 8.0


def test_ordinary_trade_opens_nothing_even_where_the_model_is_ten_points_too_hopeful() -> None:
    stream = trading(200)
    stream.approval = 0.78
    assert stream.run(12_000).online.breaker.changes == 0


def test_approval_that_collapses_without_a_technical_failure_opens_the_way() -> None:
    breaker, n = Breaker(), 0
    while breaker.gates("iss_1", ["acq_a"], n) == (CLOSED,) and n < 100:
        breaker.hear(Heard(n, "refused", "iss_1", "", "acq_a", card=n + 1, approval_e9=880_000_000))
        n += 1
    assert 8 <= n <= 14


def test_declines_that_are_the_payers_own_fault_open_nothing() -> None:
    breaker = Breaker()
    for n in range(500):
        breaker.hear(Heard(n, "neutral", "iss_1", "", "acq_a", card=n + 1, approval_e9=880_000_000))
    assert breaker.changes == 0


def test_one_card_that_fails_again_and_again_opens_nothing() -> None:
    breaker = Breaker()
    for n in range(100):
        breaker.hear(Heard(n, "technical", "iss_1", "", "acq_a", card=7))
    assert breaker.changes == 0


def test_a_few_failures_spread_over_a_day_open_nothing() -> None:
    breaker = Breaker()
    for n in range(24):
        breaker.hear(Heard(n * 3600 * SECOND_US, "technical", f"iss_{n % 3}", "", "acq_a", card=n + 1))
    assert breaker.changes == 0


def test_it_returns_by_itself_where_nothing_is_heard_any_more() -> None:
    breaker = Breaker()
    for n in range(5):
        breaker.hear(Heard(n, "technical", f"iss_{n}", "", "acq_a", card=n + 1))
    assert breaker.gates("iss_9", ["acq_a"], 5) == (OPEN,)
    assert breaker.gates("iss_9", ["acq_a"], 120 * SECOND_US)[0].state == "half_open"
    assert breaker.gates("iss_9", ["acq_a"], FORGOTTEN_US + 5) == (CLOSED,)


def test_a_scheduled_outage_takes_the_route_out_for_its_time_and_teaches_nothing() -> None:
    breaker = Breaker()
    breaker.control(control("outage", "acq_a", {"from_us": 100, "to_us": 200}))
    for n in range(100, 110):
        breaker.hear(Heard(n, "technical", "iss_1", "", "acq_a", card=n))
    found = [breaker.gates("iss_1", ["acq_a"], at_us)[0] for at_us in (99, 100, 199, 200)]
    assert found == [CLOSED, SCHEDULED, SCHEDULED, CLOSED]
    breaker.control(control("outage", "acq_a", None))
    assert breaker.gates("iss_1", ["acq_a"], 150) == (CLOSED,)


def test_the_kill_switch_holds_until_it_is_lifted() -> None:
    breaker = Breaker()
    breaker.control(control("kill_switch", "acq_a", True))
    assert breaker.gates("", ["acq_a", "acq_b"], 10**18) == (KILLED, CLOSED)
    breaker.control(control("kill_switch", "acq_a", False))
    assert breaker.gates("", ["acq_a"], 0) == (CLOSED,)


def test_opening_and_closing_end_the_policy_epoch() -> None:
    stream, began_us = drilled(per_second=10, share=1.0, seed=3)
    assert began_us
    assert stream.online.turns == stream.online.breaker.changes >= 2


def test_loaded_it_goes_on_as_if_never_dumped() -> None:
    one, other = trading(300), trading(300)
    other.online = Online.load(other.online.dump(), nothing_decided_here)
    for stream in (one, other):
        stream.broken = lambda _at_us, _issuer, route: 0.9 * (route == "acq_a")
        stream.run(300)
    assert one.sent == other.sent
    assert one.online.dump() == other.online.dump()
