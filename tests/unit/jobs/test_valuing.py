"""A calm world decided live with exploration; then its own directory is asked what else could have been done."""

import msgspec
import numpy as np
import pytest

from greenlane.errors import InputError
from greenlane.experiments.impact import STEPS, bridge_of_summary
from greenlane.jobs.deciding import decide_world
from greenlane.jobs.simulating import simulate
from greenlane.jobs.valuing.ladders import Ladders, answered, climbed
from greenlane.jobs.valuing.page import page
from greenlane.jobs.valuing.questions import FACTORS, greedy, releaser, router
from greenlane.jobs.valuing.traffic import realised, traffic_of
from greenlane.jobs.valuing.value import case_of, judged, read, run
from greenlane.policy.priors import Priors
from greenlane.simulation.world import World
from greenlane.wiring import open_reader


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("calm") / "live"
    decide_world(World.load("calm"), 1, 600, path)
    return path


def traffic(directory, question):
    return read(open_reader(directory), question, from_us=0, to_us=2**62, progress=lambda *_: None)


def nobody(name):
    raise AssertionError(name)


def test_a_row_holds_a_distribution_over_the_ways_of_its_intervention(directory):
    found = traffic(directory, "route")
    assert len(found) > 200
    assert np.allclose(found.logging.sum(axis=1), 1.0)
    assert (found.logging[~found.open_to] == 0.0).all()
    assert (found.logging[np.arange(len(found)), found.action] > 0.0).all()
    assert found.decisions == len(found) + sum(found.left_out.values())


def test_the_record_expects_on_average_about_what_came(directory):
    found = traffic(directory, "route")
    case = case_of(found)
    rows = np.arange(len(found))
    expected, came = case.model[rows, found.action].sum(axis=0), found.money.sum(axis=0)
    assert expected[STEPS.index("gross")] == pytest.approx(came[STEPS.index("gross")], rel=0.05)
    assert expected[STEPS.index("fees")] == pytest.approx(came[STEPS.index("fees")], rel=0.1)


def test_the_policy_that_was_logged_differs_from_itself_by_nothing(directory):
    found = traffic(directory, "route")
    verdict = judged(case_of(found), found.logging, np.ones(len(found), bool), effect=None).verdict
    assert all(abs(value) < 1e-6 for value, *_ in verdict.estimates.values())


def test_routers_send_only_where_it_was_open(directory):
    found = traffic(directory, "route")
    for name in ("cheapest", "best approval", "best value", "acq_2"):
        target = router(found, name, nobody)
        assert np.allclose(target.sum(axis=1), 1.0)
        assert (target[~found.open_to] == 0.0).all()
    only = np.array([name.startswith("acq_2") for name in found.names])
    assert (router(found, "acq_2", nobody)[:, only].sum(axis=1) == 1.0).mean() > 0.9


def test_a_short_log_is_refused_with_reasons_and_bounds(directory):
    (found,) = run(directory, "route", ["acq_1"])
    assert not found.accepted
    assert any("too few rows" in why for why in found.reasons)
    steps = {step.name: step for step in found.bridge.steps}
    assert steps["fraud"].value is None
    assert found.bridge.net.value is None
    assert found.bridge.net.low < 0.0 < found.bridge.net.high
    assert "<svg" in page([found.impact], title="calm")
    assert msgspec.json.decode(msgspec.json.encode(found))["question"] == "route"


def test_a_threshold_blocks_what_was_passed_and_says_what_is_bounded(directory):
    (found,) = run(directory, "threshold", ["0.005"])
    assert found.parts["tightened"]["payments"] > 0
    assert found.parts["tightened"]["value"] < 0.0
    assert any("too few frauds" in why for why in found.reasons)
    assert {step.name: step.value for step in found.bridge.steps}["fraud"] is None
    assert found.plan


def test_a_band_releases_less_the_likelier_the_fraud(directory):
    found = traffic(directory, "threshold")
    passed = releaser(found, "0.4@0.5")[:, found.names.index("passed")]
    assert passed.max() <= 0.4
    assert (passed[found.fraud >= 0.5] == 0.0).all()


