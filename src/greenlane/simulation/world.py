"""A world: payments in time order, each with what the caller would send and with the truth that no caller knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from greenlane.errors import SettingsError
from greenlane.merchants.economics import Economics, Fees, RouteTerms, TraBand
from greenlane.merchants.fees import FeeRule, Schedule, When
from greenlane.payments.attempt import Attempt
from greenlane.payments.times import DAY_US
from greenlane.simulation.banks import Banks
from greenlane.simulation.callers import Callers
from greenlane.simulation.crowd import Crowd, Row
from greenlane.simulation.fraudsters import Fraudsters
from greenlane.simulation.parameters import Acquiring, Merchant, Parameters, load
from greenlane.simulation.people import People
from greenlane.simulation.randomness import Reals
from greenlane.simulation.truth import Oracle, Truth

PPM: Final = 1_000_000


class Arrival(NamedTuple):
    """One attempt about to be made, at `at_us` (UTC microseconds)."""

    at_us: int
    attempt: Attempt
    truth: Truth


class World:
    """A seeded world; its identity is the hash of its file.

    >>> world = World.load("shop")
    >>> first, *_ = world.payments(start_us=1_767_225_600_000_000, n=3, seed=1)
    >>> first.attempt.payment.currency, first.truth.fraud
    ('EUR', False)
    >>> next(iter(world.payments(start_us=1_767_225_600_000_000, n=1, seed=1))) == first
    True
    """

    def __init__(self, parameters: Parameters, digest: str):
        self.parameters = parameters
        self.digest = digest
        self.banks = Banks(parameters)
        self.oracle = Oracle(parameters, self.banks)
        self.economics = {m.id: _economics(m, parameters) for m in parameters.merchants}
        self.callers = Callers(parameters, self.banks)

    @classmethod
    def load(cls, name_or_path: str | Path) -> "World":
        return cls(*load(name_or_path))

    def payments(self, *, start_us: int, n: int, seed: int, stopped: Reals | None = None) -> Iterator[Arrival]:
        """The first `n` payments from `start_us` on, in time order; a larger `n` continues the same payments.

        `stopped` [merchants]: the share of fraud that was stopped there lately, read anew for each day.
        """
        people = People(self.parameters, self.banks, seed=seed, start_us=start_us)
        fraudsters = Fraudsters(self.parameters, self.banks, people, seed=seed, stopped=stopped)
        day, left, idle = start_us // DAY_US, n, 0
        while left > 0:
            crowd = np.concatenate([people.payments(day), people.renewals(day), fraudsters.payments(day)])
            crowd = crowd[crowd["at_us"] >= start_us]
            crowd = crowd[np.lexsort((crowd["luck"], crowd["at_us"]))][:left]
            yield from self._arrivals(crowd)
            day, left, idle = day + 1, left - len(crowd), 0 if len(crowd) else idle + 1
            if idle > 365:
                raise SettingsError(f"nobody pays in world {self.parameters.name!r}", code="invalid_world")

    def _arrivals(self, crowd: Crowd) -> Iterator[Arrival]:
        rows = map(Row._make, crowd.tolist())
        for row, truth in zip(rows, self.oracle.truths(crowd), strict=True):
            yield Arrival(row.at_us, self.callers.attempt(row), truth)


def _economics(shop: Merchant, world: Parameters) -> Economics:
    """What a demonstration configures for a merchant: its margin, goods and disputes; the rest by default."""
    return Economics(
        mcc=shop.mcc,
        country=shop.country,
        margin_ppm=round(shop.margin * PPM),
        unrecoverable_ppm=round(shop.kappa * PPM),
        dispute_ppm=round(shop.friendly * PPM),
        sca_mandated=world.soft.mandated,
        routes=tuple(map(_terms, world.routes)),
    )


def _terms(route: Acquiring) -> RouteTerms:
    return RouteTerms(
        id=route.id,
        credentials=route.credentials,
        acquirer=route.acquirer,
        acquirer_country=route.country,
        fees=_fees(route),
        schedule=_schedule(route),
        exemptions=route.exemptions,
        tra_band=TraBand(reference_bps=route.tra_bps, amount_max_minor=route.tra_amount_max_minor),
    )


def _schedule(route: Acquiring) -> Schedule | None:
    """A price list where the price depends on the card."""
    stated = {"abroad": route.fee_abroad, "debit": route.fee_debit}
    if not any(stated.values()):
        return None
    fixed, when = route.fee_minor * PPM, {"abroad": When(region=("inter",)), "debit": When(funding=("debit",))}
    rules = [
        FeeRule(id=name, when=when[name], rate_ppm=round(fee * PPM), fixed_micro=fixed)
        for name, fee in stated.items()
        if fee is not None
    ]
    rules.append(FeeRule(id="home", rate_ppm=round(route.fee * PPM), fixed_micro=fixed))
    rules.append(FeeRule(id="attempt", component="authorization", fixed_micro=route.declined_minor * PPM))
    return Schedule(pricing_model="blended", rules=tuple(rules))


def _fees(route: Acquiring) -> Fees:
    return Fees(pct_ppm=round(route.fee * PPM), fixed_minor=route.fee_minor, declined_minor=route.declined_minor)
