"""Exploration, case by case: what is on offer, to whom, and what it is charged."""

import pytest
from msgspec.structs import replace

from greenlane.policy.actions import Eligible, Row, Way
from greenlane.policy.distribution import TOTAL, greedy
from greenlane.policy.explore import (
    UNDRAWN,
    Allowance,
    Allowances,
    Challenging,
    Context,
    Exploring,
    Releasing,
    Routing,
    explore,
    recorded_draw,
    release_ppm,
    secret_draw,
)

MINOR = 10**6
WAYS = (Way("a", "pan"), Way("b", "pan"), Way("c", "pan"))
MAY = Eligible((Row("allow", "", 0b111), Row("challenge", "", 0b111), Row("review", "", 0b001)), WAYS, ())
# allow a b c, challenge a b c, review a, block
ALLOWED = (100, 99, -20, 50, 49, 10, 0, -50)
FULL = Allowance(10**12, 10**12, 1_000_000)
SEEN = Context(
    payment_id="pay_1", unit="c7", day=20_000, amount_minor=10_000, fraud_e9=10**7, allowances=Allowances(*[FULL] * 3)
)
FIRST, LAST = recorded_draw(0), recorded_draw(TOTAL - 1)


def run(values, *, draw=FIRST, exploring=None, may=MAY, uppers=(), **changes):
    micro = [value * MINOR for value in values]
    context, exploring = replace(SEEN, **changes), exploring or Exploring()
    return explore(micro, may, context=context, exploring=exploring, draw=draw, uppers_micro=uppers)


def nothing_on_offer(found, best=0):
    assert found.kind == ""
    assert found.draw == UNDRAWN
    assert found.distribution == greedy(len(found.distribution), best)
    return True


def test_ways_near_the_best_are_tried_and_far_ones_are_not():
    found = run(ALLOWED)
    assert found.kind == "route"
    assert found.distribution[1] > 0
    assert found.distribution[2:] == (0,) * 6
    assert found.propensity["intervention"] == 1.0


def test_the_floor_is_kept_where_softmax_gives_almost_nothing():
    cold = Exploring(route=Routing(temperature_ppm=1))
    found = run(ALLOWED, exploring=cold)
    assert found.distribution[1] == pytest.approx(0.01 * TOTAL, abs=1)


def test_a_wide_belief_brings_a_way_within_reach():
    assert run(ALLOWED).distribution[2] == 0
    wide = [(value + w) * MINOR for value, w in zip(ALLOWED, (0, 0, 120, 0, 0, 0, 0, 0), strict=True)]
    assert run(ALLOWED, uppers=wide).distribution[2] > 0


def test_the_loss_is_charged_at_its_upper_95_percent():
    found = run(ALLOWED, draw=LAST)
    assert (found.place, found.explored) == (1, True)
    assert (found.expected_micro, found.charged_micro) == (1 * MINOR, (1 + 200) * MINOR)


def test_the_best_action_is_charged_nothing():
    found = run(ALLOWED, draw=FIRST)
    assert (found.place, found.explored, found.charged_micro) == (0, False, 0)
    assert found.demand_micro > 0


@pytest.mark.parametrize(
    "bar",
    [
        {"last_attempt": True},
        {"amount_minor": 20_001},
        {"barred": True},
        {"unhealthy": 0b110},
        {"allowances": Allowances(FULL, FULL, Allowance())},
    ],
)
def test_routes_are_not_explored_where_it_would_hurt(bar):
    assert nothing_on_offer(run(ALLOWED, **bar))


def test_an_unhealthy_way_gets_nothing():
    near = (100, 100, 100, 0, 0, 0, 0, -50)
    assert run(near, unhealthy=0b010).distribution[1] == 0
    assert run(near, unhealthy=0b010).distribution[2] > 0


NEAR = (100, 60, 20, 98, 49, 10, 0, -50)
BLOCKED = (-90, -80, -100, -70, -90, -99, -10, -5)


