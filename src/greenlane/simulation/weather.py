"""What is broken when: acquirers and issuers that are down, wholly or in part, by draws of their own for each day."""

import math
from typing import Final, NamedTuple

import numpy as np

from greenlane.payments.times import DAY_US, MINUTE_US
from greenlane.simulation.parameters import Parameters
from greenlane.simulation.randomness import Draws, Reals

LONGEST_MINUTES: Final = 360.0


class Spell(NamedTuple):
    """Something is down from `begins_us` until `ends_us`; `health` is the share of approvals that is left."""

    begins_us: int
    ends_us: int
    health: float
    acquirer: str
    """Empty where it is an issuer that is down."""
    issuer: int


class Weather:
    """The outages of one run.

    >>> from greenlane.simulation.parameters import load
    >>> weather = Weather(load("europe")[0], issuers=36, seed=1)
    >>> spells = [spell for day in range(60) for spell in weather.spells(day)]
    >>> {spell.acquirer for spell in spells} >= {"rhine", "polder"}
    True
    """

    def __init__(self, world: Parameters, *, issuers: int, seed: int):
        self._world, self._issuers, self._seed = world, issuers, seed
        self._acquirers = [route.acquirer for route in world.routes]
        self._well = np.ones(len(self._acquirers))
        self._known: dict[int, list[Spell]] = {}
        self._near: tuple[int, list[Spell]] = (-1, [])
        """A day, and the spells that may reach into it."""

    def at(self, at_us: int, issuer: int) -> Reals:
        """[routes]: share of approvals that is left, 1 where all is well."""
        day = at_us // DAY_US
        if day != self._near[0]:
            self._near = day, [*self.spells(day - 1), *self.spells(day)]
        down = [s for s in self._near[1] if s.begins_us <= at_us < s.ends_us]
        if not down:
            return self._well
        health = self._well.copy()
        for spell in down:
            if spell.acquirer or spell.issuer == issuer:
                hit = [spell.acquirer in ("", acquirer) for acquirer in self._acquirers]
                health[hit] = np.minimum(health[hit], spell.health)
        return health

    def spells(self, day: int) -> list[Spell]:
        """Those that begin on this UTC day."""
        if day not in self._known:
            outages, names = self._world.outages, sorted(set(self._acquirers))
            self._known[day] = [
                self._spell(day, Draws(self._seed, "acquirer", name, day), acquirer=name)
                for name in names
                if Draws(self._seed, "acquirer", name, day).chance("down", outages.acquirer_per_day)[0]
            ] + self._issuers_down(day)
        return self._known[day]

    def _issuers_down(self, day: int) -> list[Spell]:
        draws = Draws(self._seed, "issuer", np.arange(self._issuers), day)
        down = np.flatnonzero(draws.chance("down", self._world.outages.issuer_per_day))
        return [self._spell(day, draws[down[i : i + 1]], issuer=int(down[i])) for i in range(len(down))]

    def _spell(self, day: int, draws: Draws, *, acquirer: str = "", issuer: int = -1) -> Spell:
        outages = self._world.outages
        minutes = outages.median_minutes * math.exp(outages.sigma * float(draws.normal("length")[0]))
        begins_us = day * DAY_US + int(draws.uniform("begins")[0] * DAY_US)
        full = bool(draws.chance("full", outages.full)[0])
        health = 0.0 if full else outages.partial_factor
        return Spell(begins_us, begins_us + int(min(minutes, LONGEST_MINUTES) * MINUTE_US), health, acquirer, issuer)
