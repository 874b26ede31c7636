"""What an experiment needs to remember of an arm: immutable sufficient statistics that add."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from greenlane.errors import InputError
from greenlane.payments.arrays import Floats, Ints


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and comoments of three numbers per unit: numerator, denominator, covariate.

    A unit is what was randomised, or a whole cluster of such (then its sums). A mean has denominator 1, so means,
    ratios and clusters are one formula. Leading axes are independent experiments: count[...], mean[..., 3],
    comoment[..., 3, 3]. Merged as Chan, Golub and LeVeque (1983) do, which loses no digits to large means.

    >>> day_1, day_2 = Moments.of(np.array([1.0, 3.0])), Moments.of(np.array([5.0]))
    >>> both = day_1 + day_2
    >>> float(both.count), float(both.value()), float(both.variance())
    (3.0, 3.0, 1.3333333333333333)
    """

    count: Floats
    mean: Floats
    comoment: Floats
    ddof: int = 1
    """Taken from the count where a variance is made: 1, or 0 for a proportion, whose variance is m (1 - m)."""

    @classmethod
    def of(cls, numerator: Floats, denominator: Floats | None = None, covariate: Floats | None = None) -> "Moments":
        """From arrays[..., units]."""
        y = np.asarray(numerator, np.float64)
        d = np.ones_like(y) if denominator is None else denominator
        x = np.zeros_like(y) if covariate is None else covariate
        columns = np.stack(np.broadcast_arrays(y, d, x), axis=-1)
        mean = columns.mean(axis=-2)
        centred = columns - mean[..., None, :]
        return cls(np.full(y.shape[:-1], float(y.shape[-1])), mean, np.swapaxes(centred, -1, -2) @ centred)

    @classmethod
    def clustered(cls, numerator: Floats, cluster: Ints, *, denominator: Floats | None = None) -> "Moments":
        """From rows: each cluster's sums become one unit.

        >>> arm = Moments.clustered(np.array([1.0, 0.0, 1.0]), np.array([7, 7, 9]))
        >>> float(arm.count), float(arm.value())
        (2.0, 0.6666666666666666)
        """
        _, place = np.unique(cluster, return_inverse=True)
        rows = np.ones(len(numerator)) if denominator is None else denominator
        return cls.of(cluster_sums(place, numerator), cluster_sums(place, rows))

    @classmethod
    def of_proportion(cls, successes: ArrayLike, count: ArrayLike) -> "Moments":
        """Of a share.

        >>> float(Moments.of_proportion(14, 28).variance())
        0.008928571428571428
        """
        n, s = np.asarray(count, np.float64), np.asarray(successes, np.float64)
        return cls.of_mean(n, s / n, s * (1.0 - s / n), ddof=0)

    @classmethod
    def of_mean(cls, count: Floats, value: Floats, comoment: Floats, *, ddof: int = 1) -> "Moments":
        count, value, comoment = np.broadcast_arrays(count, value, comoment)
        means, matrix = np.zeros((*count.shape, 3)), np.zeros((*count.shape, 3, 3))
        means[..., 0], means[..., 1], matrix[..., 0, 0] = value, 1.0, comoment
        return cls(np.asarray(count), means, matrix, ddof)

    def __add__(self, other: "Moments") -> "Moments":
        if self.ddof != other.ddof:
            raise InputError("a proportion adds to proportions only", hint="count both the same way")
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros_like(count), where=count > 0.0)
        gap = other.mean - self.mean
        between = (self.count * share)[..., None, None] * gap[..., :, None] * gap[..., None, :]
        mean = self.mean + share[..., None] * gap
        return Moments(count, mean, self.comoment + other.comoment + between, self.ddof)

    def value(self) -> Floats:
        """The metric: mean numerator over mean denominator."""
        return np.asarray(self.mean[..., 0] / self.mean[..., 1])

    def gradient(self, theta: ArrayLike = 0.0) -> Floats:
        """[..., 3]: what one unit adds to the adjusted metric, to first order (the delta method)."""
        per_unit = 1.0 / self.mean[..., 1]
        return np.stack(
            np.broadcast_arrays(per_unit, -self.value() * per_unit, -np.asarray(theta, np.float64)), axis=-1
        )

    def covariance_with_covariate(self) -> tuple[Floats, Floats]:
        """Comoment of the linearised metric with the covariate, and of the covariate with itself."""
        return np.asarray((self.gradient() * self.comoment[..., :, 2]).sum(axis=-1)), self.comoment[..., 2, 2]

    def variance(self, theta: ArrayLike = 0.0) -> Floats:
        """Of the metric (adjusted by `theta` times the covariate), squared units of the metric."""
        g = self.gradient(theta)
        spread = ((self.comoment @ g[..., None])[..., 0] * g).sum(axis=-1)
        freedom = self.count - self.ddof
        known = np.divide(np.maximum(spread, 0.0), freedom * self.count, out=np.zeros_like(spread), where=freedom > 0.0)
        return np.asarray(known)


def cluster_sums(place: Ints, rows: Floats) -> Floats:
    """[clusters], of rows whose cluster is numbered by `place`."""
    return np.bincount(place, rows).astype(np.float64)
