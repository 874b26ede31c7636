"""The policies that are compared, each in few lines over the same hands.

joint            every action at once, with what a declined payer is still worth, and a little exploration
sequential       first the intervention, as if the first way were taken; then the way by approval value; then retries
success rate ..  the same first step; the way by a router of `policy.baselines`; retries by the handbook
informed_oracle  the joint rule with the world's true conditional probabilities: same information, same bans
clairvoyant      knows who the payer is and how the world will treat them: no bar for anybody
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from msgspec import structs

from greenlane.jobs.evaluating.contest import Case, Contestant, Logged, Move, sent_of
from greenlane.jobs.evaluating.hands import DRAW, POLICY, Belief, Hands, PriorBelief, Table, in_mode, unit_of
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US
from greenlane.policy.actions import BLOCK, Action, Eligible, Row, Way
from greenlane.policy.baselines import ByApprovalValue, Occasion, Router
from greenlane.policy.believe import given_e9
from greenlane.policy.budgets import Ledger
from greenlane.policy.choose import choose
from greenlane.policy.eligible import eligible_ways
from greenlane.policy.explore import Context, Explored, explore
from greenlane.policy.given import Given, Worth
from greenlane.policy.limits import Limits
from greenlane.policy.next_action import Next, Outlook, next_action, outlooks_of
from greenlane.policy.price import costs_of, price
from greenlane.policy.priors import Approval
from greenlane.policy.recovery import RecoveryTable, worths_of_decline
from greenlane.policy.value import Authentication, Over
from greenlane.ports.journal import Entry
from greenlane.simulation.answers import AUTHENTICATED, EXEMPT, PLAIN, Answer, Sent
from greenlane.simulation.living import Living

AT_ONCE_US: Final = SECOND_US
APPROVAL: Final = [3 * mode + payer for mode in (PLAIN, AUTHENTICATED, EXEMPT) for payer in (0, 1)] + [3 * EXEMPT + 2]
"""Where the fields of an `Approval` stand among the rates of a way."""
FEE, DECLINED = Over._fields.index("fee"), Over._fields.index("declined")
SCHEDULE_DAYS: Final = (1, 3, 5, 7)
"""Of merchant-initiated payments after soft declines: the four tries of the handbook."""
UNEXPLORED: Final = Explored(distribution=(), place=0)
SENT_AGAIN: Final = frozenset({"retry_now", "retry_at"})


class Staged(Contestant):
    """One thing after another: the intervention by value over the first way, the way by a router, then retries.

    Retries are the handbook's: a technical decline, a first 05 or a misconfigured route goes to the next way at once,
    a soft decline for want of authentication is challenged, merchant-initiated ones wait for set days.
    """

    def __init__(self, hands: Hands, router: Router, warm: Iterable[Logged] = ()):
        self.hands, self.router = hands, router
        self._occasions: dict[int, Occasion] = {}
        for logged in warm:
            way = Way(logged.route, logged.credential)
            router.learn(way, occasion_in(logged.facts), approved=logged.approved)

    def first(self, case: Case) -> Move:
        return self.choose(case, case.arrival.at_us, ())

    def choose(self, case: Case, now_us: int, avoided: Sequence[Way]) -> Move:
        table = self.hands.table(case, now_us)
        row = self.intervened(case, table)
        action = BLOCK if row is None else self.routed(case, table, row, avoided)
        self.remember(case, table, action, now_us)
        return Move(action, now_us)

    def intervened(self, case: Case, table: Table) -> Row | None:
        """The intervention of most value over the first way; None: a block."""
        if not table.may.ways:
            return None
        best = table.best(1 << self.first_way(case, table.may))
        return row_of(table.may, best)

    def remember(self, case: Case, table: Table, action: Action, now_us: int) -> None:
        self.hands.sent(case, action, now_us, may=table.may, approvals=table.approvals, fraud_e9=table.fraud_e9)

    @staticmethod
    def first_way(case: Case, may: Eligible) -> int:
        order = [terms.id for terms in case.economics.routes]
        places = [order.index(way.route) if way.route in order else len(order) for way in may.ways]
        return places.index(min(places))

    def routed(self, case: Case, table: Table, row: Row, avoided: Sequence[Way]) -> Action:
        ways = [at for at in range(len(table.may.ways)) if row.ways >> at & 1]
        fresh = [at for at in ways if table.may.ways[at] not in avoided] or ways
        occasion = occasion_of(case, table, row, fresh)
        self._occasions[case.place] = occasion
        best = self.router.rank([table.may.ways[at] for at in fresh], occasion)[0]
        return Action(row.intervention, row.exemption, *table.may.ways[fresh[best]])

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        self.hands.hear(case, sent, answer)
        if answer.result in ("approved", "declined", "unknown", "not_sent"):
            way, occasion = Way(sent.route, sent.credential), self._occasions.get(case.place, occasion_in(case.facts))
            self.router.learn(way, occasion, approved=answer.result == "approved", genuine=1.0 - case.fraud_e9 / 1e9)

    def next(self, case: Case, now_us: int) -> Move | None:
        last, tries = case.tried[-1], len(case.tried)
        decline = decline_of(last.network, last.code)
        soon_us = now_us + AT_ONCE_US
        avoided = [Way(each.route, each.credential) for each in case.tried]
        if last.answer in ("reversed", "not_sent"):
            return sendable(self.choose(case, soon_us, avoided)) if tries < 3 else None
        if decline.decline_class == "sca" and case.facts.initiator == "cit" and not case.authenticated:
            return self.challenged(case, soon_us)
        if tries == 1 and decline.cascade in ("yes", "maybe"):
            return sendable(self.choose(case, soon_us, avoided))
        if case.facts.initiator == "mit" and decline.retry_policy == "delay" and tries <= len(SCHEDULE_DAYS):
            wait_us = max(SCHEDULE_DAYS[tries - 1] * DAY_US, int(decline.min_wait_hours * HOUR_US))
            return sendable(self.choose(case, max(case.arrival.at_us + wait_us, soon_us), ()))
        return None

    def challenged(self, case: Case, at_us: int) -> Move | None:
        table = self.hands.table(case, at_us)
        row = next((row for row in table.may.rows if row.intervention == "challenge"), None)
        if row is None:
            return None
        action = self.routed(case, table, row, ())
        self.remember(case, table, action, at_us)
        return Move(action, at_us)


class Modelled(Staged, ABC):
    """With the product's own models, online layer, exploration budget and limits; how they choose differs."""

    def __init__(self, hands: Hands, limits: Limits, recovery: RecoveryTable, *, exploring: bool = True):
        super().__init__(hands, ByApprovalValue())
        self.limits, self.recovery, self.exploring = limits, recovery, exploring
        self._explored: Explored | None = None
        self.ledger = Ledger(POLICY.exploring, lambda _: self._explored)

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        self.hands.hear(case, sent, answer)

    def next(self, case: Case, now_us: int) -> Move | None:
        given, may = self.hands.may(case, now_us)
        found = self.planned(case, given, may)
        corrected = found.next == "repair" and case.facts.initiator == "cit"
        if found.action is None or not (found.next in SENT_AGAIN or corrected):
            return None
        at_us = max(found.at_us, now_us + AT_ONCE_US)
        action, explored = self.again(case, found, at_us)
        self.expect(case, action, at_us)
        return self.charged(case, action, explored, at_us)._replace(corrected=corrected)

    def planned(self, case: Case, given: Given, may: Eligible) -> Next:  # noqa: ARG002 - for those that explore in it
        attempt, economics = case.arrival.attempt, case.economics
        outlooks = self.outlooks(case, given)
        return next_action(attempt, given, outlooks, economics=economics, policy=POLICY, table=self.recovery, draw=DRAW)

    def outlooks(self, case: Case, given: Given) -> list[Outlook]:
        """What the limits say at each time that is proposed."""
        asked = case.asked._replace(at_us=given.ingest_us)
        return outlooks_of(case.arrival.attempt, given, self.limits, asked, economics=case.economics)

    @abstractmethod
    def again(self, case: Case, found: Next, at_us: int) -> tuple[Action, Explored]:
        """What is sent at the planned time, and what was drawn."""

    def expect(self, case: Case, action: Action, at_us: int) -> None:
        ways = eligible_ways(case.arrival.attempt, case.economics)
        approvals = self.hands.approvals(case, ways, at_us)
        self.hands.sent(case, action, at_us, may=Eligible((), ways, ()), approvals=approvals, fraud_e9=case.fraud_e9)

    def context(self, case: Case, now_us: int, ways: Sequence[Way]) -> Context | None:
        """What exploration looks at; `ways` are the eligible ones."""
        if not self.exploring:
            return None
        facts = case.facts
        self.ledger.advance(now_us)
        return Context(
            payment_id=facts.payment_id,
            attempt_no=len(case.tried) + 1,
            unit=f"card {facts.card}",
            day=now_us // DAY_US,
            amount_minor=facts.amount_reporting_minor,
            barred=self.hands.attacked(case, now_us),
            unhealthy=self.hands.unhealthy(case, ways, now_us),
            released_today=self.ledger.released_today(facts),
            allowances=self.ledger.allowances,
            deviations_millilogit=self.hands.deviations(case, ways),
        )

    def charged(self, case: Case, action: Action, explored: Explored, now_us: int) -> Move:
        if explored.kind:
            self._explored = explored
            facts = structs.replace(case.facts, route_id=action.route, intervention=action.intervention)
            self.ledger.apply(Entry(0, 0, now_us, "decision", "", "", now_us, 0, 1, b"", facts, b""))
        return Move(action, now_us, explored.explored, explored.charged_micro / 1e6 if explored.explored else 0.0)


