"""Exploration: now and then another action than the best one is taken, because only what is tried is learned.

Three kinds, each with its own purpose and budget. At most one is on offer for a decision, the first of these that is:

    release    the best action is a block: a few such payments pass, else nobody would know what blocking costs.
               The chance falls with p and is exactly zero from a hard ceiling on; so many per card and day, no more.
    challenge  allow (or exempt) and challenge are worth nearly the same: now and then the other of the two.
    route      among eligible healthy ways whose upper value is near the best one's: softmax with a floor. None for
               large amounts, last attempts, attacked or alarmed cells (these cells bar all kinds).

The answer is one distribution over all eligible actions, integers that sum to 2^32, and one draw from it: so every
propensity is exact, also by factor: pi(intervention | x) and pi(route, credential | x, intervention). Budgets thin it:
each alternative has its full probability times the kind's pace, the rest is on the best action. What costs more than is
left of the budget is not on offer.

After a decline the way of a further attempt that leaves now is drawn likewise (`tries.drawn`), on the budget of routes.
Whether and when to try again is never left to chance: pi(next | h) is 1.

A draw is an HMAC of the tenant's secret over purpose and unit. The unit of releases and challenges is card (or device)
and day, that of routes payment and attempt number: sending again under a new id, or waiting, buys no new draw.
"""

import hmac
import math
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import replace

from greenlane.merchants.economics import CostMinor, Ppm
from greenlane.payments.attempt import AmountMinor, Frozen
from greenlane.policy.actions import Eligible
from greenlane.policy.distribution import TOTAL, greedy, settled

Kind = Literal["release", "challenge", "route"]
KINDS: Final[tuple[Kind, ...]] = ("release", "challenge", "route")
PPM: Final = 1_000_000
UNDRAWN: Final = -1
RELEASED_TO: Final = ("allow", "exempt", "challenge")
"""A release goes to the best of these: a review would say nothing of what passes by itself."""

Draw = Callable[[str, str], int]
"""(purpose, unit) -> an integer in [0, 2^32)."""


class Releasing(Frozen, frozen=True, omit_defaults=False):
    """Of would-be blocks. Off while its budget is zero."""

    budget_minor: CostMinor = 0
    """A day, of expected loss at its upper 95 %."""
    amount_max_minor: AmountMinor = 20_000
    share_ppm: Ppm = 50_000
    """At p = 0; falls in a straight line to zero at the ceiling."""
    ceiling_e9: Annotated[int, Meta(ge=1, le=10**9)] = 700_000_000
    per_day: Annotated[int, Meta(ge=0, le=100)] = 1
    """Of one card, and of one device."""
    width_ppm: Ppm = 100_000
    """Upper 95 % of a value's error, of the amount, where no width is given. Assumed: p is 10 points off."""


class Challenging(Frozen, frozen=True, omit_defaults=False):
    """Between challenge and allow or exempt. Off while its budget is zero."""

    budget_minor: CostMinor = 0
    amount_max_minor: AmountMinor = 20_000
    share_ppm: Ppm = 100_000
    """At equal values; falls in a straight line to zero at a difference of epsilon."""
    epsilon_ppm: Ppm = 5_000
    """Of the amount."""
    width_ppm: Ppm = 20_000


class Routing(Frozen, frozen=True, omit_defaults=False):
    """Between ways. Off while its budget is zero."""

    budget_minor: CostMinor = 0
    amount_max_minor: AmountMinor = 20_000
    epsilon_ppm: Ppm = 10_000
    """Of the amount: how far a way's upper value may lie below the best one."""
    temperature_ppm: Annotated[int, Meta(ge=1, le=PPM)] = 3_000
    """Of the amount, in softmax(value / temperature)."""
    floor_ppm: Annotated[int, Meta(ge=0, le=15_000)] = 10_000
    """Least probability of each way on offer, at full pace."""
    width_ppm: Ppm = 20_000
    """Where nobody says how sure approval is. Assumed: it is believed to 4 points, margin .35."""


