"""What may be tried after a refusal, by its remedy, and what each try is worth at its time."""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.payments.times import MINUTE_US
from greenlane.policy.actions import BLOCK, Action, Eligible, Row, Way
from greenlane.policy.approving import moved
from greenlane.policy.believe import believe, scaled
from greenlane.policy.case import (
    TRIES_MAX,
    WAITING,
    Case,
    Considered,
    Drawn,
    Outlook,
    Step,
    country_of,
    ready_us,
    until_us_of,
)
from greenlane.policy.choose import ROW, UPPER_95, valued
from greenlane.policy.degrade import without_model
from greenlane.policy.explore import Draw, explore
from greenlane.policy.given import Given, Worth
from greenlane.policy.history import History
from greenlane.policy.paydays import day_ppm
from greenlane.policy.price import costs_of
from greenlane.policy.priors import Approval
from greenlane.policy.recovery import AGE_TYPICAL_US, worths_of_decline
from greenlane.policy.remedy import remedy_of
from greenlane.policy.value import VALUE

AT_ONCE_US: Final = 15 * MINUTE_US
"""Two attempts within this time were a cascade: there is one in a payment, not more."""
FIXES_MAX: Final = 2
"""How often a payer is asked for corrected data."""
LATER: Final = frozenset({"retry_at", "repair"})
"""What is asked about anew when its time has come: a route that is shut now may be open then."""
SENDABLE: Final = frozenset({"allow", "exempt", "challenge"})
"""A further try goes out by itself: nobody reviews it again."""


class Plan(NamedTuple):
    """A kind of further try: with which interventions, over which ways, changing what."""

    next: Step
    changes: tuple[str, ...]
    ways: frozenset[Way]
    interventions: frozenset[str] = SENDABLE
    outlook: Outlook | None = None
    wait_us: int = 0


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
    ready, until = ready_us(case.now_us, case.last, remedy), until_us_of(case.now_us, case.history)
    return [
        Plan("retry_at", changes, ways, SENDABLE, outlook, outlook.at_us - case.now_us)
        for outlook in case.outlooks
        if ready <= outlook.at_us <= until and outlook.at_us > case.now_us
    ]


PLANS: Final = (_authenticated, _other_credential, _cascaded, _repaired, _scheduled)
"""In the order in which equal values are preferred."""


def _remedy_kind(case: Case) -> str:
    return case.remedy.kind if case.remedy is not None else ""


def _is_domestic(case: Case, way: Way) -> bool:
    terms, card = case.economics.route_terms.get(way.route), case.attempt.payment.payment_method.card
    country = (terms.acquirer_country if terms else None) or case.economics.country
    return card is not None and card.issuer_country is not None and card.issuer_country == country


def worth_of(case: Case, plan: Plan) -> Considered | None:
    """The best action of a plan; None where nothing of it is eligible.

    Where a model told approvals, it says which way a later try goes, and the recovery table what the wait is worth: a
    model that valued each of many times by itself would be believed where it errs most, and put off every retry to a
    time that nobody has tried.
    """
    may = _narrowed(case.may, plan)
    if not may.rows and plan.next in LATER:
        may = _narrowed(case.may_later, plan)
    if not may.rows:
        return None
    at_us = plan.outlook.at_us if plan.outlook else case.now_us
    if case.valueless:
        unseen = _unseen(case, plan, may)
        return None if unseen is BLOCK else Considered(plan.next, at_us, unseen, 0, plan.changes)
    told = _told(case, plan, may.ways)
    later = plan.next == "retry_at"
    table = _table_of(case, plan, may, _stated_approvals(case, plan, may.ways) if told is None or later else told)
    chosen_by = _table_of(case, plan, may, told) if told is not None and later else table
    worth = chosen_by[:, :, VALUE].tolist()
    row, at = max(
        ((row, at) for row in may.rows for at in range(len(may.ways)) if row.ways >> at & 1),
        key=lambda cell: worth[ROW[cell[0].intervention]][cell[1]],
    )
    terms = table[ROW[row.intervention], at].tolist()
    stays = case.table.persistence(case.who, plan.wait_us)
    value = round(stays * terms[VALUE] + (1.0 - stays) * case.stop_micro)
    action = Action(row.intervention, row.exemption, *may.ways[at])
    return Considered(plan.next, at_us, action, value, plan.changes, tuple(terms[:VALUE]))


