"""The rows of the approval model: one for each way and mode of one attempt, most of them equal in most columns.

What depends on the payment alone comes first, so that the trees look at it once; what depends on the way or the mode
comes last. Names (issuers, ranges, merchants, routes) enter as log-odds: how often first attempts under the name were
approved, as integer counts, each drawn towards its parent's

    all -> country -> issuer -> range;  all -> route;  issuer + route -> issuer over route;  issuer + mode, + credential

so that a name that was never seen has its parent's log-odds, and an unseen route the index "missing".
"""

from collections.abc import Sequence
from functools import cached_property
from math import exp, log
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
DRAWN: Final = {"n": 20, "i": 20, "b": 40, "m": 40, "r": 20, "x": 40, "c": 40, "k": 40, "w": 60}
"""By kind of name: so many attempts at the parent's rate are added to its own. Assumed."""
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
    """The frozen vocabulary and the counts. A name is a kind, a blank, and what it is the name of.

    >>> Encoding(counts={"": (90, 100), "i iss_1": (10, 20)}).of_issuer("iss_1", country="DE") < 1.0
    True
    """

    counts: dict[str, tuple[int, int]]
    """(approved, answered) first attempts under each name."""
    routes: dict[str, RouteCode] = {}
    countries: dict[str, int] = {}
    categories: dict[str, int] = {}
    soft: dict[str, tuple[int, int]] = {}
    """(soft declines, exempted attempts) by issuer, "" for all."""

    def drawn(self, name: str, parent: float) -> float:
        """Log-odds under a name, drawn towards its parent's."""
        found = self.counts.get(name)
        if found is None:
            return parent
        weight = DRAWN[name[0]] if name else 10
        p = (found[0] + weight / (1.0 + exp(-parent))) / (found[1] + weight)
        return log(p / (1.0 - p))

    @cached_property
    def of_all(self) -> float:
        return self.drawn("", PRIOR_LOG_ODDS)

    def of_issuer(self, issuer: str, *, country: str) -> float:
        return self.drawn(f"i {issuer}", self.drawn(f"n {country}", self.of_all))

    def of_range(self, issuer: str, country: str, bin8: str) -> tuple[float, float]:
        """Of the issuer, and of its range."""
        known = self._ranges.get((issuer, country, bin8))
        if known is None:
            if len(self._ranges) >= RANGES_MAX:
                self._ranges.clear()
            own = self.of_issuer(issuer, country=country)
            known = self._ranges[issuer, country, bin8] = own, self.drawn(f"b {issuer} {bin8}", own)
        return known

    @cached_property
    def _ranges(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Those asked for lately, worked out."""
        return {}

    def forget(self) -> None:
        """Counts have moved: nothing that was worked out of them holds any more."""
        self.__dict__.clear()

    def soft_decline(self, issuer: str) -> float:
        """P(soft decline | exemption), drawn towards all issuers'."""
        soft, asked = self.soft.get("", (0, 0))
        overall = (soft + SOFT_DECLINES[0]) / (asked + SOFT_DECLINES[1])
        soft, asked = self.soft.get(issuer, (0, 0))
        return (soft + SOFT_DECLINES[1] * overall) / (asked + SOFT_DECLINES[1])


def names_of(facts: Facts, *, route: str, credential: str, mode: int) -> tuple[str, ...]:
    """Every name that the answer to a first attempt counts under."""
    issuer = facts.issuer_id
    return (
        "", f"n {facts.issuer_country}", f"i {issuer}", f"b {issuer} {facts.bin8}", f"m {facts.merchant_id}",
        f"r {route}", f"x {issuer} {route}", f"c {mode}", f"c {issuer} {mode}", f"k {credential}",
        f"k {issuer} {credential}", f"w {issuer} {route} {credential} {mode}",
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
        encoding.drawn(f"m {facts.merchant_id}", encoding.of_all),
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
    code, issuer, overall = encoding.routes.get(route), facts.issuer_id, encoding.of_all
    own = encoding.of_issuer(issuer, country=facts.issuer_country)
    of_route = encoding.drawn(f"r {route}", overall)
    pair = encoding.drawn(f"x {issuer} {route}", own + of_route - overall)
    of_mode, of_credential = (
        encoding.drawn(f"{kind} {issuer} {which}", own + encoding.drawn(f"{kind} {which}", overall) - overall)
        for kind, which in (("c", mode), ("k", credential))
    )
    known = code is not None and code.country and facts.issuer_country
    return (
        NAN if code is None else float(code.index),
        NAN if code is None else float(code.acquirer),
        float(code.country == facts.issuer_country) if code is not None and known else NAN,
        of_route,
        pair,
        float(route != last_route) if last_route else NAN,
        float(credential == "network_token"),
        of_credential,
        float(mode),
        of_mode,
        encoding.drawn(f"w {issuer} {route} {credential} {mode}", pair + of_mode + of_credential - 2.0 * own),
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
