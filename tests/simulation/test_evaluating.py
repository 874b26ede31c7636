"""Policies compared in worlds of their own: equal people, true money, lawful retries, figures that add up."""

from dataclasses import dataclass

import numpy as np
import outage_drill as drill
import pytest
from interactions import by_interaction, interaction_page, interaction_table
from msgspec import structs
from properties import limit_checker

from greenlane.jobs.evaluating import field
from greenlane.jobs.evaluating.contest import Case, Contest, Move, luck
from greenlane.jobs.evaluating.evaluate import evaluate, world_of
from greenlane.jobs.evaluating.hands import Hands, Memo, PriorBelief
from greenlane.jobs.evaluating.models import Kept, Logger, Sizes, TreeScorer, models_of
from greenlane.jobs.evaluating.observables import NAMES, Observer, Vocabulary
from greenlane.jobs.evaluating.report import markdown, page
from greenlane.jobs.evaluating.results import Course, Tally, evaluated, table
from greenlane.payments.facts import Facts
from greenlane.policy.actions import BLOCK, Action
from greenlane.policy.limits import Limits
from greenlane.simulation.living import START_US, Living
from greenlane.simulation.world import World

SMALL = Sizes(logged=4_000, tuned=200, uncensored=4_000)


@pytest.fixture(scope="module")
def world() -> World:
    return World.load("shop")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def found(cache):
    return evaluate("shop", seeds=2, payments=250, cache=cache, processes=1, sizes=SMALL)


class Certain:
    """Everybody is honest to it."""

    def score(self, facts):
        return [0] * len(facts)


@dataclass
class FirstWay:
    """Allows everything over one route and tries nothing again."""

    hands: Hands
    action: Action = BLOCK

    def first(self, case: Case) -> Move:
        _, may = self.hands.may(case, case.arrival.at_us)
        return Move(next(a for a in may.actions if a.intervention == "allow"), case.arrival.at_us)

    def next(self, case, now_us):
        return None

    def hear(self, case, sent, answer):
        pass


def run(world, contestant, payments=150, seed=1):
    living = Living(world, seed)
    return Contest(living, contestant, Certain(), Limits()).run("one", payments)


def test_a_run_repeats_itself(world):
    one, again = (run(world, FirstWay(Hands(PriorBelief(), online=False))) for _ in range(2))
    assert one.net_minor.tolist() == again.net_minor.tolist() and one.tally == again.tally


def test_blocking_everything_costs_what_the_honest_lose_by_it(world):
    class Blocker(FirstWay):
        def first(self, case):
            return Move(BLOCK, case.arrival.at_us)

    course = run(world, Blocker(Hands(PriorBelief(), online=False)))
    honest = [not arrival.truth.fraud for arrival in Living(world, 1).arrivals(150)]
    assert course.tally.blocks == 150 and course.tally.attempts == 0
    assert all((net != 0) == good for net, good in zip(course.net_minor, honest, strict=True))


def test_what_is_tried_once_earns_its_true_terms_and_the_loss_of_those_who_were_declined(world):
    expected = []

    class Watched(FirstWay):
        def hear(self, case, sent, answer):
            stop = 0.0 if answer.issuer_approved else case.terms.stop
            expected.append((case.place, case.terms.value - luck(case, answer) + stop))

    course = run(world, Watched(Hands(PriorBelief(), online=False)))
    assert course.net_minor[[place for place, _ in expected]].tolist() == [net for _, net in expected]


def test_the_logging_policy_tries_all_that_is_admissible_and_breaks_no_rule(world):
    logger = Logger()
    course = run(world, logger, payments=600)
    interventions = {sent.intervention for _, sent, _ in logger.rows}
    assert {"allow", "challenge"} <= interventions
    assert len({(sent.route, sent.credential) for _, sent, _ in logger.rows}) > 2
    assert course.tally.retries > 0 and course.tally.forbidden_retries == 0


def test_the_luck_that_is_taken_out_is_nothing_on_average(world):
    surprises = []

    class Watched(FirstWay):
        def hear(self, case, sent, answer):
            surprises.append(answer.result in ("declined", "unknown", "not_sent") and not answer.issuer_approved)
            surprises[-1] -= case.terms.declined

    run(world, Watched(Hands(PriorBelief(), online=False)), payments=1_500)
    assert abs(np.mean(surprises)) < 3 * np.std(surprises) / len(surprises) ** 0.5


