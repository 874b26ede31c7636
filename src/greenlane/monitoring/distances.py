"""How far two samples lie apart: over bins that somebody drew, or without any."""

from math import floor, log, sqrt
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from greenlane.payments.arrays import Floats

FLOOR: Final = 1e-4
"""The least share of a bin: an empty one would make the index infinite (Yurdakul 2018)."""


def shares(counts: ArrayLike, *, floor: float = FLOOR) -> Floats:
    seen = np.asarray(counts, np.float64)
    return np.asarray(np.maximum(seen / max(seen.sum(), 1.0), floor))


def psi(reference: ArrayLike, current: ArrayLike, *, floor: float = FLOOR) -> float:
    """Population stability index of two rows of counts: the symmetric Kullback-Leibler divergence, in nats.

    >>> round(psi([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]), 6)
    0.037218
    """
    p, q = shares(reference, floor=floor), shares(current, floor=floor)
    return float(((q - p) * np.log(q / p)).sum())


def kl(reference: ArrayLike, current: ArrayLike, *, floor: float = FLOOR) -> float:
    """Kullback-Leibler divergence of the reference from the current, in nats.

    >>> round(kl([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]), 6)
    0.01891
    """
    p, q = shares(reference, floor=floor), shares(current, floor=floor)
    return float((p * np.log(p / q)).sum())


def js_distance(reference: ArrayLike, current: ArrayLike, *, base: float = 2.0) -> float:
    """Root of the Jensen-Shannon divergence: a metric, in [0, 1] with base 2 (Endres and Schindelin 2003).

    >>> round(js_distance([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]), 6)
    0.081734
    """
    p, q = shares(reference, floor=0.0), shares(current, floor=0.0)
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(p > 0, p * np.log(p / middle), 0.0) + np.where(q > 0, q * np.log(q / middle), 0.0)
    return sqrt(max(float(parts.sum()) / 2.0, 0.0) / log(base))


def hellinger(reference: ArrayLike, current: ArrayLike) -> float:
    """
    >>> round(hellinger([16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]), 6)
    0.068128
    """
    p, q = shares(reference, floor=0.0), shares(current, floor=0.0)
    return float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2.0))


def chance_psi(bins: int, reference: float, current: float) -> float:
    """What the index is on average where nothing has changed: it is about chi-square (Yurdakul 2018).

    >>> chance_psi(11, 1_000, 1_000)
    0.02
    """
    return (bins - 1) * (1.0 / reference + 1.0 / current)


def common_bins(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    """Counts of both over equal widths of all values together, as many as Sturges (1926) wants.

    They move with the current sample; what decides in `drift` are bins that were fixed with the reference.

    >>> [counts.tolist() for counts in common_bins([0.0, 1.0, 2.0], [2.0, 3.0, 4.0])]
    [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 2.0]]
    """
    one, other = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    edges = np.histogram_bin_edges(np.concatenate([one, other]), bins="sturges")
    return tuple(np.histogram(values, edges)[0].astype(np.float64) for values in (one, other))  # type: ignore[return-value] # two of them


def wasserstein(reference: ArrayLike, current: ArrayLike) -> float:
    """The area between both distribution functions, in the values' own unit.

    >>> wasserstein([0.0, 1.0, 3.0], [5.0, 6.0, 8.0])
    5.0
    """
    one, other = np.sort(np.asarray(reference, np.float64)), np.sort(np.asarray(current, np.float64))
    every = np.sort(np.concatenate([one, other]))
    gap = np.searchsorted(one, every[:-1], "right") / len(one) - np.searchsorted(other, every[:-1], "right") / len(
        other
    )
    return float(np.abs(gap) @ np.diff(every))


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> tuple[float, float]:
    """(largest distance of both distribution functions, its two-sided p-value, exact where no two values are equal).

    It turns with the sample size: an effect, not this, decides whether something drifted.

    >>> kolmogorov_smirnov([1.0, 2.0], [3.0, 4.0])
    (1.0, 0.33333333333333337)
    """
    one, other = np.sort(np.asarray(reference, np.float64)), np.sort(np.asarray(current, np.float64))
    every = np.concatenate([one, other])
    gap = np.searchsorted(one, every, "right") / len(one) - np.searchsorted(other, every, "right") / len(other)
    distance = float(np.abs(gap).max())
    return distance, max(0.0, 1.0 - float(_share_inside(len(one), len(other), distance)))


@njit(cache=True)
def _share_inside(m, n, distance):  # type: ignore[no-untyped-def] # a kernel
    """Of all orders of m and n values, those whose distance stays below (Hodges 1957): paths along a diagonal."""
    limit = (0.5 + floor(distance * m * n - 1e-7)) / (m * n)
    paths = np.zeros(n + 1)
    for j in range(n + 1):
        paths[j] = 1.0 if j / n <= limit else 0.0
    for i in range(1, m + 1):
        weight = i / (i + n)
        paths[0] = 0.0 if i / m > limit else weight * paths[0]
        for j in range(1, n + 1):
            paths[j] = 0.0 if abs(i / m - j / n) > limit else weight * paths[j] + paths[j - 1]
    return paths[n]
