"""What the answers of the world mean: response codes, advice codes, return codes, and each method's clock.

Every fact is a row of a table in `payments/data` with its source. The networks use the same code for different things
(65, 70, 78 to 83), so a code means nothing without its network.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from greenlane.errors import NotFound
from greenlane.payments.tables import rows

DeclineClass = Literal["approved", "soft", "sca", "fix_data", "hard", "config", "unknown"]
Cascade = Literal["no", "yes", "maybe", "after_reversal"]
RetryPolicy = Literal["none", "delay", "never", "after_fix", "after_sca", "other_route", "by_mac", "reverse_then_retry"]
StopScope = Literal["none", "attempt", "payment", "card_merchant", "card"]


class Row(Struct, frozen=True, kw_only=True):
    """A row of a table: its fields are the table's columns, and an empty cell is the field's default."""

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
    description: str
    category: int
    category_name: str
    reattempt_allowed: Literal["yes", "no"]
    max_reattempts_30d: int
    precondition: str
    effective: str = ""


class Advice(Row, frozen=True, kw_only=True):
    """A Mastercard merchant advice code, read together with DE39."""

    mac: str
    de39: str
    meaning: str
    retry_allowed: Literal["yes", "no", "depends", "after_update", "after_sca", "after_fix"]
    min_wait_hours: float = 0.0
    required_action: str
    returned_on: str
    fee_if_ignored: str = ""


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
    return_window: str
    counts_unauthorized: bool
    counts_administrative: bool
    retryable: Literal["yes", "no", "conditional"]
    max_retries: int
    retry_window_days: int = 0
    retry_condition: str = ""
    action: str
    fraud_signal: int


class SepaReason(Row, frozen=True, kw_only=True):
    code: str
    name: str
    r_types: str
    category: str
    initiator: str
    when: str
    retryable: Literal["yes", "no", "conditional"]
    retry_rule: str = ""
    action: str
    fraud_signal: int


class MethodClock(Row, frozen=True, kw_only=True):
    """How long a payment method takes, how long it can still turn round, and who then bears the loss."""

    method: str
    type: str = ""
    """The API's `payment_method.type`, where it has one."""
    region: str
    rail_type: str
    initiation: str
    typical_confirmation_s: float
    confirmation_timeout_s: int
    finality: str
    dispute_window_days: int | None = None
    dispute_window_days_max: int | None = None
    loss_bearer: str
    fraud_modes: str = ""
    retryable: str
    retry_rule: str = ""


class Programme(Row, frozen=True, kw_only=True):
    """A monitoring programme of a scheme: the ratio above which it fines."""

    programme: str
    network: str
    level: str
    metric: str
    threshold: str
    min_count: str = ""
    window: str
    fee: str = ""
    effective: str


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


def clock_of(method_type: str) -> MethodClock:
    """The clock of the API's `payment_method.type`; NotFound when it has none.

    >>> clock_of("sepa_debit").dispute_window_days_max
    396
    """
    for clock in method_clocks().values():
        if clock.type == method_type:
            return clock
    raise NotFound(f"no payment method {method_type[:40]!r}", hint="see payments/data/local_payment_methods.csv")


@cache
def declines() -> Mapping[tuple[str, str], Decline]:
    return _table("response_codes", Decline, key=lambda row: (row.network, row.code))


@cache
def visa_categories() -> Mapping[str, VisaCategory]:
    return _table("visa_categories", VisaCategory, key=lambda row: row.code)


@cache
def mastercard_advice() -> Mapping[tuple[str, str], Advice]:
    return _table("mastercard_mac", Advice, key=lambda row: (row.mac, row.de39))


@cache
def retry_limits() -> Mapping[str, RetryLimit]:
    return _table("network_retry_limits", RetryLimit, key=lambda row: row.rule_id)


@cache
def ach_returns() -> Mapping[str, AchReturn]:
    return _table("ach_return_codes", AchReturn, key=lambda row: row.code)


@cache
def sepa_reasons() -> Mapping[str, SepaReason]:
    return _table("sepa_reason_codes", SepaReason, key=lambda row: row.code)


@cache
def method_clocks() -> Mapping[str, MethodClock]:
    return _table("local_payment_methods", MethodClock, key=lambda row: row.method)


@cache
def programmes() -> Mapping[tuple[str, str, str], Programme]:
    return _table("monitoring_programmes", Programme, key=lambda row: (row.programme, row.level, row.effective))


R = TypeVar("R", bound=Row)
K = TypeVar("K")


def _table(name: str, row_type: type[R], *, key: Callable[[R], K]) -> Mapping[K, R]:
    return MappingProxyType({key(row): row for row in (_row(cells, row_type) for cells in rows(name))})


def _row(cells: dict[str, str], row_type: type[R]) -> R:
    return msgspec.convert({column: cell for column, cell in cells.items() if cell}, row_type, strict=False)
