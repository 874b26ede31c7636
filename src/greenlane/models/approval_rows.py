"""The rows of the approval model: one for each way and mode of one attempt, most of them equal in most columns.

What depends on the payment alone comes first, so that the trees look at it once; what depends on the way or the mode
comes last. Names (issuers, ranges, merchants, routes) enter as log-odds: sums of the effects that each of them, and
some of them together, have on first attempts (`learning/effects.py`). A name that was never seen adds nothing, and an
unseen route has the index "missing".
"""

from collections.abc import Sequence
from functools import cached_property
from math import log
from typing import Final, NamedTuple

from msgspec import Struct

from greenlane.payments.codes import declines
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US

PLAIN, EXEMPT, AUTHENTICATED = range(3)
MODES: Final = ("plain", "exempt", "3ds")
NAN: Final = float("nan")

PAYMENT_COLUMNS: Final = (
    "log_amount", "hour", "weekday", "day_of_month", "issuer_log_odds", "range_log_odds", "merchant_log_odds",
    "funding", "network", "issuer_country", "mcc", "merchant_initiated", "chained", "cvv_present",
    "attempt_no", "last_decline", "log_wait_hours",
)  # fmt: skip
WAY_COLUMNS: Final = (
    "route", "acquirer", "domestic", "route_log_odds", "issuer_route_log_odds", "switched", "token",
    "credential_log_odds", "mode", "mode_log_odds", "way_log_odds",
)  # fmt: skip
COLUMNS: Final = (*PAYMENT_COLUMNS, *WAY_COLUMNS)
GROUPS: Final = {name: name.replace("_log_odds", "").replace("_", " ") for name in COLUMNS}

PRIOR_LOG_ODDS: Final = 1.992
"""88 %, before anything was seen."""
SPREAD: Final = {
    "all": 1.0, "country": 0.5, "issuer": 0.5, "range": 0.3, "merchant": 0.3,
    "route": 0.4, "country+route": 0.3, "issuer+route": 0.3,
    "mode": 0.6, "country+mode": 0.4, "issuer+mode": 0.4, "issuer+route+mode": 0.4,
    "credential": 0.5, "issuer+credential": 0.3, "issuer+route+credential": 0.3,
    "way": 0.15,
}  # fmt: skip
"""By kind of name: the standard deviation of its effects, in log-odds, before anything was seen. Assumed."""
RANGES_MAX: Final = 16_384
SOFT_DECLINES: Final = (4, 50)
"""Soft declines among exempted attempts, before any was seen: 8 %."""

NETWORKS: Final = ("visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "elo", "maestro",
                   "cartes_bancaires", "other")  # fmt: skip
FUNDINGS: Final = ("credit", "debit", "prepaid", "charge", "unknown")


class Situation(NamedTuple):
    """One attempt as it is about to be made, whatever way it goes. None where nobody told."""

    facts: Facts
    at_us: int
    attempt_no: int = 1
    chained: bool | None = None
    cvv_present: bool | None = None
    last_category: str = ""
    """Of the decline before, in the words of the response code table."""
    last_us: int = 0
    last_route: str = ""


class RouteCode(Struct, frozen=True, array_like=True):
    """`country` is the acquirer's, "" where nobody told."""

    index: int
    acquirer: int
    country: str = ""


