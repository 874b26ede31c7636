"""How probable each action was: integers that sum to 2^32, so that no float can leak any."""

from collections.abc import Sequence
from typing import Final

TOTAL: Final = 2**32


def greedy(size: int, best: int) -> tuple[int, ...]:
    """All mass on one action.

    >>> greedy(3, 1)
    (0, 4294967296, 0)
    """
    return (0,) * best + (TOTAL,) + (0,) * (size - best - 1)


def sums(masses: Sequence[int]) -> bool:
    """Is this a distribution?"""
    return sum(masses) == TOTAL and min(masses) >= 0


def settled(masses: tuple[int, ...], *, best: int) -> tuple[tuple[int, ...], bool]:
    """`masses`, or greedy where they are no distribution; True = degraded, kept out of every evaluation.

    >>> settled((1, 2), best=1)
    ((0, 4294967296), True)
    """
    return (masses, False) if sums(masses) else (greedy(len(masses), best), True)
