"""What is so about a payment and what would come of it, whatever is decided: what no caller of a world sees."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US
from greenlane.simulation.banks import Banks
from greenlane.simulation.crowd import GOOD, Crowd
from greenlane.simulation.parameters import MEASURED, TYPOLOGIES, Delay, Parameters
from greenlane.simulation.randomness import Draws, Flags, Indexes, Reals, normal_quantile
from greenlane.simulation.response import LIMIT

WHO: Final = ("good", *TYPOLOGIES, "mit")
"""Kinds of payers, as the decline mixes know them."""
ABSENT: Final = len(WHO) - 1
LARGE: Final = math.log(2.0)
MUCH_FRICTIONLESS: Final = 0.6
"""Above half of an issuer's threshold fewer payers pass without a challenge."""


class Case(NamedTuple):
    """What the issuer's answer depends on, as numbers."""

    luck: int
    """The key of every later draw about this payment."""
    merchant: int
    card_range: int
    issuer: int
    country: int
    """Of the bank."""
    who: int
    """Index into `WHO`: whose codes a decline brings."""
    row: tuple[float, ...]
    """In the order of `CASE`; it holds what a caller can know: an expired card may have been renewed."""
    expired: bool
    renewed: bool
    payday: int
    visa: bool


class Truth(NamedTuple):
    case: Case
    typology: str
    """Empty for an honest payer, else one of `TYPOLOGIES`."""
    unavailable: float
    """P(3-D Secure gives no answer)."""
    frictionless: float
    challenge_success: float
    """Given a challenge: the rest fails or leaves."""
    review_cancel: float
    """P(the payer does not wait for a review)."""
    review_release: float
    """P(the reviewer lets it pass | the payer waits)."""
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


class Oracle:
    """Knows the truth of a crowd. All by column: a million payments are arithmetic, not objects."""

    def __init__(self, world: Parameters, banks: Banks):
        self._world, self._banks = world, banks
        mixes = [getattr(world.declines, who) for who in WHO]
        self.codes: list[tuple[str, ...]] = [tuple(mix) for mix in mixes]
        """By kind of payer, in the order of `decline_shares`."""
        self.decline_shares = banks.decline_shares(mixes)
        """By kind of payer: float64 [issuers, codes]."""
        self._friendly = np.array([m.friendly for m in world.merchants])
        issuers = Draws(world.seed, "issuer", np.arange(len(banks.issuer_country)))
        countries = [world.countries[c] for c in banks.issuer_country]
        sd = world.authentication.issuer_sd
        self.frictionless = _scattered([c.frictionless for c in countries], sd * issuers.normal("frictionless"))
        self.success = _scattered([c.challenge_success for c in countries], sd * issuers.normal("success"))
        self._shift = np.array([s.approval_log_odds for s in world.fraud.schemes])
        self._passes = np.array([s.challenge_success for s in world.fraud.schemes])

    def truths(self, crowd: Crowd) -> Iterator[Truth]:
        """One for each row, in order."""
        draws, who = Draws.from_keys(crowd["luck"]), crowd["typology"].astype(np.int64)
        fraud = who != GOOD
        reported = np.where(fraud, self._report_probability(crowd), 0.0)
        friendly = np.where(fraud, 0.0, self._friendly[crowd["merchant"]])
        cases = self._banks.cases(crowd, self._shift[np.maximum(who, 0)])
        columns: tuple[Iterable[Any], ...] = (
            self._cases(crowd, cases),
            np.array(["", *TYPOLOGIES], dtype=object)[who + 1].tolist(),
            np.full(len(crowd), self._world.authentication.unavailable).tolist(),
            *(column.tolist() for column in self._friction(crowd, who)),
            reported.tolist(),
            draws.chance("reported", reported).tolist(),
            self._brings(draws).tolist(),
            self._report_delay_us(draws, who).tolist(),
            self.dispute_delay_us(draws, fraud).tolist(),
            friendly.tolist(),
            draws.chance("friendly", friendly).tolist(),
            self._challenge_us(draws).tolist(),
            (self._world.review.hours * HOUR_US * draws.exponential("review time")).astype(np.int64).tolist(),
        )
        return map(Truth, *columns)

    def _cases(self, crowd: Crowd, cases: Reals) -> Iterator[Case]:
        ranges = crowd["card_range"]
        issuer = self._banks.range_issuer[ranges]
        who = np.where(crowd["absent"] & (crowd["typology"] == GOOD), ABSENT, crowd["typology"] + 1)
        columns = (
            crowd["luck"], crowd["merchant"], ranges, issuer, self._banks.issuer_country[issuer], who, cases,
            crowd["expired"], crowd["renewed"], crowd["payday"], self._banks.range_visa[ranges],
        )  # fmt: skip
        return map(Case, *(map(tuple, c.tolist()) if c is cases else c.tolist() for c in columns))

    def _friction(self, crowd: Crowd, who: Indexes) -> tuple[Reals, Reals, Reals, Reals]:
        """Frictionless share, success, review cancelled, released. Issuers ask more where much is at stake."""
        world, fraud, issuer = self._world, who != GOOD, self._banks.range_issuer[crowd["card_range"]]
        much = np.log(crowd["amount_minor"]) > self._banks.issuers[issuer, LIMIT] - LARGE
        frictionless = self.frictionless[issuer] * np.where(much, MUCH_FRICTIONLESS, 1.0)
        return (
            np.where(fraud, world.authentication.fraud_frictionless_factor * frictionless, frictionless),
            np.where(fraud, self._passes[np.maximum(who, 0)], self.success[issuer]),
            np.where(fraud, 0.0, world.review.cancel),
            np.where(fraud, 1 - world.review.true_positive, world.review.true_negative),
        )

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

    def dispute_delay_us(self, draws: Draws, fraud: Flags) -> Indexes:
        """From the approval to the dispute."""
        u = draws.uniform("dispute delay")
        measured = np.interp(u, MEASURED, self._world.reporting.dispute_days) * DAY_US
        return np.where(fraud, measured.astype(np.int64), delay_us(u, self._world.payers.friendly_delay))

    def _challenge_us(self, draws: Draws) -> Indexes:
        a = self._world.authentication
        seconds = a.latency_median_s * np.exp(a.latency_sigma * draws.normal("challenge time"))
        return (seconds * SECOND_US).astype(np.int64)


def _scattered(shares: list[float], log_odds: Reals) -> Reals:
    middle = np.clip(np.array(shares), 1e-4, 1 - 1e-4)
    return logistic(np.log(middle / (1 - middle)) + log_odds)


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
