"""The money that enters a choice: the payment's stakes as things stand now, and what each way costs."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics
from greenlane.merchants.fees import Quote, Schedule, Segment, segment_of
from greenlane.merchants.stakes import Perspective, Stakes, stakes
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import Eligible, Way
from greenlane.policy.exemptions import BORNE_BY_ISSUER
from greenlane.policy.given import FREE, Given
from greenlane.policy.history import History
from greenlane.policy.mandate import sca_required
from greenlane.policy.priors import Approval
from greenlane.policy.value import Over

WIDTH: Final = len(Over._fields)
WORTH_GOOD: Final = Over._fields.index("worth_good")
WORTH_FRAUD: Final = Over._fields.index("worth_fraud")
NO_BAND: Final = (0.0, 0.0)
TARIFFS_MAX: Final = 8_192
QUOTES_MAX: Final = 1_024
"""Of one tariff."""
UNLISTED: Final = (None,)

Quotes = tuple[Quote | None, ...]
Costs = tuple[float, float, float, float]
"""f_r, f_r of an authenticated payment, c_r, c_3ds."""


def price(
    attempt: Attempt,
    given: Given,
    perspective: Perspective,
    *,
    economics: Economics,
    history: History,
    challengeable: bool,
) -> Stakes:
    """The stakes, with the prices of scarce budgets, and with the share of fraud losses the issuer bears already."""
    present = attempt.payment.initiator == "cit"
    plain = stakes(economics, given.amount_minor, perspective, payer_present=present)
    multipliers = given.multipliers
    if challengeable and not history.liability_shifted and multipliers == FREE:
        return plain
    return plain._replace(
        shifted_already=plain.shifted_by_challenge if history.liability_shifted else 0.0,
        challengeable=float(challengeable),
        report_price=float(multipliers.report_minor),
        dispute_price=float(multipliers.dispute_minor),
        review_price=float(multipliers.review_minor),
    )


def ways_matrix(
    may: Eligible,
    approvals: Sequence[Approval],
    attempt: Attempt,
    given: Given,
    *,
    economics: Economics,
    money: Stakes,
) -> NDArray[np.float64]:
    """float64 [ways, fields of `value.Over`], as `value.values` takes it: probabilities 1e-9, money in minor units.

    Where no worth of a declined payer is given, it is V_stop for a good one and nothing for a fraudulent one.
    """
    costs = costs_of(may.ways, attempt, given.amount_minor, economics=economics)
    flat: list[float] = []
    for approval, cost, rest in zip(
        approvals, costs, _beside_costs(may, attempt, given, economics, money), strict=True
    ):
        flat += approval
        flat += cost
        flat += rest
    return np.array(flat, dtype=np.float64).reshape(len(may.ways), WIDTH)


def _beside_costs(
    may: Eligible, attempt: Attempt, given: Given, economics: Economics, money: Stakes
) -> Sequence[tuple[float, ...]]:
    """Of each way: V_g, V_f, the issuer's share under the exemption, lambda_acq A and b."""
    borne = next((row.ways for row in may.rows if row.exemption in BORNE_BY_ISSUER), 0)
    bands = _bands(may, attempt, given, economics=economics)
    count, told = len(may.ways), given.declined
    worths = [(good / 1e6, fraud / 1e6) for good, fraud in told] if told else [(money.stop, 0.0)] * count
    if not borne and bands is None:
        return [(good, fraud, 0.0, 0.0, 0.0) for good, fraud in worths]
    shifted = money.shifted_by_challenge
    return [
        (*worths[at], shifted if borne >> at & 1 else 0.0, *(bands[at] if bands else NO_BAND)) for at in range(count)
    ]


def seen_otherwise(over: NDArray[np.float64], column: int, money: Stakes) -> NDArray[np.float64]:
    """One way of the matrix as the other perspective sees it, in which a declined payer is worth V_stop."""
    row = over[column : column + 1].copy()
    row[0, WORTH_GOOD], row[0, WORTH_FRAUD] = money.stop, 0.0
    return row