class Sequential(Modelled):
    """The best of each step, one after another.

    The intervention by value over the first way; the way by approval value, explored within the same budget; whether,
    when and how to retry by `next_action` with the learned recovery table; then again the way by approval value.
    """

    def first(self, case: Case) -> Move:
        now_us = case.arrival.at_us
        table = self.hands.table(case, now_us)
        row = self.intervened(case, table)
        action, explored = (BLOCK, UNEXPLORED) if row is None else self.routed_by_worth(case, table, row, now_us)
        self.remember(case, table, action, now_us)
        return self.charged(case, action, explored, now_us)

    def routed_by_worth(self, case: Case, table: Table, row: Row, now_us: int) -> tuple[Action, Explored]:
        """The way of most approval value among those of a row, or another nearly as good."""
        only, (worth, uppers) = Eligible((row,), table.may.ways, ()), self.worths_of_ways(case, table, row)
        context = self.context(case, now_us, table.may.ways)
        place = worth.index(max(worth))
        if context is None:
            return only.action(place), UNEXPLORED
        explored = explore(
            [*worth, -(2**60)], only, context=context, exploring=POLICY.exploring, draw=DRAW,
            uppers_micro=[*uppers, -(2**60)],
        )  # fmt: skip
        return only.action(explored.place), explored

    def worths_of_ways(self, case: Case, table: Table, row: Row) -> tuple[list[int], list[int]]:
        """q (m A - f_r) - (1 - q) c_r of each way that the row admits, micro-minor units; and its upper 95 %."""
        ways = [at for at in range(len(table.may.ways)) if row.ways >> at & 1]
        seen = occasion_of(case, table, row, ways)
        uppers = self.hands.upper(case, [table.may.ways[at] for at in ways], seen.approvals)
        columns = list(zip(seen.earned_minor, seen.declined_minor, strict=True))
        worth, upper = (
            [
                round(1e6 * (q * earned - (1.0 - q) * declined))
                for q, (earned, declined) in zip(rates, columns, strict=True)
            ]
            for rates in (seen.approvals, uppers)
        )
        return worth, upper

    def again(self, case: Case, found: Next, at_us: int) -> tuple[Action, Explored]:
        """The intervention of the plan, over the way of most approval value."""
        assert found.action is not None, "asked for only where there is one"
        table = self.hands.table(case, at_us)
        row = row_of(table.may, found.action)
        if row is None:
            return found.action, UNEXPLORED
        tried = {each.route for each in case.tried} if "other_route" in found.changes else set()
        fresh = sum(1 << at for at, way in enumerate(table.may.ways) if way.route not in tried)
        row = row._replace(ways=row.ways & fresh or row.ways)
        if found.next == "retry_now":
            return self.routed_by_worth(case, table, row, at_us)
        worth, _ = self.worths_of_ways(case, table, row)
        return Eligible((row,), table.may.ways, ()).action(worth.index(max(worth))), UNEXPLORED