def drawn(case: Case, plan: Plan, best: Considered, *, end_micro: int, draw: Draw) -> tuple[Considered, Drawn] | None:
    """The same try over a way that is drawn among those nearly as good; None where chance has no part in it.

    Only of what leaves now, and of no last attempt. `end_micro` is what not trying is worth: it stands where a choice
    has its block.
    """
    context, action = case.given.context, best.action
    last = len(case.sent) + 1 >= TRIES_MAX or (plan.outlook is not None and plan.outlook.verdict.attempts_left <= 1)
    if plan.next != "retry_now" or context is None or action is None or case.valueless or last:
        return None
    may = _narrowed(case.may, plan)
    bits = next(row.ways for row in may.rows if row[:2] == (action.intervention, action.exemption))
    ways = tuple([way for at, way in enumerate(may.ways) if bits >> at & 1])
    if len(ways) < 2:
        return None
    only = Eligible((Row(action.intervention, action.exemption, (1 << len(ways)) - 1),), ways, may.stops)
    context = context.of_ways([case.may.ways.index(way) for way in ways], fraud_e9=case.fraud_e9)
    told = _told(case, plan, may.ways) or _stated_approvals(case, plan, may.ways)  # as the best was chosen by
    approvals = tuple([told[may.ways.index(way)] for way in ways])
    table = _table_of(case, plan, only, approvals)[ROW[action.intervention]].tolist()
    worth, uppers = [terms[VALUE] for terms in table], list[int]()
    if max(worth) <= end_micro:
        return None
    if context.deviations_millilogit:
        ratio = case.policy.priors.fraud_approval_ppm
        pairs = zip(approvals, context.deviations_millilogit, strict=True)
        raised = tuple([moved(approval, round(UPPER_95 * deviation), ratio) for approval, deviation in pairs])
        above = _table_of(case, plan, only, raised)[ROW[action.intervention], :, VALUE].tolist()
        uppers = [*[value + abs(upper - value) for value, upper in zip(worth, above, strict=True)], end_micro]
    worth.append(end_micro)
    found = explore(worth, only, context=context, exploring=case.policy.exploring, draw=draw, uppers_micro=uppers)
    taken = replace(
        best,
        action=only.action(found.place),
        value_micro=worth[found.place],
        terms_micro=tuple(table[found.place][:VALUE]),
    )
    return (taken, Drawn(only, tuple(worth), found)) if found.kind else None


def _told(case: Case, plan: Plan, ways: tuple[Way, ...]) -> tuple[Approval, ...] | None:
    """What a model says of approval over each way at the plan's time."""
    told = plan.outlook.approvals if plan.outlook else None
    if told is None:
        return None
    by_way = dict(zip(case.fitting, told, strict=True))
    return tuple(by_way[way] for way in ways)


def _table_of(case: Case, plan: Plan, may: Eligible, approvals: tuple[Approval, ...]) -> NDArray[np.int64]:
    given = replace(case.given, approvals=approvals, declined=_worths(case, plan, may.ways))
    return table_of(case, may, given, case.history)


def table_of(case: Case, may: Eligible, given: Given, history: History) -> NDArray[np.int64]:
    """int64[interventions, ways, terms], as `choose.valued` has it, of this payment after another history."""
    economics, policy = case.economics, case.policy
    beliefs = believe(case.attempt, given, may.ways, economics=economics, priors=policy.priors, history=history)
    perspective = policy.perspective
    return valued(may, beliefs, case.attempt, given, perspective=perspective, economics=economics, history=history)[2]


def _unseen(case: Case, plan: Plan, may: Eligible) -> Action:
    """Without a probability: what was authenticated is sent, all else as the static rung would, up to the cap."""
    if plan.next == "authorize":
        return may.action(0)
    return without_model(may, case.attempt, case.economics, amount_minor=case.given.amount_minor, rung="static")


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
    if plan.interventions == {"challenge"}:
        payer = case.payer
        passed = payer.frictionless_good + (1.0 - payer.frictionless_good) * payer.success_good
        share = min(1.0, share / max(passed, 1e-9))
    usual = sum(each.good_e9 for each in before) / len(before)
    scale = min(1.0, share * 1e9 / max(usual, 1.0))
    return tuple(scaled(each, scale) for each in before)


def _share(case: Case, plan: Plan) -> float:
    assert case.remedy is not None, "a share is of a decline"
    tries = max(0, case.declines - 1)
    since_us = plan.wait_us + (case.now_us - case.last.at_us if case.last and case.last.at_us else 0)
    share = case.table.share(case.who, case.remedy.group, tries=tries, wait_us=since_us)
    if plan.next == "retry_at" and case.remedy.group == "insufficient_funds":
        share *= day_ppm(case.now_us + plan.wait_us, country_of(case.attempt)) / 1e6
    return min(1.0, share)


def _worths(case: Case, plan: Plan, ways: tuple[Way, ...]) -> tuple[Worth, ...]:
    """V(h') where this try is declined too: fewer tries are left, and the end is this case's end.

    Few tries are approved, so that one more decline says little of fraud: p_D is taken as p_h.
    """
    left = plan.outlook.verdict.attempts_left if plan.outlook else TRIES_MAX
    left = max(0, min(left, TRIES_MAX - len(case.sent)) - 1)
    if plan.outlook is not None and not case.present:
        left_us = until_us_of(case.now_us, case.history) - plan.outlook.at_us
        left = min(left, max(0, left_us // AGE_TYPICAL_US[2]))
    if left not in case.worths:
        card = case.attempt.payment.payment_method.card
        found = worths_of_decline(
            case.table,
            case.fitting,
            case.money._replace(stop=case.money.stop + (case.money.other_method if case.may_be_offered else 0.0)),
            costs=costs_of(case.fitting, case.attempt, case.given.amount_minor, economics=case.economics),
            initiator=case.who,
            issuer_id=(card.issuer_id if card else None) or "",
            fraud_e9=case.fraud_e9,
            fraud_approval_ppm=case.policy.priors.fraud_approval_ppm,
            attempts_left=left,
            tries=case.declines,
        )
        case.worths[left] = dict(zip(case.fitting, found, strict=True))
    return tuple(case.worths[left][way] for way in ways)
