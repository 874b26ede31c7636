"""The columns of a crowd: one row per payment about to be made, honest or not, before the bank is asked."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from greenlane.simulation.randomness import Draws, Indexes, Reals

Crowd = NDArray[np.void]
"""Rows of `ROW`. Ids are numbers below 2^40; places index the world's countries, merchants and card ranges."""

ROW: Final = np.dtype(
    [
        ("at_us", "i8"), ("luck", "u8"), ("account", "i8"), ("created_us", "i8"), ("mail_domain", "i2"),
        ("card", "i8"), ("card_range", "i4"), ("token", "?"), ("billing", "i2"), ("shipping", "i8"),
        ("device", "i8"), ("address", "i8"), ("address_country", "i2"), ("proxy", "?"),
        ("merchant", "i2"), ("amount_minor", "i8"), ("night", "?"), ("typology", "i1"),
    ]
)  # fmt: skip

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
