"""The record of a choice: complete, small, and the same bytes for the same inputs."""

import msgspec
import pytest

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, Route
from greenlane.policy.actions import Action
from greenlane.policy.choose import Chosen, choose
from greenlane.policy.distribution import TOTAL, settled
from greenlane.policy.given import Given
from greenlane.policy.parameters import EPOCH_US, Policy
from greenlane.policy.priors import FRAUD_APPROVAL_RANGE_PPM, Priors

MERCHANT = Policy(perspective="merchant")


def chosen(routes=1, *, p=30_000_000, policy=MERCHANT, ingest_us=0, economics=None):
    payment = Payment(
        id="p", amount=10_000, currency="EUR", merchant_id="m", payment_method=PaymentMethod(card=Card(fingerprint="f"))
    )
    offered = tuple(Route(id=f"route_{at}") for at in range(routes))
    return choose(
        Attempt(attempt_id="a", payment=payment, eligible_routes=offered),
        Given(amount_minor=10_000, fraud_probability_e9=p, ingest_us=ingest_us),
        economics=economics or Economics(),
        policy=policy,
    )


def test_the_same_inputs_give_the_same_bytes():
    encode = msgspec.msgpack.Encoder().encode
    assert len({encode(chosen(3)) for _ in range(10)}) == 1


def test_a_record_comes_back_from_its_bytes():
    record = chosen(3)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Chosen)
    assert again == record
    assert msgspec.json.decode(msgspec.json.encode(record), type=Chosen) == record


def test_a_record_over_eight_routes_is_small():
    assert len(msgspec.msgpack.encode(chosen(8))) <= 700


def test_actions_are_in_order_of_friction_then_of_route_and_the_block_is_last():
    actions = chosen(2).actions
    assert actions[:3] == [
        Action("allow", "", "route_0", "pan"),
        Action("allow", "", "route_1", "pan"),
        Action("challenge", "", "route_0", "pan"),
    ]
    assert actions[-1] == Action("block")


def test_equal_routes_are_settled_by_their_ids():
    assert chosen(8).action.route == "route_0"


def test_a_block_shows_the_probabilities_over_the_route_that_was_worth_most():
    blocked = chosen(2, p=999_000_000)
    assert blocked.action == Action("block")
    assert blocked.probabilities.fraud_given_approval_e9 < 999_000_000 < blocked.probabilities.fraud_given_decline_e9


def test_probabilities_name_their_events():
    seen = chosen(2).probabilities
    assert seen.fraud_e9 == seen.fraud_given_history_e9 == 30_000_000
    assert seen.fraud_given_approval_e9 < seen.fraud_e9 < seen.fraud_given_decline_e9
    assert len(seen.approval_e9) == 2
    assert seen.dispute_e9 == Economics().dispute_ppm * 1_000


@pytest.mark.parametrize(("ingest_us", "epoch"), [(0, 0), (EPOCH_US - 1, 0), (EPOCH_US, 1)])
def test_the_policy_epoch_is_a_quarter_of_an_hour(ingest_us, epoch):
    assert chosen(ingest_us=ingest_us).policy_epoch == epoch


def test_versions_change_with_every_parameter_and_with_nothing_else():
    other = Policy(perspective="merchant", priors=Priors(fraud_approval_ppm=700_001))
    assert chosen().policy_version == Policy(perspective="merchant").version != chosen(policy=other).policy_version
    assert chosen(economics=Economics(handling_minor=501)).economics_version != chosen().economics_version


def test_masses_that_do_not_sum_are_replaced_by_the_greedy_action_and_marked():
    assert settled((TOTAL - 1, 2, 0), best=2) == ((0, 0, TOTAL), True)
    assert settled((TOTAL + 1, -1), best=0) == ((TOTAL, 0), True)
    assert settled((TOTAL - 1, 1), best=0) == ((TOTAL - 1, 1), False)


def test_the_assumed_approval_of_fraud_moves_losses_and_not_an_everyday_choice():
    def with_ratio(ppm):
        return chosen(p=2_000_000, policy=Policy(perspective="merchant", priors=Priors(fraud_approval_ppm=ppm)))

    low, high = (with_ratio(ppm) for ppm in FRAUD_APPROVAL_RANGE_PPM)
    assert low.action == high.action == Action("allow", "", "route_0", "pan")
    assert low.probabilities.fraud_given_approval_e9 < high.probabilities.fraud_given_approval_e9
    assert low.value_micro > high.value_micro
