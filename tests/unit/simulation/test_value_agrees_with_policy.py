"""Told the world's own probabilities, the policy's formulas give the true value: neither is bent to the other."""

import numpy as np
import pytest

from greenlane.merchants.stakes import stakes
from greenlane.policy.actions import INTERVENTIONS
from greenlane.policy.value import MICRO, VALUE, Authentication, values
from greenlane.simulation.consequences import true_value_minor
from greenlane.simulation.world import World

WORLD = World.load("shop")
ARRIVALS = list(WORLD.payments(start_us=0, n=3000, seed=9))
CHOSEN = ARRIVALS[:40] + [a for a in ARRIVALS if a.truth.fraud][:40]


def policy_values(arrival, economics):
    """The value table of the policy for p = 0 or p = 1, with every probability taken from the truth."""
    truth, payment = arrival.truth, arrival.attempt.payment
    good, bad = truth.if_good, truth.if_fraud
    money = stakes(economics, payment.amount, "merchant")
    money = money._replace(
        dispute=truth.friendly_probability * (money.margin + money.loss),
        cancel_share=truth.odds.review_cancel,
        true_negative=good.review_release,
        true_positive=1 - bad.review_release,
    )
    payer = Authentication(
        good.frictionless, good.challenge_success, bad.frictionless, bad.challenge_success, truth.unavailable
    )
    routes = np.array(
        [
            (
                1e9 * good.approval[r],
                1e9 * bad.approval[r],
                1e9 * good.approval_authenticated[r],
                1e9 * bad.approval_authenticated[r],
                0.0,
                0.0,
                0.0,
                economics.routes[r].fees.approved_minor(payment.amount),
                economics.routes[r].fees.approved_minor(payment.amount),
                economics.routes[r].fees.declined_minor,
                economics.challenge_minor,
                money.stop,
                0.0,
                0.0,
                0.0,
                0.0,
            )
            for r in range(2)
        ]
    )
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
            true = true_value_minor(arrival, intervention, route.id, economics)
            assert table[i, r] == pytest.approx(true, abs=1e-4), (intervention, route.id)
