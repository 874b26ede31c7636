"""Draws that depend on what they are about and never on the order in which they are made.

A draw is a hash of (seed, who, which payment, what for), so two policies that decide differently still meet the same
people with the same luck, and a payment can be recomputed without the ones before it.
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]
Reals = NDArray[np.float64]
Indexes = NDArray[np.int64]
Flags = NDArray[np.bool_]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Draws:
    """The luck of one thing, or of an array of things: every method names its purpose and always answers the same.

    >>> payers = Draws(7, "payer", [1, 2, 3])
    >>> bool((payers.uniform("age") == Draws(7, "payer", [1, 2, 3]).uniform("age")).all())
    True
    >>> payers.of(20260101).keys.shape      # the luck of each of them on one day
    (3,)
    """

    def __init__(self, *parts: ArrayLike):
        self.keys = _folded(np.zeros(1, np.uint64), parts)

    @classmethod
    def from_keys(cls, keys: Keys) -> "Draws":
        """The luck of things whose `keys` were kept."""
        draws = cls()
        draws.keys = keys
        return draws

    def of(self, *parts: ArrayLike) -> "Draws":
        """The luck of something that belongs to these; arrays broadcast."""
        return Draws.from_keys(_folded(self.keys, parts))

    def __getitem__(self, rows: Indexes | Flags) -> "Draws":
        return Draws.from_keys(self.keys[rows])

    def uniform(self, purpose: str) -> Reals:
        """In (0, 1), both ends excluded: 53 bits, centred."""
        bits = _folded(self.keys, (purpose,)) >> np.uint64(12)
        return (bits.astype(np.float64) + 0.5) * 2.0**-52

    def integer(self, purpose: str, below: int) -> Indexes:
        """In 0 .. below - 1."""
        return (self.uniform(purpose) * below).astype(np.int64)

    def chance(self, purpose: str, probability: ArrayLike) -> Flags:
        return self.uniform(purpose) < np.asarray(probability)

    def exponential(self, purpose: str) -> Reals:
        """With mean 1."""
        return -np.log(self.uniform(purpose))

    def normal(self, purpose: str) -> Reals:
        """With mean 0 and deviation 1; larger uniform draws give larger normal ones."""
        return normal_quantile(self.uniform(purpose))

    def poisson(self, purpose: str, mean: ArrayLike) -> Indexes:
        """By inversion, cut at 24: for means up to about 8."""
        u = self.uniform(purpose)
        u, term = np.broadcast_arrays(u, np.exp(-np.asarray(mean, np.float64)))
        term, below = term.copy(), np.zeros(u.shape)
        count = np.zeros(u.shape, np.int64)
        for k in range(1, 25):
            below += term
            count += u >= below
            term *= np.asarray(mean, np.float64) / k
        return count

    def choice(self, purpose: str, weights: ArrayLike) -> Indexes:
        """A column of `weights`: one row for all, or a row for each."""
        upto = np.cumsum(np.asarray(weights, np.float64), axis=-1)
        point = self.uniform(purpose) * upto[..., -1]
        chosen: Indexes = (point[:, None] >= upto).sum(axis=1).astype(np.int64)
        return chosen


@njit(cache=True)
def uniforms(key: np.uint64, attempt: int, route: int, purposes: Keys, out: Reals) -> None:
    """Fills `out` with `Draws.from_keys(key).of(attempt, route).uniform(purpose)` for each purpose, as `word` gives it.

    >>> out, key = np.empty(1), Draws(7).keys
    >>> uniforms(key[0], 2, 1, np.concatenate([word("code")]), out)
    >>> bool(out[0] == Draws.from_keys(key).of(2, 1).uniform("code")[0])
    True
    """
    folded = _folded_once(_folded_once(key, np.uint64(attempt)), np.uint64(route))
    for i in range(len(purposes)):
        bits = _folded_once(folded, purposes[i]) >> np.uint64(12)
        out[i] = (np.float64(bits) + 0.5) * 2.0**-52


@njit(cache=True)
def _folded_once(key: np.uint64, part: np.uint64) -> np.uint64:
    """SplitMix64, as in `_mixed`."""
    x = (np.uint64(key) * GOLDEN) ^ np.uint64(part)
    x = x + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def normal_quantile(u: Reals) -> Reals:
    """The inverse of the normal distribution function, for 0 < u < 1, to a relative error of 1.2e-9.

    Rational approximations of P. J. Acklam (2003): a central piece, and one for both tails.

    >>> normal_quantile(np.array([0.5, 0.975])).round(6).tolist()
    [0.0, 1.959964]
    """
    tail = np.minimum(u, 1 - u)
    q = np.sqrt(-2 * np.log(tail))
    outer = _polynomial(_TAIL_ABOVE, q) / (_polynomial(_TAIL_BELOW, q) * q + 1)
    d = u - 0.5
    r = d * d
    inner = d * _polynomial(_CENTRE_ABOVE, r) / (_polynomial(_CENTRE_BELOW, r) * r + 1)
    return np.where(tail < 0.02425, np.where(u < 0.5, outer, -outer), inner)


_CENTRE_ABOVE = (-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.3577518672690, -30.66479806614716, 2.506628277459239)  # fmt: skip # noqa: E501 - one polynomial, one line
_CENTRE_BELOW = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572)
_TAIL_ABOVE = (-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783)  # fmt: skip # noqa: E501 - one polynomial, one line
_TAIL_BELOW = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416)


def _polynomial(coefficients: tuple[float, ...], x: Reals) -> Reals:
    value = np.zeros_like(x)
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def _folded(keys: Keys, parts: tuple[ArrayLike, ...]) -> Keys:
    for part in parts:
        keys = _mixed(keys * GOLDEN ^ _number(part))
    return keys


def _number(part: ArrayLike) -> Keys:
    if isinstance(part, str):
        return word(part)
    return np.atleast_1d(np.asarray(part)).astype(np.int64).view(np.uint64)


@lru_cache(maxsize=1024)
def word(purpose: str) -> Keys:
    """The number that stands for a purpose, uint64 [1]."""
    return np.frombuffer(blake2b(purpose.encode(), digest_size=8).digest(), "<u8").copy()


def _mixed(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), after its step."""
    x = x + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
