"""The columns of a crowd: one row per payment about to be made, honest or not, before the bank is asked."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.simulation.randomness import Draws, Indexes, Reals


class Row(NamedTuple):
    """Ids are numbers below 2^40; places index the world's countries, merchants and card ranges."""

    at_us: int
    luck: int
    """The key of every later draw about this payment."""
    account: int
    created_us: int
    mail_domain: int
    card: int
    card_range: int
    token: bool
    billing: int
    shipping: int
    device: int
    address: int
    """Three bytes: the rest of a private 10.x.y.z."""
    address_country: int
    proxy: bool
    merchant: int
    amount_minor: int
    night: bool
    payday: int
    """Of the payer: index into the world's paydays."""
    absent: bool
    """The merchant charges a stored card: nobody is there."""
    chained: bool
    expired: bool
    renewed: bool
    """The expired card was renewed with the merchant, unseen."""
    suspended: bool
    """The card's network token."""
    typology: int
    """`GOOD`, or an index into `TYPOLOGIES`."""


FORMATS: Final = (
    "i8", "u8", "i8", "i8", "i2", "i8", "i4", "?", "i2", "i8", "i8", "i8", "i2", "?", "i2", "i8", "?", "i1", "?", "?",
    "?", "?", "?", "i1",
)  # fmt: skip
ROW: Final = np.dtype(list(zip(Row._fields, FORMATS, strict=True)))
Crowd = NDArray[np.void]
"""An array of `ROW`."""

IDS: Final = 2**40
GOOD: Final = -1
MAIL_DOMAINS: Final = ("mail.example", "post.example", "inbox.example", "work.example", "drop.example")
DISPOSABLE: Final = 4
AMOUNT_MIN_MINOR: Final = 50


def ids(draws: Draws) -> Indexes:
    """An identity that tells nothing about its owner."""
    return draws.integer("id", IDS)


def minor(amount: Reals) -> Indexes:
    rounded: Indexes = np.maximum(np.rint(amount), AMOUNT_MIN_MINOR).astype(np.int64)
    return rounded


def times(start_us: int | Indexes, offset_us: Reals) -> Indexes:
    placed: Indexes = start_us + offset_us.astype(np.int64)
    return placed
