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
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import Action, Way
from greenlane.policy.case import (
    DEBITS,
    TRIES_MAX,
    Case,
    Considered,
    Drawn,
    Outlook,
    Step,
    outlooks_of,
    times,
    until_us_of,
)
from greenlane.policy.choose import ROW, UNVALUED
from greenlane.policy.eligible import eligible
from greenlane.policy.explore import Draw
from greenlane.policy.given import Given
from greenlane.policy.history import FAILED, Tried, is_unsettled
from greenlane.policy.parameters import Policy
from greenlane.policy.recovery import STATED, RecoveryTable
from greenlane.policy.remedy import REPRESENTED_MAX, Remedy, remedy_of
from greenlane.policy.tries import FIXES_MAX, PLANS, Plan, drawn, table_of, worth_of
from greenlane.policy.value import VALUE

__all__ = [
    "Considered",
    "Next",
    "Outlook",
    "capturable_minor",
    "double_approvals",
    "next_action",
    "outlooks_of",
    "times",
]

PUSHED: Final = frozenset({"pix", "ideal", "upi", "blik"})
"""The payer sends the money: nothing can be retried, only offered again."""
CHALLENGES_MAX: Final = 2
"""In one payment: an issuer that twice still asks who pays will not be told by a third challenge."""
ENDINGS: Final = frozenset({"stop", "reoffer", "capture", "void"})
ENDS: Final = {"new_mandate": ("cancel_mandate",), "contact_issuer": ("contact_issuer",)}
"""What an end asks for, by what the code needs."""


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
    drawn: Drawn | None = None
    """Over which way it leaves; None: over the best, and chance had no part in it."""


def next_action(
    attempt: Attempt,
    given: Given,
    outlooks: Iterable[Outlook] = (),
    *,
    economics: Economics,
    policy: Policy,
    table: RecoveryTable = STATED,
    partial_accepted: bool = False,
    left_minor: int | None = None,
    draw: Draw | None = None,
) -> Next:
    """What to do now, at `given.ingest_us`, with what `given.history` says; `left_minor` may still be captured.

    Without a `draw`, or a context of exploration in `given`, a further try takes the best way.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod, Route
    >>> from greenlane.policy.history import History
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
    case = Case(
        attempt=attempt, given=given, outlooks=tuple(outlooks), economics=economics, policy=policy, table=table,
        partial_accepted=partial_accepted, left_minor=left_minor, draw=draw,
    )  # fmt: skip
    found = next((found for step in STEPS if (found := step(case)) is not None), None)
    return _with_counts(case, found or _ended(case, "nothing_to_try"))


def double_approvals(tried: Iterable[Tried]) -> tuple[str, ...]:
    """The attempts to reverse: every standing approval of one payment but the one that was there first.

    A time-out whose approval surfaces late is the later one, though it was sent before.

    >>> late, prompt = Tried("a", 1, "r", at_us=9, answer="approved"), Tried("b", 2, "s", at_us=5, answer="approved")
    >>> double_approvals((late, prompt))
    ('a',)
    """
    standing = [each for each in tried if each.answer in ("approved", "partially_approved")]
    return tuple(each.attempt_id for each in sorted(standing, key=lambda each: each.at_us)[1:])


def capturable_minor(approved_minor: int, captured: Iterable[int]) -> int:
    """How much may still be captured of a payment, so that the sum never exceeds what was approved.

    >>> capturable_minor(10_000, [4_000, 5_000]), capturable_minor(10_000, [10_000, 1])
    (1000, 0)
    """
    return max(0, approved_minor - sum(captured))


# the steps, in order: the first that has an answer gives it


def _query_first(case: Case) -> Next | None:
    """Money may be on its way: nothing is sent before that is settled."""
    expected = case.history.answered or case.history.approved or case.authenticating
    for at, tried in enumerate(case.history.tried):
        is_last = at == len(case.history.tried) - 1
        unheard = tried.answer == "pending" and not (is_last and expected)
        if unheard or is_unsettled(tried):
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
    if case.left_minor == 0:
        return Next(next="stop", at_us=case.now_us, about=about, stop_reason="captured_already")
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
    table = table_of(case, may, given, history)
    sent = case.last.route if case.last is not None else ""
    at = next((at for at, way in enumerate(may.ways) if way.route == sent), 0)
    allow, block = table[ROW["allow"], at].tolist(), table[ROW["block"], at].tolist()
    return (
        replace(keep, value_micro=allow[VALUE], terms_micro=tuple(allow[:VALUE])),
        replace(void, value_micro=block[VALUE], terms_micro=tuple(block[:VALUE])),
    )


def _while_authenticating(case: Case) -> Next | None:
    """The issuer wants to see the payer (C), or asks elsewhere (D): nothing was sent, and the challenge goes on."""
    last = case.last
    if not case.authenticating or (last is not None and last.answer != "pending"):
        return None
    about, way = case.attempt.attempt_id, next(iter(case.may.ways), None)
    if last is not None:
        about, way = last.attempt_id, Way(last.route, last.credential)
    if way is None:
        return replace(_ended(case, next(iter(case.may.stops), "no_eligible_way")), about=about)
    action = Action("challenge", "", *way)
    return Next(next="authorize", at_us=case.now_us, action=action, about=about, changes=("complete_challenge",))


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
    found = worth_of(case, plan)
    if found is None:
        return replace(_ended(case, next(iter(case.may.stops), "no_eligible_way")), about=about)
    if found.value_micro <= _ending(case).value_micro and not case.valueless:
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
    if remedy.kind == "authenticate" and case.challenges >= CHALLENGES_MAX:
        return _ended(case, "challenged_often_enough")
    if len(case.sent) >= TRIES_MAX:
        return _ended(case, "tries_used_up")
    if case.now_us > until_us_of(case.now_us, case.history):
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
    considered = [(found, plan) for plan in allowed if (found := worth_of(case, plan)) is not None]
    if not considered:
        return _ended(case, "no_eligible_way")
    best, plan = max(considered, key=lambda each: each[0].value_micro)
    end_micro, others = _ending(case).value_micro, [each for each, _ in considered if each is not best]
    if not case.valueless and best.value_micro <= end_micro:
        return _ended(case, "not_worth_another_try", [each for each, _ in considered])
    left_to_chance = None if case.draw is None else drawn(case, plan, best, end_micro=end_micro, draw=case.draw)
    if left_to_chance is None:
        return _chosen(case, best, others)
    taken, chance = left_to_chance
    return replace(_chosen(case, taken, [best, *others] if chance.explored.explored else others), drawn=chance)


STEPS: Final = (
    _query_first,
    _reverse_second,
    _after_approval,
    _while_authenticating,
    _after_authentication,
    _offer_again,
    _given_up,
    _tried_again,
)


# how it ends


def _ending(case: Case) -> Considered:
    """Stop, or offer another way to pay: V_stop(h), with what another method is worth."""
    if not case.may_be_offered:
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