def test_features_see_only_what_came_before():
    facts = [
        Facts(payment_id=str(n), payment_us=n * 60_000_000, amount_minor=100 + n, currency="EUR", card=1 + n % 2,
              amount_reporting_minor=100 + n, merchant_id="m", device=9)
        for n in range(6)
    ]  # fmt: skip
    vocabulary = Vocabulary.learned(facts)
    whole = Observer(vocabulary).observe(facts)
    in_parts = Observer(vocabulary)
    parts = np.concatenate([in_parts.observe(facts[:2]), in_parts.observe(facts[2:])])
    assert np.array_equal(whole, parts)
    assert whole[:, NAMES.index("card_1h")].tolist() == [0, 0, 1, 1, 2, 2]
    assert whole[:, NAMES.index("cards_of_device")].tolist() == [1, 2, 2, 2, 2, 2]


def test_every_policy_of_the_default_field_is_in_the_result(found):
    assert set(found.policies) == set(field.DEFAULT)
    assert found.best_baseline in found.policies and found.best_baseline not in ("joint", "informed_oracle")
    assert found.paired["joint_minus_best_baseline"] == found.paired[f"joint_minus_{found.best_baseline}"]
    assert all(figures.forbidden_retries == 0 for figures in found.policies.values())


def test_regret_is_the_paired_difference_to_the_oracle(found):
    oracle = found.policies["informed_oracle"]
    assert oracle.regret_per_1000 == (0.0, 0.0, 0.0)
    for figures in found.policies.values():
        gap = oracle.net_per_1000[0] - figures.net_per_1000[0]
        assert figures.regret_per_1000[0] == pytest.approx(gap, abs=1e-6)
        assert figures.net_per_1000[1] <= figures.net_per_1000[0] <= figures.net_per_1000[2]


def test_the_page_and_the_table_show_every_policy(found):
    rows = table(found)
    assert {row[0] for row in rows[1:]} == set(found.policies)
    assert all(name in page(found) for name in found.policies)
    quoted = markdown(found).splitlines()
    assert len({line.count("|") for line in quoted if line.startswith("|")}) == 1
    assert all(any(line.startswith(f"| {name.replace('_', ' ')} |") for line in quoted) for name in found.policies)


def test_the_regret_ratio_is_told_by_the_strength_of_interactions(tmp_path):
    tiny = Sizes(logged=2_500, tuned=50, uncensored=2_500)
    (one,) = by_interaction("shop", [0.0], seeds=1, payments=60, cache=tmp_path, sizes=tiny, processes=1)
    assert one.interaction == 0.0 and one.best_baseline != "joint"
    assert one.regret_ratio == pytest.approx(one.joint_regret[0] / one.best_baseline_regret[0])
    assert interaction_table([one])[1][:2] == ["0", one.best_baseline]
    assert "<svg" in interaction_page("shop", [one])


def test_the_oracle_explores_nothing(found):
    assert found.policies["informed_oracle"].explored_per_1000 == 0.0


@pytest.mark.usefixtures("found")
def test_models_come_from_the_cache_the_second_time(world, cache):
    told = []
    assert isinstance(models_of(world, cache, told.append, sizes=SMALL), Kept)
    assert told == []


def test_a_world_of_another_interaction_has_another_hash():
    plain, stronger = world_of("europe", None), world_of("europe", 2.0)
    assert plain.digest != stronger.digest and stronger.parameters.interaction == 2.0


class Recorded(Limits):
    """Remembers all that was granted and answered, numbered as a journal numbers it."""

    def __init__(self):
        super().__init__()
        self.entries = []

    def apply(self, entry):
        self.entries.append(structs.replace(entry, seq=len(self.entries) + 1))
        super().apply(entry)


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("policy", ["joint", "success_rate"])
def test_the_brute_force_checker_finds_no_forbidden_attempt(world, cache, policy):
    kept, living, limits = models_of(world, cache, lambda _: None, sizes=SMALL), Living(world, 5), Recorded()
    contestant = field.FULL[policy](field.Start(living, kept, limits, kept.approval.model, Memo()))
    course = Contest(living, contestant, TreeScorer(kept.fraud, kept.vocabulary), limits).run(policy, 400)
    assert course.tally.retries > 5 and course.tally.forbidden_retries == 0
    assert limit_checker.violations(limits.entries) == []


