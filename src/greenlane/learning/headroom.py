"""How near the shared limits are: what reports and disputes will come to, forecast from the part that has come.

A fold of approvals, fraud reports and disputes by the day of the payment they are of. A payment of age a shows the
share F(a) of the labels it will get (`maturity`), so

    rate = labels so far / sum over payments of F(age)          of the last 90 days
    a merchant's month = the last 30 days at that rate          an acquirer's band = all 90 days at it, in value

Where less than 30 % has matured nothing is forecast, and no price asked: a new merchant is not priced on two weeks.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.learning.lateness import BITS, Label, Lateness
from greenlane.learning.maturity import SHARE_MIN
from greenlane.merchants.economics import Economics
from greenlane.merchants.regions import SCA_REGIONS
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, day_of
from greenlane.policy.multipliers import NETWORK, Kind, Month, band_pressure_ppm, programme_pressures_ppm
from greenlane.ports.journal import SOURCE_BIT, Entry

MONTH_DAYS: Final = 30
WINDOW_DAYS: Final = 90
SEASONED_MIN: Final = 1_000
"""Matured payments after which a merchant is no longer a new one: at 20 bps of fraud some two reports. Assumed."""
SEASONED_PRESSURE_MAX: Final = 700_000
"""Of a programme's limit, in ppm: nearer to it no cap is lifted."""

APPROVALS: Final = SOURCE_BIT["approvals"]


class Day(Struct, array_like=True, gc=False):
    """What happened so far to the payments of one day."""

    payments: int = 0
    sales_minor: int = 0
    authenticated: int = 0
    fraud_reports: int = 0
    reported_minor: int = 0
    disputes: int = 0


Days = dict[int, Day]
Dumped = tuple[dict[str, Days], dict[str, Days], dict[str, int], int, dict[str, str]]


class Headroom:
    """The fold. `economics_of` a merchant says whose bands its routes count in, when it is counted; `lateness`, which
    whoever owns it keeps up to date, how late labels come.

    >>> Headroom(lambda merchant_id: Economics(), Lateness()).pressures(0)
    []
    """

    def __init__(self, economics_of: Callable[[str], Economics], lateness: Lateness):
        self._economics_of, self._lateness = economics_of, lateness
        self._merchants: dict[str, Days] = {}
        """By "merchant network"."""
        self._bands: dict[str, Days] = {}
        """By acquirer."""
        self._reference_bps: dict[str, int] = {}
        self._today = 0
        self._mccs: dict[str, str] = {}
        """By merchant, the latest."""

    def apply(self, entry: Entry) -> None:
        """Folds in approvals, reports and disputes, and those that are taken back; passes over everything else."""
        facts = entry.facts
        if facts is None or not entry.emits & (APPROVALS | BITS["fraud_reports"] | BITS["disputes"]):
            return
        self._begin(day_of(entry.ingest_us))
        day = day_of(facts.payment_us)
        self._mccs[facts.merchant_id] = facts.mcc
        for days in self._counted_in(facts):
            _count(days.setdefault(day, Day()), entry, facts)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self._merchants, self._bands, self._reference_bps, self._today, self._mccs))

    def load(self, dumped: bytes) -> None:
        """Raises msgspec.MsgspecError where this is none of ours."""
        found = msgspec.msgpack.decode(dumped, type=Dumped)
        self._merchants, self._bands, self._reference_bps, self._today, self._mccs = found

    def pressures(self, at_us: int) -> list[tuple[Kind, str, int]]:
        """(kind, subject, ppm of the limit) of every band and programme, as `multipliers.repriced` takes them."""
        today = day_of(at_us)
        shares = {label: self._shares(label, today) for label in BITS}
        on = datetime.fromtimestamp(at_us / 1e6, UTC).date()
        found: list[tuple[Kind, str, int]] = []
        for acquirer, days in self._bands.items():
            sales = sum(day.sales_minor for _, day in _within(days, today, WINDOW_DAYS))
            fraud = round(sales * _rate(days, today, "reported_minor", shares["fraud_reports"]))
            reference = self._reference_bps[acquirer]
            found.append(("band", acquirer, band_pressure_ppm(fraud, sales, reference_bps=reference)))
        for name, days in self._merchants.items():
            merchant_id, _, network = name.rpartition(" ")
            month = _month(network, days, today, shares)
            regulated = self._economics_of(merchant_id).country in SCA_REGIONS
            for programme, ppm in programme_pressures_ppm(month, on=on, regulated=regulated).items():
                found.append(("programme", f"{merchant_id}/{programme}", ppm))
        return found

    def seasoned(self, at_us: int) -> Iterator[tuple[str, str, int]]:
        """(merchant, MCC, payments) of those of whose fraud enough is known, and whose programmes have headroom.

        A payment counts by the share of its reports that has come.
        """
        today, shares = day_of(at_us), self._shares("fraud_reports", day_of(at_us))
        matured: dict[str, float] = {}
        for name, days in self._merchants.items():
            merchant_id = name.rpartition(" ")[0]
            found = sum(day.payments * shares[age] for age, day in _within(days, today, WINDOW_DAYS))
            matured[merchant_id] = matured.get(merchant_id, 0.0) + found
        scarce = {subject.split("/")[0] for _, subject, ppm in self.pressures(at_us) if ppm > SEASONED_PRESSURE_MAX}
        for merchant_id, payments in matured.items():
            if payments >= SEASONED_MIN and merchant_id not in scarce:
                yield merchant_id, self._mccs[merchant_id], int(payments)

    def _begin(self, today: int) -> None:
        """Of a new day: forget what no forecast looks at."""
        if today <= self._today:
            return
        self._today = today
        for days in (*self._merchants.values(), *self._bands.values()):
            for old in [day for day in days if day <= today - WINDOW_DAYS - 1]:
                del days[old]

    def _counted_in(self, facts: Facts) -> Iterator[Days]:
        if facts.network in NETWORK.values():
            yield self._merchants.setdefault(f"{facts.merchant_id} {facts.network}", {})
        economics = self._economics_of(facts.merchant_id)
        terms = economics.route_terms.get(facts.route_id)
        if terms is not None and terms.exemptions and _in_scope(facts, economics):
            acquirer = terms.acquirer or terms.id
            self._reference_bps[acquirer] = terms.tra_band.reference_bps
            yield self._bands.setdefault(acquirer, {})

    def _shares(self, label: Label, today: int) -> list[float]:
        """F by age in days, learned where enough labels were seen."""
        maturity = self._lateness.curve(label, at_us=today * DAY_US)
        return [float(share) for share in maturity.at(np.arange(WINDOW_DAYS + 1) * DAY_US)]


