"""A world: payments in time order, each with what the caller would send and with the truth that no caller knows."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from greenlane.errors import SettingsError
from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import Attempt, Card, Customer, Device, Network, Payment, PaymentMethod, Route
from greenlane.payments.times import DAY_US, format_rfc3339
from greenlane.simulation.banks import FUNDING, Banks
from greenlane.simulation.crowd import MAIL_DOMAINS, Crowd
from greenlane.simulation.fraudsters import Fraudsters
from greenlane.simulation.parameters import Merchant, Parameters, load
from greenlane.simulation.people import People
from greenlane.simulation.truth import Oracle, Truth

PRIVATE_ASN: Final = 64_512
HOSTING_ASN: Final = 65_000
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
        self.routes = tuple(Route(id=r.id, acquirer=r.acquirer) for r in parameters.routes)

    @classmethod
    def load(cls, name_or_path: str | Path) -> "World":
        return cls(*load(name_or_path))

    def payments(self, *, start_us: int, n: int, seed: int) -> Iterator[Arrival]:
        """The first `n` payments from `start_us` on, in time order; a larger `n` continues the same payments."""
        people = People(self.parameters, self.banks, seed=seed, start_us=start_us)
        fraudsters = Fraudsters(self.parameters, self.banks, people, seed=seed)
        day, left, idle = start_us // DAY_US, n, 0
        while left > 0:
            crowd = np.concatenate([people.payments(day), fraudsters.payments(day)])
            crowd = crowd[crowd["at_us"] >= start_us]
            crowd = crowd[np.lexsort((crowd["luck"], crowd["at_us"]))][:left]
            yield from self._arrivals(crowd)
            day, left, idle = day + 1, left - len(crowd), 0 if len(crowd) else idle + 1
            if idle > 365:
                raise SettingsError(f"nobody pays in world {self.parameters.name!r}", code="invalid_world")

    def _arrivals(self, crowd: Crowd) -> Iterator[Arrival]:
        for row, truth in zip(crowd.tolist(), self.oracle.truths(crowd), strict=True):
            yield Arrival(row[0], self._attempt(*row[:-2]), truth)

    def _attempt(
        self,
        at_us: int,
        luck: int,
        account: int,
        created_us: int,
        mail_domain: int,
        card: int,
        card_range: int,
        token: bool,
        billing: int,
        shipping: int,
        device: int,
        address: int,
        address_country: int,
        proxy: bool,
        merchant: int,
        amount_minor: int,
    ) -> Attempt:
        """The columns of `ROW` in their order; ids are at most 12 hexadecimal digits, too short for a card number."""
        world, shop = self.parameters, self.parameters.merchants[merchant]
        suffix = f"{luck >> 16:012x}"
        return Attempt(
            attempt_id=f"att_{suffix}",
            at=format_rfc3339(at_us),
            eligible_routes=self.routes,
            payment=Payment(
                id=f"pay_{suffix}",
                amount=amount_minor,
                currency=world.currency,
                merchant_id=shop.id,
                mcc=shop.mcc,
                payment_method=PaymentMethod(card=self._card(card, card_range, token=token)),
                customer=Customer(
                    id=f"cus_{account:010x}",
                    email_hash=f"em_{account:010x}",
                    email_domain=MAIL_DOMAINS[mail_domain],
                    account_created=_when(created_us),
                ),
                device=Device(
                    id=f"dev_{device:010x}",
                    ip=f"10.{address >> 16}.{address >> 8 & 255}.{address & 255}",
                    ip_country=world.countries[address_country].code,
                    asn=(HOSTING_ASN if proxy else PRIVATE_ASN) + address_country,
                    is_proxy=proxy,
                ),
                billing_country=world.countries[billing].code,
                shipping_hash=f"ship_{shipping:010x}",
            ),
        )

    def _card(self, card: int, card_range: int, *, token: bool) -> Card:
        banks = self.banks
        issuer = int(banks.range_issuer[card_range])
        country = self.parameters.countries[banks.issuer_country[issuer]].code
        network: Network = "visa" if banks.range_visa[card_range] else "mastercard"
        return Card(
            fingerprint=f"fp_{card:010x}",
            par=f"par_{card:010x}",
            bin=banks.range_bin[card_range],
            last4=f"{card % 10_000:04d}",
            network=network,
            funding=FUNDING[banks.range_funding[card_range]],
            issuer_id=f"iss_{country.lower()}_{issuer % self.parameters.issuers.per_country + 1}",
            issuer_country=country,
            credential="network_token" if token else "pan",
        )


@lru_cache(maxsize=65_536)
def _when(us: int) -> str:
    return format_rfc3339(us)


def _economics(shop: Merchant, world: Parameters) -> Economics:
    """What a demonstration configures for a merchant: its margin, goods and disputes; the rest by default."""
    return Economics(
        mcc=shop.mcc,
        country=shop.country,
        margin_ppm=round(shop.margin * PPM),
        unrecoverable_ppm=round(shop.kappa * PPM),
        dispute_ppm=round(shop.friendly * PPM),
        routes=tuple(RouteTerms(id=r.id, acquirer_country=r.country) for r in world.routes),
    )
