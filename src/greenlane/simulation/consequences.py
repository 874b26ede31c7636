"""What a decision leads to in a world: the outcomes that arrive, and the money it was truly worth on average.

Outcomes are one draw; `true_value_minor` is the mean over all draws, with the world's own probabilities in the formulas
of the policy. Policies are compared by the mean, so that a lucky coin cannot win.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from msgspec import structs

from greenlane.errors import InputError
from greenlane.merchants.economics import Economics
from greenlane.merchants.stakes import Stakes, stakes
from greenlane.payments.attempt import Attempt, Network
from greenlane.payments.outcome import Executed, Outcome, OutcomeType
from greenlane.payments.times import SECOND_US, format_rfc3339
from greenlane.simulation.truth import Truth
from greenlane.simulation.world import Arrival

Intervention = Literal["allow", "challenge", "review", "block"]
Happened = list[tuple[int, Outcome]]

AUTHORIZATION_US: Final = SECOND_US
FRICTIONLESS_US: Final = 2 * SECOND_US


def consequences(arrival: Arrival, intervention: Intervention, route: str | None, economics: Economics) -> Happened:
    """Every outcome of the decision with the time (UTC microseconds) at which it arrives, in time order.

    `route` None: the first eligible one. A block leads to nothing, so nothing is ever learned from it.

    >>> from greenlane.simulation.world import World
    >>> first = next(World.load("shop").payments(start_us=0, n=1, seed=1))
    >>> [outcome.type for at_us, outcome in consequences(first, "allow", None, Economics())]
    ['authorization']
    """
    story = Story(arrival, intervention, _route(arrival, route), economics)
    return sorted(STORIES[intervention](story), key=lambda event: event[0])


def history(arrival: Arrival, intervention: Intervention = "allow", *, route: str | None = None) -> Happened:
    """The same for a payment that was made before Greenlane came: its first outcome brings the whole payment."""
    happened = consequences(arrival, intervention, route, Economics())
    return [_bringing(arrival, event) if i == 0 else event for i, event in enumerate(happened)]


def true_value_minor(arrival: Arrival, intervention: Intervention, route: str | None, economics: Economics) -> float:
    """Expected money of the action for the merchant in minor units, given who the payer really is.

    Terms and formulas as in the policy, with p = 0 or 1. A fraud that nobody would report costs nothing: it is a sale.

    >>> from greenlane.simulation.world import World
    >>> first = next(World.load("shop").payments(start_us=0, n=1, seed=1))
    >>> true_value_minor(first, "allow", None, Economics()) > true_value_minor(first, "block", None, Economics())
    True
    """
    return VALUES[intervention](worth_of(arrival, route, economics))


def worth_of(arrival: Arrival, route: str | None, economics: Economics) -> "Worth":
    """The terms of this payment's value over one route."""
    money = stakes(economics, arrival.attempt.payment.amount, "merchant")
    named = _route(arrival, route)
    terms = economics.route_terms.get(named)
    fees = (terms and terms.fees) or economics.fees
    stated = economics.dispute_cost_minor
    return Worth(
        truth=arrival.truth,
        route=_index(arrival, named),
        money=money,
        fee=fees.approved_minor(arrival.attempt.payment.amount),
        declined=fees.declined_minor,
        dispute=money.margin + money.loss if stated is None else stated,
    )


