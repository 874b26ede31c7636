"""What is so about a payment and what would come of it, whatever is decided: what no caller of a world sees."""

import math
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US
from greenlane.simulation.banks import Banks
from greenlane.simulation.crowd import GOOD, Crowd
from greenlane.simulation.parameters import TYPOLOGIES, Delay, Parameters
from greenlane.simulation.randomness import Draws, Flags, Indexes, Reals, normal_quantile

WHO: Final = ("good", *TYPOLOGIES)


class Odds(NamedTuple):
    """How the world would treat this payment if its payer were of one kind."""

    approval: tuple[float, ...]
    """By route, in the order of `eligible_routes`."""
    approval_authenticated: tuple[float, ...]
    frictionless: float
    challenge_success: float
    """Given a challenge: the rest fails or leaves."""
    review_cancel: float
    """P(the payer does not wait for a review)."""
    review_release: float
    """P(the reviewer lets it pass | the payer waits)."""


class Luck(NamedTuple):
    """Uniform draws of this payment: an event of probability q happens where the draw is below q.

    They do not depend on what is decided, so two policies differ only where their decisions do.
    """

    authorization: tuple[float, ...]
    """By route."""
    unavailable: float
    frictionless: float
    challenge: float
    cancel: float
    release: float
    shift: float


class Truth(NamedTuple):
    typology: str
    """Empty for an honest payer, else one of `TYPOLOGIES`."""
    if_good: Odds
    if_fraud: Odds
    """For an honest payer: as if the card were stolen."""
    luck: Luck
    unavailable: float
    """P(3-D Secure gives no answer)."""
    decline_code: str
    """The network response code of a decline, if it is declined."""
    report_probability: float
    """P(third-party fraud is reported | approved unauthenticated): 0 for an honest payer."""
    would_be_reported: bool
    brings: Literal["report", "dispute", "both"]
    """What arrives if it is reported."""
    report_delay_us: int
    dispute_delay_us: int
    friendly_probability: float
    """P(first-party dispute | approved): 0 for a fraudster."""
    would_dispute: bool
    challenge_us: int
    review_us: int

    @property
    def fraud(self) -> bool:
        return self.typology != ""

    @property
    def odds(self) -> Odds:
        return self.if_fraud if self.fraud else self.if_good


