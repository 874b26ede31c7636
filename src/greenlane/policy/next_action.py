"""What to do next with a payment, after an answer: again elsewhere, later, with something changed, or not at all.

    unknown results      are queried or reversed before anything else
    approvals            two of one payment: the later is reversed; a partial one is reversed unless it was wanted;
                         address and security code may show that keeping it is worth less than voiding it
    authentication       what it says enters p_h; then authorize, or stop where that is worth more
    refusals             the code's remedy (`remedy`) names what may be tried; limits take times away; money decides:

        V(h) = max( V_stop(h), max over (action a, time t) of sigma(t) EV(a | h) + (1 - sigma(t)) V_stop(h) )

`next_action` is a pure function. What it looks at of the outside world is in its `outlooks`: for each time that `times`
proposes, what the limits say then and what is believed of approval then. For a story one call is enough; without
outlooks there are no limits, and approval is what the recovery table states:

    history = History(tried=(Tried("att_1", 1, "a", "pan", answer="declined", network="visa", code="91"),))
    given = Given(amount_minor=10_000, fraud_probability_e9=1_000_000, ingest_us=now_us, history=history)
    next_action(attempt, given, economics=economics, policy=policy).next == "retry_now"
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Stakes
from greenlane.payments.attempt import Attempt
from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.policy.actions import Action, Eligible, Row, Way
from greenlane.policy.believe import believe, prior_approvals
from greenlane.policy.choose import ROW, UNVALUED, valued
from greenlane.policy.eligible import eligible, eligible_ways
from greenlane.policy.given import Given, Worth
from greenlane.policy.history import FAILED, History, Tried, fraud_given_history_e9
from greenlane.policy.limits import Asked, Limits, Verdict
from greenlane.policy.mandate import sca_required
from greenlane.policy.parameters import Policy
from greenlane.policy.paydays import day_ppm, morning_after, payday_mornings
from greenlane.policy.price import price
from greenlane.policy.priors import Approval, authentication
from greenlane.policy.recovery import STATED, RecoveryTable, worths_of_decline
from greenlane.policy.remedy import REPRESENTED_MAX, Remedy, remedy_of
from greenlane.policy.value import VALUE, Authentication

Step = Literal[
    "authorize", "retry_now", "retry_at", "repair", "reoffer", "query_or_reverse", "void", "capture", "stop"
]  # fmt: skip

TRIES_MAX: Final = 8
"""Attempts at one payment, the first included, whatever the limits leave."""
HORIZON_US: Final = 30 * DAY_US
"""A payment is not tried longer than this after its first attempt."""
AT_ONCE_US: Final = 15 * MINUTE_US
"""Two attempts within this time were a cascade: there is one in a payment, not more."""
FIXES_MAX: Final = 2
"""How often a payer is asked for corrected data."""
LATER_DAYS: Final = (1, 2, 3, 5, 7, 10, 14, 21, 28)
PUSHED: Final = frozenset({"pix", "ideal", "upi", "blik"})
"""The payer sends the money: nothing can be retried, only offered again."""
DEBITS: Final = frozenset({"us_bank_account", "sepa_debit"})
WAITING: Final = frozenset({"wait", "other_route"})
"""Remedies that only time, or another route, brings."""
SUSPECT: Final = 3
"""The strongest fraud signal of a code: nothing else is offered after it."""
ENDINGS: Final = frozenset({"stop", "reoffer", "capture", "void"})
ENDS: Final = {"new_mandate": ("cancel_mandate",), "contact_issuer": ("contact_issuer",)}
"""What an end asks for, by what the code needs."""
SENDABLE: Final = frozenset({"allow", "exempt", "challenge"})
"""A further try goes out by itself: nobody reviews it again."""


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


class Next(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What to do, and why. Money in micro-minor units of the reporting currency."""

    next: Step
    at_us: int
    action: Action | None = None
    about: str = ""
    """The attempt that is meant, where one is: to authorize, query, reverse, void or capture."""
    changes: tuple[str, ...] = ()
    """What has to be different, in the words of the tables: challenge, other_route, account_updater, ..."""
    stop_reason: str = ""
    attempts_used: int = 0
    attempts_cap: int = TRIES_MAX
    limit_rule: str = ""
    """The rule that forbids, or else has least left."""
    value_micro: int = 0
    stop_micro: int = 0
    """V_stop(h)."""
    terms_micro: tuple[int, ...] = UNVALUED
    runner_up: Considered | None = None
    considered: tuple[Considered, ...] = ()
    """All that was valued, in the order it is preferred where values are equal."""


