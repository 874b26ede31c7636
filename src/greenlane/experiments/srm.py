"""Did each arm get the share it was meant to get? If not, nothing else of the experiment may be read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from greenlane.errors import InputError
from greenlane.experiments.distributions import chi_square_above, log_gamma
from greenlane.payments.arrays import Floats


def intended(shares: Sequence[float]) -> Floats:
    found = np.asarray(shares, np.float64)
    if len(found) < 2 or not (found > 0.0).all():
        raise InputError("shares are two or more positive numbers", code="invalid_shares")
    return np.asarray(found / found.sum())


def chi_square_check(counts: Sequence[float] | Floats, shares: Sequence[float]) -> float:
    """p-value of Pearson's chi-square: for one look, at the end.

    >>> round(chi_square_check([5150, 4850], [0.5, 0.5]), 6)
    0.0027
    """
    seen = np.asarray(counts, np.float64)
    due = intended(shares) * seen.sum()
    return chi_square_above(float(((seen - due) ** 2 / due).sum()), len(seen) - 1)


def log_bayes_factor(counts: ArrayLike, shares: Sequence[float], *, concentration: float = 100.0) -> Floats:
    """Evidence that arms get other shares than intended: counts[..., arms] under a Dirichlet around `shares`.

    It is a martingale while the shares are as intended, so it exceeds 1/alpha with probability alpha at any look
    (Lindon and Malek 2020). A larger `concentration` finds small imbalances late, a smaller one large ones early.

    >>> round(float(log_bayes_factor([5300, 4700], [0.5, 0.5])), 4)
    15.524
    """
    seen, theta = np.asarray(counts, np.float64), intended(shares)
    prior = concentration * theta
    whole = log_gamma(concentration) - log_gamma(concentration + seen.sum(axis=-1))
    return np.asarray(whole + (log_gamma(prior + seen) - log_gamma(prior) - seen * np.log(theta)).sum(axis=-1))


def sequential_check(counts: ArrayLike, shares: Sequence[float], *, concentration: float = 100.0) -> Floats:
    """An always-valid p-value: the check for every look; keep the smallest one seen.

    >>> float(sequential_check([500, 500], [0.5, 0.5]))
    1.0
    """
    return np.exp(-np.maximum(log_bayes_factor(counts, shares, concentration=concentration), 0.0))
