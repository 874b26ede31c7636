"""What a caller would send about a row of the crowd: the body of `POST /v1/decisions`."""

from functools import lru_cache
from typing import Final

from greenlane.payments.attempt import (
    Attempt,
    Card,
    Customer,
    Device,
    Network,
    NetworkToken,
    Payment,
    PaymentMethod,
    Route,
)
from greenlane.payments.times import format_rfc3339
from greenlane.simulation.banks import FUNDING, Banks
from greenlane.simulation.crowd import MAIL_DOMAINS, Row
from greenlane.simulation.parameters import Parameters

PRIVATE_ASN: Final = 64_512
HOSTING_ASN: Final = 65_000
ACTIVE: Final = NetworkToken()
SUSPENDED: Final = NetworkToken(state="suspended")


class Callers:
    """Ids are at most 12 hexadecimal digits: too short to look like a card number."""

    def __init__(self, world: Parameters, banks: Banks):
        self._world, self._banks = world, banks
        self._country = [c.code for c in world.countries]
        self._routes = tuple(Route(id=r.id, acquirer=r.acquirer, credentials=r.credentials) for r in world.routes)
        self._issuer = [
            f"iss_{self._country[country].lower()}_{i % world.issuers.per_country + 1}"
            for i, country in enumerate(banks.issuer_country)
        ]

    def attempt(self, row: Row) -> Attempt:
        suffix = f"{row.luck >> 16:012x}"
        return Attempt(
            attempt_id=f"att_{suffix}",
            at=format_rfc3339(row.at_us),
            eligible_routes=self._routes,
            payment=self._payment(row, f"pay_{suffix}"),
        )

    def _payment(self, row: Row, payment_id: str) -> Payment:
        shop = self._world.merchants[row.merchant]
        return Payment(
            id=payment_id,
            amount=row.amount_minor,
            currency=self._world.currency,
            merchant_id=shop.id,
            mcc=shop.mcc,
            payment_method=PaymentMethod(card=self._card(row)),
            initiator="mit" if row.absent else "cit",
            mit_reason="recurring" if row.absent else None,
            network_transaction_id=f"nt_{row.card:010x}" if row.chained else None,
            customer=self._customer(row),
            device=None if row.absent else self._device(row),
            billing_country=self._country[row.billing],
            shipping_hash=f"ship_{row.shipping:010x}",
        )

    def _card(self, row: Row) -> Card:
        banks, issuer = self._banks, self._banks.range_issuer[row.card_range]
        network: Network = "visa" if banks.range_visa[row.card_range] else "mastercard"
        return Card(
            fingerprint=f"fp_{row.card:010x}",
            par=f"par_{row.card:010x}",
            bin=banks.range_bin[row.card_range],
            last4=f"{row.card % 10_000:04d}",
            network=network,
            funding=FUNDING[banks.range_funding[row.card_range]],
            issuer_id=self._issuer[issuer],
            issuer_country=self._country[banks.issuer_country[issuer]],
            token=(SUSPENDED if row.suspended else ACTIVE) if row.token else None,
            exp_bucket="expired" if row.expired else "valid",
        )

    def _customer(self, row: Row) -> Customer:
        return Customer(
            id=f"cus_{row.account:010x}",
            email_hash=f"em_{row.account:010x}",
            email_domain=MAIL_DOMAINS[row.mail_domain],
            account_created=_when(row.created_us),
        )

    def _device(self, row: Row) -> Device:
        return Device(
            id=f"dev_{row.device:010x}",
            ip=f"10.{row.address >> 16}.{row.address >> 8 & 255}.{row.address & 255}",
            ip_country=self._country[row.address_country],
            asn=(HOSTING_ASN if row.proxy else PRIVATE_ASN) + row.address_country,
            is_proxy=row.proxy,
        )


@lru_cache(maxsize=65_536)
def _when(us: int) -> str:
    return format_rfc3339(us)
