"""Many questions of one experiment: p-values adjusted so that chance alone finds as little as was promised."""

from collections.abc import Sequence

import numpy as np

from greenlane.payments.arrays import Floats, Ints


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Adjusted p-values: below alpha with at most that probability if no effect is real (Holm 1979).

    >>> [round(float(p), 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return replaced(order, np.minimum(steps, 1.0))


def benjamini_hochberg(p_values: Sequence[float] | Floats) -> Floats:
    """Adjusted p-values: among those below q, at most the share q is false on average (1995).

    >>> [round(float(p), 4) for p in benjamini_hochberg([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(-p, kind="stable")
    steps = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return replaced(order, np.minimum(steps, 1.0))


def replaced(order: Ints, values: Floats) -> Floats:
    """`values`, stated in that order, back in their first places."""
    found = np.empty_like(values)
    found[order] = values
    return found
