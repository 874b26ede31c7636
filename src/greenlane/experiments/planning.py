"""How large, how long, or how small a change can be seen: before the start, when it can still be changed."""

from math import ceil, sqrt
from typing import Final, Literal

from msgspec import Struct, structs

from greenlane.errors import InputError
from greenlane.experiments.distributions import normal_quantile
from greenlane.experiments.sequences import standard_errors

Look = Literal["once, at the end", "at any time"]
LOOKS: Final[tuple[Look, ...]] = ("once, at the end", "at any time")


class Metric(Struct, frozen=True, kw_only=True):
    """One unit's contribution: its mean, and its spread before anything makes it smaller."""

    baseline: float
    sd: float | None = None
    """None: a share of yes among units, whose spread follows from it."""
    cluster_size: float = 1.0
    """Mean units per cluster, where clusters are randomised."""
    cluster_size_cv: float = 0.0
    """Standard deviation of cluster sizes over their mean."""
    icc: float = 0.0
    """Correlation of two units of one cluster."""
    correlation: float = 0.0
    """Of the metric with its pre-period covariate: CUPED's gain."""

    def design_effect(self) -> float:
        """Kish (1965), for unequal clusters: 1 + (m (1 + cv^2) - 1) icc.

        >>> Metric(baseline=0.9, cluster_size=11, icc=0.05).design_effect()
        1.5
        """
        return 1.0 + (self.cluster_size * (1.0 + self.cluster_size_cv**2) - 1.0) * self.icc

    def variance(self, shift: float = 0.0, *, adjusted: bool = False) -> float:
        """Of one unit, once the mean has moved by `shift`; `adjusted` by the covariate."""
        share = self.baseline + shift
        spread = share * (1.0 - share) if self.sd is None else self.sd**2
        return spread * self.design_effect() * (1.0 - self.correlation**2 if adjusted else 1.0)

    def check(self, shift: float) -> None:
        if self.sd is None and not (0.0 < self.baseline < 1.0 and 0.0 < self.baseline + shift < 1.0):
            hint = "a share lies between 0 and 1, before and after the change; any other metric needs its --sd"
            raise InputError("the metric is no share", code="invalid_metric", param="baseline", hint=hint)
        if self.sd is not None and self.sd <= 0.0:
            raise InputError("a standard deviation is positive", code="invalid_metric", param="sd")
        if not (0.0 <= self.icc <= 1.0 and self.cluster_size >= 1.0 and -1.0 < self.correlation < 1.0):
            hint = "icc 0 to 1, cluster size 1 or more, correlation between -1 and 1"
            raise InputError("the design is impossible", code="invalid_metric", hint=hint)


class Reading(Struct, frozen=True, kw_only=True):
    """How the answer will be judged."""

    alpha: float = 0.05
    power: float = 0.8
    treated_share: float = 0.5
    """Of all units, those in the new arm."""
    look: Look = "once, at the end"

    def errors(self) -> float:
        """Standard errors that an effect must span to be found with this power.

        At any time: the sequence's width at the size it is tuned to. Most experiments end earlier.

        >>> round(Reading().errors(), 3), round(Reading(look="at any time").errors(), 3)
        (2.802, 3.877)
        """
        fixed = self.look == "once, at the end"
        reach = (
            normal_quantile(1.0 - self.alpha / 2.0)
            if fixed
            else float(standard_errors(1.0, planned=1.0, alpha=self.alpha))
        )
        return reach + normal_quantile(self.power)

    def check(self) -> None:
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.power < 1.0 and 0.0 < self.treated_share < 1.0):
            raise InputError("alpha, power and shares lie between 0 and 1", code="invalid_reading")


STANDARD: Final = Reading()


def unit_variance(metric: Metric, reading: Reading, shift: float, *, adjusted: bool = False) -> float:
    """Variance of the difference, times all units."""
    treated = reading.treated_share
    return metric.variance(adjusted=adjusted) / (1.0 - treated) + metric.variance(shift, adjusted=adjusted) / treated


def sample_size(metric: Metric, mde: float, *, reading: Reading = STANDARD, adjusted: bool = False) -> int:
    """Units of both arms together that find a true change of `mde` with the stated power.

    >>> sample_size(Metric(baseline=0.87), 0.005)
    139695
    """
    metric.check(mde)
    reading.check()
    if mde == 0.0:
        raise InputError("no sample finds a change of nothing", code="invalid_metric", param="mde", hint="e.g. 0.005")
    return ceil(unit_variance(metric, reading, mde, adjusted=adjusted) * (reading.errors() / mde) ** 2)


def detectable(metric: Metric, units: float, *, reading: Reading = STANDARD, adjusted: bool = False) -> float:
    """The smallest change that `units` of both arms together find with the stated power.

    >>> round(detectable(Metric(baseline=0.87), 139_695), 6)
    0.005
    """
    metric.check(0.0)
    reading.check()
    found = 0.0
    for _ in range(100):
        shift = found if metric.sd is not None else min(found, (1.0 - metric.baseline) * 0.999999)
        found = reading.errors() * sqrt(unit_variance(metric, reading, shift, adjusted=adjusted) / units)
    return found


class Row(Struct, frozen=True):
    """One way of running it."""

    design: str
    units: int
    units_per_arm: tuple[int, int]
    clusters: int
    days: int
    detectable_14_days: float
    detectable_28_days: float


def plan(metric: Metric, mde: float, *, daily_units: float, reading: Reading = STANDARD) -> list[Row]:
    """Each way of reading it, once plain and once adjusted where a covariate is at hand.

    >>> [(row.design, row.days) for row in plan(Metric(baseline=0.87), 0.005, daily_units=20_000)]
    [('once, at the end', 7), ('at any time', 14)]
    """
    if daily_units <= 0.0:
        raise InputError("a plan needs traffic", code="invalid_plan", param="daily", hint="units a day, more than 0")
    ways = [False, True] if metric.correlation else [False]
    return [
        row(metric, mde, daily_units, reading=structs.replace(reading, look=look), adjusted=adjusted)
        for adjusted in ways
        for look in LOOKS
    ]


def row(metric: Metric, mde: float, daily_units: float, *, reading: Reading, adjusted: bool) -> Row:
    units = sample_size(metric, mde, reading=reading, adjusted=adjusted)
    treated = ceil(units * reading.treated_share)
    after_14, after_28 = (
        detectable(metric, daily_units * days, reading=reading, adjusted=adjusted) for days in (14, 28)
    )
    return Row(
        design=reading.look + (", CUPED" if adjusted else ""),
        units=units,
        units_per_arm=(units - treated, treated),
        clusters=ceil(units / metric.cluster_size),
        days=ceil(units / daily_units),
        detectable_14_days=after_14,
        detectable_28_days=after_28,
    )