class Exploring(Frozen, frozen=True, omit_defaults=False):
    """The tenant's exploration: by default none, as it costs money.

    >>> Exploring(route=Routing(budget_minor=10_000)).route.floor_ppm
    10000
    """

    release: Releasing = Releasing()
    challenge: Challenging = Challenging()
    route: Routing = Routing()


class Allowance(NamedTuple):
    """What a kind's budget allows now (`policy.budgets`)."""

    budget_micro: int = 0
    """Of the day; 0: off."""
    remaining_micro: int = 0
    pace_ppm: int = 0
    """How much of the full probability is used in this policy epoch."""


class Allowances(NamedTuple):
    release: Allowance = Allowance()
    challenge: Allowance = Allowance()
    route: Allowance = Allowance()


class Context(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What exploration looks at besides the values."""

    payment_id: str
    attempt_no: int = 1
    unit: str = ""
    """The card's pseudonym, else the device's, with its kind; "" for neither: nothing is then released or swapped."""
    day: int = 0
    """UTC day number of ingest."""
    fraud_e9: int = 0
    """p_h, as the choice used it."""
    amount_minor: int = 0
    last_attempt: bool = False
    barred: bool = False
    """An attacked or alarmed cell."""
    unhealthy: int = 0
    """Bit i: way i of the eligible ones is not healthy."""
    released_today: int = 0
    """The larger of the card's and the device's count."""
    allowances: Allowances = Allowances()
    deviations_millilogit: tuple[int, ...] = ()
    """How unsure approval over each eligible way is, one standard deviation; (): nobody says."""

    def of_ways(self, places: Sequence[int], *, fraud_e9: int) -> "Context":
        """The same of some of the ways, by their numbers."""
        deviations = self.deviations_millilogit
        return replace(
            self,
            fraud_e9=fraud_e9,
            unhealthy=sum(1 << at for at, place in enumerate(places) if self.unhealthy >> place & 1),
            deviations_millilogit=tuple([deviations[place] for place in places]) if deviations else (),
        )


class Explored(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What was drawn, and from what. Money in micro-minor units."""

    distribution: tuple[int, ...]
    place: int
    """Of the action drawn, in the order of actions."""
    kind: Kind | Literal[""] = ""
    """On offer, whether or not it was drawn."""
    explored: bool = False
    """Another action than the best one was drawn."""
    draw: int = UNDRAWN
    """In [0, 2^32); -1 where nothing was left to chance."""
    intervention: int = TOTAL
    """pi(intervention | x) of 2^32; the other factor is `distribution[place]` of it."""
    expected_micro: int = 0
    """Loss against the best action, as believed."""
    charged_micro: int = 0
    """The same at its upper 95 %: what the budget is charged."""
    demand_micro: int = 0
    """What would be charged on average at full pace."""
    degraded: bool = False
    """The masses were no distribution: the best action, kept out of every evaluation."""

    @property
    def propensity(self) -> dict[str, float]:
        """By factor; their product is the action's probability."""
        return {"intervention": self.intervention / TOTAL, "route": self.distribution[self.place] / self.intervention}


class Offer(NamedTuple):
    """The alternatives of one kind, with their masses at full pace."""

    kind: Kind
    unit: str
    masses: dict[int, int]
    """By place."""
    widths_micro: dict[int, int]
    """By place: the upper 95 % of the error of its value."""


def explore(
    values_micro: Sequence[int],
    may: Eligible,
    *,
    context: Context,
    exploring: Exploring,
    draw: Draw,
    uppers_micro: Sequence[int] = (),
) -> Explored:
    """The action to take. `values_micro` in the order of `may`'s actions; of equal ones the first is the best.

    `uppers_micro` are the values if approval over each way were as good as is still likely (upper 95 %); without them a
    way's width is a stated share of the amount.

    >>> from greenlane.policy.actions import Row, Way
    >>> may = Eligible((Row("allow", "", 0b11),), (Way("a", "pan"), Way("b", "pan")), ())
    >>> on = Allowances(route=Allowance(10**9, 10**9, PPM))
    >>> seen = Context(payment_id="p", amount_minor=5_000, allowances=on)
    >>> found = explore([10**8, 10**8, 0], may, context=seen, exploring=Exploring(), draw=secret_draw(b"secret"))
    >>> found.kind, found.distribution, found.demand_micro  # half of 2 % of 50.00
    ('route', (2147483648, 2147483648, 0), 50000000)
    """
    best = values_micro.index(max(values_micro))
    offer = on_offer(values_micro, may, best=best, context=context, exploring=exploring, uppers=uppers_micro)
    if offer is None:
        return Explored(distribution=greedy(may.size, best), place=best)
    return _drawn(values_micro, may, best=best, context=context, offer=offer, draw=draw)


def on_offer(
    values_micro: Sequence[int],
    may: Eligible,
    *,
    best: int,
    context: Context,
    exploring: Exploring,
    uppers: Sequence[int] = (),
) -> Offer | None:
    """The kind that is on offer for this decision."""
    if context.barred:
        return None
    if best == may.size - 1:
        return _release(values_micro, may, context=context, releasing=exploring.release)
    swap = _challenge(values_micro, may, best=best, context=context, challenging=exploring.challenge)
    return swap or _route(values_micro, may, best=best, context=context, routing=exploring.route, uppers=uppers)


def secret_draw(secret: bytes) -> Draw:
    """Draws that nobody without the secret can foresee, and that anybody with it can check.

    >>> secret_draw(b"secret")("route", "pay_1/1") == secret_draw(b"secret")("route", "pay_1/1")
    True
    """

    def draw(purpose: str, unit: str) -> int:
        digest = hmac.digest(secret, f"{purpose}\0{unit}".encode(), sha256)
        return int.from_bytes(digest[:4], "big")

    return draw


def recorded_draw(number: int) -> Draw:
    """The draw of a recorded decision, for replay."""
    return lambda _purpose, _unit: number


def places(may: Eligible, interventions: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(place in the order of actions, number of the way) of every action with one of these interventions.

    >>> from greenlane.policy.actions import Row, Way
    >>> may = Eligible((Row("allow", "", 0b01), Row("challenge", "", 0b10)), (Way("a", ""), Way("b", "")), ())
    >>> list(places(may, ["challenge"]))
    [(1, 1)]
    """
    at = 0
    for intervention, _, bits in may.rows:
        if intervention in interventions:
            for way in range(len(may.ways)):
                if bits >> way & 1:
                    yield at, way
                    at += 1
        else:
            at += bits.bit_count()


def release_ppm(fraud_e9: int, releasing: Releasing) -> int:
    """P(a would-be block is released) at full pace.

    >>> [release_ppm(p, Releasing()) for p in (0, 350_000_000, 699_999_999, 700_000_000)]
    [50000, 25000, 0, 0]
    """
    below = max(0, releasing.ceiling_e9 - fraud_e9)
    return releasing.share_ppm * below // releasing.ceiling_e9


def _release(values: Sequence[int], may: Eligible, *, context: Context, releasing: Releasing) -> Offer | None:
    if not context.unit or context.amount_minor > releasing.amount_max_minor:
        return None
    if not context.allowances.release.budget_micro or context.released_today >= releasing.per_day:
        return None
    to = _best_of(values, places(may, RELEASED_TO), context.unhealthy)
    mass = TOTAL * release_ppm(context.fraud_e9, releasing) // PPM
    if to is None or mass == 0:
        return None
    width = releasing.width_ppm * context.amount_minor
    return Offer("release", f"{context.unit}/{context.day}", {to: mass}, {to: width})


def _challenge(
    values: Sequence[int], may: Eligible, *, best: int, context: Context, challenging: Challenging
) -> Offer | None:
    if not context.unit or context.amount_minor > challenging.amount_max_minor:
        return None
    intervention = may.action(best).intervention
    if intervention == "review" or not context.allowances.challenge.budget_micro:
        return None
    others = ("allow", "exempt") if intervention == "challenge" else ("challenge",)
    other = _best_of(values, places(may, others), context.unhealthy)
    if other is None:
        return None
    epsilon = challenging.epsilon_ppm * context.amount_minor
    gap = values[best] - values[other]
    if gap >= epsilon:
        return None
    mass = TOTAL * challenging.share_ppm * (epsilon - gap) // (PPM * epsilon)
    width = challenging.width_ppm * context.amount_minor
    return Offer("challenge", f"{context.unit}/{context.day}", {other: mass}, {other: width})


def _route(
    values: Sequence[int],
    may: Eligible,
    *,
    best: int,
    context: Context,
    routing: Routing,
    uppers: Sequence[int],
) -> Offer | None:
    if context.last_attempt or context.amount_minor > routing.amount_max_minor:
        return None
    if not context.allowances.route.budget_micro or len(may.ways) < 2:
        return None
    uppers = uppers or [value + routing.width_ppm * context.amount_minor for value in values]
    near = _near(uppers, may, best=best, context=context, routing=routing)
    if not near:
        return None
    unit, widths = f"{context.payment_id}/{context.attempt_no}", {at: uppers[at] - values[at] for at in near}
    return Offer("route", unit, _softmax(values, best, near, context=context, routing=routing), widths)


def _near(uppers: Sequence[int], may: Eligible, *, best: int, context: Context, routing: Routing) -> list[int]:
    """Places of the other healthy ways, for the same intervention, whose upper value is near the best one."""
    found = {
        place: uppers[place]
        for place, way in places(may, (may.action(best).intervention,))
        if place == best or not context.unhealthy >> way & 1
    }
    least = max(found.values()) - routing.epsilon_ppm * context.amount_minor
    return [place for place, upper in found.items() if upper >= least and place != best]


def _softmax(
    values: Sequence[int], best: int, near: list[int], *, context: Context, routing: Routing
) -> dict[int, int]:
    """Masses of the alternatives: floor + (1 - n floor) softmax(value / temperature) over them and the best."""
    temperature = max(1, routing.temperature_ppm * context.amount_minor)
    weights = [math.exp((values[place] - values[best]) / temperature) for place in near]
    floor = routing.floor_ppm / PPM
    above = (1.0 - floor * (len(near) + 1)) / (1.0 + math.fsum(weights))
    return {place: int(TOTAL * (floor + above * weight)) for place, weight in zip(near, weights, strict=True)}


def _best_of(values: Sequence[int], among: Iterator[tuple[int, int]], unhealthy: int) -> int | None:
    return max((place for place, way in among if not unhealthy >> way & 1), key=values.__getitem__, default=None)


def _drawn(values: Sequence[int], may: Eligible, *, best: int, context: Context, offer: Offer, draw: Draw) -> Explored:
    allowance: Allowance = getattr(context.allowances, offer.kind)
    masses = [0] * may.size
    demand = 0
    for place, mass in offer.masses.items():
        upper = values[best] - values[place] + offer.widths_micro[place]
        demand += mass * upper
        if upper <= allowance.remaining_micro:
            masses[place] = mass * allowance.pace_ppm // PPM
    masses[best] = TOTAL - sum(masses)
    distribution, degraded = settled(tuple(masses), best=best)
    number = draw(offer.kind, offer.unit) if distribution[best] < TOTAL else UNDRAWN
    place = best if number == UNDRAWN else holding(distribution, number)
    expected = values[best] - values[place]
    intervention = may.action(place).intervention
    return Explored(
        distribution=distribution,
        place=place,
        kind=offer.kind,
        explored=place != best,
        draw=number,
        intervention=sum(distribution[at] for at, _ in places(may, (intervention,))) or distribution[-1],
        expected_micro=expected,
        charged_micro=expected + offer.widths_micro[place] if place != best else 0,
        demand_micro=demand // TOTAL,
        degraded=degraded,
    )


def holding(distribution: Sequence[int], number: int) -> int:
    """The place whose cumulative interval holds a draw.

    >>> holding((2**31, 0, 2**31), 2**31)
    2
    """
    reached = 0
    for place, mass in enumerate(distribution):
        reached += mass
        if number < reached:
            return place
    return len(distribution) - 1