def test_challenge_and_allow_are_swapped_near_indifference():
    found = run(NEAR, draw=recorded_draw(int(0.97 * TOTAL)))
    assert (found.kind, found.place) == ("challenge", 3)
    assert found.distribution[3] / TOTAL == pytest.approx(0.1 * 48 / 50, abs=1e-9)
    assert found.propensity == {"intervention": found.distribution[3] / TOTAL, "route": 1.0}


def test_a_challenge_may_be_left_out_likewise():
    assert run((98, 60, 20, 100, 49, 10, 0, -50)).distribution[0] > 0


def test_what_the_law_forbids_is_not_eligible_and_so_never_tried():
    mandated = Eligible((Row("challenge", "", 0b011),), WAYS[:2], ("sca_mandated",))
    assert nothing_on_offer(run((100, -20, -50), may=mandated))


def test_no_swap_without_a_unit_to_hold_the_draw():
    assert run(NEAR, unit="").kind != "challenge"
    assert nothing_on_offer(run(BLOCKED, unit=""), best=7)


def test_a_would_be_block_goes_to_the_best_action_that_is_no_review():
    found = run(BLOCKED)
    assert (found.kind, found.place, found.explored) == ("release", 3, True)
    assert found.distribution[7] + found.distribution[3] == TOTAL
    assert found.charged_micro == (65 + 1_000) * MINOR


def test_the_chance_of_a_release_falls_with_p_and_ends_at_the_ceiling():
    shares = [release_ppm(p, Releasing()) for p in range(0, 10**9, 10**7)]
    assert shares == sorted(shares, reverse=True)
    assert nothing_on_offer(run(BLOCKED, fraud_e9=700_000_000), best=7)
    assert run(BLOCKED, fraud_e9=600_000_000).kind == "release"


@pytest.mark.parametrize("bar", [{"released_today": 1}, {"amount_minor": 20_001}, {"barred": True}])
def test_releases_have_hard_caps(bar):
    assert nothing_on_offer(run(BLOCKED, **bar), best=7)


def test_hard_stops_are_never_released():
    stopped = Eligible((), WAYS, ("list",))
    assert nothing_on_offer(run((-5,), may=stopped))


def test_pace_thins_every_alternative_alike():
    half = Allowances(FULL, FULL, FULL._replace(pace_ppm=500_000))
    near = (100, 100, 99, 0, 0, 0, 0, -50)
    full, thinned = run(near).distribution, run(near, allowances=half).distribution
    assert [abs(full[n] - 2 * thinned[n]) <= 2 for n in (1, 2)] == [True, True]


def test_what_costs_more_than_is_left_is_not_on_offer():
    short = Allowances(FULL, FULL, FULL._replace(remaining_micro=200 * MINOR))
    found = run(ALLOWED, allowances=short)
    assert found.distribution == greedy(8, 0)
    assert found.demand_micro > 0


def test_the_draw_is_kept_for_replay():
    live = run(ALLOWED, draw=secret_draw(b"secret"))
    assert run(ALLOWED, draw=recorded_draw(live.draw)) == live


def test_tenants_draw_differently():
    assert secret_draw(b"one")("route", "p/1") != secret_draw(b"two")("route", "p/1")
    assert secret_draw(b"one")("route", "p/1") != secret_draw(b"one")("release", "p/1")


def test_masses_that_are_no_distribution_lead_to_the_best_action_marked():
    beyond = Allowances(FULL, FULL, FULL._replace(pace_ppm=10**9))
    found = run((100, 100, 99, 0, 0, 0, 0, -50), allowances=beyond, draw=LAST)
    assert (found.degraded, found.place, found.distribution) == (True, 0, greedy(8, 0))
    assert found.propensity == {"intervention": 1.0, "route": 1.0}


def test_an_exempt_payment_may_be_challenged():
    may = Eligible((Row("exempt", "low_value", 0b01), Row("challenge", "", 0b11)), WAYS[:2], ())
    found = run((100, 99, 99, -50), may=may)
    assert found.kind == "challenge"
    assert found.distribution[1] > 0


def test_challenge_can_be_switched_off():
    off = Exploring(challenge=Challenging(share_ppm=0))
    assert run(NEAR, exploring=off).distribution == greedy(8, 0)