def _in_scope(facts: Facts, economics: Economics) -> bool:
    """Remote card payments that strong authentication is law for, exempted or not."""
    region = SCA_REGIONS.get(economics.country or "")
    remote = facts.channel in ("ecommerce", "in_app") and facts.initiator == "cit" and facts.method == "card"
    return remote and region is not None and SCA_REGIONS.get(facts.issuer_country) == region


def _count(day: Day, entry: Entry, facts: Facts) -> None:
    sign, amount = entry.sign, facts.amount_reporting_minor
    if entry.emits & APPROVALS:
        day.payments += sign
        day.sales_minor += sign * amount
        day.authenticated += sign * (facts.intervention == "challenge")
    if entry.emits & BITS["fraud_reports"]:
        day.fraud_reports += sign
        day.reported_minor += sign * amount
    if entry.emits & BITS["disputes"]:
        day.disputes += sign


def _within(days: Days, today: int, length: int, *, before: int = 0) -> Iterator[tuple[int, Day]]:
    """(age, day) of `length` days, the latest of them `before` days ago."""
    return ((today - at, day) for at, day in days.items() if before <= today - at < before + length)


def _rate(days: Days, today: int, label: str, shares: list[float]) -> float:
    """Labels per payment, or reported money per money; 0 while too little has matured."""
    counted = list(_within(days, today, WINDOW_DAYS))
    base = "sales_minor" if label == "reported_minor" else "payments"
    total = sum(getattr(day, base) for _, day in counted)
    matured = sum(getattr(day, base) * shares[age] for age, day in counted)
    labels: int = sum(getattr(day, label) for _, day in counted)
    return labels / matured if matured > 0 and matured >= SHARE_MIN * total else 0.0


def _month(network: str, days: Days, today: int, shares: Mapping[Label, list[float]]) -> Month:
    latest = [day for _, day in _within(days, today, MONTH_DAYS)]
    payments = sum(day.payments for day in latest)
    sales = sum(day.sales_minor for day in latest)
    return Month(
        network=network,
        payments=payments,
        payments_before=sum(day.payments for _, day in _within(days, today, MONTH_DAYS, before=MONTH_DAYS)),
        reports=round(payments * _rate(days, today, "fraud_reports", shares["fraud_reports"])),
        disputes=round(payments * _rate(days, today, "disputes", shares["disputes"])),
        sales_minor=sales,
        reported_minor=round(sales * _rate(days, today, "reported_minor", shares["fraud_reports"])),
        authenticated_ppm=sum(day.authenticated for day in latest) * 1_000_000 // max(1, payments),
    )
