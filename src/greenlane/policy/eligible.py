"""Which actions are possible at all: hard constraints come before money, on every rung of the ladder."""

from collections.abc import Hashable
from typing import Final

from greenlane.merchants.economics import Economics, RouteTerms, TraBand
from greenlane.payments.attempt import Attempt, Card, Payment, Route
from greenlane.policy.actions import EXEMPTIONS, Eligible, Row, Way
from greenlane.policy.exemptions import exemption_over
from greenlane.policy.given import Given
from greenlane.policy.history import History, is_under_way, is_unsettled
from greenlane.policy.mandate import sca_required

IMPLIED_ROUTE: Final = Route(id="default")
"""Where neither the attempt nor the merchant names a route: there is one, and we are not asked which."""
FITTING_MAX: Final = 8_192
"""So many kinds of attempt at so many merchants are kept worked out; then all are forgotten."""


def eligible(
    attempt: Attempt, given: Given, *, economics: Economics, history: History, fitting: tuple[Way, ...] | None = None
) -> Eligible:
    """The eligible actions; `given.stops` are hits of lists and blocking rules, and leave only the block.

    `fitting` are `eligible_ways`, where the caller asked already.

    >>> from greenlane.payments.attempt import PaymentMethod
    >>> order_by_phone = Attempt(attempt_id="a", payment=Payment(id="p", amount=1, currency="EUR", merchant_id="m",
    ...     channel="moto", payment_method=PaymentMethod(card=Card(fingerprint="fp_1"))))
    >>> given = Given(amount_minor=1, fraud_probability_e9=0)
    >>> eligible(order_by_phone, given, economics=Economics(), history=History()).interventions
    ('allow', 'review', 'block')
    """
    if fitting is None:
        fitting = eligible_ways(attempt, economics)
    if history.approved and history.route:
        fitting = tuple([way for way in fitting if way == (history.route, history.credential)]) or fitting
    barred = {Way(route, credential): why for route, credential, why in given.barred}
    ways = tuple([way for way in fitting if way not in barred]) if barred else fitting
    taken = {barred[way] for way in fitting if way in barred}
    hard = (*given.stops, *_hard_stops(attempt, given, economics=economics, history=history))
    if not ways:
        hard += tuple(sorted(taken)) or ("no_eligible_route",)
    if hard:
        return Eligible((), ways, hard)
    in_scope = sca_required(attempt, economics.country)
    soft_declined = history.soft_declined and (in_scope or not _counts_attempts(history))
    mandated = in_scope and economics.sca_mandated
    refused = _refused(attempt, given, mandated=mandated, soft_declined=soft_declined, history=history)
    everywhere = (1 << len(ways)) - 1
    rows = [Row("allow", "", everywhere)] if "allow" not in refused else []
    if in_scope and not (history.answered or history.approved or soft_declined):
        rows += _exempt_rows(attempt, ways, economics=economics, amount_minor=given.amount_minor)
    rows += [Row(name, "", everywhere) for name in ("challenge", "review") if name not in refused]
    return Eligible(tuple(rows), ways, tuple(sorted({*refused.values(), *taken})))


def eligible_ways(attempt: Attempt, economics: Economics) -> tuple[Way, ...]:
    """Sorted ways that take this instrument, over the attempt's routes, else the merchant's, else the implied one.

    A credential fits a route that takes its kind, its network and its token requestor, in the payment's currency; a
    chained merchant-initiated payment fits where the network transaction id is accepted.
    """
    payment = attempt.payment
    card, chained = payment.payment_method.card, payment.network_transaction_id is not None
    instrument = None if card is None else (card.network, card.credential, card.token)
    key = economics.version, attempt.eligible_routes, payment.currency, payment.initiator, chained, instrument
    known = _fitting.get(key)
    if known is None:
        if len(_fitting) >= FITTING_MAX:
            _fitting.clear()
        known = _fitting[key] = _ways_that_fit(attempt, economics)
    return known


_fitting: Final[dict[Hashable, tuple[Way, ...]]] = {}


def _ways_that_fit(attempt: Attempt, economics: Economics) -> tuple[Way, ...]:
    offered: tuple[Route | RouteTerms, ...] = attempt.eligible_routes or economics.routes or (IMPLIED_ROUTE,)
    terms_of, payment = economics.route_terms, attempt.payment
    card = payment.payment_method.card
    if card is None:
        plain = [route.id for route in offered if route.network is None]
        return tuple(sorted({Way(route, "") for route in plain if _carries(terms_of.get(route), payment)}))
    usable = credentials_of(card, payer_present=payment.initiator == "cit")
    found = []
    for route in offered:
        if route.network not in (None, card.network) and card.network != "other":
            continue
        terms = terms_of.get(route.id)
        if not _carries(terms, payment):
            continue
        for credential in usable:
            if credential in route.credentials and (credential == "pan" or _takes_token(card, terms)):
                found.append(Way(route.id, credential))
    return tuple(sorted(found))


