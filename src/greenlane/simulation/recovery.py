"""What a retry recovers: a share of the approval there was, by the cause of the last decline and what is done about it.

    funds       51, 61    little at once; more as days pass, most on a payday (which payday is a payer's own)
    technical   91, 96    another route at once, else within the hour
    asked       1A, 65    nothing without authentication, all with it
    lifecycle   54        nothing over the number, most over a network token
    mistyped    N7, 82    by the payer, not by sending the same again
    never       14, 43    next to nothing
    generic     05, 59    some over another route, some by authenticating, some by waiting a day

Each retry recovers less than the one before; what was asked for and then given is no retry.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from greenlane.payments.times import DAY_US, HOUR_US
from greenlane.simulation.answers import AUTHENTICATED
from greenlane.simulation.parameters import Parameters
from greenlane.simulation.response import MODES, O_RETRY, Table

GENERIC, FUNDS, TECHNICAL, ASKED, LIFECYCLE, MISTYPED, NEVER = range(7)
CAUSES: Final = {
    **dict.fromkeys(("51", "61"), FUNDS),
    **dict.fromkeys(("91", "96", "", "TO", "NE"), TECHNICAL),
    "1A": ASKED,
    "54": LIFECYCLE,
    **dict.fromkeys(("N7", "82"), MISTYPED),
    **dict.fromkeys(("04", "07", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"), NEVER),
}
"""Cause by response code; all others are generic."""

PAYDAY_FADES_DAYS: Final = 5.0
FUNDS_HOURS: Final = 60.0
GENERIC_HOURS: Final = 20.0
MORNING: Final = 1.12
SUNDAY: Final = 0.85
TOKEN_RECOVERS: Final = 0.85
NEVER_RECOVERS: Final = 0.003
MISTYPED_AGAIN: Final = 0.06


def cause_of(code: str, network: str) -> int:
    """
    >>> cause_of("65", "mastercard") == ASKED, cause_of("65", "visa") == GENERIC
    (True, True)
    """
    if code == "65" and network == "mastercard":
        return ASKED
    return CAUSES.get(code, GENERIC)


class Declined(NamedTuple):
    """A decline: when, over which route (its place) and credential (0 number, 1 token), how, and why."""

    at_us: int
    route: int
    token: int
    authenticated: bool
    cause: int


class Shares(NamedTuple):
    """What a retry recovers, as the world's interaction leaves it of what its file states."""

    funds_at_once: float
    funds_waiting: float
    funds_payday: float
    funds_decay: float
    generic_at_once: float
    generic_cascade: float
    generic_waiting: float
    generic_decay: float
    generic_authenticated: float
    technical_at_once: float
    technical_cascade: float
    technical_hours: float


class Recovery:
    """The recoveries of one world, as the response takes them: [routes, credentials, modes]."""

    def __init__(self, world: Parameters):
        self._world = world
        stated, there = world.recovery, min(1.0, world.interaction)
        scaled = {
            "generic_cascade": _between(stated.generic_at_once, stated.generic_cascade, there),
            "generic_authenticated": there * world.interactions.retry_authenticated,
            "technical_cascade": _between(stated.technical_at_once, stated.technical_cascade, there),
        }
        as_stated = {name: getattr(stated, name) for name in Shares._fields if name not in scaled}
        self._shares = Shares(**scaled, **as_stated)
        self.fresh = np.ones((len(world.routes), 2, MODES))
        self.paydays = list(world.payers.paydays)
        self.payday_shares = np.array(list(world.payers.paydays.values())) / sum(world.payers.paydays.values())

    def after(
        self, declines: Sequence[Declined], over: Table, *, at_us: int, paid_share: float,
        corrected: bool = False,
    ) -> Table:  # fmt: skip
        """After `declines`, the oldest first; `over` [routes, OVER].

        `paid_share`: how much of a payday's recovery is there now, 0..1.
        """
        if not declines:
            return self.fresh
        last = declines[-1]
        hours = max(0.0, (at_us - last.at_us) / HOUR_US)
        good_time = MORNING if 7 <= at_us // HOUR_US % 24 < 10 else 1.0
        good_time *= SUNDAY if (at_us // DAY_US + 4) % 7 == 0 else 1.0
        out = np.empty_like(self.fresh)
        times = max(1, sum(declined.cause != ASKED for declined in declines))
        how = (last.cause, last.route, last.token, int(last.authenticated), times)
        mistyped = self._world.recovery.corrected if corrected else MISTYPED_AGAIN
        _fill(out, self._shares, over, how, hours, paid_share, good_time, mistyped)
        return out

    def funds_share(self, paid_share: float) -> float:
        """About what a first retry for want of funds recovers after some days."""
        return self._shares.funds_waiting + self._shares.funds_payday * paid_share

    def paid_share(self, payday: int, declined_us: int, at_us: int) -> float:
        """How fresh the money is: 0 where no payday lies between the decline and now."""
        paid_us = last_payday_us(int(self.paydays[payday]), at_us // DAY_US) + 5 * HOUR_US
        if paid_us <= declined_us or paid_us > at_us:
            return 0.0
        return math.exp(-(at_us - paid_us) / DAY_US / PAYDAY_FADES_DAYS)


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


@njit(cache=True, error_model="numpy")
def _fill(
    out: Table, shares: Shares, over: Table, last: tuple[int, int, int, int, int], hours: float, paid: float,
    good_time: float, mistyped: float,
) -> None:  # fmt: skip
    cause, route, token, authenticated, times = last
    for r in range(out.shape[0]):
        for c in range(2):
            for mode in range(MODES):
                stronger = mode == AUTHENTICATED and not authenticated
                if cause == FUNDS:
                    share = (
                        shares.funds_at_once
                        + shares.funds_waiting * (1.0 - math.exp(-hours / FUNDS_HOURS))
                        + shares.funds_payday * paid
                    )
                    share *= good_time * shares.funds_decay ** (times - 1)
                elif cause == TECHNICAL:
                    at_once = shares.technical_cascade if r != route else shares.technical_at_once
                    share = 1.0 - (1.0 - at_once) * math.exp(-hours / shares.technical_hours)
                elif cause == ASKED:
                    share = 1.0 if stronger else 0.08
                elif cause == LIFECYCLE:
                    share = TOKEN_RECOVERS if c == 1 and token == 0 else 0.02
                elif cause == MISTYPED:
                    share = mistyped
                elif cause == NEVER:
                    share = NEVER_RECOVERS
                else:
                    share = shares.generic_cascade if r != route else shares.generic_at_once
                    share += shares.generic_waiting * (1.0 - math.exp(-hours / GENERIC_HOURS))
                    share *= math.exp(over[r, O_RETRY])
                    if stronger:
                        share += shares.generic_authenticated
                    share *= shares.generic_decay ** (times - 1)
                out[r, c, mode] = min(max(share, 0.0), 1.0)


@lru_cache(maxsize=65_536)
def last_payday_us(payday: int, day: int) -> int:
    """The last payday up to a day (counted from 1970), at midnight UTC; 0: every second Friday.

    >>> last_payday_us(25, 20_000) // DAY_US, last_payday_us(0, 20_000) // DAY_US
    (19991, 20000)
    """
    if payday == 0:
        return (day - (day - 1 + 7) % 14) * DAY_US
    date = datetime.fromtimestamp(day * DAY_US / 1e6, UTC)
    while date.day != payday:
        date -= timedelta(days=1)
    return int(date.timestamp()) * 1_000_000