class Joint(Modelled):
    """The product: `choose` over everything at once; `next_action` weighs every time and action by approval then."""

    def __init__(
        self,
        hands: Hands,
        limits: Limits,
        recovery: RecoveryTable,
        *,
        retry_value: bool = True,
        exploring: bool = True,
    ):
        super().__init__(hands, limits, recovery, exploring=exploring)
        self.retry_value = retry_value

    def first(self, case: Case) -> Move:
        now_us, attempt = case.arrival.at_us, case.arrival.attempt
        given, may = self.hands.may(case, now_us)
        approvals = self.hands.approvals(case, may.ways, now_us)
        given = structs.replace(
            given,
            approvals=approvals,
            declined=self.worths(case, given, may, approvals) if self.retry_value else None,
            context=self.context(case, now_us, may.ways),
        )
        chosen = choose(attempt, given, economics=case.economics, policy=POLICY, may=may, draw=DRAW)
        p_h = chosen.probabilities.fraud_given_history_e9 if chosen.probabilities else case.fraud_e9
        self.hands.sent(case, chosen.action, now_us, may=may, approvals=approvals, fraud_e9=p_h)
        return self.charged(case, chosen.action, chosen.explored, now_us)

    def worths(
        self, case: Case, given: Given, may: Eligible, approvals: Sequence[Approval]
    ) -> tuple[Worth, ...] | None:
        """V(h') after a decline over each way."""
        attempt, economics, history = case.arrival.attempt, case.economics, self.hands.history(case)
        if not may.ways:
            return None
        money = price(attempt, given, "merchant", economics=economics, history=history, challengeable=False)
        best = approvals[0]
        return worths_of_decline(
            self.recovery,
            may.ways,
            money,
            costs=costs_of(may.ways, attempt, given.amount_minor, economics=economics),
            initiator=case.facts.initiator,
            fraud_e9=given_e9(case.fraud_e9, good_e9=10**9 - best.good_e9, fraud_e9=10**9 - best.fraud_e9),
            fraud_approval_ppm=POLICY.priors.fraud_approval_ppm,
            issuer_id=case.facts.issuer_id,
        )

    def outlooks(self, case: Case, given: Given) -> list[Outlook]:
        """With what is believed of approval at each time that the limits allow."""
        ways = eligible_ways(case.arrival.attempt, case.economics)
        return [
            structs.replace(each, approvals=self.hands.approvals(case, ways, each.at_us))
            if each.verdict.allowed
            else each
            for each in super().outlooks(case, given)
        ]

    def planned(self, case: Case, given: Given, may: Eligible) -> Next:
        context = self.context(case, given.ingest_us, may.ways)
        return super().planned(case, structs.replace(given, context=context), may)

    def again(self, case: Case, found: Next, at_us: int) -> tuple[Action, Explored]:  # noqa: ARG002 - it is all planned
        assert found.action is not None, "asked for only where there is one"
        return found.action, UNEXPLORED if found.drawn is None else found.drawn.explored


