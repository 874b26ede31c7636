"""What already happened to this payment, and what that says about it: p_h, fraud given its history so far."""

from typing import Final, NamedTuple

from greenlane.payments.attempt import Attempt, ThreeDS
from greenlane.policy.value import Authentication

PASSED: Final = frozenset("Y")
SHIFTED: Final = frozenset("YA")
FAILED: Final = frozenset("NR")
PENDING: Final = frozenset("CD")


class History(NamedTuple):
    """Empty at first; then the answer of an authentication, and whether the issuer has approved already.

    >>> History().answered
    False
    """

    status: str = ""
    """trans_status of 3-D Secure; "" while nobody asked, or the answer is still pending."""
    flow: str = ""
    liability_shifted: bool = False
    approved: bool = False

    @property
    def answered(self) -> bool:
        return self.status != ""


def history_of(attempt: Attempt) -> History:
    """The history that the caller tells with the attempt."""
    three_ds = attempt.verification.three_ds if attempt.verification else None
    approved = attempt.stage == "post_authorization"
    status = three_ds.trans_status if three_ds else None
    if three_ds is None or status is None or status in PENDING:
        return History(approved=approved)
    return History(status, three_ds.flow or "", _liability_shifted(three_ds), approved)


def fraud_given_history_e9(p_e9: int, history: History, *, payer: Authentication, fraud_approval_ppm: int) -> int:
    """p_h by Bayes: how much rarer a fraudster passes (or fails) as this payer did, and is approved as this one was.

    >>> typical = Authentication(0.5, 0.9, 0.25, 0.06, 0.0)
    >>> fraud_given_history_e9(100_000_000, History("Y"), payer=typical, fraud_approval_ppm=700_000)
    33352176
    """
    if not history.answered and not history.approved:
        return p_e9
    good, fraud = _likelihoods(history, payer)
    if history.approved:
        fraud *= fraud_approval_ppm / 1e6
    total = (1e9 - p_e9) * good + p_e9 * fraud
    return round(1e9 * p_e9 * fraud / total) if total > 0 else p_e9


def _likelihoods(history: History, payer: Authentication) -> tuple[float, float]:
    if history.status in PASSED:
        return (
            _passes(history.flow, payer.frictionless_good, payer.success_good),
            _passes(history.flow, payer.frictionless_fraud, payer.success_fraud),
        )
    if history.status in FAILED:
        return (
            (1.0 - payer.frictionless_good) * (1.0 - payer.success_good),
            (1.0 - payer.frictionless_fraud) * (1.0 - payer.success_fraud),
        )
    return 1.0, 1.0


def _passes(flow: str, frictionless: float, success: float) -> float:
    challenged = (1.0 - frictionless) * success
    if flow == "frictionless":
        return frictionless
    return challenged if flow == "challenge" else frictionless + challenged


def _liability_shifted(three_ds: ThreeDS) -> bool:
    if three_ds.liability_shift is not None:
        return three_ds.liability_shift
    return three_ds.trans_status in SHIFTED
