"""What it would be worth to block more, or less: in money, from what was passed and what was released.

Tightening is seen in full: those payments were passed. Loosening is seen through releases, each standing for 1 / (its
release probability) payments. What lies above the ceiling was never released: it has bounds, kept apart from the rest.
"""

import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.clusters import Groups
from greenlane.experiments.distributions import student_quantile
from greenlane.payments.arrays import Flags, Floats, Ints


class Money(Struct, frozen=True):
    """Per payment judged, new minus old threshold."""

    value: float
    low: float
    high: float
    payments: int
    """Whose treatment changes."""


class MovedThreshold(Struct, frozen=True, kw_only=True):
    tightened: Money
    """Passed until now, then blocked."""
    loosened: Money
    """Blocked until now, then passed, below the ceiling."""
    both: Money
    """The two together: a card may have payments in either, so their errors are not strangers."""
    beyond: int
    """Blocked until now, then passed, above the ceiling."""
    beyond_bounds: tuple[float, float]
    """Money per payment judged that these could bring."""


def moved_threshold(
    passed_value: Floats,
    passed_probability: Floats,
    *,
    blocked_value: Floats,
    value_range: tuple[Floats, Floats],
    before: Flags,
    after: Flags,
    cluster: Ints | None = None,
    alpha: float = 0.05,
) -> MovedThreshold:
    """One row per payment. `passed_value` is what came of it, nan where it was not passed; `blocked_value` what a block
    of it is worth; `value_range` the least and most that passing it could bring; `before` and `after` who is blocked.

    >>> passed, chance = np.array([1.0, -9.0, np.nan, 2.0, np.nan]), np.array([1.0, 1.0, 0.5, 0.5, 0.0])
    >>> found = moved_threshold(
    ...     passed, chance, blocked_value=np.zeros(5), value_range=(np.full(5, -9.0), np.full(5, 2.0)),
    ...     before=np.array([False, False, True, True, True]), after=np.array([False, True, False, False, False]))
    >>> found.tightened.value, found.loosened.value, found.beyond, found.beyond_bounds
    (1.8, 0.8, 1, (-1.8, 0.4))
    """
    seen, above = ~np.isnan(passed_value), passed_probability <= 0.0
    if (seen & above).any() or (~seen & (passed_probability >= 1.0)).any():
        hint = "a payment has an outcome if it could pass, and none only if it could be stopped"
        raise InputError("outcomes contradict the probabilities of passing", code="invalid_release", hint=hint)
    tighter, looser, beyond = after & ~before, before & ~after & ~above, before & ~after & above
    worth = np.divide(passed_value, passed_probability, out=np.zeros_like(passed_value), where=seen)
    gain = worth - blocked_value
    groups = Groups.of(np.arange(len(seen)) if cluster is None else cluster)
    low, high = (float(((end - blocked_value) * beyond).mean()) for end in value_range)
    return MovedThreshold(
        tightened=mean_money(-gain * tighter, tighter, groups, alpha=alpha),
        loosened=mean_money(gain * looser, looser, groups, alpha=alpha),
        both=mean_money(gain * looser - gain * tighter, looser | tighter, groups, alpha=alpha),
        beyond=int(beyond.sum()),
        beyond_bounds=(low, high),
    )


def mean_money(rows: Floats, changed: Flags, groups: Groups, *, alpha: float) -> Money:
    variance, dof = groups.variance(rows / len(rows))
    half = float(student_quantile(alpha, dof)) * variance**0.5
    value = float(rows.mean())
    return Money(value, value - half, value + half, int(changed.sum()))
