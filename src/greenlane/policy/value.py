"""Expected value of each action, written once. Plain functions that numba compiles; `.py_func` is the readable oracle.

    p        P(third-party fraud): would be reported if approved unauthenticated
    q_g q_f  approval of a good and of a fraudulent payer over a way;        q   = (1-p) q_g + p q_f
    p_A p_D  fraud given approval and given decline, by Bayes;               p_A = p q_f / q,  p_D = p (1-q_f) / (1-q)
    good_r   m A - f_r - d D                 L    loss of a fraudulent approval, see `merchants/stakes.py`
    f_r c_r  costs of an approved, of a declined attempt over route r
    V_g V_f  V(h'): worth of a good and of a fraudulent payer who was declined;  without a table V_stop and 0
    S        S_report for each reported fraud, S_dispute for each dispute, on a shifted fraud none of the latter
    B        lambda_acq A (p_A - b): the acquirer's exemption band, for each approval in scope

    auth(p, q, L, r)  = q [(1-p_A) good_r - p_A L - S - B] + (1-q) [-c_r + (1-p_D) V_g + p_D V_f]

    EV(allow, r)      = auth(p, q_r, L)
    EV(challenge, r)  = -c_3ds + P(Y) auth(p_Y, q3_r, L_3ds) + P(U) auth(p, q_r, L) - P(N) (1-p_N) C_ab
         P(U) = u;  P(Y | good) = (1-u) (phi_g + (1-phi_g) s_g), P(Y | fraud) alike;  p_Y, p_N by Bayes
         L_3ds = (1-omega) L + omega handling
    EV(exempt, r)     = (1-delta) auth(p, q_ex_r, L) + delta [-c_soft - c_r + EV(challenge, r | phi = 0)]
         where nobody can be challenged a soft decline is a decline
    EV(review, r)     = -(c_rev + lambda_rev) + auth over the payers whom reviewers pass, TNR (1-k_c) of the good and
                        1-TPR of the fraudulent  - (1-p) [(1-k_c) (1-TNR) C_fd + k_c C_cancel]
    EV(block)         = -(1-p) (C_fd - V_other_method)

`auth` is linear in the masses of good and fraudulent payers, so it takes these masses, (1-p) and p times whatever
befell them before, and no division by q, P(Y) or P(N) is needed:  q (1-p_A) = good q_g,  q p_A = fraud q_f.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.merchants.stakes import Stakes
from greenlane.policy.actions import INTERVENTIONS

Row = NDArray[np.float64]
Table = NDArray[np.int64]

TERMS: Final = (
    "margin", "fees", "fraud_loss", "dispute", "authentication", "friction", "review", "retry_value",
    "constraint_price",
)  # fmt: skip
MARGIN, FEES, FRAUD_LOSS, DISPUTE, AUTHENTICATION, FRICTION, REVIEW, RETRY_VALUE, CONSTRAINT_PRICE = range(len(TERMS))
VALUE: Final = len(TERMS)
"""The last column of a value table: the sum of the terms before it."""

MICRO: Final = 1_000_000
TERM_MAX: Final = 1e18
"""A term is held within 10^12 minor units (x 10^6), so that nine of them always add up in 64 bits."""


class Authentication(NamedTuple):
    """How good payers and fraudsters fare in 3-D Secure at this issuer; probabilities 0..1."""

    frictionless_good: float
    """phi_g."""
    success_good: float
    """s_g: passes a challenge."""
    frictionless_fraud: float
    """phi_f."""
    success_fraud: float
    """s_f."""
    unavailable: float
    """u: no answer for technical reasons."""


class Over(NamedTuple):
    """One way: approval of good and fraudulent payers (0..1) by mode, costs and worths in minor units."""

    good: float
    """q_g."""
    fraud: float
    """q_f."""
    good_3ds: float
    """q3_g."""
    fraud_3ds: float
    """q3_f."""
    good_exempt: float
    """q_ex_g."""
    fraud_exempt: float
    """q_ex_f."""
    soft_decline: float
    """delta."""
    fee: float
    """f_r."""
    fee_3ds: float
    """f_r of an authenticated payment."""
    declined: float
    """c_r."""
    challenge: float
    """c_3ds."""
    worth_good: float
    """V_g."""
    worth_fraud: float
    """V_f."""
    shifted_exempt: float
    """Share of fraud losses that the issuer bears under the exemption that is asked for here."""
    band_price: float
    """lambda_acq A; 0 out of scope."""
    band_rate: float
    """b."""


@njit(cache=True, error_model="numpy")
def auth(
    row: Row, good: float, fraud: float, approval_good: float, approval_fraud: float, fee: float, shifted: float,
    stakes: Stakes, over: Over,
) -> None:  # fmt: skip
    """Adds to `row` what it is worth to send these payers to the issuer, who bears the share `shifted` of losses."""
    approved_good = good * approval_good
    approved_fraud = fraud * approval_fraud
    declined_good = good - approved_good
    declined_fraud = fraud - approved_fraud
    own = stakes.loss + stakes.unrefunded * fee
    loss = (1.0 - shifted) * own + shifted * stakes.handling
    disputes = approved_good * stakes.dispute_share + approved_fraud * (1.0 - shifted) * stakes.fraud_disputed
    excess = approved_fraud - over.band_rate * (approved_good + approved_fraud)
    row[MARGIN] += approved_good * stakes.margin
    row[FEES] -= approved_good * fee + (declined_good + declined_fraud) * over.declined
    row[FRAUD_LOSS] -= approved_fraud * loss
    row[DISPUTE] -= approved_good * stakes.dispute
    row[RETRY_VALUE] += declined_good * over.worth_good + declined_fraud * over.worth_fraud
    row[CONSTRAINT_PRICE] -= approved_fraud * stakes.report_price + disputes * stakes.dispute_price
    row[CONSTRAINT_PRICE] -= over.band_price * excess


@njit(cache=True, error_model="numpy")
def allow(row: Row, p: float, stakes: Stakes, over: Over) -> None:
    auth(row, 1.0 - p, p, over.good, over.fraud, over.fee, stakes.shifted_already, stakes, over)


@njit(cache=True, error_model="numpy")
def challenge(row: Row, good: float, fraud: float, stakes: Stakes, over: Over, payer: Authentication) -> None:
    """Of these masses of payers."""
    answered = 1.0 - payer.unavailable
    passed_good = answered * (payer.frictionless_good + (1.0 - payer.frictionless_good) * payer.success_good)
    passed_fraud = answered * (payer.frictionless_fraud + (1.0 - payer.frictionless_fraud) * payer.success_fraud)
    absent_good, absent_fraud = good * payer.unavailable, fraud * payer.unavailable
    passed_good, passed_fraud = good * passed_good, fraud * passed_fraud
    shifted, unshifted = stakes.shifted_by_challenge, stakes.shifted_already
    auth(row, passed_good, passed_fraud, over.good_3ds, over.fraud_3ds, over.fee_3ds, shifted, stakes, over)
    auth(row, absent_good, absent_fraud, over.good, over.fraud, over.fee, unshifted, stakes, over)
    row[AUTHENTICATION] -= (good + fraud) * over.challenge
    row[FRICTION] -= (good * answered - passed_good) * stakes.abandonment


@njit(cache=True, error_model="numpy")
def exempt(row: Row, p: float, stakes: Stakes, over: Over, payer: Authentication) -> None:
    soft_good = over.soft_decline * (1.0 - p)
    soft_fraud = over.soft_decline * p
    heard_good = 1.0 - p - soft_good
    heard_fraud = p - soft_fraud
    shifted = over.shifted_exempt
    auth(row, heard_good, heard_fraud, over.good_exempt, over.fraud_exempt, over.fee, shifted, stakes, over)
    if stakes.challengeable:
        asked = Authentication(0.0, payer.success_good, 0.0, payer.success_fraud, payer.unavailable)
        row[FEES] -= over.soft_decline * over.declined
        row[FRICTION] -= over.soft_decline * stakes.soft_decline
        challenge(row, soft_good, soft_fraud, stakes, over, asked)
    else:
        auth(row, soft_good, soft_fraud, 0.0, 0.0, over.fee, 0.0, stakes, over)


@njit(cache=True, error_model="numpy")
def review(row: Row, p: float, stakes: Stakes, over: Over) -> None:
    good, fraud = 1.0 - p, p
    cancelled = good * stakes.cancel_share
    stayed = good - cancelled
    passed_good = stayed * stakes.true_negative
    passed_fraud = fraud * (1.0 - stakes.true_positive)
    shifted = stakes.shifted_already
    auth(row, passed_good, passed_fraud, over.good, over.fraud, over.fee, shifted, stakes, over)
    row[FRICTION] -= (stayed - passed_good) * stakes.false_decline + cancelled * stakes.review_cancel
    row[REVIEW] -= stakes.review
    row[CONSTRAINT_PRICE] -= stakes.review_price


@njit(cache=True, error_model="numpy")
def block(row: Row, p: float, stakes: Stakes) -> None:
    row[FRICTION] -= (1.0 - p) * stakes.false_decline
    row[RETRY_VALUE] += (1.0 - p) * stakes.other_method


@njit(cache=True, error_model="numpy")
def rounded(terms: NDArray[np.float64], table: Table) -> None:
    """Micro-minor units, half to even; the value is the sum of the rounded terms, so that they add up exactly."""
    for i in range(terms.shape[0]):
        for r in range(terms.shape[1]):
            value = np.int64(0)
            for term in range(VALUE):
                micro = np.int64(np.rint(min(max(terms[i, r, term] * MICRO, -TERM_MAX), TERM_MAX)))
                table[i, r, term] = micro
                value += micro
            table[i, r, VALUE] = value


@njit(cache=True, error_model="numpy")
def values(p_e9: int, stakes: Stakes, payer: Authentication, ways: NDArray[np.float64]) -> Table:
    """The value table: int64 [interventions, ways, terms + value] in micro-minor units.

    `p_e9` integer 1e-9; `ways` float64 [ways, fields of Over], its probabilities in 1e-9 too. A block goes over no way
    and stands in each column.
    """
    p = p_e9 / 1e9
    terms = np.zeros((len(INTERVENTIONS), ways.shape[0], VALUE))
    for w in range(ways.shape[0]):
        over = Over(
            ways[w, 0] / 1e9, ways[w, 1] / 1e9, ways[w, 2] / 1e9, ways[w, 3] / 1e9, ways[w, 4] / 1e9, ways[w, 5] / 1e9,
            ways[w, 6] / 1e9, ways[w, 7], ways[w, 8], ways[w, 9], ways[w, 10], ways[w, 11], ways[w, 12], ways[w, 13],
            ways[w, 14], ways[w, 15],
        )  # fmt: skip
        allow(terms[0, w], p, stakes, over)
        exempt(terms[1, w], p, stakes, over, payer)
        challenge(terms[2, w], 1.0 - p, p, stakes, over, payer)
        review(terms[3, w], p, stakes, over)
        block(terms[4, w], p, stakes)
    table = np.empty((len(INTERVENTIONS), ways.shape[0], VALUE + 1), np.int64)
    rounded(terms, table)
    return table