@dataclass(kw_only=True)
class Case:
    """All that the steps look at, worked out once."""

    attempt: Attempt
    given: Given
    history: History
    economics: Economics
    policy: Policy
    table: RecoveryTable
    outlooks: tuple[Outlook, ...]
    partial_accepted: bool

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

    @cached_property
    def declines(self) -> int:
        return sum(tried.answer == "declined" for tried in self.history.tried)

    @cached_property
    def sent(self) -> list[Tried]:
        return [tried for tried in self.history.tried if tried.answer not in ("not_sent", "pending")]

    @cached_property
    def fitting(self) -> tuple[Way, ...]:
        return eligible_ways(self.attempt, self.economics)

    @cached_property
    def may(self) -> Eligible:
        return eligible(self.attempt, self.given, economics=self.economics, history=self.history)

    @cached_property
    def payer(self) -> Authentication:
        card = self.attempt.payment.payment_method.card
        return authentication(self.policy.priors, card.issuer_country if card else None)

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


class Plan(NamedTuple):
    """A kind of further try: with which interventions, over which ways, changing what."""

    next: Step
    changes: tuple[str, ...]
    ways: frozenset[Way]
    interventions: frozenset[str] = SENDABLE
    outlook: Outlook | None = None
    wait_us: int = 0


def next_action(
    attempt: Attempt,
    given: Given,
    outlooks: Iterable[Outlook] = (),
    *,
    economics: Economics,
    policy: Policy,
    table: RecoveryTable = STATED,
    partial_accepted: bool = False,
) -> Next:
    """What to do now, at `given.ingest_us`, with what `given.history` says happened.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod, Route
    >>> card = Card(fingerprint="fp_1", network="visa", issuer_country="US")
    >>> payment = Payment(id="p", amount=10_000, currency="USD", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=card))
    >>> attempt = Attempt(attempt_id="a", payment=payment, eligible_routes=(Route(id="a"), Route(id="b")))
    >>> def after(code, answer="declined"):
    ...     history = History(tried=(Tried("att_1", 1, "a", "pan", answer=answer, network="visa", code=code),))
    ...     given = Given(amount_minor=10_000, fraud_probability_e9=1_000_000, history=history)
    ...     return next_action(attempt, given, economics=Economics(), policy=Policy(perspective="merchant"))
    >>> after("91").next, after("91").action.route, after("51").next, after("43").next, after("", "unknown").next
    ('retry_now', 'b', 'reoffer', 'stop', 'query_or_reverse')
    """
    case = _case(attempt, given, tuple(outlooks), economics, policy, table, partial_accepted)
    found = next((found for step in STEPS if (found := step(case)) is not None), None)
    return _with_counts(case, found or _ended(case, "nothing_to_try"))


def times(attempt: Attempt, given: Given, *, economics: Economics) -> tuple[int, ...]:
    """When something could be sent, now first: with nobody present mornings and paydays, else when the wait is over."""
    history = _settled(attempt, given, economics)
    last = history.tried[-1] if history.tried else None
    remedy = _remedy(attempt, last, economics) if last is not None else None
    now_us = given.ingest_us
    if remedy is None or remedy.kind not in WAITING:
        return (now_us,)
    ready_us = _ready_us(now_us, last, remedy)
    if attempt.payment.initiator == "cit" and attempt.payment.payment_method.type not in DEBITS:
        return (now_us, ready_us) if ready_us > now_us else (now_us,)
    country = _country(attempt)
    until_us = _until_us(now_us, history)
    technical = remedy.group == "technical" and attempt.payment.payment_method.type not in DEBITS
    soon = (ready_us, ready_us + HOUR_US, ready_us + 6 * HOUR_US) if technical else ()
    mornings = (morning_after(max(ready_us, now_us + day * DAY_US), country) for day in (0, *LATER_DAYS))
    later = {*soon, *mornings, *payday_mornings(ready_us, until_us, country)}
    return now_us, *sorted(us for us in later if now_us < us <= until_us)


