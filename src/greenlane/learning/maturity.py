"""How much of the truth is known yet: labels arrive late, and a payment without one may only be young.

F(age) is the share of the labels that will come which have come at this age. It is learned from labels seen so far;
young payments can only show early labels, so what is seen is truncated, and the estimate corrects for it (Lynden-Bell
1971; Woodroofe 1985):

    F(a) = product over observed delays d > a of  1 - n(d) / R(d)

    n(d)  labels that came with delay d
    R(d)  labels with a delay of at most d, of payments that are at least d old

F says nothing about labels later than the longest delay that could be seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError

SHARE_MIN: Final = 0.3
"""Below this share a row says too little: excluded from training, and a rate is called immature."""
Z: Final = 1.959963984540054
POOLED_LABELS: Final = 50
"""A segment's own curve weighs n / (n + this) against the curve of all segments. Assumed."""


@dataclass(frozen=True, eq=False)
class Maturity:
    """F as a step function: `share[i]` from `delay_us[i]` on, 0 before the first; `error` is its standard error.

    >>> day = 86_400_000_000
    >>> known = learn_maturity(np.array([1, 1, 5]) * day, np.array([9, 9, 9]) * day)
    >>> known.at(np.array([0, 2, 5]) * day).round(2)
    array([0.  , 0.67, 1.  ])
    """

    delay_us: NDArray[np.int64]
    share: NDArray[np.float64]
    error: NDArray[np.float64]
    labels: int

    def at(self, age_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """F for each age."""
        return np.concatenate([[0.0], self.share])[np.searchsorted(self.delay_us, age_us, side="right")]

    def error_at(self, age_us: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.concatenate([[0.0], self.error])[np.searchsorted(self.delay_us, age_us, side="right")]


def learn_maturity(delay_us: NDArray[Any], age_us: NDArray[Any]) -> Maturity:
    """From the labels of one type seen so far: the delay of each, and how old its payment is by now (int64[labels]).

    The error is Greenwood's, for reversed time.
    """
    if not len(delay_us) or np.any(delay_us > age_us):
        raise TrainingError("maturity needs labels, none later than now", hint="use the age at the label cut")
    delays, came = np.unique(delay_us, return_counts=True)
    at_risk = np.searchsorted(np.sort(delay_us), delays, side="right")
    at_risk = at_risk - np.searchsorted(np.sort(age_us), delays, side="left")
    kept = 1.0 - came / at_risk
    later = np.concatenate([np.cumprod(kept[::-1])[::-1][1:], [1.0]])
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = came / (at_risk * np.maximum(at_risk - came, 0.0))
        error = later * np.sqrt(np.concatenate([np.cumsum(noise[::-1])[::-1][1:], [0.0]]))
    return Maturity(delays.astype(np.int64), later, np.where(np.isfinite(error), error, 1.0), len(delay_us))


@dataclass(frozen=True, eq=False)
class Pooled:
    """F by segment, each drawn towards the F of all: F_s = w own + (1 - w) all, w = n / (n + POOLED_LABELS).

    The error adds to both curves' own what drawing towards all may have moved: (1 - w) |own - all|.
    """

    overall: Maturity
    own: dict[int, Maturity]

    def at(self, age_us: NDArray[np.int64], segment: NDArray[Any]) -> NDArray[np.float64]:
        """F for each age and segment; a segment that was never seen has the F of all."""
        found = self.overall.at(age_us)
        for name, rows, weight in self._parts(segment):
            found[rows] = weight * self.own[name].at(age_us[rows]) + (1.0 - weight) * found[rows]
        return found

    def error_at(self, age_us: NDArray[np.int64], segment: NDArray[Any]) -> NDArray[np.float64]:
        found, overall = self.overall.error_at(age_us), self.overall.at(age_us)
        for name, rows, weight in self._parts(segment):
            own, rest = self.own[name], 1.0 - weight
            moved = rest * (own.at(age_us[rows]) - overall[rows])
            noise = (weight * own.error_at(age_us[rows])) ** 2 + (rest * found[rows]) ** 2
            found[rows] = np.sqrt(noise + moved**2)
        return found

    def _parts(self, segment: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
        for name, known in self.own.items():
            yield name, segment == name, known.labels / (known.labels + POOLED_LABELS)


def learn_pooled(delay_us: NDArray[Any], age_us: NDArray[Any], segment: NDArray[Any]) -> Pooled:
    """As `learn_maturity`, with the segment of each label (small integers)."""
    own = {
        name: learn_maturity(delay_us[segment == name], age_us[segment == name]) for name in np.unique(segment).tolist()
    }
    return Pooled(learn_maturity(delay_us, age_us), own)


class LossRows(NamedTuple):
    """Rows for a trainer: which example, its label, its weight."""

    row: NDArray[np.int64]
    y: NDArray[np.int8]
    weight: NDArray[np.float64]


def loss_rows(y: NDArray[np.int8], share: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> LossRows:
    """The loss (y/F) l(1) + (1 - y/F) l(0) of each row, as ordinary labels and weights; rows with F < .3 are left out.

    Its expectation is the loss with the final labels. An event at F < 1 becomes two rows, a 1 with weight 1/F and a 0
    with weight 1 - 1/F, which is negative; as both have the same features they meet in the same leaf, where together
    they weigh 1. So do not sample rows (bagging) when fitting on them.

    >>> loss_rows(np.array([1, 0], np.int8), np.array([0.5, 0.5]))
    LossRows(row=array([0, 0, 1]), y=array([1, 0, 0], dtype=int8), weight=array([ 2., -1.,  1.]))
    """
    base = np.ones(len(y)) if weight is None else weight
    kept = np.flatnonzero(share >= SHARE_MIN)
    young = kept[(y[kept] == 1) & (share[kept] < 1.0)]
    scale = np.where(y[kept] == 1, base[kept] / share[kept], base[kept])
    row = np.concatenate([kept, young])
    label = np.concatenate([y[kept], np.zeros(len(young), np.int8)]).astype(np.int8)
    weights = np.concatenate([scale, base[young] * (1.0 - 1.0 / share[young])])
    order = np.argsort(row, kind="stable")
    return LossRows(row[order], label[order], weights[order])


class MaturedRate(NamedTuple):
    """Observed events over matured payments, with a 95 % interval."""

    value: float
    low: float
    high: float
    matured_share: float
    state: Literal["mature", "immature"]


def matured_rate(events: int, share: NDArray[np.float64], error: NDArray[np.float64] | None = None) -> MaturedRate:
    """The rate that `events` among payments of these shares F point to; "immature" where less than 30 % has matured.

    `error` is the standard error of each share; they err together, as they come from one curve.

    >>> matured_rate(5, np.full(1000, 0.5)).value, matured_rate(0, np.full(9, 0.1)).state
    (0.01, 'immature')
    """
    matured, payments = float(share.sum()), len(share)
    low, high = poisson_interval(events)
    mean = matured / payments if payments else 0.0
    state: Literal["mature", "immature"] = "mature" if mean >= SHARE_MIN else "immature"
    if matured == 0.0:
        return MaturedRate(0.0, 0.0, 1.0, 0.0, state)
    off = 0.0 if error is None else Z * float(error.sum()) / matured
    value = events / matured
    below, above = value - low / matured, high / matured - value
    low, high = value - sqrt(below**2 + (value * off) ** 2), value + sqrt(above**2 + (value * off) ** 2)
    return MaturedRate(value, max(low, 0.0), min(high, 1.0), mean, state)


def poisson_interval(events: float, *, z: float = Z) -> tuple[float, float]:
    """Byar's approximation of the exact interval for a Poisson mean (Breslow and Day 1987, p. 69).

    >>> [round(bound, 1) for bound in poisson_interval(50)]
    [37.1, 65.9]
    """
    above = events + 1.0
    high = above * (1.0 - 1.0 / (9.0 * above) + z / (3.0 * sqrt(above))) ** 3
    if events <= 0:
        return 0.0, high
    return events * max(1.0 - 1.0 / (9.0 * events) - z / (3.0 * sqrt(events)), 0.0) ** 3, high
