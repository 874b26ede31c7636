"""What the networks and the house allow: the rows of `network_retry_limits.csv` as rules that can be counted.

A rule is bounded by what its row says: network, scope, window, days in force. Where facts carry less than the row
(Elo's card expiry), the scope is wider and binds more. Windows that a network counts by calendar day are rolling here,
the strictest reading; of "re-attempts after the first decline" the first attempt is counted too.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from typing import Final, NamedTuple

from greenlane.errors import SettingsError
from greenlane.payments.codes import Advice, Decline, RetryLimit, advice_of, decline_of, retry_limits, visa_category_of
from greenlane.payments.times import DAY_US, HOUR_US

COUNTED: Final = ("category 2,3,4 declines", "all declines", "all negatives", "declines")
"""`applies_to` of rules that count attempts; category 1 is no exception, it stops the card anyway."""

STOPPING: Final = ("category 1 declines", "MAC 03 or 21, CNP", "DE39 51 with MAC 24-30", "hard declines")
"""`applies_to` of rules where one answer forbids, or delays, whatever comes next."""

ADVISING: Final = ("CNP category 3 declines", "approved CNP authorisation <= 1 unit (AP: <= 2) then reversed")
"""`applies_to` of rules over a merchant's whole traffic: beyond them a fee is due, and nothing is stopped."""

CATEGORY_1, MAC_STOP, MAC_WAIT, HARD = STOPPING
CATEGORY_3, NOMINAL = ADVISING

NEVER_US: Final = 2**62
"""An end that does not come."""

REPAIRABLE: Final = frozenset(["new_credential", "account_updater"])
"""`needs` of codes that a credential with another number cures; a lost card's successor is not one of them."""


class Rule(NamedTuple):
    """One row. Times in UTC microseconds."""

    rule_id: str
    networks: frozenset[str]
    """Empty: every network."""
    amount: bool
    """Is the amount part of the scope? Card and merchant always are."""
    currency: bool
    initiator: bool
    applies_to: str
    window_us: int
    """0: the calendar month (UTC); `NEVER_US`: unbounded, or as the answer's code says."""
    attempts_max: int
    resets: bool
    """Does an approval in the same scope end the count?"""
    from_us: int
    until_us: int
    """Not in force any more from here on."""

    def binds(self, network: str, at_us: int) -> bool:
        return self.from_us <= at_us < self.until_us and (not self.networks or network in self.networks)


class Stop(NamedTuple):
    """What one answer forbids for a card at a merchant."""

    applies_to: str
    until_us: int
    repairable: bool
    """Does another number for the same account end it?"""


def stops_of(network: str, code: str, mac: str, *, channel: str, at_us: int) -> Iterator[Stop]:
    """What a decline forbids; `at_us` is when it was sent, and the waits count from there.

    >>> [stop.applies_to for stop in stops_of("visa", "41", "", channel="ecommerce", at_us=0)]
    ['category 1 declines', 'hard declines']
    >>> wait, = stops_of("mastercard", "51", "25", channel="ecommerce", at_us=0)
    >>> wait.applies_to, wait.until_us // HOUR_US
    ('DE39 51 with MAC 24-30', 24)
    """
    decline = decline_of(network, code)
    advice = advice_of(mac, code) if network == "mastercard" and mac else None
    repairable = decline.needs in REPAIRABLE
    if network == "visa" and visa_category_of(code).category == 1:
        yield Stop(CATEGORY_1, NEVER_US, repairable)
    if network == "mastercard" and mac in ("03", "21") and channel != "pos":
        yield Stop(MAC_STOP, at_us + _window_of(MAC_STOP), False)
    if advice is not None and advice.de39 == code and advice.retry_allowed == "yes":
        yield Stop(MAC_WAIT, at_us + round(advice.min_wait_hours * HOUR_US), False)
    if _for_good(decline, advice):
        yield Stop(HARD, at_us + _window_of(HARD), repairable)


@cache
def _window_of(applies_to: str) -> int:
    return max(rule.window_us for rule in rules() if rule.applies_to == applies_to)


def _for_good(decline: Decline, advice: Advice | None) -> bool:
    """A code that stops the card; an umbrella code that is hard and came without advice is one too."""
    if decline.stop_scope not in ("card", "card_merchant"):
        return False
    return decline.retry_policy == "never" or (decline.retry_policy == "by_mac" and advice is None)


@cache
def rules() -> tuple[Rule, ...]:
    """All rows, in the order of the table.

    >>> [rule.rule_id for rule in rules() if rule.binds("diners", 0)]
    ['HOUSE_24H', 'HOUSE_30D', 'HOUSE_HARD']
    """
    return tuple(rule_of(row) for row in retry_limits().values())


def rule_of(row: RetryLimit) -> Rule:
    """SettingsError where a row says something this engine would not obey.

    >>> rule_of(retry_limits()["VISA_CAT234_20"])[2:6]
    (True, True, True, 'category 2,3,4 declines')
    """
    if row.applies_to not in (*COUNTED, *STOPPING, *ADVISING):
        raise SettingsError(f"{row.rule_id} applies to {row.applies_to!r}", hint="one of COUNTED, STOPPING, ADVISING")
    return Rule(
        rule_id=row.rule_id,
        networks=frozenset() if row.network == "*" else frozenset(row.network.split(";")),
        amount="+amount" in row.scope_key,
        currency="+currency" in row.scope_key,
        initiator="+initiator" in row.scope_key,
        applies_to=row.applies_to,
        window_us=_window_us(row),
        attempts_max=row.max_attempts,
        resets="approval" in row.action_over_limit,
        from_us=_day_us(row.effective_from, default=-NEVER_US),
        until_us=_day_us(row.effective_to, default=NEVER_US),
    )


@cache
def month_us(day: int) -> tuple[int, int]:
    """First and last-but-one-past microsecond of the calendar month that a day (from 1970) lies in.

    >>> [us // DAY_US for us in month_us(40)]
    [31, 59]
    """
    now = datetime.fromtimestamp(day * DAY_US / 1e6, tz=UTC).date()
    after = date(now.year + now.month // 12, now.month % 12 + 1, 1)
    return _us(now.replace(day=1)), _us(after)


def _window_us(row: RetryLimit) -> int:
    words = row.window.removeprefix("rolling ").split()
    if row.window == "calendar month":
        return 0
    if row.window in ("unbounded", "per code"):
        return NEVER_US
    try:
        return int(words[0]) * {"hours": HOUR_US, "days": DAY_US}[words[1]]
    except (ValueError, KeyError, IndexError):
        raise SettingsError(f"{row.rule_id} has the window {row.window!r}", hint="such as: rolling 30 days") from None


def _day_us(text: str, *, default: int) -> int:
    if not text:
        return default
    return _us(date.fromisoformat(f"{text}-01-01" if len(text) == 4 else text))


def _us(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_US
