"""The merchants' configuration as a fold of control entries: in force at a seq is what was appended before it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from greenlane.merchants.economics import Economics
from greenlane.merchants.inherit import inherit
from greenlane.ports.journal import CHANGE_DECODER, Entry

SUBJECT: Final = "merchant"
ECONOMICS_DECODER: Final = msgspec.msgpack.Decoder(Economics | None)


class Book:
    """Economics by merchant; a merchant that nobody configured inherits the priors of its MCC and country.

    >>> Book().economics("shop_1", mcc="5816").margin_ppm
    800000
    """

    def __init__(self) -> None:
        self._configured: dict[str, Economics] = {}
        self.merchants: Mapping[str, Economics] = MappingProxyType(self._configured)
        """The configured ones, as they are by now."""

    def apply(self, entry: Entry) -> None:
        """Folds a `merchant` control entry in and passes over all others; `after` None takes the merchant out."""
        if entry.kind != "control":
            return
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject != SUBJECT:
            return
        self._configured.pop(change.id, None)  # a merchant stands where it was last changed
        if (after := ECONOMICS_DECODER.decode(change.after)) is not None:
            self._configured[change.id] = after

    def economics(self, merchant_id: str, *, mcc: str | None = None, country: str | None = None) -> Economics:
        """In force now; `mcc` and `country` are the payment's, for a merchant that is not configured."""
        return self._configured.get(merchant_id) or inherit(mcc, country)
