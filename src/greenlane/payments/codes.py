"""What the answers of the world mean: response codes, advice codes, return codes.

Every fact is a row of a table in `payments/data` with its source. The networks use the same code for different things
(65, 70, 78 to 83), so a code means nothing without its network.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from greenlane.payments.tables import rows

DeclineClass = Literal["approved", "soft", "sca", "fix_data", "hard", "config", "unknown"]
Cascade = Literal["no", "yes", "maybe", "after_reversal"]
RetryPolicy = Literal["none", "delay", "never", "after_fix", "after_sca", "other_route", "by_mac", "reverse_then_retry"]
StopScope = Literal["none", "attempt", "payment", "card_merchant", "card"]


class Row(Struct, frozen=True, kw_only=True):
    """A row of a table: its fields are columns that are read here, and an empty cell is the field's default."""

    source: str
    notes: str = ""


class Decline(Row, frozen=True, kw_only=True):
    """What one response code of one network asks of us (an approval has decline_class `approved`)."""

    network: str
    code: str
    name: str
    category: str
    decline_class: DeclineClass
    visa_category: int | None = None
    retry_policy: RetryPolicy
    min_wait_hours: float = 0.0
    cascade: Cascade
    """May the same attempt go to another route at once?"""
    needs: str = ""
    fraud_signal: int
    """0 none to 3 strong."""
    stop_scope: StopScope


class VisaCategory(Row, frozen=True, kw_only=True):
    """1 never, 2 not now, 3 data quality, 4 generic: how often Visa allows the attempt to be made again."""

    code: str
    category: int
    max_reattempts_30d: int


class Advice(Row, frozen=True, kw_only=True):
    """A Mastercard merchant advice code, read together with DE39."""

    mac: str
    de39: str
    meaning: str
    retry_allowed: Literal["yes", "no", "depends", "after_update", "after_sca", "after_fix"]
    min_wait_hours: float = 0.0


class RetryLimit(Row, frozen=True, kw_only=True):
    """How many attempts a network (or the house) allows in a window, and what happens beyond."""

    rule_id: str
    network: str
    scope_key: str
    applies_to: str
    window: str
    max_attempts: int
    counts: str
    action_over_limit: str
    fee: str = ""
    region: str = ""
    effective_from: str = ""
    effective_to: str = ""
    confidence: str


class AchReturn(Row, frozen=True, kw_only=True):
    code: str
    name: str
    category: str
    retryable: Literal["yes", "no", "conditional"]
    retry_condition: str = ""
    action: str
    fraud_signal: int


class SepaReason(Row, frozen=True, kw_only=True):
    code: str
    name: str
    category: str
    retryable: Literal["yes", "no", "conditional"]
    retry_rule: str = ""
    action: str
    fraud_signal: int


UNKNOWN: Final = Decline(
    network="*",
    code="",
    name="A code no table knows",
    category="unknown",
    decline_class="hard",
    retry_policy="never",
    cascade="no",
    fraud_signal=0,
    stop_scope="payment",
    source="house rule: what is not understood is not retried",
)


def decline_of(network: str, code: str) -> Decline:
    """The meaning of `code` on `network`, else on any network, else UNKNOWN, which is treated as hard.

    >>> decline_of("mastercard", "65").category, decline_of("visa", "65").category, decline_of("visa", "51").category
    ('sca_required', 'velocity_exceeded', 'insufficient_funds')
    >>> decline_of("visa", "??").category
    'unknown'
    """
    table = declines()
    return table.get((network, code)) or table.get(("*", code)) or UNKNOWN


def visa_category_of(code: str) -> VisaCategory:
    """Codes without a category of their own are category 4.

    >>> visa_category_of("14").max_reattempts_30d, visa_category_of("05").category
    (0, 4)
    """
    table = visa_categories()
    return table.get(code) or table["*"]


def advice_of(mac: str, de39: str) -> Advice | None:
    """The advice for this DE39, else for any; None when Mastercard gave none that we know.

    >>> advice_of("01", "83").retry_allowed, advice_of("03", "51").retry_allowed, advice_of("24", "05")
    ('after_sca', 'no', None)
    """
    table = mastercard_advice()
    return table.get((mac, de39)) or table.get((mac, "*"))


declines: Final = cache(lambda: _table("response_codes", Decline, key=lambda row: (row.network, row.code)))
visa_categories: Final = cache(lambda: _table("visa_categories", VisaCategory, key=lambda row: row.code))
mastercard_advice: Final = cache(lambda: _table("mastercard_mac", Advice, key=lambda row: (row.mac, row.de39)))
retry_limits: Final = cache(lambda: _table("network_retry_limits", RetryLimit, key=lambda row: row.rule_id))
ach_returns: Final = cache(lambda: _table("ach_return_codes", AchReturn, key=lambda row: row.code))
sepa_reasons: Final = cache(lambda: _table("sepa_reason_codes", SepaReason, key=lambda row: row.code))

R = TypeVar("R", bound=Row)
K = TypeVar("K")


def _table(name: str, row_type: type[R], *, key: Callable[[R], K]) -> Mapping[K, R]:
    return MappingProxyType({key(row): row for row in (_row(cells, row_type) for cells in rows(name))})


def _row(cells: dict[str, str], row_type: type[R]) -> R:
    return msgspec.convert({column: cell for column, cell in cells.items() if cell}, row_type, strict=False)