class Oracle(Joint):
    """The joint rule with true conditional probabilities of approval and of authentication; it need not explore."""

    def first(self, case: Case) -> Move:
        now_us = case.arrival.at_us
        given, may = self.hands.may(case, now_us)
        approvals = self.hands.approvals(case, may.ways, now_us)
        given = structs.replace(given, declined=self.worths(case, given, may, approvals))
        table = self.hands.valued(case, given, may, approvals)
        action = table.best()
        self.remember(case, table, action, now_us)
        return Move(action, now_us)


class OddsBelief(Belief):
    """The informed oracle's: the world's true conditional probabilities, given what any caller could know."""

    def __init__(self, living: Living):
        self._living = living

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int, offsets: Sequence[int]) -> tuple[Approval, ...]:  # noqa: ARG002 - it knows the weather
        odds = self._living.odds(case.arrival, now_us, case.tried)
        rates = odds.rates.reshape(len(odds.ways), -1)[:, APPROVAL]
        over = dict(zip(odds.ways, np.rint(1e9 * rates).astype(np.int64).tolist(), strict=True))
        return tuple([Approval(*over[way]) for way in ways])

    def payer(self, case: Case) -> Authentication:
        return Authentication(*self._living.authentication_odds(case.arrival))


class Clairvoyant(Contestant):
    """Knows who pays and what the world would do on average; tries nothing again."""

    def __init__(self, living: Living):
        self._living = living
        self._hands = Hands(PriorBelief(), online=False)

    def first(self, case: Case) -> Move:
        _, may = self._hands.may(case, case.arrival.at_us)
        return Move(max(may.actions, key=lambda action: self.worth(case, action)), case.arrival.at_us)

    def worth(self, case: Case, action: Action) -> float:
        sent = sent_of(Move(action, case.arrival.at_us), attempt_no=1)
        terms = self._living.true_terms(case.arrival, sent, case.economics)
        return terms.value + terms.declined * terms.stop

    def next(self, case: Case, now_us: int) -> Move | None:  # noqa: ARG002 - see above
        return None

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        pass


def row_of(may: Eligible, action: Action) -> Row | None:
    """Of the same intervention; None for a block, or where it is not admissible."""
    wanted = action.intervention, action.exemption
    return next((row for row in may.rows if (row.intervention, row.exemption) == wanted), None)


def sendable(move: Move) -> Move | None:
    return None if move.action.intervention == "block" else move


def occasion_of(case: Case, table: Table, row: Row, ways: Sequence[int]) -> Occasion:
    """All that a router may see of ways that are eligible."""
    facts, economics = case.facts, case.economics
    margin = economics.margin_ppm * facts.amount_reporting_minor / 1e6
    p = table.fraud_e9 / 1e9
    modes = [in_mode(table.approvals[at], row.intervention) for at in ways]
    fees, declined = (table.over[list(ways), column].tolist() for column in (FEE, DECLINED))
    return occasion_in(facts)._replace(
        earned_minor=tuple(margin - fee for fee in fees),
        fees_minor=tuple(fees),
        declined_minor=tuple(each + economics.lost_sale_minor for each in declined),
        approvals=tuple(((1 - p) * good + p * fraud) / 1e9 for good, fraud in modes),
        draw=DRAW("route", unit_of(case)),
    )


def occasion_in(facts: Facts) -> Occasion:
    """Whose payment it is."""
    return Occasion(
        facts.merchant_id, facts.network, facts.issuer_id, facts.issuer_country, facts.bin8, (), (), (), ()
    )  # fmt: skip
