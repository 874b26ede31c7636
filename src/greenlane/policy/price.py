"""The money that enters a choice: the payment's stakes as things stand now, and what each way costs."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics, Fees, RouteTerms
from greenlane.merchants.fees import charges, situation_of
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
    terms_of, usual = economics.route_terms, _blended(economics.fees, economics, given.amount_minor)
    rest = _beside_costs(may, attempt, given, economics=economics, money=money)
    flat: list[float] = []
    for at, way in enumerate(may.ways):
        terms = terms_of.get(way.route)
        flat += approvals[at]
        flat += usual if terms is None else _costs(terms, way, attempt, given, economics=economics, usual=usual)
        flat += rest[at]
    return np.array(flat, dtype=np.float64).reshape(len(may.ways), WIDTH)


def _beside_costs(
    may: Eligible, attempt: Attempt, given: Given, *, economics: Economics, money: Stakes
) -> Sequence[tuple[float, ...]]:
    """Of each way: V_g, V_f, the issuer's share under the exemption, lambda_acq A and b."""
    borne = next((row.ways for row in may.rows if row.exemption in BORNE_BY_ISSUER), 0)
    bands = _bands(may, attempt, given, economics=economics)
    count = len(may.ways)
    if given.declined is None and not borne and bands is None:
        return ((money.stop, 0.0, 0.0, 0.0, 0.0),) * count
    told = given.declined
    worths = [(money.stop, 0.0)] * count if not told else [(good / 1e6, fraud / 1e6) for good, fraud in told]
    return [
        (
            *worths[at],
            money.shifted_by_challenge if borne >> at & 1 else 0.0,
            *(bands[at] if bands else NO_BAND),
        )
        for at in range(count)
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


def _costs(terms: RouteTerms, way: Way, attempt: Attempt, given: Given, *, economics: Economics, usual: Costs) -> Costs:
    """By the route's schedule where it prices such a payment, else by its fees, else as usual."""
    amount_minor = given.amount_minor
    if terms.schedule is not None:
        country = terms.acquirer_country or economics.country
        situation = situation_of(
            attempt, credential=way.credential, acquirer_country=country, account=terms.schedule.account
        )
        found = charges(terms.schedule, situation, amount_minor)
        if found is not None:
            return (*found[:3], found.challenge or economics.challenge_minor)
    return usual if terms.fees is None else _blended(terms.fees, economics, amount_minor)


def listed_costs(
    ways: Sequence[Way], attempt: Attempt, given: Given, *, economics: Economics
) -> Sequence[tuple[float, float]] | None:
    """f_r and c_r of each way; None where no route has a price list, so that the blended fees say them."""
    if all(terms.schedule is None for terms in economics.routes):
        return None
    terms_of, usual = economics.route_terms, _blended(economics.fees, economics, given.amount_minor)
    found = []
    for way in ways:
        terms = terms_of.get(way.route)
        priced = usual if terms is None else _costs(terms, way, attempt, given, economics=economics, usual=usual)
        found.append((float(priced[0]), float(priced[2])))
    return found


def _blended(fees: Fees, economics: Economics, amount_minor: int) -> Costs:
    approved = fees.approved_minor(amount_minor)
    return approved, approved, fees.declined_minor, economics.challenge_minor