def _ready_us(now_us: int, last: Tried | None, remedy: Remedy) -> int:
    """When the wait that the answer asks for is over; it counts from the attempt that was refused."""
    sent_us = last.at_us if last is not None and last.at_us else now_us
    return max(now_us, sent_us + remedy.wait_us)


def _until_us(now_us: int, history: History) -> int:
    return ((history.tried[0].at_us if history.tried else 0) or now_us) + HORIZON_US


def outlooks_of(attempt: Attempt, given: Given, limits: Limits, asked: Asked, *, economics: Economics) -> list[Outlook]:
    """What the limits say at each of `times`, and at the earliest time they allow, if that is another."""
    proposed = times(attempt, given, economics=economics)
    found = {us: limits.verdict(asked._replace(at_us=us)) for us in proposed}
    first_us = found[proposed[0]].earliest_us
    if first_us is not None and first_us not in found and first_us <= given.ingest_us + HORIZON_US:
        if attempt.payment.initiator == "mit":
            first_us = morning_after(first_us, _country(attempt))
        found[first_us] = limits.verdict(asked._replace(at_us=first_us))
    return [Outlook(us, verdict) for us, verdict in sorted(found.items())]


def double_approvals(tried: Iterable[Tried]) -> tuple[str, ...]:
    """The attempts to reverse: every standing approval of one payment but the first.

    >>> double_approvals((Tried("a", 1, "r", answer="approved"), Tried("b", 2, "s", answer="approved")))
    ('b',)
    """
    return tuple(each.attempt_id for each in tried if each.answer in ("approved", "partially_approved"))[1:]


def capturable_minor(approved_minor: int, captured: Iterable[int]) -> int:
    """How much may still be captured of a payment, so that the sum never exceeds what was approved.

    >>> capturable_minor(10_000, [4_000, 5_000]), capturable_minor(10_000, [10_000, 1])
    (1000, 0)
    """
    return max(0, approved_minor - sum(captured))


def _case(
    attempt: Attempt,
    given: Given,
    outlooks: tuple[Outlook, ...],
    economics: Economics,
    policy: Policy,
    table: RecoveryTable,
    partial_accepted: bool,
) -> Case:
    history = _settled(attempt, given, economics)
    if not outlooks:
        outlooks = tuple(Outlook(us, UNBOUND) for us in times(attempt, given, economics=economics))
    return Case(
        attempt=attempt,
        given=replace(given, history=history),
        history=history,
        economics=economics,
        policy=policy,
        table=table,
        outlooks=outlooks,
        partial_accepted=partial_accepted,
    )


UNBOUND: Final = Verdict(True, "", 0, TRIES_MAX)


def _settled(attempt: Attempt, given: Given, economics: Economics) -> History:
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


UNSENT: Final = Remedy("other_route", "technical", "connect_error", cascade=True)
"""Nothing reached the issuer, or it was taken back with its confirmation: another route is free of danger."""


def _country(attempt: Attempt) -> str:
    method = attempt.payment.payment_method
    card, debit = method.card, method.sepa_debit or method.us_bank_account
    country = card.issuer_country if card else debit.bank_country if debit else None
    return attempt.payment.billing_country or country or ""


# the steps, in order: the first that has an answer gives it


def _query_first(case: Case) -> Next | None:
    """Money may be on its way: nothing is sent before that is settled."""
    authenticated = case.history.answered
    for at, tried in enumerate(case.history.tried):
        is_last = at == len(case.history.tried) - 1
        unheard = tried.answer == "pending" and not (is_last and (authenticated or case.history.approved))
        asks = tried.answer == "declined" and remedy_of(tried.network, tried.code).kind == "query"
        if tried.answer == "unknown" or unheard or asks:
            action = Action(tried.intervention, tried.exemption, tried.route, tried.credential)
            return Next(next="query_or_reverse", at_us=case.now_us, action=action, about=tried.attempt_id)
    return None


def _reverse_second(case: Case) -> Next | None:
    later = double_approvals(case.history.tried)
    if not later:
        return None
    return Next(next="void", at_us=case.now_us, about=later[0], stop_reason="approved_twice")


