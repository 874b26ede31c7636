"""Do the probabilities mean what they say? Checks with intervals, each passed, failed, or undecided for want of events.

Rare events make the usual expected calibration error empty: at 8 in 10,000 a model that says "never" scores .0009. So
rows are cut into bins that expect equally many events, and observed is held against expected.

One attack brings many events that stand or fall together. So an interval is Poisson's, or wider where the days scatter
more than independent events would: by V / n for n events, V the sum over days of (observed - r x expected)^2 with r the
ratio of all other days (quasi-Poisson; Wedderburn 1974; leaving out a day at a time, MacKinnon and White 1985), so that
what a single day brought decides nothing. Events that weigh more than one, as young labels do, count by the same rule.
"""

from math import ceil
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.learning.calibrate import cross_calibrated, logistic_fit
from greenlane.learning.maturity import Z, poisson_interval
from greenlane.learning.money import Stakes
from greenlane.learning.resampling import Resampled, ends
from greenlane.models.calibration import log_odds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = Literal["pass", "fail", "undecided"]
Verdict = Literal["calibrated", "not calibrated", "undecided"]

RATIO_BAND: Final = (0.9, 1.1)
SLOPE_BAND: Final = (0.9, 1.1)
TOTAL_BAND: Final = (0.95, 1.05)
AMOUNT_BAND: Final = (0.85, 1.15)
REGRET_MAX: Final = 0.01
EVENTS_FOR_POINT: Final = 400
"""From so many events on, a bin's own ratio must lie within the band, not only its interval meet it."""


class Bin(Struct, frozen=True):
    """Rows of similar probability: how many events were expected, and how many came."""

    probability_low: float
    probability_high: float
    rows: int
    expected: float
    observed: float
    ratio: float
    ratio_low: float
    ratio_high: float


class Check(Struct, frozen=True):
    """A figure with its 95 % interval and the band it must lie in."""

    name: str
    value: float
    low: float
    high: float
    band_low: float | None
    band_high: float | None
    state: State


def check(name: str, value: float, *, interval: tuple[float, float], band: tuple[float | None, float | None]) -> Check:
    """Outside the band while the interval still meets it: undecided, for want of events.

    >>> check("total", 0.93, interval=(0.88, 0.99), band=(0.95, 1.05)).state
    'undecided'
    """
    least, most = (-np.inf if band[0] is None else band[0]), (np.inf if band[1] is None else band[1])
    meets = interval[1] >= least and interval[0] <= most
    state: State = "pass" if least <= value <= most else ("undecided" if meets else "fail")
    return Check(name, value, *interval, *band, state)


