"""Offsets find what changed, where it changed; cells with few answers have their parents' offset."""

import gc
from weakref import ref

import msgspec
import numpy as np
import pytest
from unit.policy.shops_and_issuers import ISSUERS, ROUTES, SECOND_US, Stream, control, nothing_decided_here, trading

from greenlane.decisions.live import APPROVAL_CHAMPION, MODEL
from greenlane.policy.arms import Arm, Experiment
from greenlane.policy.health import CELLS_MAX, HOUR_US, Health, ridge
from greenlane.policy.heard import Heard, Kind, kind_of
from greenlane.policy.online import Expected, Online
from greenlane.policy.parameters import EPOCH_US
from greenlane.policy.running import EXPERIMENT


def taught(health: Health, *, approval: float, answers: int, issuer: str, route: str, bin8: str = "b", seed: int = 0,
           expected: float = 0.9) -> Health:  # fmt: skip
    """Answers of one cell at this approval; of the declines seven in ten are not the payer's fault."""
    rng = np.random.default_rng(seed)
    for n in range(answers):
        kind: Kind = "approved" if rng.random() < approval else "refused" if rng.random() < 0.7 else "neutral"
        health.hear(Heard(n, kind, issuer, bin8, route, approval_e9=round(expected * 1e9)))
    return health


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def test_what_was_expected_rightly_moves_nothing() -> None:
    health = taught(Health(), approval=0.9, answers=20_000, issuer="iss", route="acq_a")
    health.turn(1)
    assert abs(health.offsets("iss", "b", ["acq_a"])[0]) < 60


@pytest.mark.parametrize("approval", [0.8, 0.95])
def test_a_change_is_found_in_log_odds_once_the_expectation_follows(approval: float) -> None:
    health = Health()
    for epoch in range(1, 7):
        offset = health.offsets("iss", "b", ["acq_a"])[0]
        rng, now = np.random.default_rng(epoch), 1 / (1 + np.exp(-(logit(0.9) + offset / 1e3)))
        for _ in range(4_000):
            kind: Kind = "approved" if rng.random() < approval else "refused" if rng.random() < 0.7 else "neutral"
            health.hear(Heard(0, kind, "iss", "b", "acq_a", approval_e9=round(now * 1e9), offset_millilogit=offset))
        health.turn(epoch)
    assert health.offsets("iss", "b", ["acq_a"])[0] / 1e3 == pytest.approx(logit(approval) - logit(0.9), abs=0.2)


def test_a_cell_with_few_answers_leans_on_its_parents() -> None:
    health = Health()
    for n in range(8):
        taught(health, approval=0.7, answers=500, issuer=f"iss_{n}", route="acq_a", seed=n)
        taught(health, approval=0.9, answers=500, issuer=f"iss_{n}", route="acq_b", seed=n)
    taught(health, approval=1.0, answers=4, issuer="iss_new", route="acq_a")
    health.turn(1)
    known, fresh, never = (health.offsets(issuer, "b", ["acq_a", "acq_b"]) for issuer in ("iss_0", "iss_new", "iss_x"))
    assert known[0] < known[1] - 300
    assert abs(fresh[0] - never[0]) < 250
    assert never[0] < never[1] - 250


def test_a_small_cell_moves_less_than_a_large_one() -> None:
    found = []
    for answers in (5, 50, 500):
        health = taught(Health(), approval=0.6, answers=answers, issuer="iss", route="acq_a", seed=1)
        health.turn(1)
        found.append(health.offsets("iss", "b", ["acq_a"])[0])
    assert 0 > found[0] > found[1] > found[2]


def test_routes_of_one_acquirer_share_what_is_learned() -> None:
    health = Health()
    for route, acquirer in (("acq_a", "north"), ("acq_b", "north"), ("acq_c", "south")):
        health.acquires([(route, acquirer)])
    taught(health, approval=0.7, answers=2_000, issuer="iss", route="acq_a")
    taught(health, approval=0.9, answers=2_000, issuer="iss", route="acq_c")
    health.turn(1)
    a, b, c = health.offsets("iss", "b", ["acq_a", "acq_b", "acq_c"])
    assert a < b < c


