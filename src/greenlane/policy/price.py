"""The money that enters a choice: the payment's stakes as things stand now, and what each route costs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics, Fees
from greenlane.merchants.stakes import Perspective, Stakes, stakes
from greenlane.policy.history import History
from greenlane.policy.parameters import Multipliers
from greenlane.policy.priors import Approval

NO_MULTIPLIERS = Multipliers()


def price(
    economics: Economics,
    amount_minor: int,
    perspective: Perspective,
    *,
    payer_present: bool,
    history: History,
    multipliers: Multipliers,
) -> Stakes:
    """The stakes, with the prices of scarce budgets, and with the share of fraud losses the issuer bears already."""
    plain = stakes(economics, amount_minor, perspective, payer_present=payer_present)
    if multipliers == NO_MULTIPLIERS and not history.liability_shifted:
        return plain
    return plain._replace(
        shifted_already=plain.shifted_by_challenge if history.liability_shifted else 0.0,
        report_price=float(multipliers.report_minor),
        review_price=float(multipliers.review_minor),
    )


def route_matrix(
    approvals: Sequence[Approval], economics: Economics, routes: Sequence[str], *, amount_minor: int
) -> NDArray[np.float64]:
    """float64 [routes, fields of `value.Over`], as `value.values` takes it: probabilities 1e-9, costs in minor units.

    >>> route_matrix([Approval(9 * 10**8, 0, 9 * 10**8, 0)], Economics(), ["default"], amount_minor=10_000).tolist()
    [[900000000.0, 0.0, 900000000.0, 0.0, 230.0, 5.0]]
    """
    route_terms, usual = economics.route_terms, _costs(economics.fees, amount_minor)
    flat: list[float] = []
    for route, approval in zip(routes, approvals, strict=True):
        terms = route_terms.get(route)
        flat += approval
        flat += usual if terms is None or terms.fees is None else _costs(terms.fees, amount_minor)
    return np.array(flat, dtype=np.float64).reshape(len(routes), 6)


def _costs(fees: Fees, amount_minor: int) -> tuple[float, float]:
    """f_r and c_r."""
    return fees.approved_minor(amount_minor), fees.declined_minor