class Oracle:
    """Knows the truth of a crowd. All by column: a million payments are arithmetic, not objects."""

    def __init__(self, world: Parameters, banks: Banks):
        self._world, self._banks = world, banks
        self._mixes = [getattr(world.declines, who) for who in WHO]
        self._decline_shares = banks.decline_shares(self._mixes)
        self._friendly = np.array([m.friendly for m in world.merchants])
        self._frictionless = np.array([c.frictionless for c in world.countries])
        self._success = np.array([c.challenge_success for c in world.countries])

    def truths(self, crowd: Crowd) -> Iterator[Truth]:
        """One for each row, in order."""
        draws, who = Draws.from_keys(crowd["luck"]), crowd["typology"].astype(np.int64)
        fraud = who != GOOD
        reported = np.where(fraud, self._report_probability(crowd), 0.0)
        friendly = np.where(fraud, 0.0, self._friendly[crowd["merchant"]])
        columns: tuple[list[Any], ...] = (
            np.array(["", *TYPOLOGIES], dtype=object)[who + 1].tolist(),
            *self._odds(crowd, who),
            self._luck(draws),
            np.full(len(crowd), self._world.authentication.unavailable).tolist(),
            self._decline_codes(crowd, draws).tolist(),
            reported.tolist(),
            draws.chance("reported", reported).tolist(),
            self._brings(draws).tolist(),
            self._report_delay_us(draws, who).tolist(),
            self._dispute_delay_us(draws, fraud).tolist(),
            friendly.tolist(),
            draws.chance("friendly", friendly).tolist(),
            self._challenge_us(draws).tolist(),
            (self._world.review.hours * HOUR_US * draws.exponential("review time")).astype(np.int64).tolist(),
        )
        return map(Truth, *columns)

    def _odds(self, crowd: Crowd, who: Indexes) -> tuple[list[Odds], list[Odds]]:
        log_odds, three_ds = self._banks.approval_log_odds(crowd)
        country = self._banks.range_country[crowd["card_range"]]
        frictionless, success = self._frictionless[country], self._success[country]
        world, schemes, kind = self._world, self._world.fraud.schemes, np.maximum(who, 0)
        stolen = log_odds + np.array([s.approval_log_odds for s in schemes])[kind][:, None]
        fraud_frictionless = world.authentication.fraud_frictionless_factor * frictionless
        fraud_success = np.array([s.challenge_success for s in schemes])[kind]
        good_review = (world.review.cancel, world.review.true_negative)
        fraud_review = (0.0, 1 - world.review.true_positive)
        return (
            _odds(log_odds, log_odds + three_ds[:, None], frictionless, success, good_review),
            _odds(stolen, stolen + three_ds[:, None], fraud_frictionless, fraud_success, fraud_review),
        )

    def _luck(self, draws: Draws) -> list[Luck]:
        routes = np.column_stack([draws.of(r.id).uniform("authorization") for r in self._world.routes])
        single = [draws.uniform(name).tolist() for name in Luck._fields[1:]]
        return list(map(Luck, map(tuple, routes.tolist()), *single))

    def _decline_codes(self, crowd: Crowd, draws: Draws) -> NDArray[np.object_]:
        """By issuer and kind of payer."""
        codes = np.empty(len(crowd), dtype=object)
        issuer = self._banks.range_issuer[crowd["card_range"]]
        for kind, (mix, shares) in enumerate(zip(self._mixes, self._decline_shares, strict=True), start=GOOD):
            rows = np.flatnonzero(crowd["typology"] == kind)
            codes[rows] = np.array(list(mix), dtype=object)[draws[rows].choice("code", shares[issuer[rows]])]
        return codes

    def _report_probability(self, crowd: Crowd) -> Reals:
        r = self._world.reporting
        return logistic(r.log_odds_at_50 + r.per_log_amount * np.log(crowd["amount_minor"] / 5_000))

    def _brings(self, draws: Draws) -> NDArray[np.object_]:
        r = self._world.reporting
        shares = [r.report_only, r.dispute_only, 1 - r.report_only - r.dispute_only]
        return np.array(["report", "dispute", "both"], dtype=object)[draws.choice("brings", shares)]

    def _report_delay_us(self, draws: Draws, who: Indexes) -> Indexes:
        u = draws.uniform("report delay")
        each = np.stack([delay_us(u, s.report_delay) for s in self._world.fraud.schemes])
        delay: Indexes = each[np.maximum(who, 0), np.arange(len(u))]
        return delay

    def _dispute_delay_us(self, draws: Draws, fraud: Flags) -> Indexes:
        u = draws.uniform("dispute delay")
        friendly, stolen = self._world.payers.friendly_delay, self._world.reporting.dispute_delay
        return np.where(fraud, delay_us(u, stolen), delay_us(u, friendly))

    def _challenge_us(self, draws: Draws) -> Indexes:
        a = self._world.authentication
        seconds = a.latency_median_s * np.exp(a.latency_sigma * draws.normal("challenge time"))
        return (seconds * SECOND_US).astype(np.int64)


def _odds(
    plain: Reals, authenticated: Reals, frictionless: Reals, success: Reals, review: tuple[float, float]
) -> list[Odds]:
    columns = zip(
        map(tuple, logistic(plain).tolist()), map(tuple, logistic(authenticated).tolist()),
        frictionless.tolist(), success.tolist(), strict=True,
    )  # fmt: skip
    return [Odds(*column, *review) for column in columns]


def logistic(log_odds: Reals) -> Reals:
    """
    >>> logistic(np.array([0.0])).tolist()
    [0.5]
    """
    probability: Reals = 1 / (1 + np.exp(-log_odds))
    return probability


def delay_us(u: Reals, delay: Delay) -> Indexes:
    """Log-normal, truncated: the draws are squeezed below the cut's own probability.

    >>> delay_us(np.array([0.5]), Delay(median_days=2, sigma=0.5, cut_days=10_000)).tolist()
    [172800000000]
    """
    z = math.log(delay.cut_days / delay.median_days) / delay.sigma
    below_cut = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    days = delay.median_days * np.exp(delay.sigma * normal_quantile(u * below_cut))
    return (days * DAY_US).astype(np.int64)