def _after_approval(case: Case) -> Next | None:
    standing = [tried for tried in case.history.tried if tried.answer in ("approved", "partially_approved")]
    if not standing and not case.history.approved:
        return None
    about = standing[0].attempt_id if standing else case.attempt.attempt_id
    partial = bool(standing) and standing[0].answer == "partially_approved"
    if partial and not case.partial_accepted:
        return Next(next="void", at_us=case.now_us, about=about, stop_reason="partial_approval")
    changes = ("collect_remainder",) if partial else ()
    keep, void = _kept(case)
    if void.value_micro > keep.value_micro:
        return _chosen(case, void, [keep], about=about, reason="worth_less_than_voiding")
    return replace(_chosen(case, keep, [void], about=about), changes=changes)


def _kept(case: Case) -> tuple[Considered, Considered]:
    """(keep it, void it), valued with what the issuer said of address and security code."""
    keep, void = Considered("capture", case.now_us, None, 0), Considered("void", case.now_us, None, -1)
    if case.valueless:
        return keep, void
    history = case.history._replace(approved=True)
    given = replace(case.given, history=history, stops=(), approvals=None, declined=None)
    may = eligible(case.attempt, given, economics=case.economics, history=history)
    if not may.ways:
        return keep, void
    ways, economics, policy = may.ways, case.economics, case.policy
    beliefs = believe(case.attempt, given, ways, economics=economics, priors=policy.priors, history=history)
    table = valued(
        may, beliefs, case.attempt, given, perspective=policy.perspective, economics=economics, history=history
    )
    sent = case.last.route if case.last is not None else ""
    at = next((at for at, way in enumerate(ways) if way.route == sent), 0)
    allow, block = table[ROW["allow"], at].tolist(), table[ROW["block"], at].tolist()
    return (
        replace(keep, value_micro=allow[VALUE], terms_micro=tuple(allow[:VALUE])),
        replace(void, value_micro=block[VALUE], terms_micro=tuple(block[:VALUE])),
    )


def _after_authentication(case: Case) -> Next | None:
    """The same attempt goes on: its own reservation is not held against it."""
    if not case.history.answered or (case.last is not None and case.last.answer != "pending"):
        return None
    about = case.last.attempt_id if case.last is not None else case.attempt.attempt_id
    if case.history.status in FAILED:
        return replace(_ended(case, "authentication_failed"), about=about)
    if not case.outlooks[0].verdict.allowed:
        return replace(_ended(case, "limit"), about=about)
    plan = Plan("authorize", (), frozenset(case.fitting), frozenset({"allow", "exempt"}), case.outlooks[0])
    found = _valued(case, plan)
    if found is None:
        return replace(_ended(case, next(iter(case.may.stops), "no_eligible_way")), about=about)
    if found.value_micro <= case.stop_micro and not case.valueless:
        return replace(_ended(case, "not_worth_its_risk", [found]), about=about)
    return _chosen(case, found, [], about=about)


def _offer_again(case: Case) -> Next | None:
    if case.method not in PUSHED or case.remedy is None:
        return None
    if not case.present or case.declines > FIXES_MAX:
        return Next(next="stop", at_us=case.now_us, stop_reason="offered_often_enough")
    return Next(next="reoffer", at_us=case.now_us, changes=("new_payment",))


def _given_up(case: Case) -> Next | None:
    remedy = case.remedy
    if remedy is None:
        return Next(next="stop", at_us=case.now_us, stop_reason="reversed" if case.last else "nothing_happened")
    if remedy.kind == "never":
        return _ended(case, remedy.category)
    if remedy.kind == "authenticate" and not case.present:
        return _ended(case, "needs_the_payer")
    if len(case.sent) >= TRIES_MAX:
        return _ended(case, "tries_used_up")
    if case.now_us > _until_us(case.now_us, case.history):
        return _ended(case, "too_late")
    if case.method in DEBITS and case.declines > (1 if case.last and case.last.code == "MS03" else REPRESENTED_MAX):
        return _ended(case, "presented_often_enough")
    if remedy.kind == "fix_data":
        return _asked_for_data(case, remedy)
    return None


