"""Where the domain knows the sign: more of this never makes fraud less likely, everything else being equal.

Few, because a wrong sign is worse than none. Not among them, though it looks like it: more declines of a merchant or an
issuer (an outage makes them, too), many cards on one address (a family, an office), an account's age (farmed accounts).
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

FRAUD_RISES_WITH: Final = (
    "card_declines.count.*",  # card testing and stolen cards are tried until they fail
    "card_decline_rate_*",
    "card_fraud.count.*",  # what was reported once is compromised
    "device_fraud.count.*",
    "device_decline_rate_*",
    "is_proxy",
    "issuer_ip_country_differ",
)


def signs_of(names: Iterable[str]) -> dict[str, int]:
    """
    >>> signs_of(["amount_minor", "card_declines.count.24h"])
    {'card_declines.count.24h': 1}
    """
    return {name: 1 for name in names if any(fnmatchcase(name, pattern) for pattern in FRAUD_RISES_WITH)}
