"""What every contestant decides with: the same eligibility, value formulas, models and online layer.

A contestant is a way of using these hands. Only the informed oracle's belief is another one.
"""

from collections.abc import Sequence
from math import exp
from typing import Final, NamedTuple, Protocol

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from greenlane.jobs.evaluating.contest import Case, attempt_id
from greenlane.models.approval_model import ApprovalModel
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.policy.actions import BLOCK, INTERVENTIONS, Action, Eligible, Way
from greenlane.policy.approving import approvals_of_good, situation_of
from greenlane.policy.believe import ONE_E9, given_e9, prior_approvals
from greenlane.policy.breaker import CLOSED
from greenlane.policy.choose import UPPER_95
from greenlane.policy.distribution import TOTAL
from greenlane.policy.eligible import eligible
from greenlane.policy.explore import Exploring, Routing, secret_draw
from greenlane.policy.given import Barred, Given
from greenlane.policy.heard import issuer_of
from greenlane.policy.history import NOTHING_YET, PASSED, History, fraud_given_history_e9
from greenlane.policy.liability import SHIFTED
from greenlane.policy.online import Expected, Online
from greenlane.policy.parameters import Policy
from greenlane.policy.price import price, ways_matrix
from greenlane.policy.priors import Approval, authentication
from greenlane.policy.value import VALUE, Authentication, values
from greenlane.simulation.answers import Answer, Sent

EXPLORED_MINOR: Final = 2_000
"""A day, of expected loss at its upper 95 %: the exploration budget of every policy that explores within one."""
POLICY: Final = Policy(perspective="merchant", exploring=Exploring(route=Routing(budget_minor=EXPLORED_MINOR)))
ROW: Final = {intervention: row for row, intervention in enumerate(INTERVENTIONS)}
DRAW: Final = secret_draw(b"evaluation")
"""Equal for all policies, so that equal choices have equal luck."""


class Belief(Protocol):
    """Approval over each way now, and 3-D Secure by the stated priors where it is not said otherwise."""

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int, offsets: Sequence[int]) -> tuple[Approval, ...]:
        """`offsets`: what the online layer adds to the log-odds over each way, in thousandths."""
        ...

    def payer(self, case: Case) -> Authentication:
        return authentication(POLICY.priors, case.facts.issuer_country or None)


class PriorBelief(Belief):
    """Stated priors, where nothing was learned."""

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int, offsets: Sequence[int]) -> tuple[Approval, ...]:  # noqa: ARG002 - priors know no time
        return prior_approvals(case.arrival.attempt, tuple(ways), economics=case.economics, priors=POLICY.priors)


Memo = dict[tuple[str, str, int, tuple[Way, ...]], list[list[int]]]
"""What the model said of first attempts: the same for all policies of a seed, so it is asked once."""


class ModelBelief(Belief):
    """The approval model of the warm-up log, moved by what the contestant's own online layer has heard since."""

    def __init__(self, model: ApprovalModel, memo: Memo):
        self._model, self._memo = model, memo

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int, offsets: Sequence[int]) -> tuple[Approval, ...]:
        soft_e9, ratio = self._model.soft_decline_e9(case.facts.issuer_id), POLICY.priors.fraud_approval_ppm
        return approvals_of_good(self.predicted(case, tuple(ways), now_us), offsets, ratio, soft_e9)

    def predicted(self, case: Case, ways: tuple[Way, ...], now_us: int) -> list[list[int]]:
        facts, attempt = case.facts, case.arrival.attempt
        if case.tried:
            return self._model.predict(situation_of(attempt, facts, History(tried=case.tried), at_us=now_us), ways)
        key = facts.attempt_id, facts.merchant_id, facts.amount_minor, ways
        known = self._memo.get(key)
        if known is None:
            known = self._model.predict(situation_of(attempt, facts, NOTHING_YET, at_us=now_us), ways)
            self._memo[key] = known
        return known


