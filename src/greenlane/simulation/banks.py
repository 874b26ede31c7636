"""Issuers, their card ranges and their behaviour: who approves what, over which route, with how many log-odds."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from greenlane.simulation.crowd import Crowd
from greenlane.simulation.parameters import Funding, Parameters
from greenlane.simulation.randomness import Draws, Indexes, Reals

FUNDING: Final[tuple[Funding, ...]] = ("debit", "credit", "prepaid")
EUROPE = ("GB", "DE", "FR", "NL", "ES", "IT", "IE", "BE", "AT", "PT", "FI", "PL", "SE", "DK")


class Banks:
    """Drawn once from the seed of the world, so that every run of a world meets the same banks.

    An issuer is numbered within its country, a card range (eight digits) within its issuer.
    """

    def __init__(self, world: Parameters):
        self._world = world
        per_country, ranges = world.issuers.per_country, world.issuers.bins
        self.issuer_country = np.repeat(np.arange(len(world.countries)), per_country)
        self.range_issuer = np.repeat(np.arange(len(self.issuer_country)), ranges)
        self.range_country = self.issuer_country[self.range_issuer]
        self._draw_ranges(Draws(world.seed, "card range", np.arange(len(self.range_issuer))))
        self._draw_effects(Draws(world.seed, "issuer", np.arange(len(self.issuer_country))))

    def _draw_ranges(self, draws: Draws) -> None:
        weights = [self._world.issuers.funding[kind] for kind in FUNDING]
        self.range_funding = draws.choice("funding", weights)
        self.range_visa = draws.chance("network", self._world.issuers.visa)
        digits = 10_000_000 * np.where(self.range_visa, 4, 5) + 1_000_000 * draws.integer("second", 6)
        self.range_bin = [f"{n:08d}" for n in digits + draws.integer("rest", 1_000_000)]

    def _draw_effects(self, draws: Draws) -> None:
        effects, routes = self._world.approval, self._world.routes
        self._issuer = effects.base + effects.issuer_sd * draws.normal("approval")
        self._issuer_route = np.column_stack(
            [r.log_odds + effects.issuer_route_sd * draws.of(r.id).normal("approval") for r in routes]
        )
        european = np.array([self._world.countries[c].code in EUROPE for c in self.issuer_country])
        abroad = effects.three_ds_elsewhere_mean + effects.three_ds_elsewhere_sd * draws.normal("3ds")
        self._three_ds = np.where(european, effects.three_ds, abroad)
        shops = Draws(self._world.seed, "merchant", np.arange(len(self._world.merchants)))
        self._merchant = effects.merchant_sd * shops.normal("approval")

    def range_of(self, card: Draws, country: Indexes) -> Indexes:
        """The card range of each card of a country."""
        issuers = self._world.issuers
        within = card.choice("issuer", issuers.shares[: issuers.per_country])
        return (country * issuers.per_country + within) * issuers.bins + card.integer("range", issuers.bins)

    def approval_log_odds(self, crowd: Crowd) -> tuple[Reals, Reals]:
        """Of a good payer by route (rows, routes), and what an authentication adds (rows)."""
        effects = self._world.approval
        issuer = self.range_issuer[crowd["card_range"]]
        common = self._issuer[issuer] + self._merchant[crowd["merchant"]] + effects.verification_value
        common += effects.token * crowd["token"] + effects.night * crowd["night"]
        common += effects.prepaid * (self.range_funding[crowd["card_range"]] == FUNDING.index("prepaid"))
        common += effects.amount_z * self._amount_z(crowd)
        return common[:, None] + self._issuer_route[issuer] + self._domestic(issuer), self._three_ds[issuer]

    def _amount_z(self, crowd: Crowd) -> Reals:
        """How many deviations the amount lies from the merchant's median, in logs."""
        medians = np.array([m.amount_median_minor for m in self._world.merchants])
        sigmas = np.array([m.amount_sigma for m in self._world.merchants])
        z = np.log(crowd["amount_minor"] / medians[crowd["merchant"]]) / sigmas[crowd["merchant"]]
        clipped: Reals = np.clip(z, -3, 3)
        return clipped

    def _domestic(self, issuer: Indexes) -> Reals:
        codes = [c.code for c in self._world.countries]
        home = np.array([codes.index(r.country) if r.country in codes else -1 for r in self._world.routes])
        same: Reals = self._world.approval.domestic * (self.issuer_country[issuer][:, None] == home)
        return same

    def decline_shares(self, mixes: Sequence[dict[str, float]]) -> list[Reals]:
        """For each mix of codes, the shares by issuer, scattered around the mix.

        Dirichlet by normalised gammas, each gamma approximated by Wilson and Hilferty's cube of a normal.
        """
        draws = Draws(self._world.seed, "declines", np.arange(len(self.issuer_country)))
        return [self._scattered(draws.of(i), list(mix.values())) for i, mix in enumerate(mixes)]

    def _scattered(self, draws: Draws, shares: list[float]) -> Reals:
        shape = np.array(shares) / sum(shares) * self._world.approval.issuer_concentration
        z = np.column_stack([draws.of(i).normal("share") for i in range(len(shape))])
        gamma = shape * np.maximum(1 - 1 / (9 * shape) + z / (3 * np.sqrt(shape)), 0.05) ** 3
        scattered: Reals = gamma / gamma.sum(axis=1, keepdims=True)
        return scattered
