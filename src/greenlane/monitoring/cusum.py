"""Cumulative sums (Page 1954): how long they run until a false alarm, and how long until a true one.

S = max(0, S + z - k), alarm where S reaches h. Run lengths are in observations; z has deviation 1.
"""

from math import exp, log
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from greenlane.experiments.distributions import normal_below
from greenlane.payments.arrays import Floats

OVERSHOOT: Final = 1.166
"""By so many deviations a sum of normal steps passes its threshold, over both ends (Siegmund 1985, p. 50 and 216)."""
STATES: Final = 400
STEPS: Final = 12


def arl(k: float, h: float, *, shift: float = 0.0, states: int = STATES) -> float:
    """Mean observations until the alarm of a one-sided sum, by the Markov chain of Brook and Evans (1972).

    >>> round(arl(0.5, 4.0)), round(arl(0.5, 4.0, shift=1.0), 2)
    (335, 8.38)
    """
    width = 2.0 * h / (2 * states - 1)
    centre = width * np.arange(states)
    upper = normal_below(centre[None, :] + width / 2.0 - centre[:, None] + k - shift)
    lower = normal_below(centre[None, :] - width / 2.0 - centre[:, None] + k - shift)
    lower[:, 0] = 0.0
    return float(np.linalg.solve(np.eye(states) - (upper - lower), np.ones(states))[0])


def siegmund_arl(k: float, h: float, *, shift: float = 0.0) -> float:
    """The same in closed form (Siegmund 1985, eq. 2.57): within a few per cent.

    >>> round(siegmund_arl(0.5, 4.0)), round(siegmund_arl(0.5, 4.0, shift=1.0), 1)
    (338, 8.3)
    """
    drift, b = shift - k, h + OVERSHOOT
    if drift == 0.0:
        return b * b
    return (exp(-2.0 * drift * b) + 2.0 * drift * b - 1.0) / (2.0 * drift * drift)


def two_sided(upper: float, lower: float) -> float:
    """The run length of two one-sided sums together (Van Dobben de Bruyn 1968).

    >>> two_sided(336.0, 336.0)
    168.0
    """
    return 1.0 / (1.0 / upper + 1.0 / lower)


def threshold(run_length: ArrayLike, information: ArrayLike, dispersion: ArrayLike = 1.0) -> Floats:
    """What a sum of log-likelihood ratios, in nats, has to reach so that a false alarm takes `run_length` observations.

    `information` is Kullback-Leibler's, in nats per observation: a ratio has mean -information and variance twice that
    while nothing is wrong, times `dispersion`. Siegmund's formula, solved.

    >>> h = float(threshold(100_000, 0.01))
    >>> round(h, 2), round(siegmund_arl(0.005**0.5, h / 0.02**0.5))
    (6.75, 100000)
    """
    runs, info, spread = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (run_length, information, dispersion))
    )
    wanted = np.maximum(runs * info / spread, 1e-3)
    x = np.log1p(wanted)
    for _ in range(STEPS):
        x = np.log(wanted + x + 1.0)
    return np.asarray(np.maximum(spread * x - OVERSHOOT * np.sqrt(2.0 * info * spread), 1.0))


def drop_information(rate: float, log_odds: float) -> tuple[float, float]:
    """KL(before, after) and KL(after, before) of an event at `rate` whose log-odds move by `log_odds`, in nats.

    >>> [round(nats, 4) for nats in drop_information(0.88, -0.258)]
    [0.0038, 0.004]
    """
    after = 1.0 / (1.0 + (1.0 / rate - 1.0) * exp(-log_odds))
    return _divergence(rate, after), _divergence(after, rate)


def _divergence(p: float, q: float) -> float:
    return p * log(p / q) + (1.0 - p) * log((1.0 - p) / (1.0 - q))