@pytest.mark.parametrize(
    ("question", "candidate", "told"),
    [
        ("route", "nowhere", "no router"),
        ("challenge", "often", "no number"),
        ("threshold", "2", "no probability"),
        ("who", "x", "no question"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_hint(directory, question, candidate, told):
    with pytest.raises(InputError, match=told):
        run(directory, question, [candidate])


def test_a_history_nobody_decided_here_says_nothing_of_what_was_not_done(tmp_path):
    simulate(World.load("calm"), 1, 50, tmp_path / "past", lambda *_: None)
    with pytest.raises(InputError, match="nothing here can be valued"):
        run(tmp_path / "past", "route", ["cheapest"])


def test_a_window_is_respected(directory):
    whole = traffic(directory, "route")
    middle = int(np.median(whole.at_us))
    half = traffic_of(open_reader(directory).entries(), FACTORS["route"], perspective="merchant",
                      priors=Priors(), to_us=middle)  # fmt: skip
    assert len(half) == (whole.at_us < middle).sum()


def test_ties_go_to_the_first_way():
    assert greedy(np.array([[2.0, 2.0]]), np.ones((1, 2), bool)).tolist() == [[1.0, 0.0]]


def test_a_young_report_stands_for_those_still_to_come(directory):
    row = next(row for row in traffic(directory, "route").rows if "approved" in row.paid.answers.values())
    before = row.paid.reported_us
    try:
        row.paid.reported_us = 1
        full, half = realised(row.paid, 1.0, 1.0), realised(row.paid, 0.5, 1.0)
    finally:
        row.paid.reported_us = before
    assert half[STEPS.index("fraud")] == pytest.approx(2 * full[STEPS.index("fraud")])
    assert full[STEPS.index("gross")] == 0.0


def test_another_json_is_no_evaluation_of_policies():
    with pytest.raises(InputError, match="no evaluation"):
        bridge_of_summary({"cases": []}, "joint", "cheapest")


@pytest.fixture(scope="module")
def retried(tmp_path_factory):
    path = tmp_path_factory.mktemp("europe") / "live"
    decide_world(World.load("europe"), 1, 500, path, kinds=("route",))
    return path


def test_retries_are_valued_along_their_ladder_or_refused(retried):
    found, cheapest = run(retried, "retry", ["best value", "cheapest"])
    assert found.valued == cheapest.valued >= 2
    assert not found.accepted
    assert any("too few rows" in why for why in found.reasons)
    assert found.propensity["left_to_chance"] > 0.0
    assert set(found.estimates) == {"DR", "IPW", "SNIPW"}
    with pytest.raises(InputError, match="no way to try again"):
        run(retried, "retry", ["never"])


def test_retries_that_nobody_reported_yet_have_bounds_for_fraud(retried):
    fold = Ladders("merchant").take(open_reader(retried).entries())
    for ladder in fold.found.values():
        ladder.reported = False
    found = climbed(fold)
    fraud = answered(found, found.target("cheapest"), effect=None).bridge.steps[STEPS.index("fraud")]
    assert fraud.value is None and fraud.low < 0.0 < fraud.high


def test_an_answer_that_came_before_its_decision_counts_on_its_ladder(retried):
    entries = list(open_reader(retried).entries())
    linked = [
        msgspec.structs.replace(e, kind="link") if e.kind in ("authorization", "fraud_report") else e for e in entries
    ]
    plain, found = (climbed(Ladders("merchant").take(each)) for each in (entries, linked))
    assert plain.approved.any() and np.array_equal(plain.approved, found.approved)
    assert np.array_equal(plain.money, found.money)


def test_without_next_actions_there_are_no_ladders(tmp_path):
    decide_world(World.load("calm"), 1, 20, tmp_path / "d", tries=False)
    with pytest.raises(InputError, match="next_action"):
        run(tmp_path / "d", "retry", ["cheapest"])
