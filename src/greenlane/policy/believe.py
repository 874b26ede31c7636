"""All probabilities that enter a choice, gathered: the model's, the priors', and what Bayes makes of them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.history import PASSED, SHIFTED, History, fraud_given_history_e9
from greenlane.policy.priors import Approval, Priors, Situation, approval, authentication
from greenlane.policy.value import Authentication

ONE_E9: Final = 1_000_000_000
CERTAIN: Final = Approval(ONE_E9, ONE_E9, ONE_E9, ONE_E9)
"""The issuer has approved already."""


class Probabilities(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Integers 1e-9, each with its event named."""

    fraud_e9: int
    """p, what the model said: would be reported as third-party fraud if approved unauthenticated."""
    fraud_given_history_e9: int
    """p_h, given authentication or approval so far. Equal to p for a payment without a past."""
    fraud_given_approval_e9: int
    """p_A, over the chosen route (for a block: over the route that was worth most)."""
    fraud_given_decline_e9: int
    """p_D, likewise."""
    dispute_e9: int
    """d, first-party, whatever the authentication."""
    challenge_success_e9: int
    """P(Y), if a challenge were asked now."""
    approval_e9: tuple[int, ...]
    """q, one for each eligible route."""


class Beliefs(NamedTuple):
    """What the values are computed from."""

    fraud_e9: int
    fraud_given_history_e9: int
    payer: Authentication
    approvals: tuple[Approval, ...]
    """One for each route, as it stands now: after a passed authentication both pairs are the authenticated one."""


def believe(
    attempt: Attempt,
    fraud_e9: int,
    routes: Sequence[str],
    *,
    economics: Economics,
    priors: Priors,
    history: History,
) -> Beliefs:
    """The beliefs about this attempt over each of `routes`."""
    situation = _situation(attempt)
    payer = authentication(priors, situation.issuer_country)
    p_h = fraud_given_history_e9(fraud_e9, history, payer=payer, fraud_approval_ppm=priors.fraud_approval_ppm)
    route_terms, home = economics.route_terms, economics.country
    known: dict[str | None, Approval] = {}
    approvals = []
    for route in routes:
        terms = route_terms.get(route)
        country = home if terms is None else terms.acquirer_country or home
        if country not in known:
            known[country] = _now(approval(priors, situation, acquirer_country=country), history)
        approvals.append(known[country])
    return Beliefs(fraud_e9, p_h, payer, tuple(approvals))


def probabilities(beliefs: Beliefs, column: int, *, dispute_e9: int) -> Probabilities:
    """The probabilities as they are shown, with p_A and p_D over the route of `column`."""
    p = beliefs.fraud_given_history_e9
    over = beliefs.approvals[column]
    return Probabilities(
        fraud_e9=beliefs.fraud_e9,
        fraud_given_history_e9=p,
        fraud_given_approval_e9=given_e9(p, good_e9=over.good_e9, fraud_e9=over.fraud_e9),
        fraud_given_decline_e9=given_e9(p, good_e9=ONE_E9 - over.good_e9, fraud_e9=ONE_E9 - over.fraud_e9),
        dispute_e9=dispute_e9,
        challenge_success_e9=_challenge_success_e9(p, beliefs.payer),
        approval_e9=tuple([mixed_e9(p, good_e9=each.good_e9, fraud_e9=each.fraud_e9) for each in beliefs.approvals]),
    )


def mixed_e9(p_e9: int, *, good_e9: int, fraud_e9: int) -> int:
    """P(event) = (1-p) P(event | good) + p P(event | fraud), in integers, rounded half up.

    >>> mixed_e9(100_000_000, good_e9=900_000_000, fraud_e9=400_000_000)
    850000000
    """
    return ((ONE_E9 - p_e9) * good_e9 + p_e9 * fraud_e9 + ONE_E9 // 2) // ONE_E9


def given_e9(p_e9: int, *, good_e9: int, fraud_e9: int) -> int:
    """P(fraud | event) by Bayes from P(event | good) and P(event | fraud); p itself where the event is impossible.

    >>> given_e9(100_000_000, good_e9=900_000_000, fraud_e9=400_000_000)  # p_A: approved fraud is rarer
    47058824
    """
    total = (ONE_E9 - p_e9) * good_e9 + p_e9 * fraud_e9
    return (2 * p_e9 * fraud_e9 * ONE_E9 + total) // (2 * total) if total else p_e9


def _situation(attempt: Attempt) -> Situation:
    payment = attempt.payment
    card = payment.payment_method.card
    return Situation(
        payer_present=payment.initiator == "cit",
        chained=payment.network_transaction_id is not None,
        token=card is not None and card.credential == "network_token",
        cvv_present=attempt.verification is not None and attempt.verification.cvv_result is not None,
        issuer_country=card.issuer_country if card else None,
    )


def _now(prior: Approval, history: History) -> Approval:
    """Approval as it stands: certain once given, and that of an authenticated payment after authentication."""
    if history.approved:
        return CERTAIN
    if history.status in PASSED | SHIFTED:
        return Approval(prior.good_3ds_e9, prior.fraud_3ds_e9, prior.good_3ds_e9, prior.fraud_3ds_e9)
    return prior


def _challenge_success_e9(p_e9: int, payer: Authentication) -> int:
    good = payer.frictionless_good + (1.0 - payer.frictionless_good) * payer.success_good
    fraud = payer.frictionless_fraud + (1.0 - payer.frictionless_fraud) * payer.success_fraud
    return round((1.0 - payer.unavailable) * ((ONE_E9 - p_e9) * good + p_e9 * fraud))
