"""Approval as it stands now: what the model, or the stated priors, say, moved by the health of issuers and routes."""

from collections.abc import Callable, Sequence
from math import exp, log
from typing import Final, Protocol

from greenlane.merchants.economics import Economics
from greenlane.models.approval_rows import Situation
from greenlane.payments.attempt import Attempt
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.policy.actions import Way
from greenlane.policy.believe import ONE_E9, after_declines, prior_approvals
from greenlane.policy.heard import issuer_of
from greenlane.policy.history import History
from greenlane.policy.priors import Approval, Priors

LEAST_E9: Final = 1_000
PPM: Final = 1_000_000


class Model(Protocol):
    @property
    def id(self) -> str: ...

    def predict(self, situation: Situation, ways: Sequence[tuple[str, str]]) -> list[list[int]]:
        """[ways][plain, exempt, 3ds]: P(approved) of a good payer, integers 1e-9."""
        ...

    def soft_decline_e9(self, issuer: str) -> int: ...


class Offsets(Protocol):
    def offsets(self, issuer: str, bin8: str, routes: Sequence[str]) -> tuple[int, ...]: ...


class Approving:
    """The approvals of each way. `model` may be exchanged between two decisions; None: the stated priors."""

    def __init__(
        self,
        health: Offsets,
        priors: Priors,
        economics_of: Callable[[str, str | None], Economics],
        model: Model | None = None,
    ):
        self.model, self._health, self._priors, self._economics_of = model, health, priors, economics_of

    def approvals(
        self, attempt: Attempt, facts: Facts, ways: Sequence[Way], *, history: History, at_us: int
    ) -> tuple[Approval, ...]:
        offsets = self._health.offsets(issuer_of(facts), facts.bin8, [way.route for way in ways])
        ratio = self._priors.fraud_approval_ppm
        if self.model is not None:
            soft_e9 = self.model.soft_decline_e9(facts.issuer_id)
            return approvals_of_good(
                self.model.predict(situation_of(attempt, facts, history, at_us=at_us), ways), offsets, ratio, soft_e9
            )
        economics = self._economics_of(facts.merchant_id, facts.mcc or None)
        first = prior_approvals(attempt, tuple(ways), economics=economics, priors=self._priors)
        found = after_declines(first, history, initiator=facts.initiator, at_us=at_us)
        if not any(offsets):
            return found
        return tuple([moved(approval, offset, ratio) for approval, offset in zip(found, offsets, strict=True)])


def situation_of(attempt: Attempt, facts: Facts, history: History, *, at_us: int) -> Situation:
    """What the approval model looks at besides the way."""
    last = history.last_sent
    declined = last if last is not None and last.answer == "declined" else None
    verification = attempt.verification
    return Situation(
        facts,
        at_us,
        attempt_no=1 + sum(tried.answer != "not_sent" and not tried.other for tried in history.tried),
        chained=attempt.payment.network_transaction_id is not None,
        cvv_present=verification is not None and verification.cvv_result is not None,
        last_category=decline_of(declined.network, declined.code).category if declined else "",
        last_us=declined.at_us if declined else 0,
        last_route=declined.route if declined else "",
    )


def of_good(
    plain: int, exempt: int, authenticated: int, ratio_ppm: int, soft_decline_e9: int, *, millilogit: int = 0
) -> Approval:
    """Fraudsters are approved in a configured proportion to good payers: approved traffic alone cannot say it.

    Good payers' approvals are moved by an offset of log-odds, in thousandths.

    >>> of_good(900_000_000, 880_000_000, 950_000_000, 700_000, 0).fraud_e9
    630000000
    >>> of_good(500_000_000, 500_000_000, 500_000_000, 700_000, 0, millilogit=1_000).good_exempt_e9
    731058579
    """
    if millilogit:
        plain, exempt = shifted_e9(plain, millilogit), shifted_e9(exempt, millilogit)
        authenticated = shifted_e9(authenticated, millilogit)
    return Approval(
        plain,
        plain * ratio_ppm // PPM,
        authenticated,
        authenticated * ratio_ppm // PPM,
        exempt,
        exempt * ratio_ppm // PPM,
        soft_decline_e9,
    )


def approvals_of_good(
    predicted: Sequence[Sequence[int]], offsets: Sequence[int], ratio_ppm: int, soft_decline_e9: int
) -> tuple[Approval, ...]:
    """Of [ways][plain, exempt, 3ds] as a model says them, each way moved by its offset."""
    return tuple([
        of_good(plain, exempt, authenticated, ratio_ppm, soft_decline_e9, millilogit=offset)
        for (plain, exempt, authenticated), offset in zip(predicted, offsets, strict=True)
    ])  # fmt: skip


def moved(approval: Approval, millilogit: int, ratio_ppm: int) -> Approval:
    """By an offset of log-odds, in thousandths."""
    good = approval.good_e9, approval.good_exempt_e9, approval.good_3ds_e9
    return of_good(*good, ratio_ppm, approval.soft_decline_e9, millilogit=millilogit)


def shifted_e9(p_e9: int, millilogit: int) -> int:
    if not LEAST_E9 < p_e9 < ONE_E9 - LEAST_E9:
        return p_e9
    return round(1e9 / (1.0 + exp(-log(p_e9 / (ONE_E9 - p_e9)) - millilogit / 1e3)))
