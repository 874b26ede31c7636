"""What is assumed of a merchant nobody has configured: priors by MCC group and country, and tighter caps."""

from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from greenlane.merchants.economics import Economics, Fees
from greenlane.merchants.regions import EEA


class MccGroup(Struct, frozen=True):
    """Merchants whose goods are alike: what they earn on them, and what is lost when the goods are gone."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    margin_ppm: int
    unrecoverable_ppm: int


MCC_GROUPS: Final = (
    MccGroup(
        "digital",
        ((4816, 4816), (5815, 5818), (5968, 5968), (7372, 7372), (7841, 7841)),
        margin_ppm=800_000,
        unrecoverable_ppm=100_000,
    ),
    MccGroup(
        "travel",
        ((3000, 3999), (4411, 4411), (4511, 4511), (4722, 4722), (7011, 7011), (7512, 7512)),
        margin_ppm=100_000,
        unrecoverable_ppm=300_000,
    ),
    MccGroup("marketplace", ((5262, 5262),), margin_ppm=100_000, unrecoverable_ppm=1_000_000),
)
"""Middles of the assumed ranges (digital .7-.9, travel .05-.15, marketplace take .1; kappa: digital .1, stoppable .3,
shipped 1). Everything else is retail: the defaults of `Economics`."""

LOW_FEE_COUNTRIES: Final = EEA | {"GB"}
"""Consumer interchange is capped at 0.2 and 0.3 % (IFR 2015/751), so blended prices lie at the low end."""

LOW_FEES: Final = Fees(pct_ppm=14_000, fixed_minor=25)
INHERITED_AMOUNT_MAX_MINOR: Final = 500_000
INHERITED_UNSCORED_MAX_MINOR: Final = 5_000


@cache
def prior_economics(mcc: str | None = None, country: str | None = None) -> Economics:
    """The defaults, moved to the merchant's MCC group and country.

    >>> prior_economics("5816", "DE").margin_ppm, prior_economics("5816", "DE").fees.pct_ppm
    (800000, 14000)
    """
    economics = Economics(mcc=mcc, country=country)
    if country in LOW_FEE_COUNTRIES:
        economics = replace(economics, fees=LOW_FEES)
    group = mcc_group(mcc)
    if group is None:
        return economics
    return replace(economics, margin_ppm=group.margin_ppm, unrecoverable_ppm=group.unrecoverable_ppm)


@cache
def inherit(mcc: str | None = None, country: str | None = None) -> Economics:
    """The priors of a merchant nobody has configured, with caps that a configured one does not have.

    >>> inherit("5816", "DE").amount_max_minor
    500000
    """
    return replace(
        prior_economics(mcc, country),
        amount_max_minor=INHERITED_AMOUNT_MAX_MINOR,
        unscored_amount_max_minor=INHERITED_UNSCORED_MAX_MINOR,
    )


def mcc_group(mcc: str | None) -> MccGroup | None:
    """
    >>> mcc_group("3501").name, mcc_group("5411")
    ('travel', None)
    """
    if mcc is None:
        return None
    code = int(mcc)
    return next((group for group in MCC_GROUPS if any(low <= code <= high for low, high in group.ranges)), None)