def _asked_for_data(case: Case, remedy: Remedy) -> Next | None:
    """Only whoever has the data can correct it: the payer, or for a direct debit the merchant."""
    asked = sum(remedy_of(t.network, t.code).kind == "fix_data" for t in case.history.tried if t.answer == "declined")
    if case.method in DEBITS:
        return Next(next="repair", at_us=case.now_us, changes=(remedy.condition or "correct_and_present_again",))
    if not case.present:
        return _ended(case, "needs_the_payer")
    return _ended(case, "data_wrong_again") if asked > FIXES_MAX else None


def _tried_again(case: Case) -> Next | None:
    """The best of what the remedy, the limits and the clock leave, if it is worth more than stopping."""
    plans = [plan for plans in PLANS for plan in plans(case)]
    allowed = [plan for plan in plans if plan.next == "repair" or (plan.outlook and plan.outlook.verdict.allowed)]
    if not allowed:
        refused = next((plan.outlook.verdict.rule for plan in plans if plan.outlook), "")
        return replace(_ended(case, "limit" if refused else "nothing_to_try"), limit_rule=refused)
    considered = [found for plan in allowed if (found := _valued(case, plan)) is not None]
    if not considered:
        return _ended(case, "no_eligible_way")
    best = max(considered, key=lambda each: each.value_micro)
    rest = [each for each in considered if each is not best]
    if not case.valueless and best.value_micro <= _ending(case).value_micro:
        return _ended(case, "not_worth_another_try", considered)
    return _chosen(case, best, rest)


STEPS: Final = (
    _query_first,
    _reverse_second,
    _after_approval,
    _after_authentication,
    _offer_again,
    _given_up,
    _tried_again,
)


# what may be tried


def _authenticated(case: Case) -> list[Plan]:
    """The issuer wants to know who pays: at once, with a challenge and without an exemption."""
    if _remedy_kind(case) != "authenticate" or not case.present:
        return []
    ways = frozenset(case.fitting)
    return [Plan("retry_now", ("challenge", "no_exemption"), ways, frozenset({"challenge"}), case.outlooks[0])]


def _other_credential(case: Case) -> list[Plan]:
    """A token where the number failed, the number where the token did."""
    if _remedy_kind(case) not in ("token", "update") or case.last is None:
        return []
    tried = {tried.credential for tried in case.sent}
    ways = [way for way in case.fitting if way.credential not in tried]
    return [
        Plan("retry_now", (credential,), frozenset(w for w in ways if w.credential == credential), SENDABLE, now)
        for credential in sorted({way.credential for way in ways})
        for now in case.outlooks[:1]
    ]


def _repaired(case: Case) -> list[Plan]:
    """New data come from the updater or the payer; the try that follows is asked about anew."""
    kinds: list[str] = [
        remedy_of(t.network, t.code, t.advice).kind for t in case.history.tried if t.answer == "declined"
    ]
    kind = _remedy_kind(case)
    if kind not in ("update", "fix_data", "token") or kinds.count(kind) > (FIXES_MAX if kind == "fix_data" else 1):
        return []
    needs = "new_cryptogram" if kind == "token" else case.remedy.needs if case.remedy else ""
    ways = frozenset(way for way in case.fitting if case.last is None or way.credential == case.last.credential)
    return [Plan("repair", (needs or "update_credential",), ways, SENDABLE, case.outlooks[0])]


def _cascaded(case: Case) -> list[Plan]:
    """Once, at once, over a route that was not tried."""
    remedy, sent = case.remedy, case.sent
    if remedy is None or not remedy.cascade or remedy.kind not in WAITING:
        return []
    if any(later.at_us - before.at_us < AT_ONCE_US for before, later in pairwise(sent)):
        return []
    tried = {tried.route for tried in case.history.tried}
    ways = [way for way in case.fitting if way.route not in tried]
    if remedy.domestic:
        abroad = not any(_is_domestic(case, Way(route, "")) for route in tried)
        ways = [way for way in ways if abroad and _is_domestic(case, way)]
    return [Plan("retry_now", ("other_route",), frozenset(ways), SENDABLE, case.outlooks[0])] if ways else []


