"""Told the world's own probabilities, the policy's formulas give the true value: neither is bent to the other."""

import numpy as np
import pytest

from greenlane.merchants.stakes import stakes
from greenlane.policy.actions import INTERVENTIONS
from greenlane.policy.value import MICRO, VALUE, Authentication, values
from greenlane.simulation.answers import Sent
from greenlane.simulation.living import Living
from greenlane.simulation.world import World

WORLD = World.load("shop")
LIVING = Living(WORLD, 9, start_us=0)
ARRIVALS = list(LIVING.arrivals(3000))
CHOSEN = ARRIVALS[:40] + [a for a in ARRIVALS if a.truth.fraud][:40]


def way(arrival, economics, r, *, stop):
    """A row of `values`: what is true of this payer, who is surely one or the other, stands for both kinds."""
    sent, fees = Sent(economics.routes[r].id, at_us=arrival.at_us), economics.routes[r].fees
    plain = LIVING.true_terms(arrival, sent, economics).approved
    shown = LIVING.true_terms(arrival, sent._replace(intervention="challenge"), economics).approved
    passed = (1 - arrival.truth.unavailable) * (
        arrival.truth.frictionless + (1 - arrival.truth.frictionless) * arrival.truth.challenge_success
    )
    authenticated = (shown - arrival.truth.unavailable * plain) / passed
    approvals = [1e9 * plain, 1e9 * plain, 1e9 * authenticated, 1e9 * authenticated, 0.0, 0.0, 0.0]
    approved = fees.approved_minor(arrival.attempt.payment.amount)
    return [*approvals, approved, approved, fees.declined_minor, economics.challenge_minor, stop, 0.0, 0.0, 0.0, 0.0]


def policy_values(arrival, economics):
    """The value table of the policy for p = 0 or p = 1, with every probability taken from the truth."""
    truth, payment = arrival.truth, arrival.attempt.payment
    money = stakes(economics, payment.amount, "merchant")
    money = money._replace(
        dispute=truth.friendly_probability * (money.margin + money.loss),
        cancel_share=truth.review_cancel,
        true_negative=truth.review_release,
        true_positive=1 - truth.review_release,
    )
    passes = truth.frictionless, truth.challenge_success
    payer = Authentication(*passes, *passes, truth.unavailable)
    routes = np.array([way(arrival, economics, r, stop=money.stop) for r in range(2)])
    return values(10**9 if truth.fraud else 0, money, payer, routes)[:, :, VALUE] / MICRO


@pytest.mark.parametrize("arrival", CHOSEN, ids=lambda a: a.truth.typology or "good")
def test_the_policy_told_the_truth_values_every_action_as_the_world_does(arrival):
    arrival = arrival._replace(truth=arrival.truth._replace(report_probability=float(arrival.truth.fraud)))
    economics = WORLD.economics[arrival.attempt.payment.merchant_id]
    table = policy_values(arrival, economics)
    for i, intervention in enumerate(INTERVENTIONS):
        if intervention == "exempt":
            continue
        for r, route in enumerate(arrival.attempt.eligible_routes):
            terms = LIVING.true_terms(arrival, Sent(route.id, "pan", intervention, at_us=arrival.at_us), economics)
            true = terms.value + terms.declined * terms.stop
            assert table[i, r] == pytest.approx(true, abs=1e-4), (intervention, route.id)
