"""Everything a choice is given, gathered from what is learned and folded: one place for decisions and next actions.

What is missing is not an error: without a fold there is nothing scarce, barred or explored, and approval is what the
stated priors say. What fails falls back likewise and is marked `degraded`; limits never do, as they fail closed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.payments.times import day_of
from greenlane.policy.actions import Eligible, Way
from greenlane.policy.authenticating import AuthenticationTable
from greenlane.policy.believe import given_e9
from greenlane.policy.eligible import eligible, eligible_ways
from greenlane.policy.explore import Allowances, Context, Draw
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import NOTHING_YET, History, fraud_given_history_e9
from greenlane.policy.limits import Asked, Verdict
from greenlane.policy.parameters import Multipliers, Policy, epoch_of
from greenlane.policy.price import acquirer_of, costs_of, price
from greenlane.policy.priors import Approval, authentication
from greenlane.policy.recovery import RecoveryTable, worths_of_decline


class ApprovalBelief(Protocol):
    """Approval of each way, as it stands after what happened to the payment so far."""

    def approvals(
        self, attempt: Attempt, facts: Facts, ways: Sequence[Way], *, history: History, at_us: int
    ) -> tuple[Approval, ...]: ...


class LimitEngine(Protocol):
    def verdict(self, asked: Asked) -> Verdict: ...


class Pricing(Protocol):
    def at(self, epoch: int, *, acquirers: Iterable[str], merchant_id: str, network: str) -> Multipliers: ...


class Gatekeeper(Protocol):
    """The online layer's word on ways: which are shut now, which are not healthy, and whether the cell is attacked."""

    def barred(self, facts: Facts, ways: Sequence[Way], *, at_us: int) -> tuple[Barred, ...]: ...

    def unhealthy(self, facts: Facts, ways: Sequence[Way], *, at_us: int) -> int:
        """Bit i: way i."""
        ...

    def deviations(self, facts: Facts, ways: Sequence[Way]) -> tuple[int, ...]:
        """How unsure approval over each way is: one standard deviation, thousandths of log-odds."""
        ...

    def attacked(self, facts: Facts, *, at_us: int) -> bool: ...


class ExplorationLedger(Protocol):
    @property
    def allowances(self) -> Allowances: ...

    def released_today(self, facts: Facts) -> int: ...

    def advance(self, at_us: int) -> None: ...


@dataclass(slots=True)
class Folds:
    """What stands beside the lane. Each may be absent."""

    approvals: ApprovalBelief | None = None
    recovery: RecoveryTable | None = None
    authentication: AuthenticationTable | None = None
    limits: LimitEngine | None = None
    gates: Gatekeeper | None = None
    prices: Pricing | None = None
    ledger: ExplorationLedger | None = None
    draw: Draw | None = None
    """Without it nothing is explored."""


class Gathered(NamedTuple):
    given: Given
    may: Eligible


def gather(
    attempt: Attempt,
    facts: Facts,
    base: Given,
    *,
    economics: Economics,
    policy: Policy,
    folds: Folds,
    attempt_no: int,
    failed: Callable[[str, Exception], None],
) -> Gathered:
    """`base` and all that the folds add to it; `base.history` is what the payment's entries tell.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> payment = Payment(id="p", amount=5, currency="EUR", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=Card(fingerprint="fp_1")))
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5)
    >>> base = Given(amount_minor=5, fraud_probability_e9=1_000_000)
    >>> gather(Attempt(attempt_id="a", payment=payment), facts, base, economics=Economics(), attempt_no=1,
    ...        policy=Policy(perspective="merchant"), folds=Folds(), failed=print).may.size
    4
    """
    history, ways, at_us = base.history or NOTHING_YET, eligible_ways(attempt, economics), base.ingest_us
    verdict, barred = None, tuple[Barred, ...]()
    if not history.approved:  # else nothing is sent any more: what is barred now is no reason to void
        verdict = None if folds.limits is None else folds.limits.verdict(asked(facts, at_us=at_us))
        barred = _barred(facts, ways, verdict, at_us=at_us, gates=folds.gates)
    multipliers = base.multipliers
    if folds.prices is not None:
        acquirers = (acquirer_of(way.route, attempt, economics) for way in ways)
        network, merchant_id = facts.network, facts.merchant_id
        multipliers = folds.prices.at(epoch_of(at_us), acquirers=acquirers, merchant_id=merchant_id, network=network)
    if barred or multipliers is not base.multipliers:
        base = replace(base, barred=barred or base.barred, multipliers=multipliers)
    if folds.authentication is not None and base.payer is None:
        base = replace(base, payer=folds.authentication.payer(facts.issuer_id, facts.issuer_country))
    may = eligible(attempt, base, economics=economics, history=history, fitting=ways)
    if base.fraud_probability_e9 is None or base.rung in ("static", "merchant_default") or not may.ways:
        return Gathered(base, may)
    left = None if verdict is None else verdict.attempts_left - 1
    approvals = approvals_of(
        attempt, facts, may.ways, belief=folds.approvals, history=history, at_us=at_us, failed=failed
    )
    declined = None
    if folds.recovery is not None:
        declined = worths_of_decline(
            folds.recovery,
            may.ways,
            price(attempt, base, policy.perspective, economics=economics, history=history, challengeable=True),
            costs=costs_of(may.ways, attempt, base.amount_minor, economics=economics),
            initiator=facts.initiator,
            fraud_e9=_after_decline_e9(attempt, base, policy, history),
            fraud_approval_ppm=policy.priors.fraud_approval_ppm,
            issuer_id=facts.issuer_id,
            **({} if left is None else {"attempts_left": max(0, left)}),
            tries=history.declines,
        )
    context = None
    if not history.approved:
        context = _context(facts, base, may, folds=folds, attempt_no=attempt_no, last=left == 0)
    degraded = base.degraded
    if approvals is None:
        approvals, degraded = base.approvals, (*degraded, "approvals") if folds.approvals is not None else degraded
    return Gathered(replace(base, approvals=approvals, declined=declined, context=context, degraded=degraded), may)


