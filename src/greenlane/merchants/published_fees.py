"""What cards cost where nobody has stated a price list: published interchange and scheme fees, an assumed acquirer.

The figures stand in `payments/data/card_fees.csv`, each with its source; of a published range the middle is taken.
Acquirers' own prices are negotiated and not published: they are parameters here, with assumed defaults.
"""

from decimal import Decimal
from functools import cache
from typing import Final

import msgspec

from greenlane.merchants.fees import MICRO, FeeRule, Schedule, When
from greenlane.merchants.regions import EEA
from greenlane.payments.tables import rows

LISTS: Final = ("network", "funding", "product", "region", "credential")


@cache
def published_schedule(
    acquirer_country: str | None,
    *,
    acquirer_ppm: int = 1_900,
    acquirer_micro: int = 6 * MICRO,
    authorization_micro: int = 3 * MICRO,
    authentication_micro: int = 6 * MICRO,
    currency_ppm: int = 10_000,
) -> Schedule:
    """Interchange++ at an acquirer of this country. Money in micro-minor units of the region's own currency.

    The mark-ups are the middles of assumed ranges: 8 to 30 bps + 0.02 to 0.10; 0.01 to 0.05 for each authorisation;
    0.03 to 0.10 for each 3-D Secure request; 1 % where the currency is converted.

    >>> from greenlane.merchants.fees import Situation, breakdown_micro
    >>> card = Situation(network="visa", funding="debit", product="consumer", region="domestic")
    >>> breakdown_micro(published_schedule("DE"), card, 10_000)
    {'interchange': 20000000, 'scheme': 5000000, 'acquirer': 25000000, 'authorization': 3000000}
    """
    markup = (
        FeeRule(id="acquirer", component="acquirer", rate_ppm=acquirer_ppm, fixed_micro=acquirer_micro),
        FeeRule(id="authorization", component="authorization", fixed_micro=authorization_micro),
        FeeRule(id="authentication", component="authentication", fixed_micro=authentication_micro),
        FeeRule(id="currency", component="currency", when=When(converted=True), rate_ppm=currency_ppm),
    )
    return Schedule(pricing_model="interchange_plus_plus", rules=card_rules(fee_region(acquirer_country)) + markup)


@cache
def card_rules(region: str) -> tuple[FeeRule, ...]:
    """The published rules of an acquirer's region: EEA, UK, US or AP.

    >>> [rule.rate_ppm for rule in card_rules("EEA")[:2]]
    [2000, 3000]
    """
    named = enumerate(rows("card_fees"), start=2)
    return tuple(_rule(f"card_fees:{line}", row) for line, row in named if row["acquirer_region"] == region)


def fee_region(country: str | None) -> str:
    """Unknown countries count as European, as the defaults of `Economics` do.

    >>> fee_region("NL"), fee_region("GB"), fee_region("US"), fee_region("SG")
    ('EEA', 'UK', 'US', 'AP')
    """
    if country is None or country in EEA:
        return "EEA"
    return {"GB": "UK", "US": "US"}.get(country, "AP")


def _rule(name: str, row: dict[str, str]) -> FeeRule:
    when = {column: tuple(row[column].split("|")) for column in LISTS if row[column]}
    if row["authenticated"]:
        when["authenticated"] = row["authenticated"] == "true"  # type: ignore[assignment] # converted and checked below
    return FeeRule(
        id=name,
        component=msgspec.convert(row["component"], FeeRule.__annotations__["component"]),
        when=msgspec.convert(when, When),
        rate_ppm=int(Decimal(row["rate_bps"]) * 100),
        fixed_micro=int(Decimal(row["fixed_major"]) * 100 * MICRO),
    )