class Encoding(Struct, frozen=True, dict=True):
    """The frozen vocabulary and the effects. A name is a kind, a blank, and what it is the name of.

    >>> Encoding(effects={"all": 0.1, "issuer iss_1": -0.5}).of_issuer("iss_1", country="DE")
    1.592
    """

    effects: dict[str, float]
    """Log-odds that each name adds."""
    routes: dict[str, RouteCode] = {}
    countries: dict[str, int] = {}
    categories: dict[str, int] = {}
    soft: dict[str, tuple[int, int]] = {}
    """(soft declines, exempted attempts) by issuer, "" for all."""

    def added(self, *names: str) -> float:
        return sum([self.effects.get(name, 0.0) for name in names])

    @cached_property
    def of_all(self) -> float:
        return PRIOR_LOG_ODDS + self.added("all")

    def of_issuer(self, issuer: str, *, country: str) -> float:
        return self.of_all + self.added(f"country {country}", f"issuer {issuer}")

    def of_range(self, issuer: str, country: str, bin8: str) -> tuple[float, float]:
        """Of the issuer, and of its range."""
        known = self._ranges.get((issuer, country, bin8))
        if known is None:
            if len(self._ranges) >= RANGES_MAX:
                self._ranges.clear()
            own = self.of_issuer(issuer, country=country)
            known = self._ranges[issuer, country, bin8] = own, own + self.added(f"range {issuer} {bin8}")
        return known

    @cached_property
    def _ranges(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Those asked for lately, worked out."""
        return {}

    def soft_decline(self, issuer: str) -> float:
        """P(soft decline | exemption), drawn towards all issuers'."""
        soft, asked = self.soft.get("", (0, 0))
        overall = (soft + SOFT_DECLINES[0]) / (asked + SOFT_DECLINES[1])
        soft, asked = self.soft.get(issuer, (0, 0))
        return (soft + SOFT_DECLINES[1] * overall) / (asked + SOFT_DECLINES[1])


def names_of(facts: Facts, *, route: str, credential: str, mode: int) -> tuple[str, ...]:
    """Every name that has an effect on a first attempt: one of each kind."""
    issuer, country = facts.issuer_id, facts.issuer_country
    return (
        "all", f"country {country}", f"issuer {issuer}", f"range {issuer} {facts.bin8}",
        f"merchant {facts.merchant_id}",
        *names_of_way(issuer, country, route=route, credential=credential, mode=mode),
    )  # fmt: skip


def names_of_way(issuer: str, country: str, *, route: str, credential: str, mode: int) -> tuple[str, ...]:
    """Those of the route (3), the mode (4), the credential (3), and of all together."""
    return (
        f"route {route}", f"country+route {country} {route}", f"issuer+route {issuer} {route}",
        f"mode {mode}", f"country+mode {country} {mode}", f"issuer+mode {issuer} {mode}",
        f"issuer+route+mode {issuer} {route} {mode}",
        f"credential {credential}", f"issuer+credential {issuer} {credential}",
        f"issuer+route+credential {issuer} {route} {credential}",
        f"way {issuer} {route} {credential} {mode}",
    )  # fmt: skip


def payment_values(situation: Situation, encoding: Encoding) -> list[float]:
    """PAYMENT_COLUMNS of one attempt."""
    facts, day = situation.facts, situation.at_us // DAY_US
    issuer, range_ = encoding.of_range(facts.issuer_id, facts.issuer_country, facts.bin8)
    return [
        log(1.0 + facts.amount_reporting_minor),
        situation.at_us % DAY_US / HOUR_US,
        float((day + 3) % 7),
        float(day_of_month(day)),
        issuer,
        range_,
        encoding.of_all + encoding.added(f"merchant {facts.merchant_id}"),
        place_in(FUNDINGS, facts.funding),
        place_in(NETWORKS, facts.network),
        encoding.countries.get(facts.issuer_country, NAN),
        float(facts.mcc) if facts.mcc else NAN,
        float(facts.initiator == "mit"),
        NAN if situation.chained is None else float(situation.chained),
        NAN if situation.cvv_present is None else float(situation.cvv_present),
        float(situation.attempt_no),
        encoding.categories.get(situation.last_category, NAN) if situation.last_category else -1.0,
        log(max(situation.at_us - situation.last_us, 0) / HOUR_US + 0.01) if situation.last_us else NAN,
    ]


def way_values(
    facts: Facts, encoding: Encoding, *, route: str, credential: str, mode: int, last_route: str = ""
) -> tuple[float, ...]:
    """WAY_COLUMNS. All but `switched` depend on issuer, country, way and mode alone."""
    code, issuer, country = encoding.routes.get(route), facts.issuer_id, facts.issuer_country
    own = encoding.of_issuer(issuer, country=country)
    names = names_of_way(issuer, country, route=route, credential=credential, mode=mode)
    of_route = encoding.of_all + encoding.added(names[0])
    pair, of_mode = own + encoding.added(*names[:3]), own + encoding.added(*names[3:6])
    of_credential = own + encoding.added(*names[7:9])
    known = code is not None and code.country and country
    return (
        NAN if code is None else float(code.index),
        NAN if code is None else float(code.acquirer),
        float(code.country == country) if code is not None and known else NAN,
        of_route,
        pair,
        float(route != last_route) if last_route else NAN,
        float(credential == "network_token"),
        of_credential,
        float(mode),
        of_mode,
        own + encoding.added(*names),
    )


def vocabulary(names: Sequence[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(sorted(set(names)))}


def categories() -> dict[str, int]:
    """Every category of decline that the response code table knows, at this moment."""
    return vocabulary([row.category for row in declines().values()] + ["unknown"])


def place_in(names: Sequence[str], name: str) -> float:
    return float(names.index(name)) if name in names else NAN


def day_of_month(day: int) -> int:
    """1 to 31, of a day since 1970 (Hinnant's civil_from_days).

    >>> day_of_month(0), day_of_month(59), day_of_month(19_782)
    (1, 1, 29)
    """
    of_era = (day + 719_468) % 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    return of_year - (153 * ((5 * of_year + 2) // 153) + 2) // 5 + 1


def segment_of(*, attempt_no: float, merchant_initiated: float) -> str:
    """What is calibrated apart: first attempts and retries, with the payer there and without.

    >>> segment_of(attempt_no=2.0, merchant_initiated=0.0)
    'retry cit'
    """
    return ("retry " if attempt_no > 1.0 else "first ") + ("mit" if merchant_initiated else "cit")