def bin_count(events: float) -> int:
    """At least 50 expected events in a bin. Between 400 and 1,600 a bin's ratio is judged as a point but still too
    noisy for that, so there are more bins of 300 instead, until ten of 1,600 can be filled.

    >>> [bin_count(events) for events in (30, 500, 7_000, 50_000)]
    [1, 10, 24, 10]
    """
    if events >= 16_000:
        return 10
    return ceil(events / 300) if events > 3_000 else max(1, min(10, int(events // 50)))


def ratio_of(probabilities: Floats, y: Floats, weight: Floats, day: Ints | None) -> tuple[float, float, float]:
    """Observed over expected events, with its interval. `day` is the number of each row's day, if they have one."""
    observed, expected = float(weight @ y), max(float(weight @ probabilities), 1e-12)
    ratio = observed / expected
    mass = ratio * weight * probabilities
    residual = weight * y - mass
    scale = max(1.0, scatter(residual, mass, day) / max(observed, 1e-12))
    low, high = poisson_interval(observed / scale)
    return ratio, low * scale / expected, high * scale / expected


def scatter(residual: Floats, mass: Floats, day: Ints | None) -> float:
    """Variance of what was fitted, from the sums of its residuals by day; 0 without days.

    `mass` is each row's part of it: a day that has nearly all fits itself, and one that has all could be nothing.
    """
    if day is None or not (whole := float(mass.sum())):
        return 0.0
    sums, rest = np.bincount(day, residual), 1.0 - np.bincount(day, mass) / whole
    return float(((sums / rest) ** 2).sum()) if rest.min() > 1e-9 else whole**2


def reliability_bins(probabilities: Floats, y: Floats, weight: Floats, day: Ints | None = None) -> list[Bin]:
    """Bins of equal expected events, from the least probable rows up."""
    order = np.argsort(probabilities, kind="stable")
    p, expected = probabilities[order], np.cumsum(weight[order] * probabilities[order])
    count = bin_count(float(expected[-1]))
    cuts = np.searchsorted(expected, expected[-1] * np.arange(1, count) / count)
    ends = np.unique(np.append(np.searchsorted(p, p[cuts], side="right"), len(p)))
    starts = np.concatenate([[0], ends[:-1]])
    found = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rows = order[start:end]
        due, came = float(weight[rows] @ p[start:end]), float(weight[rows] @ y[rows])
        of_it = ratio_of(p[start:end], y[rows], weight[rows], None if day is None else day[rows])
        found.append(Bin(float(p[start]), float(p[end - 1]), end - start, due, came, *of_it))
    return found


def bin_state(one: Bin) -> State:
    meets = one.ratio_high >= RATIO_BAND[0] and one.ratio_low <= RATIO_BAND[1]
    if one.observed < EVENTS_FOR_POINT:
        return "pass" if meets else "fail"
    return "pass" if RATIO_BAND[0] <= one.ratio <= RATIO_BAND[1] else ("undecided" if meets else "fail")


def worst(states: list[State]) -> State:
    return "fail" if "fail" in states else ("undecided" if "undecided" in states else "pass")


def verdict_of(checks: list[Check]) -> Verdict:
    verdicts: dict[State, Verdict] = {"pass": "calibrated", "fail": "not calibrated", "undecided": "undecided"}
    return verdicts[worst([one.state for one in checks])]


def event_checks(
    bins: list[Bin], probabilities: Floats, y: Floats, weight: Floats, day: Ints | None = None
) -> list[Check]:
    """What is asked of the probabilities of any event: each bin, the slope, and the total."""
    return [
        bins_check(bins),
        slope_check(probabilities, y, weight, day),
        total_check(probabilities, y, weight, day),
    ]


def bins_check(bins: list[Bin]) -> Check:
    """The bin that is furthest off stands for all of them."""
    off = max(bins, key=lambda b: (bin_state(b) != "pass", abs(np.log(max(b.ratio, 1e-9)))))
    state = worst([bin_state(b) for b in bins])
    return Check("every bin, observed/expected", off.ratio, off.ratio_low, off.ratio_high, *RATIO_BAND, state)


def slope_check(probabilities: Floats, y: Floats, weight: Floats, day: Ints | None = None) -> Check:
    """Slope of logit(event) on the log-odds: below 1 the probabilities are too extreme (Cox 1958)."""
    design = np.column_stack([log_odds(probabilities), np.ones(len(y))])
    fitted = logistic_fit(design, y, weight)
    again = 1.0 / (1.0 + np.exp(-design @ fitted.coefficients))
    residual, spread = weight * (y - again), again * (1.0 - again)
    pull, alone = design @ fitted.covariance[0], float(fitted.covariance[0, 0])
    variance = max(alone, scatter(residual * pull, weight * spread * pull**2 / alone, day))
    slope, error = float(fitted.coefficients[0]), float(np.sqrt(variance))
    return check("slope", slope, interval=(slope - Z * error, slope + Z * error), band=SLOPE_BAND)


def total_check(probabilities: Floats, y: Floats, weight: Floats, day: Ints | None = None) -> Check:
    ratio, low, high = ratio_of(probabilities, y, weight, day)
    return check("total observed/expected", ratio, interval=(low, high), band=TOTAL_BAND)


def amount_check(probabilities: Floats, y: Floats, weight: Floats, day: Ints, *, stakes: Stakes) -> Check:
    """Money observed over money expected among rows within a factor 3 of their break-even: where decisions are made."""
    near = (probabilities > stakes.break_even / 3.0) & (probabilities < stakes.break_even * 3.0)
    money = (weight * stakes.loss_minor)[near]
    return money_check("amount observed/expected near break-even", probabilities[near], y[near], money, day[near])


def money_check(name: str, probabilities: Floats, y: Floats, money: Floats, day: Ints) -> Check:
    """Money of the events observed over expected."""
    expected = float(money @ probabilities)
    if expected <= 0.0:
        return check(name, 1.0, interval=(0.0, np.inf), band=AMOUNT_BAND)
    ratio = float(money @ y) / expected
    alone = float((money * money) @ (probabilities * (1.0 - probabilities)))
    mass = ratio * money * probabilities
    error = Z * float(np.sqrt(max(alone, scatter(money * y - mass, mass, day)))) / expected
    return check(name, ratio, interval=(max(ratio - error, 0.0), ratio + error), band=AMOUNT_BAND)


def regret_check(probabilities: Floats, y: Floats, weight: Floats, *, stakes: Stakes, cards: Resampled) -> Check:
    """Money lost against a copy recalibrated on the other half of the cards, as a share of the copy's cost."""
    copy = cross_calibrated(log_odds(probabilities), y, weight, half=cards.cluster % 2 == 0)
    ours, theirs = (cards.sums(weight * stakes.decided_cost(p, y)) for p in (probabilities, copy))
    regret = float((ours.sum() - theirs.sum()) / max(theirs.sum(), 1e-9))
    again = (cards.draws @ ours - cards.draws @ theirs) / np.maximum(cards.draws @ theirs, 1e-9)
    return check("money lost against a recalibrated copy", regret, interval=ends(again), band=(None, REGRET_MAX))


def skill_check(probabilities: Floats, y: Floats, weight: Floats, cards: Resampled) -> Check:
    """1 - log loss / log loss of the base rate; the interval must be clear of 0."""
    base = float(weight @ y / weight.sum())
    z, z0 = log_odds(probabilities), float(log_odds(np.array([base]))[0])
    model, naive = (cards.sums(weight * (np.logaddexp(0.0, each) - y * each)) for each in (z, z0))
    low, high = ends(1.0 - (cards.draws @ model) / (cards.draws @ naive))
    state: State = "pass" if low > 0.0 else ("undecided" if high > 0.0 else "fail")
    skill = 1.0 - float(model.sum() / naive.sum())
    return Check("log-loss skill above the base rate", skill, low, high, 0.0, None, state)


def rms_log_ratio(probabilities: Floats, truth: Floats, weight: Floats | None = None) -> float:
    """RMS of log(p_hat / p) against true probabilities, which only a simulation knows.

    >>> rms_log_ratio(np.array([0.02, 0.1]), np.array([0.02, 0.1]))
    0.0
    """
    return float(np.sqrt(np.average(np.log(probabilities / truth) ** 2, weights=weight)))


def rms_log_ratio_of_bins(bins: list[Bin]) -> float:
    """RMS log(expected / observed) over bins, less the Poisson noise of the observed, 1 / n each; 0 where that is all.

    >>> rms_log_ratio_of_bins([Bin(0.0, 0.1, 9_000, 120.0, 100.0, 0.83, 0.68, 1.02)]).__round__(3)
    0.152
    """
    seen = [max(one.observed, 0.5) for one in bins]
    squares = [np.log(one.expected / n) ** 2 - 1.0 / n for one, n in zip(bins, seen, strict=True)]
    return float(np.sqrt(max(np.mean(squares), 0.0)))
