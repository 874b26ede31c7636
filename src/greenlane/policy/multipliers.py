"""Prices of shared budgets: zero while there is headroom, rising as a limit comes near, set by a slow controller.

Some limits bind nobody's payment but all of them together. Each has a price lambda >= 0 that every payment which uses
it up has to be worth:

    band        an acquirer's exemption band: fraud over value of remote card payments against its reference rate
    programme   a network's monitoring of a merchant: VAMP, ECM, HECM, EFM, each with its least counts
    review      the hours that reviewers have

Pressure is the forecast matured figure over its limit; of a programme that needs a rate *and* a count it is the smaller
of the two, as both must be exceeded. The price is zero while pressure is below its share (70 %) of the limit, is `at
limit` when the limit is reached, and moves a quarter of that per step at most.

The follower computes matured figures and submits what `repriced` returns as `price` control entries; `Prices` only
folds these. A price is in force from the policy epoch after its entry on.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from greenlane.errors import InputError
from greenlane.payments.attempt import Frozen
from greenlane.payments.tables import rows
from greenlane.policy.parameters import Multipliers, epoch_of
from greenlane.ports.journal import CHANGE_DECODER, Entry

Kind = Literal["band", "programme", "review"]
SUBJECT: Final = "price"
PPM: Final = 1_000_000
MICRO: Final = 1_000_000
FREE: Final = Multipliers()
HOURS: Final = "hours"
"""The id of the price of review hours."""
PRICE_MAX_MICRO: Final = 10**15

COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "VAMP": ("report", "dispute"), "ECM": ("dispute",), "HECM": ("dispute",), "EFM": ("report",),
}  # fmt: skip
"""Which items of a merchant's month each programme counts."""
LEVELS: Final = frozenset({"merchant", "merchant_excessive"})


class Programme(NamedTuple):
    """One row of `monitoring_programmes.csv` about merchants; counts are least ones, amounts US dollars."""

    name: str
    network: str
    ratio_ppm: int
    items_min: int
    payments_min: int
    reported_min_minor: int
    effective: date


class Month(NamedTuple):
    """A merchant's month on one network as it will be when all reports have come (forecast matured)."""

    network: str
    payments: int
    payments_before: int
    """Of the month before: what Mastercard divides by."""
    reports: int
    disputes: int
    sales_minor: int
    reported_minor: int
    authenticated_ppm: int = 0
    """Share of payments with 3-D Secure."""


class Pricing(Frozen, frozen=True, omit_defaults=False):
    """Prices at the limit, and how they move. All assumed but the fee of VAMP: start from them and watch the ratios.

    >>> Pricing().share_ppm
    700000
    """

    share_ppm: Annotated[int, Meta(ge=1, lt=PPM)] = 700_000
    """Of a limit, where its price begins."""
    step_ppm: Annotated[int, Meta(ge=1, le=PPM)] = 250_000
    """Of the price at the limit: the largest change at once."""
    max_ppm: Annotated[int, Meta(ge=PPM, le=100 * PPM)] = 4 * PPM
    """Of the price at the limit: where it stops rising."""
    band_micro: int = MICRO
    """lambda of a band at its reference rate: money per unit of fraud above the rate."""
    review_minor: int = 300
    vamp_minor: int = 800
    """Sourced: USD 8 for each item of an excessive merchant."""
    ecm_minor: int = 1_000
    """USD 1,000 a month from 100 disputes on."""
    hecm_minor: int = 3_000
    efm_minor: int = 3_000

    def at_limit_micro(self, kind: Kind, name: str) -> int:
        if kind == "band":
            return self.band_micro
        minor: int = self.review_minor if kind == "review" else getattr(self, f"{name.lower()}_minor")
        return minor * MICRO


class Price(Struct, frozen=True, array_like=True):
    """What the controller asks for: the body of a control entry.

    >>> Price("band", "acq_1", 1_100_000, 500_000, 0).id
    'band/acq_1'
    """

    kind: Kind
    subject: str
    """The acquirer; merchant/programme; or "hours"."""
    pressure_ppm: int
    micro: int
    before_micro: int

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.subject}"

    @property
    def control(self) -> dict[str, Any]:
        """As `POST /v1/controls` takes it."""
        why = f"forecast at {self.pressure_ppm / 10_000:.1f} % of its limit"
        return {"subject": SUBJECT, "id": self.id, "why": why, "after": self.micro}