class Story(NamedTuple):
    """One payment under one decision; each method is a chapter that may lead to the next."""

    arrival: Arrival
    intervention: Intervention
    route: str
    economics: Economics

    def allowed(self) -> Happened:
        return self.authorization(self.arrival.at_us, authenticated=False)

    def challenged(self) -> Happened:
        truth, luck = self.truth, self.truth.luck
        if luck.unavailable < truth.unavailable:
            return self._authenticated(FRICTIONLESS_US, result="unknown", status="U")
        if luck.frictionless < truth.odds.frictionless:
            return self._authenticated(FRICTIONLESS_US, result="succeeded", status="Y")
        if luck.challenge < truth.odds.challenge_success:
            return self._authenticated(truth.challenge_us, result="succeeded", status="Y")
        return self._authenticated(truth.challenge_us, result="failed", status="N")

    def reviewed(self) -> Happened:
        truth, luck = self.truth, self.truth.luck
        at_us = self.arrival.at_us + truth.review_us
        if luck.cancel < truth.odds.review_cancel:
            return [self._event(at_us, "abandoned", "shop")]
        if luck.release < truth.odds.review_release:
            released = self._event(at_us, "review", "reviewer", result="succeeded")
            return [released, *self.authorization(at_us, authenticated=False)]
        return [self._event(at_us, "review", "reviewer", result="failed")]

    def blocked(self) -> Happened:
        return []

    def authorization(self, at_us: int, *, authenticated: bool) -> Happened:
        truth, index = self.truth, _index(self.arrival, self.route)
        approval = truth.odds.approval_authenticated if authenticated else truth.odds.approval
        approved = truth.luck.authorization[index] < approval[index]
        answer = self._event(
            at_us + AUTHORIZATION_US,
            "authorization",
            "acquirer",
            result="approved" if approved else "declined",
            network_response_code="00" if approved else truth.decline_code,
            executed=Executed(route=self.route, intervention=self.intervention),
        )
        return [answer, *self.aftermath(authenticated=authenticated)] if approved else [answer]

    def aftermath(self, *, authenticated: bool) -> Happened:
        """What the cardholder and the issuer do about an approved payment; a shifted dispute never reaches the shop."""
        truth, at_us = self.truth, self.arrival.at_us
        happened = []
        if truth.would_be_reported and truth.brings != "dispute":
            happened.append(self._event(at_us + truth.report_delay_us, "fraud_report", "network"))
        shifted = authenticated and truth.luck.shift < self.economics.shifted_ppm / 1e6
        if truth.would_be_reported and truth.brings != "report" and not shifted:
            happened.append(self._dispute(at_us, "fraud"))
        if truth.would_dispute:
            happened.append(self._dispute(at_us, "consumer"))
        return happened

    @property
    def truth(self) -> Truth:
        return self.arrival.truth

    def _authenticated(
        self, after_us: int, *, result: Literal["succeeded", "failed", "unknown"], status: Literal["Y", "N", "U"]
    ) -> Happened:
        at_us = self.arrival.at_us + after_us
        passed = status == "Y"
        answer = self._event(
            at_us, "authentication", "directory_server", result=result, trans_status=status, liability_shift=passed
        )
        return [answer] if status == "N" else [answer, *self.authorization(at_us, authenticated=passed)]

    def _dispute(self, at_us: int, reason: str) -> tuple[int, Outcome]:
        return self._event(at_us + self.truth.dispute_delay_us, "dispute", "network", result="opened", reason=reason)

    def _event(self, at_us: int, kind: OutcomeType, source: str, **told: Any) -> tuple[int, Outcome]:
        attempt = self.arrival.attempt
        return at_us, Outcome(
            type=kind,
            source=source,
            event_id=f"{kind}:{attempt.attempt_id}",
            attempt_id=attempt.attempt_id,
            payment_id=attempt.payment.id,
            occurred_at=format_rfc3339(at_us),
            network=_network(attempt),
            **told,
        )


STORIES: Final[dict[Intervention, Callable[[Story], Happened]]] = {
    "allow": Story.allowed,
    "challenge": Story.challenged,
    "review": Story.reviewed,
    "block": Story.blocked,
}


class Worth(NamedTuple):
    """The terms of one payment's value over one route."""

    truth: Truth
    route: int
    money: Stakes
    fee: float
    """f_r."""
    declined: float
    """c_r."""
    dispute: float
    """D: what a first-party dispute costs."""

    def allow(self) -> float:
        return self._authorized(self.truth.odds.approval[self.route], shifted=0.0)

    def challenge(self) -> float:
        odds, unavailable, money = self.truth.odds, self.truth.unavailable, self.money
        passed = (1 - unavailable) * (odds.frictionless + (1 - odds.frictionless) * odds.challenge_success)
        authenticated = self._authorized(odds.approval_authenticated[self.route], shifted=money.shifted_by_challenge)
        failed = -(1 - unavailable - passed) * self._if_good(money.abandonment)
        return passed * authenticated + unavailable * self.allow() + failed - money.challenge

    def review(self) -> float:
        odds = self.truth.odds
        released = odds.review_release * self.allow()
        refused = (1 - odds.review_release) * self._if_good(self.money.false_decline)
        return (
            -self.money.review
            + (1 - odds.review_cancel) * (released - refused)
            - odds.review_cancel * self._if_good(self.money.review_cancel)
        )

    def block(self) -> float:
        return -self._if_good(self.money.false_decline - self.money.other_method)

    def _authorized(self, approval: float, *, shifted: float) -> float:
        declined = self._if_good(self.money.stop) - self.declined
        return approval * self._approved(shifted) + (1 - approval) * declined

    def _approved(self, shifted: float) -> float:
        truth, money = self.truth, self.money
        own = money.loss + money.unrefunded * self.fee
        loss = (1 - shifted) * own + shifted * money.handling + money.report_price
        sale = money.margin - self.fee - truth.friendly_probability * self.dispute
        return (1 - truth.report_probability) * sale - truth.report_probability * loss

    def _if_good(self, amount: float) -> float:
        return 0.0 if self.truth.fraud else amount


VALUES: Final[dict[Intervention, Callable[[Worth], float]]] = {
    "allow": Worth.allow,
    "challenge": Worth.challenge,
    "review": Worth.review,
    "block": Worth.block,
}


def _route(arrival: Arrival, route: str | None) -> str:
    return arrival.attempt.eligible_routes[0].id if route is None else route


def _index(arrival: Arrival, route: str) -> int:
    for index, eligible in enumerate(arrival.attempt.eligible_routes):
        if eligible.id == route:
            return index
    names = ", ".join(r.id for r in arrival.attempt.eligible_routes)
    raise InputError(f"this world has no route {route!r}", code="unknown_route", param="route", hint=f"one of: {names}")


def _network(attempt: Attempt) -> Network | None:
    card = attempt.payment.payment_method.card
    return card.network if card else None


def _bringing(arrival: Arrival, event: tuple[int, Outcome]) -> tuple[int, Outcome]:
    at_us, outcome = event
    return at_us, structs.replace(outcome, payment=arrival.attempt.payment)
