"""Who bears fraud after an authentication: by network and ECI where it is told, else by the status.

The electronic commerce indicator is no single namespace: "07" means not authenticated on Visa, and an authenticated
merchant-initiated payment on Mastercard. So the table (`payments/data/liability.csv`) is asked by network and ECI.
What does not fit together (an ECI that shifts beside a status that does not) shifts nothing.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple

from greenlane.payments.attempt import ThreeDS
from greenlane.payments.tables import rows

SHIFTED: Final = frozenset("YA")


class Liable(NamedTuple):
    """The status of the authentication, as told or as the ECI implies ("" none), and whether the issuer bears fraud."""

    status: str
    shifted: bool


def liability(three_ds: ThreeDS, *, network: str) -> Liable:
    """What the answer of an authentication means; `liability_shift` is believed where the caller tells it.

    >>> liability(ThreeDS(eci="07"), network="mastercard"), liability(ThreeDS(eci="07"), network="visa")
    (Liable(status='', shifted=True), Liable(status='', shifted=False))
    >>> liability(ThreeDS(trans_status="Y"), network="visa"), liability(ThreeDS(eci="05"), network="visa")
    (Liable(status='Y', shifted=True), Liable(status='Y', shifted=True))
    """
    known = _liabilities().get((network, three_ds.eci or ""))
    status = three_ds.trans_status or (known.status if known is not None else "")
    if three_ds.liability_shift is not None:
        return Liable(status, three_ds.liability_shift)
    if known is None:
        return Liable(status, status in SHIFTED)
    return Liable(status, known.shifted and three_ds.trans_status in (None, *SHIFTED))


@cache
def _liabilities() -> Mapping[tuple[str, str], Liable]:
    return MappingProxyType(
        {
            (row["network"], row["eci"]): Liable(row["trans_status"], row["liability"] == "issuer")
            for row in rows("liability")
        }
    )