def test_the_second_count_sees_what_the_limit_engine_would_have_stopped(world):
    class Lenient(Limits):
        def verdict(self, asked):
            return super().verdict(asked)._replace(allowed=True)

    class Stubborn(FirstWay):
        def next(self, case, now_us):
            return self.first(case)._replace(at_us=now_us + 1_000_000)

    living = Living(world, 1)
    contest = Contest(living, Stubborn(Hands(PriorBelief(), online=False)), Certain(), Lenient())
    assert contest.run("stubborn", 300).tally.forbidden_retries > 0


def watched(shares, approved=1.0):
    """Ten payments a second for the drill's length; `shares(second)` of them over route a."""
    at_s = np.arange(0, 60 * drill.MINUTES, 0.1)
    route = np.where(np.arange(len(at_s)) % 10 < 10 * np.vectorize(shares)(at_s), "a", "b")
    return drill.Watched(at_s, route, np.ones(len(at_s), bool), np.full(len(at_s), approved))


def test_in_the_drills_weather_only_the_broken_acquirer_refuses(world):
    living, routes = Living(world, 1), world.parameters.routes
    living.weather = drill.Weathered([route.acquirer for route in routes], routes[0].acquirer)
    arrival, acquirer = next(living.arrivals(1)), {route.id: route.acquirer for route in routes}
    for at_us, breaks in ((START_US, False), (START_US + drill.BREAKS_US, True)):
        odds = living.odds(arrival, at_us)
        for (route, _), good in zip(odds.ways, odds.good, strict=True):
            assert (good == 0.0).all() == (breaks and acquirer[route] == routes[0].acquirer)


def test_the_drill_measures_when_a_route_is_left_and_taken_back():
    breaks_s, mends_s = drill.BREAKS_US / 1e6, drill.MENDS_US / 1e6
    storm = watched(lambda s: 0.0 if breaks_s + 30 <= s < mends_s + 60 else 0.4, approved=0.99)
    found = drill.measured("p", "a", watched(lambda s: 0.4), storm, watched(lambda s: 0.4))
    assert found.usual_share == 0.4 and found.probe_share < 0.01
    assert found.divert_s == pytest.approx(30, abs=3) and found.return_s == pytest.approx(60, abs=3)
    assert found.approvals_lost == pytest.approx(0.01 * 60 * drill.MINUTES * 10, abs=0.1)
    assert found.attack_diverted == 0.0


def test_the_drill_sees_what_an_attack_moved():
    moved = watched(lambda s: 0.2 if drill.BREAKS_US / 1e6 <= s < drill.MENDS_US / 1e6 else 0.4)
    calm = watched(lambda s: 0.4)
    found = drill.measured("p", "a", calm, calm, moved._replace(approved=np.full(len(moved.route), 0.999)))
    assert found.attack_diverted == pytest.approx(0.2, abs=0.001)
    assert found.attack_lost == pytest.approx(0.001 * len(moved.route), abs=0.1)


def courses(policy, nets, seed):
    net = np.asarray(nets, np.float64)
    return Course(policy, seed, net, np.arange(len(net)), Tally(attempts=len(net), attempts_approved=len(net)), 0.0)


def test_a_difference_that_is_the_same_for_all_is_certain_however_noisy_the_nets():
    rng = np.random.default_rng(1)
    runs = []
    for seed in (1, 2, 3):
        net = rng.normal(1_000, 500, 400)
        runs += [
            courses("joint", net + 2, seed),
            courses("cheapest", net, seed),
            courses("informed_oracle", net + 3, seed),
        ]
    found = evaluated(runs, world="w", world_hash="h", currency="EUR", payments=400)
    assert found.paired["joint_minus_best_baseline"] == pytest.approx((2_000.0, 2_000.0, 2_000.0))
    assert found.regret_ratio == pytest.approx(1 / 3)
    low, high = found.policies["joint"].net_per_1000[1:]
    assert high - low > 10_000


def test_intervals_are_as_wide_as_seeds_differ():
    runs = []
    for seed, shift in ((1, 0.0), (2, 100.0), (3, 200.0)):
        net = np.full(50, 1_000.0 + shift)
        runs += [courses("joint", net, seed), courses("cheapest", net, seed), courses("informed_oracle", net, seed)]
    found = evaluated(runs, world="w", world_hash="h", currency="EUR", payments=50)
    mean, _, high = found.policies["joint"].net_per_1000
    assert mean == pytest.approx(1_100_000.0)
    assert high - mean == pytest.approx(4.303 * 100_000 / 3**0.5, rel=0.01)
