"""What a retry recovers, by cause."""

from itertools import pairwise

import numpy as np
import pytest

from greenlane.payments.times import DAY_US, HOUR_US
from greenlane.simulation.answers import AUTHENTICATED, PLAIN
from greenlane.simulation.parameters import load
from greenlane.simulation.recovery import (
    ASKED,
    FUNDS,
    GENERIC,
    LIFECYCLE,
    MISTYPED,
    NEVER,
    TECHNICAL,
    Declined,
    Recovery,
    last_payday_us,
)
from greenlane.simulation.response import OVER

WORLD = load("europe")[0]
RECOVERY = Recovery(WORLD)
OVERS = np.zeros((len(WORLD.routes), len(OVER)))
THEN_US = 20_000 * DAY_US


def share(cause, hours, *, times=1, route=0, token=0, mode=PLAIN, paid=0.0, authenticated=False, corrected=False):
    declines = [Declined(THEN_US, 0, 0, authenticated, cause)] * times
    at_us = THEN_US + round(hours * HOUR_US)
    table = RECOVERY.after(declines, OVERS, at_us=at_us, paid_share=paid, corrected=corrected)
    return table[route, token, mode]


def test_nothing_is_lost_where_nothing_was_declined():
    assert (RECOVERY.after([], OVERS, at_us=0, paid_share=0.0) == 1).all()


def test_another_route_recovers_technical_and_generic_declines_at_once_and_waiting_does_the_rest():
    for cause in (TECHNICAL, GENERIC):
        assert share(cause, 0, route=1) > 2 * share(cause, 0)
        assert share(cause, 24) > 2 * share(cause, 0)
    assert share(FUNDS, 0, route=1) == share(FUNDS, 0) < 0.02


def test_money_comes_with_days_and_most_on_a_payday():
    assert share(FUNDS, 96) > 5 * share(FUNDS, 0)
    assert share(FUNDS, 96, paid=1.0) > 2 * share(FUNDS, 96)


@pytest.mark.parametrize("cause", [FUNDS, GENERIC])
def test_each_retry_recovers_less(cause):
    shares = [share(cause, 24, times=times) for times in (1, 2, 3, 4)]
    assert all(later < 0.9 * earlier for earlier, later in pairwise(shares))


def test_what_was_asked_for_heals():
    assert share(ASKED, 0.01, mode=AUTHENTICATED) == 1.0 and share(ASKED, 24) < 0.1
    assert share(LIFECYCLE, 0, token=1) > 0.8 and share(LIFECYCLE, 48) < 0.05
    assert share(MISTYPED, 0, corrected=True) > 0.5 and share(MISTYPED, 0) < 0.1
    assert share(NEVER, 10_000, route=1, mode=AUTHENTICATED) < 0.01


def test_authenticating_recovers_a_generic_decline_only_if_it_was_not_authenticated_before():
    assert share(GENERIC, 0, mode=AUTHENTICATED) > share(GENERIC, 0) + 0.1
    assert share(GENERIC, 0, mode=AUTHENTICATED, authenticated=True) == share(GENERIC, 0)


def test_a_payday_counts_only_between_the_decline_and_now():
    payday = RECOVERY.paydays.index("15")
    paid_us = last_payday_us(15, 20_030)
    assert RECOVERY.paid_share(payday, paid_us - DAY_US, paid_us + DAY_US) > 0.7
    assert RECOVERY.paid_share(payday, paid_us + 10 * HOUR_US, paid_us + DAY_US) == 0.0
    assert RECOVERY.paid_share(payday, paid_us - DAY_US, paid_us - HOUR_US) == 0.0
