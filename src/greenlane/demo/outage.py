"""A route that goes down in a busy hour: how soon it is left, what that costs, and when it is taken back."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.demo.caller import Pursued
from greenlane.payments.times import SECOND_US
from greenlane.simulation.answers import Sent, Terms
from greenlane.simulation.living import Living
from greenlane.simulation.randomness import Reals
from greenlane.simulation.world import Arrival

PER_SECOND: Final = 3
RUSH: Final = 0.4
"""Of the live payments: they come at a stroke, one after another."""
DOWN: Final = (0.2, 0.6)
"""Of the rush."""
WINDOW: Final = 40
"""Payments over which a share is taken."""
DIVERTED: Final = 0.1
RETURNED: Final = 0.9
SLOT_S: Final = 30


class Outage(Struct, frozen=True, kw_only=True):
    """Times in simulated seconds from the beginning of the outage; None: not within the rush."""

    route: str
    lasts_s: float
    payments: int
    """That arrived meanwhile."""
    usual_share: float
    """Of all payments, before."""
    diverted_s: float | None
    """Until its share was below a tenth of the usual."""
    diverted_payments: int
    """That arrived until then."""
    hit: int
    """First attempts that met the broken route, probes among them."""
    probe_share: float
    """Of its usual traffic, from then on until it mended."""
    returned_s: float | None
    """From mending until it had nine tenths of its usual share."""
    approvals_lost: float
    """Expected in fair weather and not reached, by all attempts of a payment that met the broken route."""
    approvals: float
    """Expected of all payments of the outage, as they were handled."""
    slots: list[tuple[float, float]]
    """(when, the route's share of the payments)."""


class Storm:
    """The world's own weather; while `route` is named, that one is down from `from_us` to `to_us`."""

    def __init__(self, living: Living, from_us: int, to_us: int):
        self._weather, self.from_us, self.to_us, self.route = living.weather, from_us, to_us, ""
        self._living, self._routes = living, [route.id for route in living.world.parameters.routes]
        living.weather = self  # type: ignore[assignment] # the same question, another answer

    def at(self, at_us: int, issuer: int) -> Reals:
        health = self._weather.at(at_us, issuer)
        if self.route and self.covers(at_us):
            health = health.copy()
            health[self._routes.index(self.route)] = 0.0
        return health

    def covers(self, at_us: int) -> bool:
        return self.from_us <= at_us < self.to_us

    def fair(self, arrival: Arrival, sent: Sent) -> Terms:
        """What would be true of this, were the route not down."""
        route, self.route = self.route, ""
        economics = self._living.world.economics[arrival.attempt.payment.merchant_id]
        terms = self._living.true_terms(arrival, sent._replace(at_us=sent.at_us + 1), economics)  # not the one kept
        self.route = route
        return terms


def with_rush(arrivals: Sequence[Arrival]) -> tuple[list[Arrival], tuple[int, int]]:
    """The same people, those in the middle one after another at an even pace; and (from, to) of the outage among them.

    >>> from greenlane.simulation.world import World
    >>> people = list(World.load("shop").payments(start_us=0, n=100, seed=1))
    >>> crowd, (from_us, to_us) = with_rush(people)
    >>> (to_us - from_us) // 1_000_000, [one.at_us for one in crowd] == sorted(one.at_us for one in crowd)
    (5, True)
    """
    rush = int(len(arrivals) * RUSH)
    first = (len(arrivals) - rush) // 2
    starts_us, gap_us = arrivals[first].at_us, SECOND_US // PER_SECOND
    dense = [each._replace(at_us=starts_us + n * gap_us) for n, each in enumerate(arrivals[first : first + rush])]
    from_us, to_us = (starts_us + int(share * rush) * gap_us for share in DOWN)
    return [*arrivals[:first], *dense, *arrivals[first + rush :]], (from_us, to_us)


def busiest(done: Sequence[Pursued]) -> str:
    """The route that most first attempts went over."""
    names, counts = np.unique([each.sent.route for each in done if each.sent and each.sent.route], return_counts=True)
    return str(names[counts.argmax()])


def measured(done: Sequence[Pursued], storm: Storm) -> Outage:
    """What the first attempts of the rush show."""
    long_us = storm.to_us - storm.from_us
    starts_us, ends_us = (storm.from_us + int(long_us * x) for x in rush_around(*DOWN))
    crowd = [each for each in done if starts_us <= each.arrival.at_us < ends_us]
    at_s = np.array([(each.arrival.at_us - storm.from_us) / SECOND_US for each in crowd])
    there = np.array([each.sent is not None and each.sent.route == storm.route for each in crowd])
    lasts_s = long_us / SECOND_US
    down = (at_s >= 0) & (at_s < lasts_s)
    usual = float(there[at_s < 0].mean())
    left = first_window(there[down], at_most=DIVERTED * usual)
    left_s = None if left is None else float(at_s[down][left])
    kept = down & (at_s >= (lasts_s if left_s is None else left_s))
    back = first_window(there[at_s >= lasts_s], at_least=RETURNED * usual)
    met = [each for each, hit in zip(crowd, down & there, strict=True) if hit]
    return Outage(
        route=storm.route,
        lasts_s=lasts_s,
        payments=int(down.sum()),
        usual_share=usual,
        diverted_s=left_s,
        diverted_payments=int(down.sum()) if left is None else left,
        hit=len(met),
        probe_share=float(there[kept].mean()) / usual if kept.any() else 0.0,
        returned_s=None if back is None else float(at_s[at_s >= lasts_s][back]) - lasts_s,
        approvals_lost=sum(each.fair - each.approved for each in met),
        approvals=sum(each.approved for each, inside in zip(crowd, down, strict=True) if inside),
        slots=[
            (float(s), float(there[within].mean()))
            for s in np.arange(at_s[0] // SLOT_S * SLOT_S, at_s[-1], SLOT_S)
            if (within := (at_s >= s) & (at_s < s + SLOT_S)).any()
        ],
    )


def rush_around(down_from: float, down_to: float) -> tuple[float, float]:
    """Where the rush begins and ends, in lengths of the outage from its beginning.

    >>> rush_around(0.25, 0.75)
    (-0.5, 1.5)
    """
    long = down_to - down_from
    return -down_from / long, (1.0 - down_from) / long


def first_window(there: NDArray[np.bool_], *, at_most: float = 1.0, at_least: float = 0.0) -> int | None:
    """The payment from which on so many have a share within the bounds.

    >>> first_window(np.arange(200) < 30, at_most=0.0), first_window(np.arange(200) < 30, at_least=1.0)
    (30, None)
    """
    if len(there) < WINDOW:
        return None
    shares = np.convolve(there, np.full(WINDOW, 1.0 / WINDOW), mode="valid")
    found = np.flatnonzero((shares <= at_most + 1e-9) & (shares >= at_least - 1e-9))
    return int(found[0]) if len(found) else None
