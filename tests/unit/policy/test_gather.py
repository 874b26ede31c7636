"""What a choice is given: from every fold that is there, and something more modest where one fails."""

import pytest
from msgspec.structs import replace

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.merchants.fees import FeeRule, Schedule
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, Route
from greenlane.payments.facts import Facts
from greenlane.policy.actions import Way
from greenlane.policy.choose import choose
from greenlane.policy.explore import Allowance, Allowances, Exploring, recorded_draw
from greenlane.policy.gather import Folds, gather
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import History, Tried
from greenlane.policy.limits import Verdict
from greenlane.policy.multipliers import Prices
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.policy.priors import Approval
from greenlane.policy.recovery import STATED

BASE = Given(amount_minor=5_000, fraud_probability_e9=1_000_000)
FACTS = Facts(
    payment_id="p", payment_us=0, amount_minor=5_000, currency="EUR", amount_reporting_minor=5_000, card=7,
    attempt_id="a", merchant_id="m", network="visa",
)  # fmt: skip
POLICY = Policy(perspective="merchant")


def attempt(routes="ab"):
    card = Card(fingerprint="fp_1", network="visa", issuer_country="US")
    payment = Payment(id="p", amount=5_000, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=card))
    return Attempt(attempt_id="a", payment=payment, eligible_routes=tuple(Route(id=route) for route in routes))


def gathered(folds, base=BASE, *, policy=POLICY, failed=None, economics=None):
    told = [] if failed is None else failed
    return gather(
        attempt(), FACTS, base, economics=economics or Economics(), policy=policy, folds=folds, attempt_no=1,
        failed=lambda what, error: told.append(what),
    )  # fmt: skip


class FixedBelief:
    """Approval that rises with the way's place."""

    def approvals(self, attempt, facts, ways, *, history, at_us):
        return tuple(Approval(*[500_000_000 + 400_000_000 * at] * 6, 0) for at in range(len(ways)))


class BrokenBelief:
    def approvals(self, *asked, **more):
        raise RuntimeError("no model today")


class FixedLimits:
    def __init__(self, *, allowed=True, left=3):
        self.said = Verdict(allowed, "HOUSE_24H", None, left)

    def verdict(self, asked):
        return self.said


class Shut:
    """One route is shut, one not healthy."""

    def __init__(self, shut="", ill="", *, under_attack=False):
        self.shut, self.ill, self.under_attack = shut, ill, under_attack

    def barred(self, facts, ways, *, at_us):
        return tuple(Barred(*way, "breaker") for way in ways if way.route == self.shut)

    def unhealthy(self, facts, ways, *, at_us):
        return sum(1 << at for at, way in enumerate(ways) if way.route == self.ill)

    def deviations(self, facts, ways):
        return (150,) * len(ways)

    def attacked(self, facts, *, at_us):
        return self.under_attack


class OpenLedger:
    allowances = Allowances(route=Allowance(10**12, 10**12, 1_000_000))

    def released_today(self, facts):
        return 0

    def advance(self, at_us):
        pass


def test_without_folds_nothing_is_added():
    given, may = gathered(Folds())
    assert given == BASE
    assert may.ways == (Way("a", "pan"), Way("b", "pan"))


def test_the_model_speaks_for_each_eligible_way():
    given, _ = gathered(Folds(approvals=FixedBelief(), gates=Shut("a")))
    assert given.approvals == (Approval(*[500_000_000] * 6, 0),)


def test_a_model_that_fails_leaves_the_priors_and_a_mark():
    failed = []
    given, may = gathered(Folds(approvals=BrokenBelief()), failed=failed)
    assert (given.approvals, given.degraded, failed) == (None, ("approvals",), ["approvals"])
    chosen = choose(attempt(), given, economics=Economics(), policy=POLICY, may=may)
    assert (chosen.degraded, chosen.action.intervention) == (("approvals",), "allow")


def test_a_limit_bars_every_way():
    given, may = gathered(Folds(limits=FixedLimits(allowed=False), approvals=FixedBelief()))
    assert {barred.why for barred in given.barred} == {"limit:HOUSE_24H"}
    assert (may.interventions, may.stops, given.approvals) == (("block",), ("limit:HOUSE_24H",), None)


class HastyBelief:
    """Forgets a way."""

    def approvals(self, attempt, facts, ways, *, history, at_us):
        return (Approval(*[900_000_000] * 6, 0),) * (len(ways) - 1)


def test_a_model_that_forgets_a_way_has_failed():
    assert gathered(Folds(approvals=HastyBelief()))[0].degraded == ("approvals",)


