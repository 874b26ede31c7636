"""All probabilities that enter a choice, gathered: the model's, the priors', and what Bayes makes of them."""

from typing import Final, NamedTuple

from msgspec import Struct

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import Way
from greenlane.policy.given import Given
from greenlane.policy.history import PASSED, History, fraud_given_history_e9
from greenlane.policy.liability import SHIFTED
from greenlane.policy.priors import Approval, Priors, Situation, approval, authentication
from greenlane.policy.recovery import STATED
from greenlane.policy.remedy import remedy_of
from greenlane.policy.value import Authentication

ONE_E9: Final = 1_000_000_000
AUTHENTICATED: Final = PASSED | SHIFTED
CERTAIN: Final = Approval(ONE_E9, ONE_E9, ONE_E9, ONE_E9, ONE_E9, ONE_E9, soft_decline_e9=0)
"""The issuer has approved already."""


class Probabilities(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Integers 1e-9, each with its event named."""

    fraud_e9: int
    """p, what the model said: would be reported as third-party fraud if approved unauthenticated."""
    fraud_given_history_e9: int
    """p_h, given authentication or approval so far. Equal to p for a payment without a past."""
    fraud_given_approval_e9: int
    """p_A, over the chosen way (for a block: over the way that was worth most)."""
    fraud_given_decline_e9: int
    """p_D, likewise."""
    dispute_e9: int
    """d, first-party, whatever the authentication."""
    challenge_success_e9: int
    """P(Y), if a challenge were asked now."""
    approval_e9: tuple[int, ...]
    """q, one for each eligible way."""
    soft_decline_e9: int
    """delta, over the chosen way: P(1A or 65 | exemption)."""


class Beliefs(NamedTuple):
    """What the values are computed from."""

    fraud_e9: int
    fraud_given_history_e9: int
    payer: Authentication
    approvals: tuple[Approval, ...]
    """One for each way, as it stands now: after a passed authentication the plain pair is the authenticated one."""


def believe(
    attempt: Attempt,
    given: Given,
    ways: tuple[Way, ...],
    *,
    economics: Economics,
    priors: Priors,
    history: History,
) -> Beliefs:
    """The beliefs about this attempt over each of `ways`: the approvals that are given, else the stated priors."""
    fraud_e9 = given.fraud_probability_e9
    assert fraud_e9 is not None, "nothing is believed without a probability"
    card = attempt.payment.payment_method.card
    payer = authentication(priors, card.issuer_country if card else None, given.payer)
    p_h = fraud_given_history_e9(fraud_e9, history, payer=payer, priors=priors)
    approvals = given.approvals
    if approvals is None:
        approvals = prior_approvals(attempt, ways, economics=economics, priors=priors)
        approvals = after_declines(approvals, history, initiator=attempt.payment.initiator, at_us=given.ingest_us)
    assert len(approvals) == len(ways), "one approval for each way"
    return Beliefs(fraud_e9, p_h, payer, as_they_stand(approvals, history))


def as_they_stand(approvals: tuple[Approval, ...], history: History) -> tuple[Approval, ...]:
    """Certain once given, and that of an authenticated payment after authentication."""
    if history.approved:
        return (CERTAIN,) * len(approvals)
    if history.status in AUTHENTICATED:
        return tuple([each._replace(good_e9=each.good_3ds_e9, fraud_e9=each.fraud_3ds_e9) for each in approvals])
    return approvals


def prior_approvals(
    attempt: Attempt, ways: tuple[Way, ...], *, economics: Economics, priors: Priors
) -> tuple[Approval, ...]:
    """What is believed of each way where no model has learned it, before anything has happened to the payment."""
    situation = _situation(attempt)
    route_terms, home = economics.route_terms, economics.country
    known: dict[tuple[str | None, str], Approval] = {}
    approvals = []
    for route, credential in ways:
        terms = route_terms.get(route)
        over = home if terms is None else terms.acquirer_country or home, credential
        if over not in known:
            token = situation._replace(token=True) if credential == "network_token" else situation
            known[over] = approval(priors, token, acquirer_country=over[0])
        approvals.append(known[over])
    return tuple(approvals)


def after_declines(
    before: tuple[Approval, ...], history: History, *, initiator: str, at_us: int
) -> tuple[Approval, ...]:
    """First approvals, brought down to what the recovery table states of a further try now; ways keep their order.

    Authentication that the issuer asked for is taken as it would have been at first.

    >>> from greenlane.policy.history import Tried
    >>> first = (Approval(880_000_000, 616_000_000, 900_000_000, 630_000_000, 880_000_000, 616_000_000, 80_000_000),)
    >>> declined = History(tried=(Tried("a", 1, "r", answer="declined", network="visa", code="05"),))
    >>> after_declines(first, declined, initiator="cit", at_us=0)[0].good_e9
    120000000
    """
    last = history.last_sent
    if last is None or last.answer != "declined":
        return before
    group = remedy_of(last.network, last.code, last.advice).group
    tries = history.declines - 1
    share = STATED.share(initiator, group, tries=tries, wait_us=max(0, at_us - last.at_us) if last.at_us else 0)
    usual = sum(each.good_e9 for each in before) / len(before) / ONE_E9 if before else 1.0
    scale = min(1.0, share / usual)
    down = [scaled(each, scale) for each in before]
    if group == "sca":
        kept = zip(down, before, strict=True)
        down = [after._replace(good_3ds_e9=b.good_3ds_e9, fraud_3ds_e9=b.fraud_3ds_e9) for after, b in kept]
    return tuple(down)


def scaled(approval: Approval, scale: float) -> Approval:
    return Approval._make((*[round(rate * scale) for rate in approval[:6]], approval.soft_decline_e9))


def probabilities(beliefs: Beliefs, column: int, *, dispute_e9: int) -> Probabilities:
    """The probabilities as they are shown, with p_A and p_D over the way of `column`."""
    return probabilities_over(
        beliefs.approvals,
        column,
        fraud_e9=beliefs.fraud_e9,
        fraud_given_history_e9=beliefs.fraud_given_history_e9,
        dispute_e9=dispute_e9,
        challenge_success_e9=_challenge_success_e9(beliefs.fraud_given_history_e9, beliefs.payer),
    )


def probabilities_over(
    approvals: tuple[Approval, ...],
    column: int,
    *,
    fraud_e9: int,
    fraud_given_history_e9: int,
    dispute_e9: int,
    challenge_success_e9: int,
) -> Probabilities:
    """What Bayes makes of approvals as they stand."""
    p, over = fraud_given_history_e9, approvals[column]
    return Probabilities(
        fraud_e9=fraud_e9,
        fraud_given_history_e9=p,
        fraud_given_approval_e9=given_e9(p, good_e9=over.good_e9, fraud_e9=over.fraud_e9),
        fraud_given_decline_e9=given_e9(p, good_e9=ONE_E9 - over.good_e9, fraud_e9=ONE_E9 - over.fraud_e9),
        dispute_e9=dispute_e9,
        challenge_success_e9=challenge_success_e9,
        approval_e9=tuple([mixed_e9(p, good_e9=each.good_e9, fraud_e9=each.fraud_e9) for each in approvals]),
        soft_decline_e9=over.soft_decline_e9,
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
        token=False,
        cvv_present=attempt.verification is not None and attempt.verification.cvv_result is not None,
        issuer_country=card.issuer_country if card else None,
    )


def _challenge_success_e9(p_e9: int, payer: Authentication) -> int:
    good = payer.frictionless_good + (1.0 - payer.frictionless_good) * payer.success_good
    fraud = payer.frictionless_fraud + (1.0 - payer.frictionless_fraud) * payer.success_fraud
    return round((1.0 - payer.unavailable) * ((ONE_E9 - p_e9) * good + p_e9 * fraud))
