"""Small seeded data with known probabilities."""

import numpy as np

from greenlane.learning.examples import Examples

DAY_US = 86_400_000_000


def payments(rows: int, *, seed: int, days: int = 30, cards: int = 2000) -> tuple[Examples, np.ndarray]:
    """Examples in time order, with the probability that generated each label."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 8)).astype(np.float32)
    z = -4.5 + 1.5 * x[:, 0] + x[:, 1] * x[:, 2] + 0.7 * (x[:, 3] > 1)
    truth = 1.0 / (1.0 + np.exp(-z.astype(np.float64)))
    x[:, 4:][rng.random((rows, 4)) < 0.1] = np.nan
    examples = Examples(
        names=tuple(f"f{i}" for i in range(8)),
        X=x,
        y=(rng.random(rows) < truth).astype(np.int8),
        weight=np.ones(rows),
        at_us=np.sort(rng.integers(0, days * DAY_US, rows)),
        amount_minor=rng.integers(500, 50_000, rows),
        card=rng.integers(0, cards, rows),
    )
    return examples, truth
