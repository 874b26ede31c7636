"""Which actions are possible at all: hard constraints come before money, on every rung of the ladder."""

from typing import NamedTuple

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import Attempt, Route
from greenlane.policy.history import History
from greenlane.policy.mandate import sca_required
from greenlane.policy.value import INTERVENTIONS

IMPLIED_ROUTE = Route(id="default")
"""Where neither the attempt nor the merchant names a route: there is one, and we are not asked which."""


class Eligible(NamedTuple):
    """What may be done. `interventions` in the order of `value.INTERVENTIONS`, always with "block"; `routes` by id."""

    interventions: tuple[str, ...]
    routes: tuple[str, ...]
    stops: tuple[str, ...]
    """The hard constraints that took something away, by name."""

    @property
    def size(self) -> int:
        """How many actions: every intervention but the block over every route, and the block over none."""
        return (len(self.interventions) - 1) * len(self.routes) + 1

    def action(self, at: int) -> tuple[str, str]:
        """(intervention, route) at a place of the one order that values and distributions have; the block is last.

        >>> may = Eligible(("allow", "block"), ("a", "b"), ())
        >>> [may.action(at) for at in range(may.size)]
        [('allow', 'a'), ('allow', 'b'), ('block', '')]
        """
        if at == self.size - 1:
            return "block", ""
        return self.interventions[at // len(self.routes)], self.routes[at % len(self.routes)]

    def place(self, intervention: str, route: str) -> int:
        """The place of an action: the inverse of `action`."""
        if intervention == "block":
            return self.size - 1
        return self.interventions.index(intervention) * len(self.routes) + self.routes.index(route)


def eligible(
    attempt: Attempt,
    economics: Economics,
    *,
    amount_minor: int,
    history: History,
    stops: tuple[str, ...] = (),
    review_open: bool = True,
) -> Eligible:
    """The eligible actions; `stops` are hits of lists and blocking rules, and leave only the block.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> order_by_phone = Attempt(attempt_id="a", payment=Payment(id="p", amount=1, currency="EUR", merchant_id="m",
    ...     channel="moto", payment_method=PaymentMethod(card=Card(fingerprint="fp_1"))))
    >>> eligible(order_by_phone, Economics(), amount_minor=1, history=History()).interventions
    ('allow', 'review', 'block')
    """
    routes = eligible_routes(attempt, economics)
    hard = (*stops, *_hard_stops(economics, amount_minor, history, routes))
    if hard:
        return Eligible(("block",), routes, hard)
    barred = _barred(attempt, economics, history, review_open=review_open)
    interventions = tuple(intervention for intervention in INTERVENTIONS if intervention not in barred)
    return Eligible(interventions, routes, tuple(sorted(set(barred.values()))))


def eligible_routes(attempt: Attempt, economics: Economics) -> tuple[str, ...]:
    """Sorted ids of the routes that take this instrument: the attempt's, else the merchant's, else the implied one."""
    offered: tuple[Route | RouteTerms, ...] = attempt.eligible_routes or economics.routes or (IMPLIED_ROUTE,)
    card = attempt.payment.payment_method.card
    if card is None:
        return tuple(sorted({route.id for route in offered if route.network is None}))
    networks = (None, card.network)
    unnamed = card.network == "other"
    return tuple(
        sorted(
            {
                route.id
                for route in offered
                if card.credential in route.credentials and (unnamed or route.network in networks)
            }
        )
    )


def _hard_stops(economics: Economics, amount_minor: int, history: History, routes: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    if economics.amount_max_minor is not None and amount_minor > economics.amount_max_minor:
        found.append("amount_above_merchant_limit")
    if history.status == "R":
        found.append("authentication_rejected")
    if not routes:
        found.append("no_eligible_route")
    return tuple(found)


def _barred(attempt: Attempt, economics: Economics, history: History, *, review_open: bool) -> dict[str, str]:
    """Intervention -> the constraint that bars it."""
    barred = {}
    unchallengeable = _unchallengeable(attempt, history)
    if unchallengeable:
        barred["challenge"] = unchallengeable
    if not attempt.constraints.review_allowed:
        barred["review"] = "caller_refuses_review"
    elif not review_open:
        barred["review"] = "review_capacity"
    if economics.sca_mandated and not _authentication_settled(history) and sca_required(attempt, economics.country):
        barred["allow"] = barred["review"] = "sca_mandated"
    return barred


def _unchallengeable(attempt: Attempt, history: History) -> str:
    """Why 3-D Secure cannot be asked, or ""."""
    payment = attempt.payment
    if payment.payment_method.card is None:
        return "not_a_card"
    if payment.initiator == "mit":
        return "no_payer_present"
    if payment.channel not in ("ecommerce", "in_app"):
        return "channel_without_3ds"
    if history.answered or history.approved:
        return "authentication_is_over"
    return "" if attempt.constraints.challenge_allowed else "caller_refuses_challenge"


def _authentication_settled(history: History) -> bool:
    """Authenticated, exempted by the issuer, or asked for in vain: then the issuer decides what the law requires."""
    return history.approved or history.status in ("Y", "A", "U", "I")
