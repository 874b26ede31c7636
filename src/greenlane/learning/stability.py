"""Where and when a model is worse: good payers it stops, by segment; observed against expected frauds, by week.

Segments are of the instrument and the shop. Nothing about a person is looked at.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.features.inputs import COUNTRY, FUNDING, NETWORK
from greenlane.learning.examples import Examples
from greenlane.learning.maturity import poisson_interval
from greenlane.learning.resampling import Resampled, ends
from greenlane.payments.times import DAY_US, day_of, format_day

Floats = NDArray[np.float64]
CODES: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "issuer_country": {code: name for name, code in COUNTRY.items()},
        "network": {code: name for name, code in NETWORK.items()},
        "funding": {code: name for name, code in FUNDING.items()},
        "mcc": {},
    }
)
"""Columns that name a segment."""
SHOWN_MAX: Final = 12
"""The largest segments of a column."""
WEEK_US: Final = 7 * DAY_US


class SegmentRate(Struct, frozen=True):
    """Good payers stopped, of all good payers of a segment, with a 95 % interval from resampled cards."""

    column: str
    name: str
    good: float
    stopped_share: float
    low: float
    high: float


class Week(Struct, frozen=True):
    """Seven days of held-out time: observed over expected, with its Poisson interval."""

    first_day: str
    rows: int
    observed: float
    expected: float
    ratio: float
    low: float
    high: float


def segment_rates(test: Examples, stopped: NDArray[np.bool_], cards: Resampled) -> list[SegmentRate]:
    """Of the largest segments of each column, the largest first."""
    found = []
    for column, names in CODES.items():
        if column not in test.names:
            continue
        codes = np.nan_to_num(test.X[:, test.names.index(column)], nan=-1.0).astype(np.int64)
        distinct, counts = np.unique(codes, return_counts=True)
        for code in distinct[np.argsort(-counts, kind="stable")][:SHOWN_MAX].tolist():
            rows = (codes == code) & (test.y == 0)
            if rows.any():
                name = "not told" if code < 0 else names.get(code, f"{code:04}")
                found.append(_rate(column, name, test.weight * rows, stopped, cards=cards))
    return found


def _rate(column: str, name: str, weight: Floats, stopped: NDArray[np.bool_], *, cards: Resampled) -> SegmentRate:
    good, lost = (cards.sums(each) for each in (weight, weight * stopped))
    again = (cards.draws @ lost) / np.maximum(cards.draws @ good, 1e-9)
    return SegmentRate(column, name, float(good.sum()), float(lost.sum() / max(good.sum(), 1e-9)), *ends(again))


def weeks(at_us: NDArray[np.int64], p: Floats, y: Floats, weight: Floats) -> list[Week]:
    """Oldest first, counted from the first row.

    >>> [w.ratio for w in weeks(np.array([0, WEEK_US]), np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.ones(2))]
    [2.0, 0.0]
    """
    number = (at_us - at_us[0]) // WEEK_US
    found = []
    for week in np.unique(number).tolist():
        rows = number == week
        observed, expected = float(weight[rows] @ y[rows]), max(float(weight[rows] @ p[rows]), 1e-12)
        low, high = (bound / expected for bound in poisson_interval(observed))
        first = format_day(day_of(int(at_us[0]) + week * WEEK_US))
        found.append(Week(first, int(rows.sum()), observed, expected, observed / expected, low, high))
    return found
