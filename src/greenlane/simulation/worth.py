"""What an action is truly worth on average: the policy's formulas with the world's own probabilities of this payer.

p is 0 or P(this fraud is reported). A fraud that nobody would report costs nothing: it is a sale.
"""

from typing import NamedTuple

from greenlane.merchants.economics import Economics
from greenlane.merchants.fees import Charges
from greenlane.merchants.stakes import Stakes, stakes
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import Way
from greenlane.policy.exemptions import BORNE_BY_ISSUER
from greenlane.policy.price import costs_of
from greenlane.simulation.answers import Terms
from greenlane.simulation.truth import Truth


class Chances(NamedTuple):
    """True probabilities of this very payer over one way, now."""

    plain: float
    """P(approved), soft declines counted out."""
    authenticated: float
    exempt: float
    """Given that the exemption is honoured."""
    soft_plain: float
    soft_exempt: float
    unavailable: float
    frictionless: float
    challenge_success: float
    review_cancel: float
    review_release: float
    broken: float = 0.0
    """Share of approvals that an outage takes away at this moment."""
    late: float = 1.0
    """Approvals that come after a time-out come on top: a factor."""

    @property
    def passed(self) -> float:
        """P(authenticated | challenged)."""
        return (1 - self.unavailable) * (self.frictionless + (1 - self.frictionless) * self.challenge_success)


class Money(NamedTuple):
    """What one payment over one way is about."""

    truth: Truth
    chances: Chances
    stakes: Stakes
    prices: Charges
    dispute: float
    """D: what a first-party dispute costs."""
    shifted: bool = False
    """It was authenticated before."""
    exemption: str = ""

    def allow(self) -> Terms:
        already = self.stakes.shifted_by_challenge if self.shifted else 0.0
        approval = self.chances.authenticated if self.shifted else self.chances.plain
        price = self.prices.authenticated if self.shifted else self.prices.approved
        return self._asked(1.0, approval, price=price, shifted=already)

    def exempt(self) -> Terms:
        """A soft decline is a decline; what an authentication then brings is another action."""
        if self.shifted:
            return self.allow()
        borne = self.stakes.shifted_by_challenge if self.exemption in BORNE_BY_ISSUER else 0.0
        approval = (1 - self.chances.soft_exempt) * self.chances.exempt
        asked = self._asked(1.0, approval, price=self.prices.approved, shifted=borne)
        waits = self._if_good(self.chances.soft_exempt * self.stakes.soft_decline)
        return asked._replace(friction=-waits, value=asked.value - waits)

    def challenge(self) -> Terms:
        chances, prices = self.chances, self.prices
        passed = self._asked(
            chances.passed, chances.authenticated, price=prices.authenticated, shifted=self.stakes.shifted_by_challenge
        )
        unavailable = self._asked(chances.unavailable, chances.plain, price=prices.approved, shifted=0.0)
        left = self._if_good((1 - chances.unavailable - chances.passed) * self.stakes.abandonment)
        return _sum(passed, unavailable, NOTHING._replace(
            value=-prices.challenge - left, authentication=-prices.challenge, friction=-left,
        ))  # fmt: skip

    def review(self) -> Terms:
        chances, money = self.chances, self.stakes
        waited = 1 - chances.review_cancel
        approval = chances.authenticated if self.shifted else chances.plain
        shifted = money.shifted_by_challenge if self.shifted else 0.0
        asked = self._asked(waited * chances.review_release, approval, price=self.prices.approved, shifted=shifted)
        refused = self._if_good(waited * (1 - chances.review_release) * money.false_decline)
        left = self._if_good(chances.review_cancel * money.review_cancel)
        return _sum(asked, NOTHING._replace(
            value=-money.review - refused - left, review=-money.review, friction=-refused - left,
        ))  # fmt: skip

    def block(self) -> Terms:
        lost = self._if_good(self.stakes.false_decline - self.stakes.other_method)
        return NOTHING._replace(value=-lost, friction=-lost)

    def _asked(self, reached: float, approval: float, *, price: float, shifted: float) -> Terms:
        """`reached`: P(the issuer is asked at all)."""
        truth, money, p = self.truth, self.stakes, self.truth.report_probability
        own = money.loss + money.unrefunded * price
        approval = min(1.0, approval * self.chances.late)
        approved, declined = reached * approval, reached * (1 - approval)
        margin = approved * (1 - p) * money.margin
        fees = -approved * (1 - p) * price - declined * self.prices.declined
        fraud_loss = -approved * p * ((1 - shifted) * own + shifted * money.handling + money.report_price)
        dispute = -approved * (1 - p) * truth.friendly_probability * self.dispute
        return Terms(
            approved=approved,
            declined=declined,
            value=margin + fees + fraud_loss + dispute,
            margin=margin,
            fees=fees,
            fraud_loss=fraud_loss,
            dispute=dispute,
            authentication=0.0,
            friction=0.0,
            review=0.0,
            stop=self._if_good(money.stop),
            reported=approved * p,
        )

    def _if_good(self, amount: float) -> float:
        return 0.0 if self.truth.fraud else amount


NOTHING = Terms(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
VALUES = {
    "allow": Money.allow,
    "exempt": Money.exempt,
    "challenge": Money.challenge,
    "review": Money.review,
    "block": Money.block,
}


def money_of(
    attempt: Attempt, truth: Truth, chances: Chances, economics: Economics, *, route: str, credential: str = "pan",
    shifted: bool = False, exemption: str = "",
) -> Money:  # fmt: skip
    """What sending this attempt over this way is about, for the merchant."""
    amount = attempt.payment.amount
    money = stakes(economics, amount, "merchant", payer_present=attempt.payment.initiator == "cit")
    stated = economics.dispute_cost_minor
    return Money(
        truth=truth,
        chances=chances,
        stakes=money,
        prices=prices_of(attempt, economics, route=route, credential=credential),
        dispute=money.margin + money.loss if stated is None else float(stated),
        shifted=shifted,
        exemption=exemption,
    )


def prices_of(attempt: Attempt, economics: Economics, *, route: str, credential: str) -> Charges:
    """As the policy's own, so that prices are known on both sides."""
    return Charges(*costs_of((Way(route, credential),), attempt, attempt.payment.amount, economics=economics)[0])


def _sum(*parts: Terms) -> Terms:
    total = Terms(*map(sum, zip(*parts, strict=True)))
    return total._replace(stop=parts[0].stop)