def test_offsets_stand_still_within_an_epoch() -> None:
    health = taught(Health(), approval=0.5, answers=100, issuer="iss", route="acq_a")
    assert health.offsets("iss", "b", ["acq_a"]) == (0,)
    health.turn(1)
    before = health.offsets("iss", "b", ["acq_a"])
    taught(health, approval=0.5, answers=100, issuer="iss", route="acq_a")
    assert health.offsets("iss", "b", ["acq_a"]) == before != (0,)


def test_what_broke_fades_within_hours_and_what_drifted_stays_for_days() -> None:
    health = taught(Health(), approval=0.7, answers=2_000, issuer="iss", route="acq_a")
    found = []
    for hours in (0, 6, 24 * 30):
        health.turn(1 + hours * HOUR_US)
        found.append(health.offsets("iss", "b", ["acq_a"])[0])
    assert found[0] <= found[1] < -300
    assert abs(found[2]) < 100


def test_declines_that_are_the_payers_own_fault_punish_no_route() -> None:
    health = Health()
    for n in range(3_000):
        health.hear(Heard(n, "neutral" if n % 2 else "approved", "iss", "b", "acq_a", approval_e9=900_000_000))
    health.turn(1)
    assert health.offsets("iss", "b", ["acq_a"])[0] >= 0


@pytest.mark.parametrize(
    ("decline_class", "network", "code", "kind"),
    [
        ("approved", "visa", "00", "approved"),
        ("unknown", "visa", "", "technical"),
        ("config", "visa", "58", "technical"),
        ("soft", "mastercard", "80", "technical"),
        ("soft", "visa", "05", "refused"),
        ("hard", "visa", "", "refused"),
        ("soft", "visa", "51", "neutral"),
        ("sca", "visa", "1A", "neutral"),
        ("hard", "visa", "14", "neutral"),
        ("fix_data", "visa", "N7", "neutral"),
    ],
)
def test_answers_are_of_four_kinds(decline_class: str, network: str, code: str, kind: Kind) -> None:
    assert kind_of(decline_class, network, code) == kind


def test_attempts_nobody_decided_here_are_held_against_their_own_long_run_rate() -> None:
    stream = Stream(Online(nothing_decided_here), gap_us=10 * SECOND_US, expected=0.0).run(6_000)
    usual = stream.online.health.offsets("iss_1", "", ROUTES)
    stream.approval = 0.6
    stream.run(3_000)
    assert max(map(abs, usual)) < 250
    assert max(stream.online.health.offsets("iss_1", "", ROUTES)) < -400


@pytest.mark.parametrize(("amount", "most"), [(99, 10), (6_000, 30)])
def test_an_attack_over_many_ranges_of_an_issuer_moves_no_route(amount: int, most: int) -> None:
    quiet, attacked = trading(3_000), trading(3_000)
    for cell in range(30):
        for n in range(15):
            card = 100 * cell + n + 1
            attacked.attempt("iss_3", "acq_a", amount=amount, kind="refused", bin8=f"4000{cell:04d}", card=card)
    for stream in (quiet, attacked):
        stream.online.advance(attacked.at_us + EPOCH_US)
    assert len(attacked.online.attacked.marked(attacked.at_us)) == 30
    ours, theirs = (stream.online.health.offsets("iss_3", "40000300", ROUTES) for stream in (attacked, quiet))
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= most, "thousandths of log-odds"


def test_a_decline_is_heard_when_the_epoch_ends() -> None:
    quiet, declined = trading(3_000), trading(3_000)
    before = declined.online.health.dump()
    for n in range(6):
        declined.attempt("iss_3", "acq_a", amount=5_000, kind="refused", bin8=f"4100000{n}")
    assert declined.online.health.dump() == before
    again = Online.load(declined.online.dump(), nothing_decided_here)
    offsets = []
    for online in (quiet.online, declined.online, again):
        online.advance(declined.at_us + EPOCH_US)
        offsets += online.health.offsets("iss_3", "41000000", ["acq_a"])
    assert offsets[1] == offsets[2] < offsets[0]


