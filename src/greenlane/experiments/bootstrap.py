"""The same comparison without the delta method: clusters drawn again, with replacement."""

import numpy as np

from greenlane.errors import InputError
from greenlane.experiments.ab import Effect
from greenlane.payments.arrays import Floats


def cluster_bootstrap(
    a: tuple[Floats, Floats],
    b: tuple[Floats, Floats],
    *,
    seed: int,
    replicates: int = 2_000,
    relative: bool = False,
    alpha: float = 0.05,
) -> Effect:
    """Percentile interval for b against a; each arm is (numerators, denominators)[..., clusters].

    >>> sizes = np.array([2.0, 3.0, 4.0, 2.0, 5.0])
    >>> found = cluster_bootstrap((sizes * 0.5, sizes), (sizes * 0.75, sizes), seed=1, replicates=100)
    >>> float(found.estimate), float(found.low), float(found.high)
    (0.25, 0.25, 0.25)
    """
    if min(a[0].shape[-1], b[0].shape[-1]) < 2:
        raise InputError("a cluster bootstrap needs two clusters in each arm")
    rng = np.random.default_rng(seed)
    estimate = change(a[0].sum(-1) / a[1].sum(-1), b[0].sum(-1) / b[1].sum(-1), relative=relative)
    again = change(redrawn(a, rng, replicates), redrawn(b, rng, replicates), relative=relative)
    low, high = np.quantile(again, [alpha / 2.0, 1.0 - alpha / 2.0], axis=-1)
    below = (again <= 0.0).mean(axis=-1)
    p_value = np.clip(2.0 * np.minimum(below, 1.0 - below), 1.0 / replicates, 1.0)
    units = np.full_like(estimate, a[0].shape[-1] + b[0].shape[-1])
    unknown = np.full_like(estimate, np.inf)
    se = again.std(axis=-1, ddof=1)
    return Effect(estimate, se, unknown, units, unknown, np.asarray(low), np.asarray(high), p_value)


def change(a: Floats, b: Floats, *, relative: bool) -> Floats:
    return np.asarray((b - a) / np.abs(a) if relative else b - a)


def redrawn(arm: tuple[Floats, Floats], rng: np.random.Generator, replicates: int) -> Floats:
    """[..., replicates]: the arm's ratio in each draw of as many clusters as it has."""
    clusters = arm[0].shape[-1]
    draws = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=replicates).astype(np.float64)
    return np.asarray((arm[0] @ draws.T) / (arm[1] @ draws.T))