def asked(facts: Facts, *, at_us: int) -> Asked:
    """The limit engine's question about one attempt."""
    cards = (facts.card, facts.par) if facts.par else (facts.card,)
    return Asked(
        cards, facts.merchant_id, facts.amount_minor, facts.currency, facts.initiator, facts.network, at_us,
        attempt_id=facts.attempt_id, channel=facts.channel,
    )  # fmt: skip


def _barred(
    facts: Facts, ways: Sequence[Way], verdict: Verdict | None, *, at_us: int, gates: Gatekeeper | None
) -> tuple[Barred, ...]:
    if verdict is not None and not verdict.allowed:
        return tuple([Barred(*way, f"limit:{verdict.rule}") for way in ways])
    return () if gates is None else gates.barred(facts, ways, at_us=at_us)


def approvals_of(
    attempt: Attempt,
    facts: Facts,
    ways: Sequence[Way],
    *,
    belief: ApprovalBelief | None,
    history: History,
    at_us: int,
    failed: Callable[[str, Exception], None],
) -> tuple[Approval, ...] | None:
    """One for each way; None, and `failed` is told, where the belief is not to be had."""
    if belief is None:
        return None
    try:
        found = belief.approvals(attempt, facts, ways, history=history, at_us=at_us)
        if len(found) != len(ways):
            raise ValueError(f"{len(found)} approvals for {len(ways)} ways")
        return found
    except Exception as error:  # noqa: BLE001 - the declared fallback: without the model the stated priors answer
        failed("approvals", error)
        return None


def _after_decline_e9(attempt: Attempt, base: Given, policy: Policy, history: History) -> int:
    """p_D of a usual decline, given what happened before: 12 % of good payers have one."""
    fraud_e9 = base.fraud_probability_e9 or 0
    if history != NOTHING_YET:
        card = attempt.payment.payment_method.card
        payer = authentication(policy.priors, card.issuer_country if card else None, base.payer)
        fraud_e9 = fraud_given_history_e9(fraud_e9, history, payer=payer, priors=policy.priors)
    return given_e9(fraud_e9, good_e9=120_000_000, fraud_e9=10**9 - 880 * policy.priors.fraud_approval_ppm)


def _context(facts: Facts, base: Given, may: Eligible, *, folds: Folds, attempt_no: int, last: bool) -> Context | None:
    """What exploration may look at; None while it has no budget."""
    if folds.ledger is None or folds.draw is None:
        return None
    folds.ledger.advance(base.ingest_us)
    allowances = folds.ledger.allowances
    if not any(allowance.budget_micro for allowance in allowances):
        return None
    unit = f"card/{facts.card}" if facts.card else f"device/{facts.device}" if facts.device else ""
    gates, at_us = folds.gates, base.ingest_us
    return Context(
        payment_id=facts.payment_id,
        attempt_no=attempt_no,
        unit=unit,
        day=day_of(at_us),
        amount_minor=base.amount_minor,
        last_attempt=last,
        barred=gates is not None and gates.attacked(facts, at_us=at_us),
        unhealthy=0 if gates is None else gates.unhealthy(facts, may.ways, at_us=at_us),
        released_today=folds.ledger.released_today(facts),
        deviations_millilogit=() if gates is None else gates.deviations(facts, may.ways),
        allowances=allowances,
    )