def acquirer_of(route: str, attempt: Attempt, economics: Economics) -> str:
    """Whose exemption band a route's payments count in; a route of no named acquirer stands for itself."""
    terms = economics.route_terms.get(route)
    if terms is not None and terms.acquirer is not None:
        return terms.acquirer
    return next((told.acquirer for told in attempt.eligible_routes if told.id == route and told.acquirer), route)


def _bands(may: Eligible, attempt: Attempt, given: Given, *, economics: Economics) -> list[tuple[float, float]] | None:
    """(lambda_acq A, b) of each way; None where no band has a price or the payment does not count."""
    prices = given.multipliers.band_micro
    if not prices or not sca_required(attempt, economics.country):
        return None
    found = []
    for way in may.ways:
        terms = economics.route_terms.get(way.route)
        micro = prices.get(acquirer_of(way.route, attempt, economics), 0)
        bps = terms.tra_band.reference_bps if terms is not None else 0
        found.append((micro * given.amount_minor / 1e6, bps / 1e4))
    return found


def costs_of(ways: tuple[Way, ...], attempt: Attempt, amount_minor: int, *, economics: Economics) -> list[Costs]:
    """Of each way by its route's price list where that prices such a payment, else by its fees, else as usual."""
    key = economics.version, ways
    tariff = _tariffs.get(key)
    if tariff is None:
        if len(_tariffs) >= TARIFFS_MAX:
            _tariffs.clear()
        tariff = _tariffs[key] = _tariff(ways, economics)
    quotes = tariff.quotes_of(attempt, ways, amount_minor) if tariff.listed else UNLISTED * len(ways)
    found: list[Costs] = []
    for quote, (pct_ppm, fixed_minor, declined, challenge) in zip(quotes, tariff.fees, strict=True):
        if quote is None:
            approved = pct_ppm * amount_minor / 1_000_000 + fixed_minor
            found.append((approved, approved, declined, challenge))
        else:
            approved, authenticated, refused, asked = quote.charges(amount_minor)
            found.append((approved, authenticated, refused, asked or challenge))
    return found


class Tariff(NamedTuple):
    """What some ways of a merchant cost, before anybody knows the amount."""

    fees: list[tuple[int, int, int, int]]
    """ppm of the amount, and fixed, of an approved attempt; of a declined one; of a challenge."""
    listed: list[tuple[int, str | None, Schedule]]
    """Ways whose route has a price list, and where its acquirer is."""
    edges: list[int]
    """Amounts at which the rules that hold may change."""
    quotes: dict[tuple[Segment, int], Quotes]

    def quotes_of(self, attempt: Attempt, ways: tuple[Way, ...], amount_minor: int) -> Quotes:
        """Of each way; None where no list prices such a payment. Kept by segment, as there are few."""
        key = segment_of(attempt), bisect_right(self.edges, amount_minor)
        known = self.quotes.get(key)
        if known is None:
            if len(self.quotes) >= QUOTES_MAX:
                self.quotes.clear()
            made: list[Quote | None] = [None] * len(ways)
            for at, country, schedule in self.listed:
                quote = schedule.quote(key[0].over(ways[at].credential, country, schedule.account), amount_minor)
                made[at] = quote if quote.priced else None
            known = self.quotes[key] = tuple(made)
        return known


def _tariff(ways: tuple[Way, ...], economics: Economics) -> Tariff:
    terms_of, usual, challenge = economics.route_terms, economics.fees, economics.challenge_minor
    found = Tariff([], [], [], {})
    for at, way in enumerate(ways):
        terms = terms_of.get(way.route)
        fees = usual if terms is None else terms.fees or usual
        found.fees.append((fees.pct_ppm, fees.fixed_minor, fees.declined_minor, challenge))
        if terms is not None and terms.schedule is not None:
            found.listed.append((at, terms.acquirer_country or economics.country, terms.schedule))
    found.edges.extend(sorted({edge for _, _, schedule in found.listed for edge in schedule.edges}))
    return found


_tariffs: Final[dict[tuple[str, tuple[Way, ...]], Tariff]] = {}
