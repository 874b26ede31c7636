"""The policies that are compared, each in few lines over the same hands.

joint               every action at once, worth of a later retry included
sequential          first the intervention, as if the first route were taken; then the way; then retries
success_rate ...    the same first step; the way by a router of `policy.baselines`; retries by the handbook
informed_oracle     the joint rule with the world's true conditional probabilities: same information, same bans
clairvoyant         knows who the payer is and how the world will treat them: no bar for anybody
"""

from collections.abc import Sequence
from typing import Final

from greenlane.jobs.evaluating.contest import Case, Contestant, Move, sent_of
from greenlane.jobs.evaluating.hands import DRAW, ROW, Belief, Hands, PriorBelief, Table, in_mode, unit_of
from greenlane.payments.codes import decline_of
from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US
from greenlane.policy.actions import BLOCK, Action, Row, Way
from greenlane.policy.baselines import Occasion, Router
from greenlane.policy.priors import Approval
from greenlane.policy.value import Authentication, Over
from greenlane.simulation.answers import AUTHENTICATED, EXEMPT, PLAIN, Answer, Sent
from greenlane.simulation.living import Living

AT_ONCE_US: Final = SECOND_US
FEE, DECLINED = Over._fields.index("fee"), Over._fields.index("declined")
SCHEDULE_DAYS: Final = (1, 3, 5, 7)
"""Of merchant-initiated payments after soft declines: the four tries of the handbook."""


class Staged(Contestant):
    """One thing after another: the intervention by value over the first way, the way by a router, then retries.

    Retries are the handbook's: a technical decline, a first 05 or a misconfigured route goes to the next way at once,
    a soft decline for want of authentication is challenged, merchant-initiated ones wait for set days.
    """

    def __init__(self, hands: Hands, router: Router):
        self.hands, self.router = hands, router
        self._occasions: dict[int, Occasion] = {}

    def first(self, case: Case) -> Move:
        return self.choose(case, case.arrival.at_us, ())

    def choose(self, case: Case, now_us: int, avoided: Sequence[Way]) -> Move:
        table = self.hands.table(case, now_us)
        may = table.may
        action = table.best(1 << self.first_way(case, table)) if may.ways else BLOCK
        if action.intervention != "block":
            row = next(r for r in may.rows if (r.intervention, r.exemption) == (action.intervention, action.exemption))
            action = self.routed(case, table, row, avoided)
        self.remember(case, table, action, now_us)
        return Move(action, now_us)

    def remember(self, case: Case, table: Table, action: Action, now_us: int) -> None:
        self.hands.sent(case, action, now_us, may=table.may, approvals=table.approvals, fraud_e9=table.fraud_e9)

    @staticmethod
    def first_way(case: Case, table: Table) -> int:
        order = [terms.id for terms in case.economics.routes]
        places = [order.index(way.route) if way.route in order else len(order) for way in table.may.ways]
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
            way, occasion = Way(sent.route, sent.credential), self._occasions[case.place]
            genuine = 1.0 - case.fraud_e9 / 1e9
            self.router.learn(way, occasion, approved=answer.result == "approved", genuine=genuine)

    def next(self, case: Case, now_us: int) -> Move | None:
        last, tries = case.tried[-1], len(case.tried)
        decline = decline_of(last.network, last.code)
        soon_us = now_us + AT_ONCE_US
        avoided = [Way(each.route, each.credential) for each in case.tried]
        if last.answer in ("unknown", "not_sent"):
            return self.choose(case, soon_us, avoided) if tries < 3 else None
        if decline.decline_class == "sca" and case.facts.initiator == "cit" and not case.authenticated:
            return self.challenged(case, soon_us)
        if tries == 1 and decline.cascade in ("yes", "maybe"):
            return self.unblocked(self.choose(case, soon_us, avoided))
        if case.facts.initiator == "mit" and decline.retry_policy == "delay" and tries <= len(SCHEDULE_DAYS):
            wait_us = max(SCHEDULE_DAYS[tries - 1] * DAY_US, int(decline.min_wait_hours * HOUR_US))
            return self.unblocked(self.choose(case, case.arrival.at_us + wait_us, ()))
        return None

    def challenged(self, case: Case, at_us: int) -> Move | None:
        table = self.hands.table(case, at_us)
        row = next((row for row in table.may.rows if row.intervention == "challenge"), None)
        if row is None:
            return None
        action = self.routed(case, table, row, ())
        self.remember(case, table, action, at_us)
        return Move(action, at_us)

    @staticmethod
    def unblocked(move: Move) -> Move | None:
        return None if move.action.intervention == "block" else move


