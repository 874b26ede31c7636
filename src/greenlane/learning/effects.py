"""Effects of names: a logistic regression on which names a row has, every effect drawn towards nothing.

    logit P(y) = start + sum of the row's effects,   effect ~ N(0, spread^2)

The mode of the posterior (crossed random effects; Gelman and Hill 2007, chapter 14), by Newton's method, each step
solved by conjugate gradients with the diagonal as preconditioner, so that millions of rows and thousands of names fit.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS_MAX: Final = 30
SOLVING_MAX: Final = 60
CLOSE: Final = 1e-4
"""In log-odds: a smaller step ends the search."""
EXACT: Final = 0.01
"""What a solution may leave of its equation: the next step sees to it."""


def crossed_effects(places: NDArray[np.int32], y: Floats, weight: Floats, *, spread: Floats, start: float) -> Floats:
    """float64[names], 0 of a name that no row with a weight has. places int32[rows, names of a row], y in 0..1.

    >>> names = np.array([[0, 1], [0, 1], [0, 2], [0, 2]] * 500, np.int32)
    >>> y = np.array([1.0, 0.0, 1.0, 1.0] * 500)
    >>> found = crossed_effects(names, y, np.ones(2000), spread=np.array([1.0, 1.0, 1.0]), start=0.0)
    >>> abs(found[0] + found[1]).round(1).item(), (found[0] + found[2] > 3.0).item()
    (0.0, True)
    """
    precision, effects = spread**-2.0, np.zeros(len(spread))
    places, y, weight = places[weight > 0.0], y[weight > 0.0], weight[weight > 0.0]

    def gathered(of_rows: Floats) -> Floats:
        sums = np.bincount(places.ravel(), np.repeat(of_rows, places.shape[1]), minlength=len(spread))
        return sums.astype(np.float64)

    def loss(at: Floats) -> float:
        z = start + at[places].sum(axis=1)
        return float(weight @ (np.logaddexp(0.0, z) - y * z) + 0.5 * (precision * at) @ at)

    for _ in range(STEPS_MAX):
        p = 1.0 / (1.0 + np.exp(-start - effects[places].sum(axis=1)))
        curvature = weight * p * (1.0 - p)

        def curved(direction: Floats, curvature: Floats = curvature) -> Floats:
            return gathered(curvature * direction[places].sum(axis=1)) + precision * direction

        gradient = gathered(weight * (y - p)) - precision * effects
        step = solved(curved, gradient, diagonal=gathered(curvature) + precision)
        before = loss(effects)
        while loss(effects + step) > before and float(np.max(np.abs(step))) > CLOSE:
            step = step / 2.0
        effects = effects + step
        if float(np.max(np.abs(step), initial=0.0)) <= CLOSE:
            break
    return effects


def solved(times: Callable[[Floats], Floats], wanted: Floats, *, diagonal: Floats) -> Floats:
    """x with times(x) = wanted, nearly: preconditioned conjugate gradients."""
    found, rest = np.zeros_like(wanted), wanted
    scaled = rest / diagonal
    direction, size = scaled, float(rest @ scaled)
    enough = EXACT**2 * size
    for _ in range(SOLVING_MAX):
        if size <= enough:
            break
        turned = times(direction)
        length = size / float(direction @ turned)
        found, rest = found + length * direction, rest - length * turned
        scaled = rest / diagonal
        size, last = float(rest @ scaled), size
        direction = scaled + (size / last) * direction
    return found