def _scheduled(case: Case) -> list[Plan]:
    """Every time at which the wait that the answer asks for is over."""
    remedy = case.remedy
    if remedy is None or remedy.kind not in WAITING:
        return []
    ways = frozenset(case.fitting)
    changes = (remedy.condition,) if remedy.condition else ()
    ready_us, until_us = _ready_us(case.now_us, case.last, remedy), _until_us(case.now_us, case.history)
    return [
        Plan("retry_at", changes, ways, SENDABLE, outlook, outlook.at_us - case.now_us)
        for outlook in case.outlooks
        if ready_us <= outlook.at_us <= until_us and outlook.at_us > case.now_us
    ]


PLANS: Final = (_authenticated, _other_credential, _cascaded, _repaired, _scheduled)
"""In the order in which equal values are preferred."""


def _remedy_kind(case: Case) -> str:
    return case.remedy.kind if case.remedy is not None else ""


def _is_domestic(case: Case, way: Way) -> bool:
    terms, card = case.economics.route_terms.get(way.route), case.attempt.payment.payment_method.card
    country = (terms.acquirer_country if terms else None) or case.economics.country
    return card is not None and card.issuer_country is not None and card.issuer_country == country


# what it is worth


def _valued(case: Case, plan: Plan) -> Considered | None:
    """The best action of a plan; None where nothing of it is eligible."""
    attempt, economics, policy = case.attempt, case.economics, case.policy
    may = _narrowed(case.may, plan)
    if not may.rows:
        return None
    at_us = plan.outlook.at_us if plan.outlook else case.now_us
    if case.valueless:
        return Considered(plan.next, at_us, may.action(0), 0, plan.changes)
    told = plan.outlook.approvals if plan.outlook else None
    if told is not None:
        by_way = dict(zip(case.fitting, told, strict=True))
        approvals = tuple(by_way[way] for way in may.ways)
    else:
        approvals = _stated_approvals(case, plan, may.ways)
    given = replace(case.given, approvals=approvals, declined=_worths(case, plan, may.ways))
    beliefs = believe(attempt, given, may.ways, economics=economics, priors=policy.priors, history=case.history)
    table = valued(
        may, beliefs, attempt, given, perspective=policy.perspective, economics=economics, history=case.history
    )
    cells = [
        (table[ROW[row.intervention], at].tolist(), may.place(Action(row.intervention, row.exemption, *way)))
        for row in may.rows
        for at, way in enumerate(may.ways)
        if row.ways >> at & 1
    ]
    terms, place = max(cells, key=lambda cell: cell[0][VALUE])
    stays = case.table.persistence(case.who, plan.wait_us)
    value = round(stays * terms[VALUE] + (1.0 - stays) * case.stop_micro)
    return Considered(plan.next, at_us, may.action(place), value, plan.changes, tuple(terms[:VALUE]))


def _narrowed(may: Eligible, plan: Plan) -> Eligible:
    """Only the plan's ways and interventions."""
    kept = [at for at, way in enumerate(may.ways) if way in plan.ways]
    rows = []
    for row in may.rows:
        bits = sum(1 << new for new, old in enumerate(kept) if row.ways >> old & 1)
        if bits and row.intervention in plan.interventions:
            rows.append(Row(row.intervention, row.exemption, bits))
    return Eligible(tuple(rows), tuple(may.ways[at] for at in kept), may.stops)


def _stated_approvals(case: Case, plan: Plan, ways: tuple[Way, ...]) -> tuple[Approval, ...]:
    """Where no model says: what the table says of such a try, spread over ways as first tries differ."""
    before = tuple(case.first_approvals[way] for way in ways)
    if case.remedy is None or not ways:
        return before
    share = _share(case, plan)
    usual = sum(each.good_e9 for each in before) / len(before)
    if plan.interventions == {"challenge"}:
        payer = case.payer
        passed = payer.frictionless_good + (1.0 - payer.frictionless_good) * payer.success_good
        share = min(1.0, share / max(passed, 1e-9))
    scale = min(1.0, share * 1e9 / max(usual, 1.0))
    return tuple(_scaled(each, scale) for each in before)