def test_an_arm_begins_with_the_declines_that_waited_too() -> None:
    stream = trading(3_000)
    waited, arms = len(stream.online._lessons), (Arm("control", 500_000), Arm("other", 500_000))
    running = Experiment(id="x", unit="card", arms=arms, state="running")
    stream.online.apply(control(EXPERIMENT, "x", msgspec.to_builtins(running), at_us=stream.at_us))
    assert len(stream.online._lessons) < waited
    common, *own = (
        [health.offsets(issuer, "", ROUTES) for issuer in ISSUERS]
        for health in (stream.online.health, *stream.online.arms.values())
    )
    assert own == [common, common]


def test_a_known_outage_is_the_breakers_business_and_teaches_little() -> None:
    stream = trading(4_000, gap_us=SECOND_US // 10)
    stream.broken = lambda _at_us, _issuer, route: 0.95 * (route == "acq_a")
    stream.run(10_000)
    stream.broken = lambda _at_us, _issuer, _route: 0.0
    stream.run(2_000)
    assert stream.online.health.offsets("iss_1", "", ["acq_a"])[0] > -400


def test_another_approval_model_is_measured_anew() -> None:
    stream = trading(4_000)
    stream.approval = 0.5
    stream.run(4_000)
    assert stream.online.health.offsets("iss_1", "", ["acq_a"])[0] < -500
    before = stream.online.turns
    stream.online.apply(control(MODEL, APPROVAL_CHAMPION, "mdl_2", at_us=stream.at_us))
    assert stream.online.health.offsets("iss_1", "", ["acq_a"]) == (0,)
    assert stream.online.turns == before + 1


def test_the_expectation_of_the_decision_is_used_where_its_route_was_taken() -> None:
    stream = trading(10)
    online = stream.online
    online.decided(Expected("att_x", "acq_z", 500_000_000, 0, 0), issuer="iss_1", bin8="b")
    assert online._waiting["att_x"].approval_e9 == 500_000_000


def test_cells_beyond_the_bound_leave_those_with_the_most_information() -> None:
    health = Health()
    for n in range(CELLS_MAX + 1):
        health.hear(Heard(0, "approved", "iss", f"{n:08d}", "acq_a", approval_e9=900_000_000))
    for _ in range(3):
        health.hear(Heard(0, "refused", "iss", "00000007", "acq_a", approval_e9=900_000_000))
    health.turn(1)
    assert len(health._rows) == CELLS_MAX // 2
    assert ("iss", "00000007", "acq_a") in health._rows


def test_the_ridge_equals_the_normal_equations() -> None:
    rng = np.random.default_rng(3)
    cells, effects, deviations = 40, 12, (0.3, 0.2)
    codes = np.array([rng.integers(0, 4, cells), 4 + rng.integers(0, 8, cells)], np.int32)
    weights, means = rng.uniform(0.1, 9, cells), rng.normal(0, 1, cells)
    design = np.zeros((cells, effects))
    for level in codes:
        design[np.arange(cells), level] = 1
    prior = np.diag([deviations[0] ** -2] * 4 + [deviations[1] ** -2] * 8)
    exact = np.linalg.solve(design.T @ (design * weights[:, None]) + prior, design.T @ (weights * means))
    found = ridge(weights * means, weights, codes, deviations=deviations, effects=effects)
    assert found == pytest.approx(exact, abs=2e-3)


def test_what_an_epoch_was_asked_is_bounded_and_leaves_no_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs without a cycle collector."""
    monkeypatch.setattr("greenlane.policy.health.CELLS_MAX", 100)
    was_on = gc.isenabled()
    gc.disable()
    try:
        health = Health()
        for number in range(250):
            assert health.offsets(f"iss_{number}", "b", ["acq_a"]) == (0,)
            assert len(health._of_epoch) <= 100
        seen = ref(health)
        del health
        assert seen() is None
    finally:
        if was_on:
            gc.enable()