class Joint(Staged):
    """The whole table at once; retries as the handbook's, over the way that is worth most."""

    def __init__(self, hands: Hands):
        self.hands = hands

    def choose(self, case: Case, now_us: int, avoided: Sequence[Way]) -> Move:
        table = self.hands.table(case, now_us)
        mask = sum(1 << at for at, way in enumerate(table.may.ways) if way not in avoided)
        action = table.best(mask or -1)
        self.remember(case, table, action, now_us)
        return Move(action, now_us)

    def routed(self, case: Case, table: Table, row: Row, avoided: Sequence[Way]) -> Action:  # noqa: ARG002 - the table knows the case
        ways = [at for at in range(len(table.may.ways)) if row.ways >> at & 1]
        best = max(ways, key=lambda at: table.worth[ROW[row.intervention]][at])
        return Action(row.intervention, row.exemption, *table.may.ways[best])

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        self.hands.hear(case, sent, answer)


class OddsBelief(Belief):
    """The informed oracle's: the world's true conditional probabilities, given what any caller could know."""

    def __init__(self, living: Living):
        self._living = living

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int, offsets: Sequence[int]) -> tuple[Approval, ...]:  # noqa: ARG002 - it knows the weather
        odds = self._living.odds(case.arrival, now_us, case.tried)
        places = {Way(*way): at for at, way in enumerate(odds.ways)}
        found = []
        for way in ways:
            at = places.get(way, places.get(Way(way.route, "pan"), 0))
            good, fraud = odds.good[at], odds.fraud[at]
            rates = (good[PLAIN], fraud[PLAIN], good[AUTHENTICATED], fraud[AUTHENTICATED], good[EXEMPT], fraud[EXEMPT])
            found.append(Approval(*(round(1e9 * rate) for rate in (*rates, odds.soft[at].max()))))
        return tuple(found)

    def payer(self, case: Case) -> Authentication:
        odds = self._living.odds(case.arrival, case.arrival.at_us, case.tried).authentication
        return Authentication(*odds)


class Clairvoyant(Contestant):
    """Knows who pays and what the world would do on average; tries nothing again."""

    def __init__(self, living: Living):
        self._living = living
        self._hands = Hands(PriorBelief())

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


def occasion_of(case: Case, table: Table, row: Row, ways: Sequence[int]) -> Occasion:
    facts, economics = case.facts, case.economics
    margin = economics.margin_ppm * facts.amount_reporting_minor / 1e6
    p = table.fraud_e9 / 1e9
    modes = [in_mode(table.approvals[at], row.intervention) for at in ways]
    fees, declined = (table.over[list(ways), column].tolist() for column in (FEE, DECLINED))
    return Occasion(
        merchant_id=facts.merchant_id,
        network=facts.network,
        issuer_id=facts.issuer_id,
        issuer_country=facts.issuer_country,
        bin8=facts.bin8,
        earned_minor=tuple(margin - fee for fee in fees),
        fees_minor=tuple(fees),
        declined_minor=tuple(each + economics.lost_sale_minor for each in declined),
        approvals=tuple(((1 - p) * good + p * fraud) / 1e9 for good, fraud in modes),
        draw=DRAW("route", unit_of(case)),
    )
