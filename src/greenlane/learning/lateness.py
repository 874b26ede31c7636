"""How late labels come: reports and disputes by the day of their payment, as a fold, and the F(age) learned of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from greenlane.learning.maturity import Maturity, learn_maturity
from greenlane.payments.times import DAY_US, day_of
from greenlane.ports.journal import SOURCE_BIT, Entry

COHORT_DAYS: Final = 180
"""Labels of payments this old still say how late labels come."""
LABELS_MIN: Final = 50
"""Below, lateness is the stated prior."""

Label = Literal["fraud_reports", "disputes"]
BITS: Final[Mapping[Label, int]] = MappingProxyType(
    {"fraud_reports": SOURCE_BIT["fraud_reports"], "disputes": SOURCE_BIT["disputes"]}
)
Late = dict[Label, dict[int, dict[int, int]]]
"""Labels that stand, by the day of the payment and by delay in days."""


def _prior(*steps: tuple[int, float]) -> Maturity:
    days, share = np.array([d for d, _ in steps]), np.array([f for _, f in steps])
    return Maturity(days * DAY_US, share, np.zeros(len(steps)), 0)


PRIORS: Final[Mapping[Label, Maturity]] = MappingProxyType(
    {
        "fraud_reports": _prior((7, 0.31), (14, 0.61), (30, 0.87), (45, 0.95), (60, 0.97), (90, 0.99)),
        "disputes": _prior((7, 0.03), (14, 0.18), (30, 0.55), (45, 0.76), (60, 0.87), (90, 0.97)),
    }
)
"""Assumed: log-normal delays with medians of 11 and 28 days."""


class Lateness:
    """The fold; it passes over everything but labels, and takes back what was taken back.

    >>> Lateness().curve("disputes", at_us=0) is PRIORS["disputes"]
    True
    """

    def __init__(self, late: Late | None = None):
        self.late: Late = {label: {} for label in BITS} if late is None else late
        self._today = 0

    def apply(self, entry: Entry) -> None:
        today = day_of(entry.ingest_us)
        if today > self._today:
            self._begin(today)
        if entry.facts is None or not entry.emits & (BITS["fraud_reports"] | BITS["disputes"]):
            return
        day = day_of(entry.facts.payment_us)
        for label, bit in BITS.items():
            if entry.emits & bit and day >= today - COHORT_DAYS:
                delays, delay = self.late[label].setdefault(day, {}), max(0, today - day)
                delays[delay] = max(0, delays.get(delay, 0) + entry.sign)

    def _begin(self, today: int) -> None:
        """Of a new day, whatever happens on it: forget cohorts that are too old."""
        self._today = today
        for days in self.late.values():
            for old in [each for each in days if each < today - COHORT_DAYS]:
                del days[old]

    def curve(self, label: Label, *, at_us: int) -> Maturity:
        """F as it is known at `at_us`: learned where enough labels came, else as stated."""
        today = day_of(at_us)
        known = ((delay, today - day, n) for day, each in self.late[label].items() for delay, n in each.items())
        seen = [(delay, age, n) for delay, age, n in known if n and delay <= age]
        if sum(n for _, _, n in seen) < LABELS_MIN:
            return PRIORS[label]
        delays, ages, counts = (np.array(column) for column in zip(*seen, strict=True))
        return learn_maturity(np.repeat(delays, counts) * DAY_US, np.repeat(ages, counts) * DAY_US)