def test_after_an_approval_nothing_is_explored():
    given, _ = gathered(
        Folds(ledger=OpenLedger(), draw=recorded_draw(0)), replace(BASE, history=History(approved=True))
    )
    assert given.context is None


def test_after_an_approval_no_limit_and_no_breaker_is_a_reason_to_void():
    approved = replace(BASE, history=History(approved=True))
    given, may = gathered(Folds(limits=FixedLimits(allowed=False), gates=Shut("a")), approved)
    assert given.barred == () and "allow" in may.interventions


@pytest.mark.parametrize("rung", ["static", "merchant_default"])
def test_limits_and_breakers_hold_without_a_model_too(rung):
    given, may = gathered(Folds(limits=FixedLimits(allowed=False)), replace(BASE, rung=rung))
    assert choose(attempt(), given, economics=Economics(), policy=POLICY, may=may).action.intervention == "block"
    given, may = gathered(Folds(gates=Shut("a")), replace(BASE, rung=rung))
    assert choose(attempt(), given, economics=Economics(), policy=POLICY, may=may).action.route == "b"


def test_a_decline_is_worth_more_while_a_try_is_left():
    def worth(left):
        given, _ = gathered(Folds(recovery=STATED, limits=FixedLimits(left=left)))
        return given.declined[0].good_micro

    assert worth(1) < worth(2)


def test_after_a_suspicious_decline_less_is_tried_again_of_a_fraudster():
    def worth(code):
        tried = Tried("a", 1, "a", answer="declined", network="visa", code=code, decline_class="soft")
        base = replace(BASE, fraud_probability_e9=200_000_000, history=History(tried=(tried,)))
        return gathered(Folds(recovery=STATED), base)[0].declined[0].fraud_micro

    assert worth("59") > worth("51")


def test_what_a_decline_is_worth_follows_the_routes_price_list():
    def worth(fixed_minor):
        rule = FeeRule(id="all", rate_ppm=14_000, fixed_micro=fixed_minor * 10**6)
        listed = RouteTerms(id="a", schedule=Schedule(pricing_model="blended", rules=(rule,)))
        given, _ = gathered(Folds(recovery=STATED), economics=Economics(routes=(listed,)))
        return [worth.good_micro for worth in given.declined]

    dear, cheap = worth(500), worth(25)
    assert dear[0] < cheap[0] and dear[1] == cheap[1]


def test_prices_are_those_of_the_merchant_and_of_the_acquirers():
    class Told(Prices):
        def at(self, epoch, *, acquirers, merchant_id, network):
            return Multipliers(report_minor=epoch, band_micro=dict.fromkeys(acquirers, 5))

    economics = Economics(routes=(RouteTerms(id="a", acquirer="acq_1"),))
    given, _ = gathered(Folds(prices=Told()), replace(BASE, ingest_us=15 * 60 * 10**6), economics=economics)
    assert given.multipliers == Multipliers(report_minor=1, band_micro={"acq_1": 5, "b": 5})


def exploring(**gates):
    folds = Folds(ledger=OpenLedger(), gates=Shut(**gates), draw=recorded_draw(2**32 - 1))
    given, may = gathered(folds)
    return choose(attempt(), given, economics=Economics(), policy=POLICY, may=may, draw=folds.draw)


def test_another_route_is_taken_by_a_draw_that_says_so():
    chosen = exploring()
    assert (chosen.explored.explored, chosen.explored.kind, chosen.action.route) == (True, "route", "b")
    assert 0 < chosen.propensity < 2**32 and sum(chosen.distribution) == 2**32
    assert (chosen.runner_up.route, chosen.value_gap_micro) == ("a", 0)
    assert chosen.value_micro == chosen.values_micro[chosen.explored.place]


@pytest.mark.parametrize("gates", [{"ill": "b"}, {"under_attack": True}])
def test_nothing_is_explored_over_ill_routes_or_in_attacked_cells(gates):
    assert (exploring(**gates).action.route, exploring(**gates).propensity) == ("a", 2**32)


def test_a_draw_that_was_recorded_gives_the_same_choice():
    folds = Folds(ledger=OpenLedger(), draw=recorded_draw(2**32 - 1))
    given, may = gathered(folds)
    first = choose(attempt(), given, economics=Economics(), policy=POLICY, may=may, draw=folds.draw)
    again = choose(attempt(), given, economics=Economics(), policy=POLICY, draw=recorded_draw(first.explored.draw))
    assert first == again


def test_exploring_is_part_of_the_policys_version():
    other = Policy(perspective="merchant", exploring=Exploring(route=replace(Exploring().route, floor_ppm=5_000)))
    assert other.version != POLICY.version
