"""What the policy makes of a model's probabilities, in money: on each row's own economics, not at a fixed threshold.

The value of an action is linear in the fraud probability, so two valuations of a row, as a certainly good and as a
certainly fraudulent payer, say all:

    EV(a | p) = (1 - p) good(a) + p fraud(a)        chosen: the a of highest EV        earned: good(a) or fraud(a)

where "earned" takes what was reported for the truth and leaves the rest (approval, challenges, retries) in expectation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from greenlane.learning.resampling import Resampled, ends
from greenlane.merchants.economics import Economics
from greenlane.models.calibration import E9, log_odds
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import INTERVENTIONS
from greenlane.policy.choose import choose
from greenlane.policy.given import Given
from greenlane.policy.parameters import Policy

Floats = NDArray[np.float64]
NOT_THERE: Final = -1e18
"""The value of an action that a row does not have."""
SHIFTS: Final = (-4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
"""Added to the log-odds for the curve: what believing too little or too much fraud costs."""
MICRO: Final = 1e6


class Case(NamedTuple):
    attempt: Attempt
    economics: Economics
    amount_minor: int
    """In the reporting currency."""
    at_us: int


@dataclass(frozen=True, eq=False)
class PolicyValues:
    """float64 [rows, actions], minor units, NOT_THERE where a row has fewer; `intervention` int8 likewise."""

    good: Floats
    fraud: Floats
    intervention: NDArray[np.int8]

    def chosen(self, p: Floats) -> NDArray[np.int64]:
        """Place of the action of highest expected value."""
        expected = (1.0 - p)[:, None] * self.good + p[:, None] * self.fraud
        return np.asarray(expected.argmax(axis=1), np.int64)

    def earned(self, p: Floats, y: NDArray[np.int8]) -> Floats:
        """What each row brought under these probabilities."""
        at = self.chosen(p)[:, None]
        of_good, of_fraud = (np.take_along_axis(each, at, 1)[:, 0] for each in (self.good, self.fraud))
        return np.where(y == 1, of_fraud, of_good)

    def interventions(self, p: Floats) -> NDArray[np.int8]:
        return np.take_along_axis(self.intervention, self.chosen(p)[:, None], 1)[:, 0]


def policy_values(cases: Iterable[Case], policy: Policy) -> PolicyValues:
    """Each case valued twice by the policy itself.

    >>> from greenlane.payments.attempt import Payment, PaymentMethod, Card
    >>> payment = Payment(id="p", amount=9_000, currency="EUR", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=Card(fingerprint="f", issuer_country="US")))
    >>> case = Case(Attempt(attempt_id="a", payment=payment), Economics(), 9_000, 0)
    >>> values = policy_values([case], Policy(perspective="merchant"))
    >>> [INTERVENTIONS[values.interventions(np.array([p]))[0]] for p in (0.0, 0.9)]
    ['allow', 'challenge']
    """
    rows = [valued(case, policy) for case in cases]
    width = max((len(good) for good, _, _ in rows), default=1)
    good, fraud = (np.full((len(rows), width), NOT_THERE) for _ in range(2))
    intervention = np.zeros((len(rows), width), np.int8)
    for row, (of_good, of_fraud, places) in enumerate(rows):
        good[row, : len(of_good)], fraud[row, : len(of_fraud)] = of_good, of_fraud
        intervention[row, : len(places)] = places
    return PolicyValues(good, fraud, intervention)


def valued(case: Case, policy: Policy) -> tuple[Floats, Floats, list[int]]:
    given = Given(amount_minor=case.amount_minor, fraud_probability_e9=0, ingest_us=case.at_us)
    sure = choose(case.attempt, given, economics=case.economics, policy=policy)
    stolen = choose(
        case.attempt, replace(given, fraud_probability_e9=E9), economics=case.economics, policy=policy, may=sure.may
    )
    places = [INTERVENTIONS.index(action.intervention) for action in sure.actions]
    good, fraud = (np.array(each.values_micro, np.float64) / MICRO for each in (sure, stolen))
    if not len(good):
        good, fraud, places = np.zeros(1), np.zeros(1), [INTERVENTIONS.index("block")]
    return good, fraud, places


class Shifted(Struct, frozen=True):
    """A point of the curve: the probabilities' log-odds moved by `shift`."""

    shift: float
    value_per_1000_minor: float
    blocked_share: float


class PolicyMoney(Struct, frozen=True):
    """Value under the policy; intervals resample cards."""

    rows: int
    value_per_1000_minor: float
    base_rate_per_1000_minor: float
    """If everybody were believed to be as bad as the mean."""
    clairvoyant_per_1000_minor: float
    """If it were known who will be reported: no model can."""
    captured: float
    """Share of the way from the one to the other."""
    captured_low: float
    captured_high: float
    shares: dict[str, float]
    """Of the payments, by intervention."""
    curve: list[Shifted]


def policy_money(
    values: PolicyValues, p: Floats, y: NDArray[np.int8], *, weight: Floats, cards: Resampled
) -> PolicyMoney:
    base = np.full(len(y), float(weight @ y / weight.sum()))
    earned = [weight * values.earned(each, y) for each in (p, base, y.astype(np.float64))]
    model, naive, best = (float(cards.sums(each).sum()) for each in earned)
    again = [cards.totals(each) for each in earned]
    low, high = ends((again[0] - again[1]) / np.maximum(again[2] - again[1], 1e-9))
    per_1000 = 1000.0 / float(weight.sum())
    return PolicyMoney(
        rows=len(y),
        value_per_1000_minor=model * per_1000,
        base_rate_per_1000_minor=naive * per_1000,
        clairvoyant_per_1000_minor=best * per_1000,
        captured=(model - naive) / max(best - naive, 1e-9),
        captured_low=low,
        captured_high=high,
        shares=shares(values, p, weight),
        curve=[shifted(values, p, y, weight=weight, shift=shift) for shift in SHIFTS],
    )


def shares(values: PolicyValues, p: Floats, weight: Floats) -> dict[str, float]:
    counted = np.bincount(values.interventions(p), weight, len(INTERVENTIONS)) / weight.sum()
    return dict(zip(INTERVENTIONS, counted.tolist(), strict=True))


def shifted(values: PolicyValues, p: Floats, y: NDArray[np.int8], *, weight: Floats, shift: float) -> Shifted:
    moved = 1.0 / (1.0 + np.exp(-(log_odds(p) + shift)))
    found = shares(values, moved, weight)
    value = float(weight @ values.earned(moved, y)) * 1000.0 / float(weight.sum())
    return Shifted(shift, value, found["block"])


def friction(interventions: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows that are not let through at once."""
    return np.isin(interventions, [INTERVENTIONS.index(name) for name in ("block", "review")])
