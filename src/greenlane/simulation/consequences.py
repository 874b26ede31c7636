"""What an action leads to: the answer, and every outcome that arrives later. One draw, given chances and luck."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import structs

from greenlane.payments.attempt import Attempt, Network
from greenlane.payments.outcome import Executed, Outcome, OutcomeType
from greenlane.payments.times import SECOND_US, format_rfc3339
from greenlane.simulation.answers import Answer, Authenticated, Happened, Result, Sent, Telling
from greenlane.simulation.truth import Truth
from greenlane.simulation.world import Arrival
from greenlane.simulation.worth import Chances

AUTHORIZATION_US: Final = SECOND_US
FRICTIONLESS_US: Final = 2 * SECOND_US
TIMEOUT_US: Final = 30 * SECOND_US
LATE_APPROVALS: Final = 0.3
"""Of time-outs: the issuer had approved."""
NOT_SENT: Final = 0.4
"""Of what an acquirer that is wholly down loses: provably never sent."""
ADVICE: Final = {
    "51": ("24", "25", "26", "27", "28", "29", "30"),
    "54": ("01",),
    "79": ("01",),
    "59": ("02",),
    **dict.fromkeys(("14", "41", "43", "46"), ("03",)),
}
"""Merchant advice codes of Mastercard, by response code."""


def bringing(arrival: Arrival, happened: Happened) -> Happened:
    """The first outcome brings the whole payment."""
    return [
        (at_us, structs.replace(outcome, payment=arrival.attempt.payment) if i == 0 else outcome)
        for i, (at_us, outcome) in enumerate(happened)
    ]


class Luck(NamedTuple):
    """Uniform draws of one action: an event of probability q happens where the draw is below q.

    They do not depend on what is decided, so two policies differ only where their decisions do.
    """

    authorization: float
    unavailable: float
    frictionless: float
    challenge: float
    cancel: float
    release: float
    shift: float
    soft: float
    broken: float
    cause: float
    late: float


class Story(NamedTuple):
    """One action under the chances of the moment; each method is a chapter that may lead to the next."""

    arrival: Arrival
    sent: Sent
    chances: Chances
    luck: Luck
    code: str
    """Of a decline."""
    shifted: float
    """omega: share of fraud disputes that an authentication keeps away from the merchant."""
    passed: bool = False
    """It was authenticated before."""
    timeouts: float = 0.0
    """Share of what an outage breaks that nobody hears of."""

    def allowed(self) -> Answer:
        return self._authorized(self.sent.at_us, None, list)

    def challenged(self) -> Answer:
        shown = self.authenticated()

        def told() -> Happened:
            return [self._authentication(shown)]

        if shown.status == "N":
            return self._ended("failed", shown.at_us, told, shown=shown)
        return self._authorized(shown.at_us, shown, told)

    def reviewed(self) -> Answer:
        at_us = self.sent.at_us + self.truth.review_us
        if self.luck.cancel < self.chances.review_cancel:
            return self._ended("cancelled", at_us, lambda: [self._event(at_us, "abandoned", "shop")])
        if self.luck.release < self.chances.review_release:
            return self._authorized(at_us, None, lambda: [self._reviewed(at_us, "succeeded")])
        return self._ended("refused", at_us, lambda: [self._reviewed(at_us, "failed")])

    def blocked(self) -> Answer:
        return self._ended("blocked", self.sent.at_us, list)

    def authenticated(self) -> Authenticated:
        """What 3-D Secure says."""
        truth, luck, at_us = self.truth, self.luck, self.sent.at_us
        if luck.unavailable < self.chances.unavailable:
            return Authenticated("U", "", False, at_us + FRICTIONLESS_US)
        if luck.frictionless < self.chances.frictionless:
            return Authenticated("Y", "frictionless", True, at_us + FRICTIONLESS_US)
        if luck.challenge < self.chances.challenge_success:
            return Authenticated("Y", "challenge", True, at_us + truth.challenge_us)
        return Authenticated("N", "challenge", False, at_us + truth.challenge_us)

    @property
    def truth(self) -> Truth:
        return self.arrival.truth

    def _authorized(self, at_us: int, shown: Authenticated | None, before: Telling) -> Answer:
        safe = self.passed or (shown is not None and shown.shifted)
        soft, approval, overall = self._odds(safe)
        result, code, approved = self._answered(soft, approval)
        ends_us = at_us + (TIMEOUT_US if result == "unknown" else AUTHORIZATION_US)

        def told() -> Happened:
            after = self.aftermath(at_us, safe=safe) if result == "approved" else []
            return [*before(), self._authorization(ends_us, result, code), *after]

        return self._ended(result, ends_us, told, shown=shown, code=code, sent_us=at_us, approved=approved)._replace(
            authorization_probability=overall
        )

    def _odds(self, safe: bool) -> tuple[float, float, float]:
        """(P(soft decline), P(approved | none), P(approved)) of the request as it is made."""
        chances = self.chances
        if safe:
            return 0.0, chances.authenticated, chances.authenticated
        if self.sent.intervention == "exempt":
            return chances.soft_exempt, chances.exempt, (1 - chances.soft_exempt) * chances.exempt
        given = chances.plain / (1 - chances.soft_plain) if chances.soft_plain < 1 else 0.0
        return chances.soft_plain, given, chances.plain

    def _answered(self, soft: float, approval: float) -> tuple[Result, str, bool]:
        """(result, code, what the issuer holds to be true)."""
        luck, broken = self.luck, self.chances.broken
        if luck.soft < soft:
            return "declined", "1A" if self.truth.case.visa else "65", False
        if luck.authorization < approval:
            return "approved", "00", True
        lost = approval * broken / (1 - broken) if broken < 1 else 1.0  # approvals that the outage took
        if broken > 0 and luck.broken * (1 - approval) < lost:
            if luck.cause < self.chances.broken * NOT_SENT:
                return "not_sent", "", False
            if luck.cause < self.chances.broken * NOT_SENT + self.timeouts:
                return "unknown", "", luck.late < LATE_APPROVALS
            return "declined", "91", False
        return "declined", self.code, False

    def aftermath(self, at_us: int, *, safe: bool) -> Happened:
        """What the cardholder and the issuer do about an approved payment; a shifted dispute never reaches the shop."""
        truth = self.truth
        happened = []
        if truth.would_be_reported and truth.brings != "dispute":
            happened.append(self._event(at_us + truth.report_delay_us, "fraud_report", "network"))
        shifted = safe and self.luck.shift < self.shifted
        if truth.would_be_reported and truth.brings != "report" and not shifted:
            happened.append(self._dispute(at_us, "fraud"))
        if truth.would_dispute:
            happened.append(self._dispute(at_us, "consumer"))
        return happened

    def _ended(
        self, result: Result, at_us: int, told: Telling, *, shown: Authenticated | None = None, code: str = "",
        sent_us: int = 0, approved: bool = False,
    ) -> Answer:  # fmt: skip
        return Answer(
            result=result,
            approval_probability=0.0,
            authorization_probability=0.0,
            code=code,
            advice="" if result != "declined" else self._advice(code),
            authentication=shown,
            sent_at_us=sent_us or self.sent.at_us,
            at_us=at_us,
            issuer_approved=approved,
            telling=told,
        )

    def _advice(self, code: str) -> str:
        if self.truth.case.visa or code not in ADVICE:
            return ""
        choices = ADVICE[code]
        return choices[int(self.luck.cause * len(choices))]

    def _authorization(self, at_us: int, result: Result, code: str) -> tuple[int, Outcome]:
        sent = self.sent
        credential: Any = sent.credential or None  # any text to a Sent, one of two to an outcome
        executed = Executed(route=sent.route, intervention=sent.intervention, credential=credential)
        if result == "not_sent":
            return self._event(at_us, "not_sent", "acquirer", executed=executed)
        return self._event(
            at_us,
            "authorization",
            "acquirer",
            result=result,
            network_response_code=code or None,
            merchant_advice_code=(self._advice(code) or None) if result == "declined" else None,
            executed=executed,
        )

    def _authentication(self, shown: Authenticated) -> tuple[int, Outcome]:
        result = {"Y": "succeeded", "U": "unknown", "N": "failed"}[shown.status]
        return self._event(
            shown.at_us,
            "authentication",
            "directory_server",
            result=result,
            trans_status=shown.status,
            liability_shift=shown.shifted,
            reason=shown.flow or None,
        )

    def _reviewed(self, at_us: int, result: str) -> tuple[int, Outcome]:
        return self._event(at_us, "review", "reviewer", result=result)

    def _dispute(self, at_us: int, reason: str) -> tuple[int, Outcome]:
        return self._event(at_us + self.truth.dispute_delay_us, "dispute", "network", result="opened", reason=reason)

    def _event(self, at_us: int, kind: OutcomeType, source: str, **told: Any) -> tuple[int, Outcome]:
        attempt, again = self.arrival.attempt, self.sent.attempt_no
        attempt_id = attempt.attempt_id if again == 1 else f"{attempt.attempt_id}-{again}"
        return at_us, Outcome(
            type=kind,
            source=source,
            event_id=f"{kind}:{attempt_id}",
            attempt_id=attempt_id,
            payment_id=attempt.payment.id,
            occurred_at=format_rfc3339(at_us),
            network=_network(attempt),
            **told,
        )


STORIES: Final[dict[str, Callable[[Story], Answer]]] = {
    "allow": Story.allowed,
    "exempt": Story.allowed,
    "challenge": Story.challenged,
    "review": Story.reviewed,
    "block": Story.blocked,
}


def settle(story: Story) -> Answer:
    """What comes of the action."""
    return STORIES[story.sent.intervention](story)


def _network(attempt: Attempt) -> Network | None:
    card = attempt.payment.payment_method.card
    return card.network if card else None