def credentials_of(card: Card, *, payer_present: bool) -> tuple[str, ...]:
    """The credentials that can be sent now.

    >>> from greenlane.payments.attempt import NetworkToken
    >>> credentials_of(Card(fingerprint="fp_1", token=NetworkToken()), payer_present=True)
    ('pan', 'network_token')
    >>> credentials_of(Card(fingerprint="fp_1", token=NetworkToken(state="suspended")), payer_present=True)
    ('pan',)
    """
    token = card.token
    if token is None:
        return (card.credential,)
    usable = token.state == "active" and (token.cryptogram_available or not payer_present)
    return (("pan",) if card.credential == "pan" else ()) + (("network_token",) if usable else ())


def _carries(terms: RouteTerms | None, payment: Payment) -> bool:
    """The payment's currency, and its chain where it is a merchant-initiated one of a chain."""
    if terms is None:
        return True
    if terms.currencies and payment.currency not in terms.currencies:
        return False
    chained = payment.initiator == "mit" and payment.network_transaction_id is not None
    return not chained or terms.accepts_network_transaction_id


def _takes_token(card: Card, terms: RouteTerms | None) -> bool:
    requestor = None if card.token is None else card.token.requestor
    return requestor is None or terms is None or not terms.token_requestors or requestor in terms.token_requestors


def _exempt_rows(attempt: Attempt, ways: tuple[Way, ...], *, economics: Economics, amount_minor: int) -> list[Row]:
    """One exemption for each way at most: whichever is preferred of those that could be asked for."""
    terms_of, bits = economics.route_terms, dict[str, int]()
    asked: dict[tuple[tuple[str, ...], TraBand], str] = {}
    for at, way in enumerate(ways):
        terms = terms_of.get(way.route)
        if terms is None or not terms.exemptions:
            continue
        alike = terms.exemptions, terms.tra_band
        exemption = asked.get(alike)
        if exemption is None:
            exemption = asked[alike] = exemption_over(terms, attempt, economics, amount_minor=amount_minor)
        bits[exemption] = bits.get(exemption, 0) | 1 << at
    return [Row("exempt", exemption, bits[exemption]) for exemption in EXEMPTIONS if exemption in bits]


def _hard_stops(attempt: Attempt, given: Given, *, economics: Economics, history: History) -> tuple[str, ...]:
    found = []
    if economics.amount_max_minor is not None and given.amount_minor > economics.amount_max_minor:
        found.append("amount_above_merchant_limit")
    if history.status == "R":
        found.append("authentication_rejected")
    if history.tried and not history.approved:
        found += _paid_perhaps(attempt, history)
    return tuple(found)


def _paid_perhaps(attempt: Attempt, history: History) -> list[str]:
    """A payment is paid once: nothing is sent beside an approval, nor before an earlier result is known.

    What waits for a challenge or a review has not been sent yet.
    """
    if any(tried.answer in ("approved", "partially_approved") for tried in history.tried):
        return ["approved_already"]
    if any(map(is_unsettled, history.tried)):
        return ["earlier_attempt_unknown"]
    others = [tried for tried in history.tried if tried.attempt_id != attempt.attempt_id]
    return ["earlier_attempt_pending"] if any(map(is_under_way, others)) else []


def _refused(
    attempt: Attempt, given: Given, *, mandated: bool, soft_declined: bool, history: History
) -> dict[str, str]:
    """Intervention -> the constraint that takes it away."""
    refused = {}
    unchallengeable = _unchallengeable(attempt, history)
    if unchallengeable:
        refused["challenge"] = unchallengeable
    if not attempt.constraints.review_allowed:
        refused["review"] = "caller_refuses_review"
    elif not given.review_open:
        refused["review"] = "review_capacity"
    if soft_declined:
        refused["allow"] = refused["review"] = "soft_declined"
    elif mandated and not _authentication_settled(history):
        refused["allow"] = refused["review"] = "sca_mandated"
    return refused


def _counts_attempts(history: History) -> bool:
    """Where no law asks for authentication, Mastercard's 65 says only that there were too many attempts."""
    last = history.last_sent
    return last is not None and (last.network, last.code) == ("mastercard", "65")


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
