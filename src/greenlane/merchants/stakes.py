"""What one payment puts at stake, in money, for whoever's value is optimised: a merchant's or a PSP's.

Merchant. A good payment earns its margin; a fraudulent one costs

    L(A) = kappa (1 - m) A + F_cb + unrefunded f_r + O_ops        (and S, the programme's price of a report)

The sale price is not added: it was received and taken back. f_r is the route's, so that part is added with the route.

PSP. A good payment earns the take; a fraudulent one costs P(merchant insolvent) A + fines. What it costs a merchant to
turn a payer away costs the PSP in proportion to what it earns: by take over margin.
"""

from typing import Final, Literal, NamedTuple

from greenlane.merchants.economics import Economics

Perspective = Literal["merchant", "psp"]
KNOWN_MAX: Final = 1_024
"""A payment's stakes are asked for several times in a row; then all are forgotten."""


class Stakes(NamedTuple):
    """Minor units of the reporting currency, except `unrefunded` and the shares; symbols are those of policy.md."""

    margin: float
    """m A, before the route's fees."""
    dispute: float
    """d D, expected first-party loss of an approved good payment."""
    loss: float
    """L(A) without the route's unrefunded fees and without S."""
    unrefunded: float
    """Share of f_r that comes on top of `loss`."""
    handling: float
    """What remains of a loss that was shifted to the issuer."""
    shifted_by_challenge: float
    """omega, of an approval that follows a successful challenge."""
    shifted_already: float
    """The same share for an approval as things stand now: 0 unless the payment was authenticated before."""
    report_price: float
    """S_report: what one reported fraud costs towards the network's programme."""
    dispute_price: float
    """S_dispute: what one dispute costs towards it."""
    dispute_share: float
    """d, of approved good payments."""
    fraud_disputed: float
    """Share of reported frauds that are disputed too where the liability is ours."""
    stop: float
    """V_stop of a certainly good payer: rho V_payer_retry - C_lost."""
    false_decline: float
    """C_fd."""
    other_method: float
    """V_other_method."""
    abandonment: float
    """C_ab."""
    challenge: float
    """c_3ds, where the route's price list states none."""
    challengeable: float
    """1, or 0 where a soft decline cannot be answered."""
    soft_decline: float
    """c_soft, beyond the fee of a declined attempt."""
    review: float
    """c_rev."""
    review_price: float
    """lambda_rev: what an hour of review is worth to other payments."""
    review_cancel: float
    """C_cancel."""
    cancel_share: float
    """k_c."""
    true_positive: float
    """TPR."""
    true_negative: float
    """TNR."""


def stakes(economics: Economics, amount_minor: int, perspective: Perspective, *, payer_present: bool = True) -> Stakes:
    """The stakes of a payment of `amount_minor`, with no fraud shifted yet and no budget priced.

    `payer_present` is False for a merchant-initiated payment: nobody retries, and a lost one may end the contract.

    >>> retail = stakes(Economics(), 10_000, "merchant")
    >>> retail.margin, retail.loss
    (3500.0, 8500.0)
    """
    key = economics.version, amount_minor, perspective, payer_present
    known = _known.get(key)
    if known is None:
        if len(_known) >= KNOWN_MAX:
            _known.clear()
        known = _known[key] = _stakes(economics, amount_minor, perspective, payer_present=payer_present)
    return known


def _stakes(economics: Economics, amount_minor: int, perspective: Perspective, *, payer_present: bool) -> Stakes:
    is_merchant = perspective == "merchant"
    margin_ppm = economics.margin_ppm
    dispute_fee, handling = float(economics.dispute_fee_minor), float(economics.handling_minor)
    margin = margin_ppm * amount_minor / 1e6
    goods = economics.unrecoverable_ppm * (1_000_000 - margin_ppm) * amount_minor / 1e12
    stated = economics.dispute_cost_minor
    dispute_cost = margin + goods + dispute_fee + handling if stated is None else float(stated)
    loss, proportion = goods + dispute_fee + handling, 1.0
    if not is_merchant:  # who bears friction's costs only in proportion
        margin = economics.take_ppm * amount_minor / 1e6 + economics.take_minor
        loss = economics.insolvency_ppm * amount_minor / 1e6 + economics.fines_minor
        proportion = min(1.0, economics.take_ppm / margin_ppm) if margin_ppm else 1.0
    return Stakes(
        margin=margin,
        dispute=economics.dispute_ppm * dispute_cost / 1e6 if is_merchant else 0.0,
        loss=loss,
        unrefunded=economics.unrefunded_ppm / 1e6 if is_merchant else 0.0,
        handling=handling if is_merchant else 0.0,
        shifted_by_challenge=economics.shifted_ppm / 1e6,
        shifted_already=0.0,
        report_price=0.0,
        dispute_price=0.0,
        dispute_share=economics.dispute_ppm / 1e6,
        fraud_disputed=economics.fraud_disputed_ppm / 1e6,
        stop=_stop(economics, margin, proportion, payer_present=payer_present),
        false_decline=proportion * economics.false_decline_minor,
        other_method=economics.other_method_value_ppm * margin / 1e6,
        abandonment=proportion * economics.abandonment_minor,
        challenge=float(economics.challenge_minor),
        challengeable=1.0,
        soft_decline=proportion * economics.soft_decline_minor,
        review=float(economics.review_minor),
        review_price=0.0,
        review_cancel=proportion * economics.review_cancel_minor,
        cancel_share=economics.review_cancel_ppm / 1e6,
        true_positive=economics.review_true_positive_ppm / 1e6,
        true_negative=economics.review_true_negative_ppm / 1e6,
    )


def _stop(economics: Economics, margin: float, proportion: float, *, payer_present: bool) -> float:
    """V_stop given a good payer; without a payer C_lost = churn x residual value, and nobody retries."""
    if not payer_present:
        return -proportion * economics.churn_ppm * economics.residual_value_minor / 1e6
    retried = economics.payer_retry_ppm * economics.payer_retry_value_ppm * margin / 1e12
    return retried - proportion * economics.lost_sale_minor


_known: Final[dict[tuple[str, int, Perspective, bool], Stakes]] = {}
