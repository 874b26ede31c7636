"""Importance weights: how much more, or less, the target policy would have done what was done; and ways to tame them.

Taming trades bias for variance. It shows an estimate from several sides; the gate judges the weights as they are.
"""

import numpy as np

from greenlane.payments.arrays import Floats, Ints


def importance(target: Floats, logging: Floats, action: Ints) -> Floats:
    """Target over logging probability of the action taken: policies are [..., actions], `action` is [...].

    >>> importance(np.array([[0.2, 0.8]]), np.array([[0.5, 0.5]]), np.array([1])).tolist()
    [1.6]
    """
    place = action[..., None]
    return np.asarray((np.take_along_axis(target, place, -1) / np.take_along_axis(logging, place, -1))[..., 0])


def per_decision(step_weight: Floats) -> Floats:
    """[payments, steps]: the weight of what step t earned, a product over the steps up to it (Precup et al. 2000).

    >>> per_decision(np.array([[2.0, 0.5, 3.0]])).tolist()
    [[2.0, 1.0, 3.0]]
    """
    return np.asarray(np.cumprod(step_weight, axis=-1), np.float64)


def clipped(weight: Floats, at: float) -> Floats:
    """No larger than `at` (Ionides 2008)."""
    return np.minimum(weight, at)


def switched(weight: Floats, at: float) -> Floats:
    """0 beyond `at`: there the direct model answers alone (Wang, Agarwal, Dudík 2017)."""
    return np.where(weight <= at, weight, 0.0)


def optimistic(weight: Floats, by: float) -> Floats:
    """by w / (w^2 + by): from the direct model, by = 0, to no change (Su et al. 2020)."""
    return np.asarray(by * weight / (weight * weight + by))


def subgaussian(weight: Floats, by: float) -> Floats:
    """w / (1 - by + by w): tails of a Gaussian (Metelli, Russo, Restelli 2021)."""
    return np.asarray(weight / (1.0 - by + by * weight))


def effective_size(weight: Floats) -> float:
    """How many equally weighted rows would say as much: (sum w)^2 / sum w^2 (Kish 1965).

    >>> effective_size(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    squares = float(weight @ weight)
    return float(weight.sum()) ** 2 / squares if squares > 0.0 else 0.0