def _scaled(approval: Approval, scale: float) -> Approval:
    *rates, soft_decline_e9 = approval
    good, fraud, good_3ds, fraud_3ds, good_exempt, fraud_exempt = (round(rate * scale) for rate in rates)
    return Approval(good, fraud, good_3ds, fraud_3ds, good_exempt, fraud_exempt, soft_decline_e9)


def _share(case: Case, plan: Plan) -> float:
    assert case.remedy is not None, "a share is of a decline"
    tries = max(0, case.declines - 1)
    since_us = plan.wait_us + (case.now_us - case.last.at_us if case.last and case.last.at_us else 0)
    share = case.table.share(case.who, case.remedy.group, tries=tries, wait_us=since_us)
    if plan.next == "retry_at" and case.remedy.group == "insufficient_funds":
        share *= day_ppm(case.now_us + plan.wait_us, _country(case.attempt)) / 1e6
    return min(1.0, share)


def _worths(case: Case, plan: Plan, ways: tuple[Way, ...]) -> tuple[Worth, ...]:
    """V(h') where this try is declined too: fewer tries are left, and the end is this case's end.

    Few tries are approved, so that one more decline says little of fraud: p_D is taken as p_h.
    """
    left = plan.outlook.verdict.attempts_left if plan.outlook else TRIES_MAX
    left = max(0, min(left, TRIES_MAX - len(case.sent)) - 1)
    if left not in case.worths:
        card = case.attempt.payment.payment_method.card
        found = worths_of_decline(
            case.table,
            case.fitting,
            case.money._replace(stop=case.money.stop + (case.money.other_method if _may_be_offered(case) else 0.0)),
            economics=case.economics,
            amount_minor=case.given.amount_minor,
            initiator=case.who,
            issuer_id=(card.issuer_id if card else None) or "",
            fraud_e9=case.fraud_e9,
            fraud_approval_ppm=case.policy.priors.fraud_approval_ppm,
            attempts_left=left,
            tries=case.declines,
        )
        case.worths[left] = dict(zip(case.fitting, found, strict=True))
    return tuple(case.worths[left][way] for way in ways)


# how it ends


def _may_be_offered(case: Case) -> bool:
    """Another method is offered to a payer who is there, and whom nothing speaks against."""
    suspect = (case.remedy is not None and case.remedy.fraud_signal >= SUSPECT) or case.history.status == "R"
    return case.present and case.method not in DEBITS and not suspect and not case.given.stops


def _ending(case: Case) -> Considered:
    """Stop, or offer another way to pay: V_stop(h), with what another method is worth."""
    if not _may_be_offered(case):
        return Considered("stop", case.now_us, None, case.stop_micro)
    if case.valueless:
        return Considered("reoffer", case.now_us, None, case.stop_micro, ("other_method",))
    value = case.stop_micro + round((1.0 - case.fraud_e9 / 1e9) * case.money.other_method * 1e6)
    return Considered("reoffer", case.now_us, None, value, ("other_method",))


def _ended(case: Case, reason: str, considered: Sequence[Considered] = ()) -> Next:
    ending = _ending(case)
    changes = ENDS.get(case.remedy.needs, ()) if case.remedy is not None else ()
    return replace(_chosen(case, ending, considered), stop_reason=reason, changes=changes + ending.changes)


def _chosen(case: Case, best: Considered, rest: Sequence[Considered], *, about: str = "", reason: str = "") -> Next:
    others = [*rest, *(() if best.next in ENDINGS else (_ending(case),))]
    outlook = next((each for each in case.outlooks if each.at_us == best.at_us), case.outlooks[0])
    return Next(
        next=best.next,
        at_us=best.at_us,
        action=best.action,
        about=about,
        changes=best.changes,
        stop_reason=reason,
        limit_rule=outlook.verdict.rule,
        value_micro=best.value_micro,
        stop_micro=case.stop_micro,
        terms_micro=best.terms_micro,
        runner_up=max(others, key=lambda each: each.value_micro, default=None),
        considered=(best, *others),
    )


def _with_counts(case: Case, found: Next) -> Next:
    used = sum(tried.answer != "not_sent" for tried in case.history.tried)
    return replace(
        found, attempts_used=used, attempts_cap=min(TRIES_MAX, used + case.outlooks[0].verdict.attempts_left)
    )
