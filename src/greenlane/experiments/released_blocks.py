"""How good is a blocking policy, when what is blocked never shows? A few would-be blocks are released, and they speak.

Below the ceiling each released payment stands for 1 / (its release probability) blocked ones. Above it none is ever
released: nothing is estimated there, and what could be true is stated as bounds. The two are never mixed.
"""

import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.distributions import normal_quantile
from greenlane.payments.arrays import Flags, Floats, Ints


class Share(Struct, frozen=True):
    value: float
    low: float
    high: float
    se: float


class BlockQuality(Struct, frozen=True, kw_only=True):
    """Of one way of blocking; counts are weighted payments."""

    fraud_blocked: float
    genuine_blocked: float
    fraud_passed: float
    precision: Share | None
    """Fraud among blocked, below the ceiling; None where nothing was blocked there."""
    recall: Share | None
    """Blocked among fraud, below the ceiling."""
    beyond_blocked: int
    """Blocked above the ceiling: nothing is known of them."""
    beyond_passed: int
    """Above the ceiling, and not blocked by the judged policy: nor of these."""
    precision_bounds: tuple[float, float]
    """Below and above the ceiling together, if all beyond were genuine, and if all were fraud."""
    recall_bounds: tuple[float, float]


def block_quality(
    fraud: Floats, passed_probability: Floats, *, blocks: Flags, cluster: Ints | None = None, alpha: float = 0.05
) -> BlockQuality:
    """One row per payment. `fraud` is 1 or 0, or nan where the payment was not passed; `passed_probability` is what it
    had of being passed: 1 outside the blocks, 0 above the ceiling; `blocks` says what the judged policy would block.

    >>> fraud = np.array([0, 1, np.nan, 1, np.nan, 0])
    >>> passed = np.array([1.0, 1.0, 0.3, 0.2, 0.0, 0.25])
    >>> found = block_quality(fraud, passed, blocks=np.array([False, False, True, True, True, True]))
    >>> found.fraud_blocked, found.genuine_blocked, round(found.precision.value, 3), found.beyond_blocked
    (5.0, 4.0, 0.556, 1)
    """
    known = ~np.isnan(fraud)
    if (passed_probability[known] <= 0.0).any():
        hint = "an outcome needs a payment that could pass"
        raise InputError("a payment above the ceiling has an outcome", code="invalid_release", hint=hint)
    weight = 1.0 / passed_probability[known]
    bad, blocked = fraud[known], blocks[known].astype(np.float64)
    groups = np.arange(len(bad)) if cluster is None else cluster[known]
    hits, false = float(weight @ (bad * blocked)), float(weight @ ((1.0 - bad) * blocked))
    missed = float(weight @ (bad * (1.0 - blocked)))
    above = passed_probability == 0.0
    beyond, let_go = int((above & blocks).sum()), int((above & ~blocks).sum())
    precision = weighted_share(bad, weight * blocked, groups, alpha=alpha)
    recall = weighted_share(blocked, weight * bad, groups, alpha=alpha)
    return BlockQuality(
        fraud_blocked=hits,
        genuine_blocked=false,
        fraud_passed=missed,
        precision=precision,
        recall=recall,
        beyond_blocked=beyond,
        beyond_passed=let_go,
        precision_bounds=bounds(precision, float((blocks & ~above).sum()), low_extra=beyond, high_extra=beyond),
        recall_bounds=bounds(recall, hits + missed, low_extra=let_go, high_extra=beyond),
    )


def bounds(share: Share | None, size: float, *, low_extra: int, high_extra: int) -> tuple[float, float]:
    """The interval of `share` among `size`, if of so many more none, or all, were events."""
    low, high = (share.low, share.high) if share is not None else (0.0, 1.0)
    return ratio(low * size, size + low_extra), ratio(high * size + high_extra, size + high_extra)


def weighted_share(event: Floats, weight: Floats, groups: Ints, *, alpha: float) -> Share | None:
    """Weighted mean of an indicator, with the error of its linearisation (Hájek 1971)."""
    used = weight > 0.0
    total = float(weight.sum())
    if used.sum() == 0:
        return None
    value = float(weight @ event) / total
    influence = weight * (event - value) / total
    sums = np.bincount(np.unique(groups[used], return_inverse=True)[1], influence[used])
    se = float(np.sqrt(sums @ sums))
    half = normal_quantile(1.0 - alpha / 2.0) * se
    return Share(value, max(value - half, 0.0), min(value + half, 1.0), se)


def ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0