class Table(NamedTuple):
    """Every eligible action's value."""

    may: Eligible
    approvals: tuple[Approval, ...]
    over: NDArray[np.float64]
    """float64[ways, fields of `value.Over`]."""
    worth: list[list[int]]
    """By intervention and way, in micro-minor units."""
    fraud_e9: int
    """p_h."""

    def best(self, ways: int = -1) -> Action:
        """The best action over the ways of a bit mask; equal values go to less friction, then to the lower way."""
        found, most = BLOCK, -(2**63)
        for intervention, exemption, bits in self.may.rows:
            values_of = self.worth[ROW[intervention]]
            for at, way in enumerate(self.may.ways):
                if bits & ways & (1 << at) and values_of[at] > most:
                    found, most = Action(intervention, exemption, *way), values_of[at]
        return found if not self.may.ways or most >= self.worth[ROW["block"]][0] else BLOCK


Tables = dict[str, tuple[tuple[Attempt, int, int], Table]]
"""By attempt: what it was made of (the attempt, p, the time), and the table."""


class Hands:
    """One contestant's. The online layer (breakers, attacked cells, health) learns only from its own world.

    `online` False: there is none, as routers bring their own. `pooled` False: there is, but health moves no approval.
    `tables` is shared by those that have no online layer, and the same belief.
    """

    def __init__(self, belief: Belief, *, online: bool = True, pooled: bool = True, tables: Tables | None = None):
        assert tables is None or not online, "what was heard makes tables differ"
        self.belief, self.pooled, self._tables = belief, pooled, tables
        self.online = Online(lambda _: None) if online else None

    def history(self, case: Case) -> History:
        if not case.tried:
            return NOTHING_YET
        return History(case.authenticated, "", case.authenticated in SHIFTED, tried=case.tried)

    def barred(self, case: Case, ways: Sequence[Way], now_us: int) -> tuple[Barred, ...]:
        """Ways over broken routes, but for the probes; none where nothing else would be left."""
        if self.online is None:
            return ()
        routes = list(dict.fromkeys(way.route for way in ways))
        gates = self.online.breaker.gates(issuer_of(case.facts), routes, now_us)
        if all(gate is CLOSED for gate in gates):
            return ()
        point = DRAW("probe", unit_of(case)) * 1_000_000 // TOTAL
        shut = {route for route, gate in zip(routes, gates, strict=True) if point >= gate.share_ppm}
        if len(shut) == len(routes):
            return ()
        return tuple(Barred(way.route, way.credential, "breaker") for way in ways if way.route in shut)

    def may(self, case: Case, now_us: int) -> tuple[Given, Eligible]:
        """What may be done now, and all that a choice is given but the approvals."""
        if self.online is not None:
            self.online.advance(now_us)
        history = self.history(case)
        given = Given(
            amount_minor=case.facts.amount_reporting_minor,
            fraud_probability_e9=case.fraud_e9,
            ingest_us=now_us,
            history=history,
        )
        attempt, economics = case.arrival.attempt, case.economics
        may = eligible(attempt, given, economics=economics, history=history)
        barred = self.barred(case, may.ways, now_us)
        if barred:
            given = structs.replace(given, barred=barred)
            may = eligible(attempt, given, economics=economics, history=history)
        return given, may

    def approvals(self, case: Case, ways: Sequence[Way], now_us: int) -> tuple[Approval, ...]:
        offsets: tuple[int, ...] = (0,) * len(ways)
        if self.online is not None and self.pooled:
            issuer, bin8 = issuer_of(case.facts), case.facts.bin8
            offsets = self.online.health.offsets(issuer, bin8, [way.route for way in ways])
        return self.belief.approvals(case, ways, now_us, offsets)

    def attacked(self, case: Case, now_us: int) -> bool:
        return self.online is not None and self.online.attacked.covers(case.facts, now_us)

    def unhealthy(self, case: Case, ways: Sequence[Way], now_us: int) -> int:
        """Bit i: way i goes over a broken route."""
        if self.online is None:
            return 0
        gates = self.online.breaker.gates(issuer_of(case.facts), [way.route for way in ways], now_us)
        return sum(1 << at for at, gate in enumerate(gates) if gate is not CLOSED)

    def deviations(self, case: Case, ways: Sequence[Way]) -> tuple[int, ...]:
        """How unsure approval over each way is, thousandths of log-odds."""
        if self.online is None:
            return ()
        return self.online.health.deviations(issuer_of(case.facts), [way.route for way in ways])

    def upper(self, case: Case, ways: Sequence[Way], approvals: Sequence[float]) -> list[float]:
        """Approvals (0..1) as good as is still likely."""
        odds = [q / max(1e-9, 1.0 - q) for q in approvals]
        deviations = self.deviations(case, ways)
        odds = [o * exp(UPPER_95 * milli / 1e3) for o, milli in zip(odds, deviations, strict=True)]
        return [o / (1.0 + o) for o in odds]

    def table(self, case: Case, now_us: int) -> Table:
        """The value of everything that may be done now, a declined payer being worth V_stop.

        Of a first attempt it is the same for all that have no online layer, so it is worked out once.
        """
        tables, name = self._tables, case.arrival.attempt.attempt_id
        if tables is None or case.tried:
            return self._table(case, now_us)
        asked, known = (case.arrival.attempt, case.fraud_e9, now_us), tables.get(name)
        if known is None or known[0] != asked:
            known = tables[name] = asked, self._table(case, now_us)
        return known[1]

    def _table(self, case: Case, now_us: int) -> Table:
        given, may = self.may(case, now_us)
        return self.valued(case, given, may, self.approvals(case, may.ways, now_us))

    def valued(self, case: Case, given: Given, may: Eligible, approvals: tuple[Approval, ...]) -> Table:
        history = self.history(case)
        payer = self.belief.payer(case)
        p_h = fraud_given_history_e9(case.fraud_e9, history, payer=payer, priors=POLICY.priors)
        if history.status in PASSED | SHIFTED:
            approvals = tuple(a._replace(good_e9=a.good_3ds_e9, fraud_e9=a.fraud_3ds_e9) for a in approvals)
        attempt, economics = case.arrival.attempt, case.economics
        challengeable = "challenge" in may.interventions
        money = price(attempt, given, "merchant", economics=economics, history=history, challengeable=challengeable)
        over = ways_matrix(may, approvals, attempt, given, economics=economics, money=money)
        return Table(may, approvals, over, values(p_h, money, payer, over)[:, :, VALUE].tolist(), p_h)

    def sent(
        self, case: Case, action: Action, now_us: int, *, may: Eligible, approvals: Sequence[Approval], fraud_e9: int
    ) -> None:
        """Remember what was expected of it; `fraud_e9` is p_h."""
        if self.online is None:
            return
        facts = structs.replace(case.facts, intervention=action.intervention, route_id=action.route)
        if action.intervention == "block":
            self.online.attacked.answer(facts, now_us, declined=True)
            return
        over = approvals[may.ways.index(action.way)]
        good, fraud = in_mode(over, action.intervention)
        expected = Expected(
            attempt_id(case, len(case.tried) + 1),
            action.route,
            good,
            given_e9(fraud_e9, good_e9=good, fraud_e9=fraud),
            given_e9(fraud_e9, good_e9=ONE_E9 - good, fraud_e9=ONE_E9 - fraud),
            adapted=self.pooled,
            first=not case.tried,
        )
        self.online.decided(expected, issuer=issuer_of(facts), bin8=facts.bin8)

    def hear(self, case: Case, sent: Sent, answer: Answer) -> None:
        if self.online is not None and answer.result in ("approved", "declined", "unknown", "not_sent"):
            self.online.hear(answered(case, sent, answer), answer.at_us)


def answered(case: Case, sent: Sent, answer: Answer) -> Facts:
    last = case.tried[-1]
    decline_class = {"approved": "approved", "declined": last.decline_class}.get(answer.result, "unknown")
    return structs.replace(
        case.facts, attempt_id=attempt_id(case, sent.attempt_no), route_id=sent.route, code=answer.code,
        decline_class=decline_class,
    )  # fmt: skip


def in_mode(over: Approval, intervention: str) -> tuple[int, int]:
    """q_g and q_f of the mode that an intervention asks the issuer in."""
    if intervention == "challenge":
        return over.good_3ds_e9, over.fraud_3ds_e9
    if intervention == "exempt":
        return over.good_exempt_e9, over.fraud_exempt_e9
    return over.good_e9, over.fraud_e9


def unit_of(case: Case) -> str:
    return f"{case.facts.payment_id}/{len(case.tried) + 1}"
