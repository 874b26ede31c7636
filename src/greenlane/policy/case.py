"""One payment that came back: what happened, what could be sent when, and all that follows from it, worked out once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Stakes
from greenlane.payments.attempt import Attempt
from greenlane.payments.times import DAY_US, HOUR_US
from greenlane.policy.actions import Action, Eligible, Way
from greenlane.policy.believe import prior_approvals
from greenlane.policy.choose import UNVALUED
from greenlane.policy.eligible import eligible, eligible_ways
from greenlane.policy.explore import Draw, Explored
from greenlane.policy.gather import LimitEngine
from greenlane.policy.given import Given, Worth
from greenlane.policy.history import FAILED, PENDING, History, Tried, fraud_given_history_e9
from greenlane.policy.limits import Asked, Verdict
from greenlane.policy.mandate import sca_required
from greenlane.policy.parameters import Policy
from greenlane.policy.paydays import morning_after, payday_mornings
from greenlane.policy.price import price
from greenlane.policy.priors import Approval, authentication
from greenlane.policy.recovery import RecoveryTable
from greenlane.policy.remedy import Remedy, remedy_of
from greenlane.policy.value import Authentication

Step = Literal[
    "authorize", "retry_now", "retry_at", "repair", "reoffer", "query_or_reverse", "void", "capture", "stop"
]  # fmt: skip

TRIES_MAX: Final = 8
"""Attempts at one payment, the first included, whatever the limits leave."""
HORIZON_US: Final = 30 * DAY_US
"""A payment is not tried longer than this after its first attempt."""
LATER_DAYS: Final = (1, 2, 3, 5, 7, 10, 14, 21, 28)
DEBITS: Final = frozenset({"us_bank_account", "sepa_debit"})
WAITING: Final = frozenset({"wait", "other_route"})
"""Remedies that only time, or another route, brings."""
SUSPECT: Final = 3
"""The strongest fraud signal of a code: nothing else is offered after it."""
UNBOUND: Final = Verdict(True, "", 0, TRIES_MAX)
UNSENT: Final = Remedy("other_route", "technical", "connect_error", cascade=True)
"""Nothing reached the issuer, or it was taken back with its confirmation: another route is free of danger."""


class Outlook(Struct, frozen=True, array_like=True, gc=False):
    """One time at which something could be sent. `approvals`: one for each of `eligible_ways`; None: as stated."""

    at_us: int
    verdict: Verdict
    approvals: tuple[Approval, ...] | None = None


class Considered(Struct, frozen=True, array_like=True, gc=False):
    """One thing that could be done, the best of its kind and time, and its value after waiting."""

    next: Step
    at_us: int
    action: Action | None
    value_micro: int
    changes: tuple[str, ...] = ()
    terms_micro: tuple[int, ...] = UNVALUED
    """Of the action, before sigma(t)."""


class Drawn(Struct, frozen=True, array_like=True, gc=False):
    """Over which way a further try leaves, where that was left to chance."""

    may: Eligible
    """The ways of the plan, for its intervention; the "block" behind them is the end that was worth less."""
    values_micro: tuple[int, ...]
    explored: Explored


@dataclass(kw_only=True)
class Case:
    """All that the steps look at, worked out once."""

    attempt: Attempt
    given: Given
    economics: Economics
    policy: Policy
    table: RecoveryTable
    outlooks: tuple[Outlook, ...] = ()
    """Where none are given there are no limits."""
    partial_accepted: bool = False
    left_minor: int | None = None
    """What may still be captured; None where nobody counted."""
    draw: Draw | None = None

    def __post_init__(self) -> None:
        self.history = settled(self.attempt, self.given, self.economics)
        proposed = () if self.outlooks else times(self.attempt, self.given, economics=self.economics)
        self.outlooks = self.outlooks or tuple(Outlook(us, UNBOUND) for us in proposed)
        self.given = replace(self.given, history=self.history)

    @property
    def now_us(self) -> int:
        return self.given.ingest_us

    @property
    def present(self) -> bool:
        return self.attempt.payment.initiator == "cit"

    @property
    def method(self) -> str:
        return self.attempt.payment.payment_method.type

    @property
    def who(self) -> str:
        """Whose patience and whose tries: a direct debit is presented again like a merchant-initiated payment."""
        return "cit" if self.present and self.method not in DEBITS else "mit"

    @property
    def last(self) -> Tried | None:
        return self.history.tried[-1] if self.history.tried else None

    @property
    def valueless(self) -> bool:
        """Nobody said how probable fraud is."""
        return self.given.fraud_probability_e9 is None

    @cached_property
    def remedy(self) -> Remedy | None:
        return None if self.last is None else _remedy(self.attempt, self.last, self.economics)

    @property
    def declines(self) -> int:
        return self.history.declines

    @cached_property
    def sent(self) -> list[Tried]:
        return [tried for tried in self.history.tried if tried.answer not in ("not_sent", "pending")]

    @property
    def challenges(self) -> int:
        """How often the payer was challenged and the issuer declined all the same."""
        return sum(tried.intervention == "challenge" and tried.answer == "declined" for tried in self.sent)

    @property
    def authenticating(self) -> bool:
        """The challenge is under way."""
        told = self.attempt.verification.three_ds if self.attempt.verification else None
        return told is not None and told.trans_status in PENDING and not self.history.answered

    @cached_property
    def fitting(self) -> tuple[Way, ...]:
        return eligible_ways(self.attempt, self.economics)

    @cached_property
    def may(self) -> Eligible:
        return self._eligible(self.given)

    @cached_property
    def may_later(self) -> Eligible:
        """The same once all routes are open again."""
        return self._eligible(replace(self.given, barred=()))

    def _eligible(self, given: Given) -> Eligible:
        last = self.last  # what waits for an answer is what is asked about
        own = last is not None and last.answer == "pending"
        attempt = replace(self.attempt, attempt_id=last.attempt_id) if last is not None and own else self.attempt
        return eligible(attempt, given, economics=self.economics, history=self.history)

    @cached_property
    def payer(self) -> Authentication:
        card = self.attempt.payment.payment_method.card
        return authentication(self.policy.priors, card.issuer_country if card else None, self.given.payer)

    @cached_property
    def fraud_e9(self) -> int:
        """p_h."""
        p_e9 = self.given.fraud_probability_e9 or 0
        return fraud_given_history_e9(p_e9, self.history, payer=self.payer, priors=self.policy.priors)

    @cached_property
    def money(self) -> Stakes:
        return price(
            self.attempt,
            self.given,
            self.policy.perspective,
            economics=self.economics,
            history=self.history,
            challengeable=False,
        )

    @cached_property
    def stop_micro(self) -> int:
        """V_stop(h), a failed authentication included."""
        if self.valueless:
            return 0
        lost = -self.money.abandonment if self.history.status in FAILED else self.money.stop
        return round((1.0 - self.fraud_e9 / 1e9) * lost * 1e6)

    @cached_property
    def first_approvals(self) -> dict[Way, Approval]:
        """What the stated priors say of each way, before anything happened."""
        priors = prior_approvals(self.attempt, self.fitting, economics=self.economics, priors=self.policy.priors)
        return dict(zip(self.fitting, priors, strict=True))

    @cached_property
    def worths(self) -> dict[int, dict[Way, Worth]]:
        """V(h') of each way, by the tries that are left: filled as they are asked for."""
        return {}

    @property
    def may_be_offered(self) -> bool:
        """Another method is offered to a payer who is there, and whom nothing speaks against."""
        suspect = (self.remedy is not None and self.remedy.fraud_signal >= SUSPECT) or self.history.status == "R"
        return self.present and self.method not in DEBITS and not suspect and not self.given.stops


def times(attempt: Attempt, given: Given, *, economics: Economics) -> tuple[int, ...]:
    """When something could be sent, now first: with nobody present mornings and paydays, else when the wait is over."""
    history = settled(attempt, given, economics)
    last = history.tried[-1] if history.tried else None
    remedy = _remedy(attempt, last, economics) if last is not None else None
    now_us = given.ingest_us
    if remedy is None or remedy.kind not in WAITING:
        return (now_us,)
    ready = ready_us(now_us, last, remedy)
    if attempt.payment.initiator == "cit" and attempt.payment.payment_method.type not in DEBITS:
        return (now_us, ready) if ready > now_us else (now_us,)
    country = country_of(attempt)
    until_us = until_us_of(now_us, history)
    technical = remedy.group == "technical" and attempt.payment.payment_method.type not in DEBITS
    soon = (ready, ready + HOUR_US, ready + 6 * HOUR_US) if technical else ()
    mornings = (morning_after(max(ready, now_us + day * DAY_US), country) for day in (0, *LATER_DAYS))
    later = {*soon, *mornings, *payday_mornings(ready, until_us, country)}
    return now_us, *sorted(us for us in later if now_us < us <= until_us)


def ready_us(now_us: int, last: Tried | None, remedy: Remedy) -> int:
    """When the wait that the answer asks for is over; it counts from the attempt that was refused."""
    sent_us = last.at_us if last is not None and last.at_us else now_us
    return max(now_us, sent_us + remedy.wait_us)


def until_us_of(now_us: int, history: History) -> int:
    return ((history.tried[0].at_us if history.tried else 0) or now_us) + HORIZON_US


def outlooks_of(
    attempt: Attempt, given: Given, limits: LimitEngine, asked: Asked, *, economics: Economics
) -> list[Outlook]:
    """What the limits say at each of `times`, and at the earliest time they allow, if that is another."""
    proposed = times(attempt, given, economics=economics)
    found = {us: limits.verdict(asked._replace(at_us=us)) for us in proposed}
    first_us = found[proposed[0]].earliest_us
    if first_us is not None and first_us not in found and first_us <= given.ingest_us + HORIZON_US:
        if attempt.payment.initiator == "mit":
            first_us = morning_after(first_us, country_of(attempt))
        found[first_us] = limits.verdict(asked._replace(at_us=first_us))
    return [Outlook(us, verdict) for us, verdict in sorted(found.items())]


def settled(attempt: Attempt, given: Given, economics: Economics) -> History:
    """The history, each decline in the class that the issuer of this payment meant (Mastercard's 65 is two things)."""
    history = given.history or History()
    authenticable = sca_required(attempt, economics.country)
    return history._replace(tried=tuple(_understood(tried, authenticable) for tried in history.tried))


def _understood(tried: Tried, authenticable: bool) -> Tried:
    if tried.answer != "declined":
        return tried
    sca = remedy_of(tried.network, tried.code, tried.advice, authenticable=authenticable).group == "sca"
    if sca == (tried.decline_class == "sca"):
        return tried
    return replace(tried, decline_class="sca" if sca else "soft")


def _remedy(attempt: Attempt, last: Tried, economics: Economics) -> Remedy | None:
    if last.answer == "not_sent":
        return UNSENT
    if last.answer == "reversed" and last.decline_class != "approved":
        return UNSENT
    if last.answer != "declined":
        return None
    in_scope = sca_required(attempt, economics.country)
    method = attempt.payment.payment_method.type
    return remedy_of(last.network, last.code, last.advice, authenticable=in_scope, method=method)


def country_of(attempt: Attempt) -> str:
    method = attempt.payment.payment_method
    card, debit = method.card, method.sepa_debit or method.us_bank_account
    country = card.issuer_country if card else debit.bank_country if debit else None
    return attempt.payment.billing_country or country or ""