def band_pressure_ppm(fraud_minor: int, value_minor: int, *, reference_bps: int) -> int:
    """Forecast matured fraud of an acquirer's remote card payments (rolling 90 days) against its band's rate.

    >>> band_pressure_ppm(13_000, 10_000_000, reference_bps=13)
    1000000
    """
    return _over(fraud_minor * 10_000, reference_bps * value_minor)


def programme_pressures_ppm(month: Month, *, on: date, regulated: bool = False) -> dict[str, int]:
    """By programme of the month's network. `regulated`: the merchant is where strong authentication is law.

    >>> month = Month("visa", 100_000, 90_000, reports=900, disputes=600, sales_minor=0, reported_minor=0)
    >>> programme_pressures_ppm(month, on=date(2026, 11, 1))
    {'VAMP': 1000000}
    """
    found = programmes(on)
    return {name: _pressure_ppm(p, month, regulated) for name, p in found.items() if p.network == month.network}


def repriced_micro(pressure_ppm: int, before_micro: int, *, at_limit_micro: int, pricing: Pricing) -> int:
    """The next price: zero below the share, else a step towards the line from zero there to the price at the limit.

    >>> quick = Pricing(step_ppm=1_000_000)
    >>> [repriced_micro(p, 0, at_limit_micro=800, pricing=quick) for p in (690_000, 850_000, 1_000_000)]
    [0, 400, 800]
    """
    if pressure_ppm < pricing.share_ppm:
        return 0
    line = at_limit_micro * (pressure_ppm - pricing.share_ppm) // (PPM - pricing.share_ppm)
    wanted = min(line, at_limit_micro * pricing.max_ppm // PPM)
    step = at_limit_micro * pricing.step_ppm // PPM
    return before_micro + max(-step, min(step, wanted - before_micro))


def repriced(pressures: Iterable[tuple[Kind, str, int]], now: Mapping[str, int], *, pricing: Pricing) -> list[Price]:
    """The prices that change, from (kind, subject, pressure ppm) and the prices by id as submitted last.

    A price whose pressure is not told stays: tell each one that `now` names, until it is zero.

    >>> [price.control["after"] for price in repriced([("programme", "shop_1/VAMP", 1_000_000)], {}, pricing=Pricing())]
    [200000000]
    """
    found = []
    for kind, subject, pressure_ppm in pressures:
        before = now.get(f"{kind}/{subject}", 0)
        at_limit = pricing.at_limit_micro(kind, subject.rpartition("/")[2])
        micro = repriced_micro(pressure_ppm, before, at_limit_micro=at_limit, pricing=pricing)
        if micro != before:
            found.append(Price(kind, subject, pressure_ppm, micro, before))
    return found


class Set(Struct, frozen=True, array_like=True, gc=False):
    """A price, the epoch it is in force from, and what was in force before."""

    epoch: int
    micro: int
    before_micro: int


MICRO_DECODER: Final = msgspec.msgpack.Decoder(int | None)


class Prices(Struct, array_like=True, eq=False):
    """The fold of `price` control entries.

    >>> Prices().at(0, acquirers=["acq_1"], merchant_id="shop_1", network="visa") == Multipliers()
    True
    """

    _set: dict[str, Set] = {}

    def apply(self, entry: Entry) -> None:
        """Folds in prices and passes over everything else; None takes a price away."""
        if entry.kind != "control":
            return
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject != SUBJECT:
            return
        micro = MICRO_DECODER.decode(change.after) or 0
        epoch = epoch_of(entry.ingest_us)
        self._set[change.id] = Set(epoch + 1, micro, self.micro(change.id, epoch))

    def micro(self, id: str, epoch: int) -> int:  # noqa: A002 # the word that control entries have for it
        """The price in force in the present policy epoch, or in the next one as far as known."""
        known = self._set.get(id)
        if known is None:
            return 0
        return known.micro if epoch >= known.epoch else known.before_micro

    @property
    def submitted(self) -> dict[str, int]:
        """By id, as the controller needs them: whether or not in force already."""
        return {name: known.micro for name, known in self._set.items()}

    def at(self, epoch: int, *, acquirers: Iterable[str], merchant_id: str, network: str) -> Multipliers:
        """What a payment of this merchant, over these acquirers, sees in an epoch."""
        if not self._set:
            return FREE
        prices = dict.fromkeys(("report", "dispute"), 0)
        for name, of_network in NETWORK.items():
            if of_network == network and (micro := self.micro(f"programme/{merchant_id}/{name}", epoch)):
                for item in COUNTS[name]:
                    prices[item] += micro
        bands = {acquirer: self.micro(f"band/{acquirer}", epoch) for acquirer in acquirers}
        return Multipliers(
            report_minor=prices["report"] // MICRO,
            dispute_minor=prices["dispute"] // MICRO,
            review_minor=self.micro(f"review/{HOURS}", epoch) // MICRO,
            band_micro={acquirer: micro for acquirer, micro in bands.items() if micro},
        )

    def dump(self) -> bytes:
        """The whole state, the same bytes for the same entries."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def load(dumped: bytes) -> "Prices":
        """
        >>> Prices.load(Prices().dump()).submitted
        {}
        """
        return msgspec.msgpack.decode(dumped, type=Prices)


class StatedPrices(NamedTuple):
    """An arm's own, in place of the folded ones."""

    multipliers: Multipliers

    def at(self, epoch: int, *, acquirers: Iterable[str], merchant_id: str, network: str) -> Multipliers:  # noqa: ARG002 # the same whoever asks
        return self.multipliers


def check_price(id: str, after: object) -> None:  # noqa: A002 # the word that control entries have for it
    """Raises InputError where a `price` control entry could not be folded.

    >>> check_price("programme/shop_1/VAMP", 8_000_000)
    """
    kind, _, rest = id.partition("/")
    merchant, _, name = rest.rpartition("/")
    known = {"band": bool(rest), "review": rest == HOURS, "programme": bool(merchant) and name in COUNTS}
    if not known.get(kind):
        hint = "band/ACQUIRER, programme/MERCHANT/VAMP (ECM, HECM, EFM), or review/hours"
        raise InputError(f"{id[:80]!r} is no price", code="invalid_price", param="$.id", hint=hint)
    if after is not None and (type(after) is not int or not 0 <= after <= PRICE_MAX_MICRO):
        hint = "micro-minor units, from 0 on; null takes it away"
        raise InputError("a price is a whole number", code="invalid_price", param="$.after", hint=hint)


@cache
def programmes(on: date) -> dict[str, Programme]:
    """The programmes for merchants in force on a day, by name: of several rows the one that came last.

    >>> programmes(date(2026, 3, 1))["VAMP"].ratio_ppm, programmes(date(2026, 4, 1))["VAMP"].ratio_ppm
    (22000, 15000)
    """
    read = [_programme(row) for row in rows("monitoring_programmes") if _is_ours(row)]
    return {p.name: p for p in sorted(read, key=lambda p: p.effective) if p.effective <= on}


def _is_ours(row: dict[str, str]) -> bool:
    return row["level"] in LEVELS and row["programme"] in COUNTS


def _programme(row: dict[str, str]) -> Programme:
    threshold = row["threshold"].replace(",", "")
    least = re.match(r"(\d+)", row["min_count"].replace(",", ""))
    said = re.match(r"\d{4}-\d{2}-\d{2}", row["effective"])
    counts_items = least is not None and "3DS" not in row["min_count"]
    return Programme(
        name=row["programme"],
        network=row["network"],
        ratio_ppm=round(float(_first(r"([\d.]+)%", threshold)) * 10_000),
        items_min=int(least[1]) if least is not None and counts_items else 0,
        payments_min=int(_first(r"(\d+) transactions", threshold)),
        reported_min_minor=int(_first(r"USD (\d+)", threshold)) * 100,
        effective=date.fromisoformat(said[0]) if said else date.min,
    )


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"


NETWORK: Final = {row["programme"]: row["network"] for row in rows("monitoring_programmes") if _is_ours(row)}


def _pressure_ppm(programme: Programme, month: Month, regulated: bool) -> int:
    """The smallest of the conditions that must all hold."""
    if programme.name == "EFM":
        if month.authenticated_ppm >= (500_000 if regulated else 100_000):
            return 0
        rate = _over(month.reported_minor * PPM, programme.ratio_ppm * month.sales_minor)
        amount = _over(month.reported_minor, programme.reported_min_minor)
        return min(rate, amount, _over(month.payments, programme.payments_min))
    items = sum(getattr(month, f"{item}s") for item in COUNTS[programme.name])
    base = month.payments if programme.network == "visa" else month.payments_before
    return min(_over(items * PPM, programme.ratio_ppm * base), _over(items, programme.items_min))


def _over(part: int, limit: int) -> int:
    """ppm; a limit of nothing is exceeded by anything."""
    return part * PPM // limit if limit > 0 else (10 * PPM if part > 0 else 0)
