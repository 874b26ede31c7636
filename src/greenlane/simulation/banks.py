"""Issuers, their card ranges and their behaviour over every route, drawn once from the seed of the world."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from greenlane.merchants.regions import EEA, SCA_REGIONS
from greenlane.simulation.crowd import Crowd
from greenlane.simulation.parameters import Funding, Parameters
from greenlane.simulation.randomness import Draws, Indexes, Reals
from greenlane.simulation.response import CASE, ISSUER, OVER

FUNDING: Final[tuple[Funding, ...]] = ("debit", "credit", "prepaid")


class Banks:
    """Every run of a world meets the same banks.

    An issuer is numbered within its country, a card range (eight digits) within its issuer.
    """

    def __init__(self, world: Parameters):
        self._world = world
        per_country, ranges = world.issuers.per_country, world.issuers.bins
        self.issuer_country = np.repeat(np.arange(len(world.countries)), per_country)
        self.range_issuer = np.repeat(np.arange(len(self.issuer_country)), ranges)
        self.range_country = self.issuer_country[self.range_issuer]
        self.issuers = self._draw_issuers(Draws(world.seed, "issuer", np.arange(len(self.issuer_country))))
        self.overs = self._draw_overs(Draws(world.seed, "issuer", np.arange(len(self.issuer_country))))
        self._draw_ranges(Draws(world.seed, "card range", np.arange(len(self.range_issuer))))
        shops = Draws(world.seed, "merchant", np.arange(len(world.merchants)))
        self._merchant = world.approval.merchant_sd * shops.normal("approval")
        codes = [c.code for c in world.countries]
        self._region = np.array([_region(code) for code in codes])
        self._shop_region = np.array([_region(m.country) for m in world.merchants])

    def _draw_ranges(self, draws: Draws) -> None:
        weights = [self._world.issuers.funding[kind] for kind in FUNDING]
        self.range_funding = draws.choice("funding", weights)
        self.range_visa = draws.chance("network", self._world.issuers.visa)
        digits = 10_000_000 * np.where(self.range_visa, 4, 5) + 1_000_000 * draws.integer("second", 6)
        self.range_bin = [f"{n:08d}" for n in digits + draws.integer("rest", 1_000_000)]
        effects = self._world.approval
        issuer = Draws(self._world.seed, "issuer", self.range_issuer)
        self._range = (
            effects.base + effects.issuer_sd * issuer.normal("approval") + effects.bin_sd * draws.normal("bin")
        )
        self._range += effects.prepaid * (self.range_funding == FUNDING.index("prepaid"))

    def _draw_issuers(self, draws: Draws) -> Reals:
        """[issuers, ISSUER]."""
        effects, soft = self._world.approval, self._world.soft
        european = np.array([self._world.countries[c].code in EEA | {"GB"} for c in self.issuer_country])
        abroad = effects.three_ds_elsewhere_mean + effects.three_ds_elsewhere_sd * draws.normal("3ds")
        columns = {
            "ceiling": effects.ceiling_low + (1 - effects.ceiling_low) * draws.uniform("ceiling"),
            "mix": draws.uniform("mix"),
            "three_ds": np.where(european, effects.three_ds + 0.2 * draws.normal("3ds at home"), abroad),
            "exempt": effects.exempt + 0.15 * draws.normal("exempt"),
            "token": effects.token + 0.10 * draws.normal("token"),
            "limit": np.log(effects.limit_median_minor) + effects.limit_sigma * draws.normal("limit"),
            "limit_drop": effects.limit_drop * 2 * draws.uniform("limit drop"),
            "strict_from": 24 * draws.uniform("strict from"),
            "strict_hours": effects.strict_hours * 2 * draws.uniform("strict hours"),
            "strict_drop": effects.strict_drop * 2 * draws.uniform("strict drop"),
            "soft_plain": soft.plain + soft.issuer_sd * draws.normal("soft"),
            "soft_exempt": soft.exempt + soft.issuer_sd * draws.normal("soft exempt"),
            "fraud": effects.fraud_skill_sd * draws.normal("fraud"),
        }
        return np.column_stack([columns[name] for name in ISSUER])

    def _draw_overs(self, draws: Draws) -> Reals:
        """[issuers, routes, OVER]; all but the first column grow with the world's interaction."""
        world, each = self._world, self._world.interactions
        sds = (each.three_ds_sd, each.exempt_sd, each.token_sd, each.soft_decline_sd, each.retry_sd)
        overs = np.zeros((len(self.issuer_country), len(world.routes), len(OVER)))
        for r, route in enumerate(world.routes):
            here = draws.of(route.id)
            overs[:, r, 0] = route.log_odds + world.approval.issuer_route_sd * here.normal("approval")
            home = np.array([world.countries[c].code == route.country for c in self.issuer_country])
            overs[:, r, 0] += world.approval.domestic * home
            for column, sd in enumerate(sds, start=1):
                overs[:, r, column] = world.interaction * sd * here.normal(OVER[column])
        return overs

    @lru_cache(maxsize=1024)  # noqa: B019 - a world lives as long as its run
    def drift(self, seed: int, day: int) -> Reals:
        """[issuers, routes]: what approval has drifted by; constant for some weeks, issuers out of step."""
        effects, issuers = self._world.approval, np.arange(len(self.issuer_country))
        epoch = (day + 5 * issuers) // effects.drift_days
        draws = [Draws(seed, "drift", issuers, r.id, epoch).normal("drift") for r in self._world.routes]
        return effects.drift_sd * np.column_stack(draws)

    def range_of(self, card: Draws, country: Indexes) -> Indexes:
        """The card range of each card of a country."""
        issuers = self._world.issuers
        within = card.choice("issuer", issuers.shares[: issuers.per_country])
        return (country * issuers.per_country + within) * issuers.bins + card.integer("range", issuers.bins)

    def cases(self, crowd: Crowd, fraud_shift: Reals) -> Reals:
        """[payments, CASE]."""
        effects, ranges, merchant = self._world.approval, crowd["card_range"], crowd["merchant"]
        absent, country = crowd["absent"], self.range_country[crowd["card_range"]]
        common = self._range[ranges] + self._merchant[merchant] + effects.night * crowd["night"]
        chain = np.where(crowd["chained"], effects.chained, effects.unchained)
        common += np.where(absent, effects.mit + chain, effects.verification_value)
        common += effects.amount_z * self._amount_z(crowd)
        same = (self._region[country] == self._shop_region[merchant]) & (self._region[country] != "")
        columns = {
            "common": common,
            "log_amount": np.log(crowd["amount_minor"]),
            "hour": crowd["at_us"] / 3.6e9 % 24,
            "in_scope": (same & ~absent).astype(float),
            "fraud": fraud_shift,
            "number_works": np.where(crowd["expired"], self._world.payers.updater, 1.0),
            "token_works": np.where(crowd["token"] & ~crowd["suspended"], 1.0, 0.0),
        }
        return np.column_stack([columns[name] for name in CASE])

    def _amount_z(self, crowd: Crowd) -> Reals:
        """How many deviations the amount lies from the merchant's median, in logs."""
        medians = np.array([m.amount_median_minor for m in self._world.merchants])
        sigmas = np.array([m.amount_sigma for m in self._world.merchants])
        apart, spread = np.log(crowd["amount_minor"] / medians[crowd["merchant"]]), sigmas[crowd["merchant"]]
        z = np.divide(apart, spread, out=np.zeros(len(apart)), where=spread > 0)
        clipped: Reals = np.clip(z, -3, 3)
        return clipped

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


def _region(country: str) -> str:
    return SCA_REGIONS.get(country, "")
