"""What already happened to this payment, and what that says about it: p_h, fraud given its history so far."""

from typing import Final, Literal, NamedTuple

from msgspec import Struct

from greenlane.payments.attempt import Attempt
from greenlane.payments.codes import decline_of
from greenlane.policy.liability import SHIFTED, liability
from greenlane.policy.priors import Priors
from greenlane.policy.remedy import remedy_of
from greenlane.policy.value import Authentication

PASSED: Final = frozenset("Y")
FAILED: Final = frozenset("NR")
PENDING: Final = frozenset("CD")
AVS_MATCH: Final = frozenset("YXDFMV")
"""Address and postcode agree; partial agreement and "not checked" say nothing here."""


Answer = Literal["pending", "approved", "partially_approved", "declined", "unknown", "not_sent", "reversed"]


class Tried(Struct, frozen=True, array_like=True, gc=False):
    """One attempt at this payment that was granted before, and what is known of its end.

    `answer` is "pending" while nothing was heard, "unknown" after a time-out.
    """

    attempt_id: str
    attempt_no: int
    route: str
    credential: str = ""
    intervention: str = "allow"
    exemption: str = ""
    at_us: int = 0
    answer: Answer = "pending"
    network: str = ""
    code: str = ""
    advice: str = ""
    decline_class: str = ""
    other: bool = False
    """With another instrument than the one that is asked about: what its issuer said is no news of this one."""


def is_unsettled(tried: Tried) -> bool:
    """May this attempt have been approved without anybody knowing? It is queried or reversed before anything is sent.

    >>> [is_unsettled(Tried("a", 1, "r", answer=answer, code="05")) for answer in ("unknown", "declined")]
    [True, False]
    """
    return tried.answer == "unknown" or (
        tried.answer == "declined" and remedy_of(tried.network, tried.code).kind == "query"
    )


def is_under_way(tried: Tried) -> bool:
    """Was this attempt sent, as far as anybody knows, and not answered yet?

    >>> [is_under_way(Tried("a", 1, "r", intervention=way)) for way in ("allow", "exempt", "challenge", "review")]
    [True, True, False, False]
    """
    return tried.answer == "pending" and tried.intervention in ("allow", "exempt")


class History(NamedTuple):
    """Empty at first; then the answer of an authentication, what was tried, and whether the issuer has approved.

    >>> History().answered
    False
    >>> History(tried=(Tried("a", 1, "r", answer="declined", decline_class="sca"),)).soft_declined
    True
    """

    status: str = ""
    """trans_status of 3-D Secure; "" while nobody asked, or the answer is still pending."""
    flow: str = ""
    liability_shifted: bool = False
    approved: bool = False
    avs: str = ""
    """The issuer's answer on the address, as in ISO 8583."""
    cvv: str = ""
    """The issuer's answer on the security code."""
    tried: tuple[Tried, ...] = ()
    """Earlier attempts at this payment, the oldest first."""
    route: str = ""
    """Where this very attempt was sent, as far as it was at an earlier stage."""
    credential: str = ""

    @property
    def answered(self) -> bool:
        return self.status != ""

    @property
    def last_sent(self) -> Tried | None:
        """The last attempt that may have reached the issuer."""
        sent = (tried for tried in reversed(self.tried) if tried.answer != "not_sent" and not tried.other)
        return next(sent, None)

    @property
    def declines(self) -> int:
        """How often this instrument was declined."""
        return sum(tried.answer == "declined" and not tried.other for tried in self.tried)

    @property
    def soft_declined(self) -> bool:
        """The issuer asked for authentication, and has not had it yet."""
        last = self.last_sent
        asked = last is not None and last.answer == "declined" and last.decline_class == "sca"
        return asked and self.status not in SHIFTED


def history_of(attempt: Attempt) -> History:
    """The history that the caller tells with the attempt."""
    verification = attempt.verification
    approved = attempt.stage == "post_authorization"
    if verification is None:
        return History(approved=approved) if approved else NOTHING_YET
    three_ds, avs, cvv = verification.three_ds, verification.avs_result or "", verification.cvv_result or ""
    if three_ds is None or three_ds.trans_status in PENDING:
        return History(approved=approved, avs=avs, cvv=cvv)
    card = attempt.payment.payment_method.card
    liable = liability(three_ds, network=card.network if card else "")
    return History(liable.status, three_ds.flow or "", liable.shifted, approved, avs, cvv)


NOTHING_YET: Final = History()


def fraud_given_history_e9(p_e9: int, history: History, *, payer: Authentication, priors: Priors) -> int:
    """p_h by Bayes: how much rarer a fraudster passes (or fails) as this payer did, is approved or declined as this one
    was, and knows the address and the security code.

    >>> typical = Authentication(0.5, 0.9, 0.25, 0.06, 0.0)
    >>> fraud_given_history_e9(100_000_000, History("Y"), payer=typical, priors=Priors())
    33352176
    """
    if history == NOTHING_YET:
        return p_e9
    good, fraud = _likelihoods(history, payer)
    if history.approved:
        fraud *= priors.fraud_approval_ppm / 1e6
    fraud *= _declined_ratio(history, priors) * _verification_ratio(history, priors)
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


def _declined_ratio(history: History, priors: Priors) -> float:
    """Declines of one payment repeat one another, so the one that speaks loudest of fraud counts, once."""
    declined = [tried for tried in history.tried if tried.answer == "declined"]
    if not declined:
        return 1.0
    return max(priors.declined_ratio_e3[decline_of(tried.network, tried.code).fraud_signal] for tried in declined) / 1e3


def _verification_ratio(history: History, priors: Priors) -> float:
    cvv = {"M": priors.cvv_match_ratio_e3, "N": priors.cvv_mismatch_ratio_e3}.get(history.cvv, 1_000)
    avs = 1_000
    if history.avs in AVS_MATCH:
        avs = priors.avs_match_ratio_e3
    elif history.avs == "N":
        avs = priors.avs_mismatch_ratio_e3
    return cvv * avs / 1e6


def _passes(flow: str, frictionless: float, success: float) -> float:
    challenged = (1.0 - frictionless) * success
    if flow == "frictionless":
        return frictionless
    return challenged if flow == "challenge" else frictionless + challenged
