"""What a refusal asks for: the same again elsewhere, later, with something changed, or never again.

The network's code decides, and where Mastercard sent an advice code, that decides first. This is advice of the code
alone; what the limits forbid, and what is worth its money, is asked later.
"""

from functools import lru_cache
from typing import Final, Literal, NamedTuple

from greenlane.payments.codes import Advice, Decline, ach_returns, advice_of, decline_of, sepa_reasons
from greenlane.payments.times import HOUR_US

Kind = Literal["wait", "authenticate", "update", "token", "fix_data", "other_route", "query", "never"]
Group = Literal[
    "insufficient_funds", "do_not_honor", "technical", "limit", "suspected_fraud", "sca", "fix_data", "update",
    "restricted", "config", "final",
]  # fmt: skip

GROUPS: Final[dict[Group, frozenset[str]]] = {
    "insufficient_funds": frozenset({"insufficient_funds", "unspecified"}),
    "do_not_honor": frozenset({"do_not_honor", "refer_to_issuer", "policy", "blocked_by_issuer"}),
    "technical": frozenset(
        {"issuer_unavailable", "processing_error", "connect_error", "timeout_unknown", "token_invalid", "technical"}
    ),
    "limit": frozenset({"limit_exceeded", "velocity_exceeded"}),
    "suspected_fraud": frozenset({"suspected_fraud", "fraud_security", "security_violation"}),
    "sca": frozenset({"sca_required"}),
    "fix_data": frozenset({"cvv_mismatch", "invalid_amount", "pin_error", "verification_failed"}),
    "update": frozenset({"expired_card", "lifecycle", "closed_account", "invalid_account", "no_such_issuer"}),
    "restricted": frozenset({"restricted_card", "card_inactive", "blocked_by_cardholder", "account_type_missing"}),
    "config": frozenset({"invalid_merchant", "format_error", "not_permitted_merchant"}),
}
"""Categories that recover alike; every other one is final."""

ADVISED: Final[dict[str, Kind]] = {
    "no": "never",
    "after_update": "update",
    "after_sca": "authenticate",
    "after_fix": "token",
    "yes": "wait",
}
"""Mastercard's `retry_allowed`; "depends" is a flag of the product and says nothing of the decline."""

REPRESENTED_MAX: Final = 2
"""A direct debit may be presented again twice: Nacha's rule for R01 and R09, our own for SEPA."""


class Remedy(NamedTuple):
    """One answer, understood."""

    kind: Kind
    group: Group
    category: str
    wait_us: int = 0
    cascade: bool = False
    """May another route be tried at once? Once only, whatever the code."""
    domestic: bool = False
    """Only a route in the issuer's country changes anything."""
    needs: str = ""
    """What has to change, in the words of the tables."""
    fraud_signal: int = 0
    condition: str = ""
    """Of a direct debit: what presenting it again requires."""


@lru_cache(maxsize=4096)
def remedy_of(network: str, code: str, mac: str = "", *, authenticable: bool = True, method: str = "card") -> Remedy:
    """What `code` asks for. `authenticable`: the issuer may ask this payer for authentication (in scope of a mandate).

    >>> remedy_of("visa", "51").wait_us // HOUR_US, remedy_of("mastercard", "51", "26").wait_us // HOUR_US
    (24, 48)
    >>> [remedy_of("mastercard", "65", authenticable=scope).kind for scope in (True, False)]
    ['authenticate', 'wait']
    >>> remedy_of("mastercard", "79", "01").kind, remedy_of("mastercard", "79", "03").kind
    ('update', 'never')
    >>> remedy_of("", "R07", method="us_bank_account").kind
    'never'
    """
    if method == "us_bank_account":
        return _of_ach(code)
    if method == "sepa_debit":
        return _of_sepa(code)
    decline = decline_of(network or "*", code)
    if decline.decline_class == "sca" and not authenticable and code == "65":
        decline = decline_of("*", code)
    advice = advice_of(mac, code) if network == "mastercard" and mac else None
    advised = ADVISED.get(advice.retry_allowed) if advice else None
    kind = advised or _kind(decline)
    return Remedy(
        kind=kind,
        group=group_of(decline.category),
        category=decline.category,
        wait_us=_wait_us(decline, advice) if kind in ("wait", "other_route") else 0,
        cascade=decline.cascade in ("yes", "maybe") and advised is None,
        domestic=decline.category == "restricted_card",
        needs=decline.needs or ("account_updater" if kind == "update" else ""),
        fraud_signal=decline.fraud_signal,
    )


@lru_cache(maxsize=256)
def group_of(category: str) -> Group:
    """
    >>> group_of("refer_to_issuer"), group_of("stolen_card")
    ('do_not_honor', 'final')
    """
    return next((group for group, categories in GROUPS.items() if category in categories), "final")


def _kind(decline: Decline) -> Kind:
    if decline.decline_class == "unknown" or decline.category == "duplicate":
        return "query"
    if decline.decline_class == "sca" or decline.needs in ("sca", "sca_or_contact_issuer"):
        return "authenticate"
    if decline.category == "token_invalid":
        return "token"
    if decline.needs in ("account_updater", "new_credential"):
        return "update"
    if decline.decline_class == "hard" or decline.retry_policy == "never":
        return "never"
    if decline.decline_class == "config":
        return "other_route"
    return "fix_data" if decline.decline_class == "fix_data" else "wait"


def _wait_us(decline: Decline, advice: Advice | None) -> int:
    hours = max(decline.min_wait_hours, advice.min_wait_hours if advice else 0.0)
    return round(hours * HOUR_US)


def _of_ach(code: str) -> Remedy:
    row = ach_returns().get(code)
    if row is None:
        return Remedy("never", "final", "unknown")
    return _of_debit(row.retryable, row.category, row.retry_condition, signal=row.fraud_signal)


def _of_sepa(code: str) -> Remedy:
    row = sepa_reasons().get(code)
    if row is None:
        return Remedy("never", "final", "unknown")
    once = row.code == "MS03"  # often hides want of funds
    retryable = "yes" if once else row.retryable
    return _of_debit(retryable, row.category, "" if retryable == "yes" else row.retry_rule, signal=row.fraud_signal)


def _of_debit(retryable: str, category: str, condition: str, *, signal: int) -> Remedy:
    kind: Kind = "wait" if retryable == "yes" else "fix_data" if retryable == "conditional" else "never"
    wait_us = 24 * HOUR_US if kind == "wait" else 0
    return Remedy(kind, group_of(category), category, wait_us, fraud_signal=signal, condition=condition)
