"""How an issuer answers: the one formula of approval, for one payment or a crowd, for good payers and fraudulent ones.

    z  = common + route (issuer x route, drift) + credential + authentication or exemption, each with its interaction
         - an issuer's own threshold of amounts - its strict hours, above a part of that threshold - its memory
    P  = ceiling x [mix x (1 - exp(-ln 2 exp(a z))) + (1 - mix) x (1/2 + atan(z) / pi)]
         x P(credential works) x health x recovery, after a decline x (1 - P(soft decline)), where plain

Thresholds, products of conditions and a link that differs by issuer: no policy can hold the true family by luck.
"""

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.simulation.answers import AUTHENTICATED, EXEMPT, PLAIN

Table = NDArray[np.float64]

ISSUER: Final = (
    "ceiling", "mix", "three_ds", "exempt", "token", "limit", "limit_drop", "strict_from", "strict_hours",
    "strict_drop", "soft_plain", "soft_exempt", "fraud",
)  # fmt: skip
"""Columns of an issuer."""
CEILING, MIX, THREE_DS, EXEMPTED, TOKEN, LIMIT, LIMIT_DROP, STRICT_FROM, STRICT_HOURS, STRICT_DROP, SOFT_PLAIN, SOFT_EXEMPT, FRAUD = range(len(ISSUER))  # fmt: skip # noqa: E501 - the columns above

OVER: Final = ("plain", "three_ds", "exempt", "token", "soft", "retry")
"""Columns of an issuer over one route; all but the first are interactions."""
O_PLAIN, O_THREE_DS, O_EXEMPT, O_TOKEN, O_SOFT, O_RETRY = range(len(OVER))

CASE: Final = ("common", "log_amount", "hour", "in_scope", "fraud", "number_works", "token_works")
"""Columns of a payment: `fraud` is what its approval loses if the payer is one."""
COMMON, LOG_AMOUNT, HOUR, IN_SCOPE, FRAUD_SHIFT, NUMBER_WORKS, TOKEN_WORKS = range(len(CASE))

MODES: Final = 3
STEEPNESS: Final = 0.55
STRICT_ABOVE: Final = math.log(4.0)
"""Strict hours bind above a quarter of the issuer's threshold."""
FRAUD_RECOVERS: Final = 0.5
"""A fraudster's retries recover less: what the issuer suspected was true."""


@njit(cache=True, error_model="numpy")
def approved(z: float, issuer: Table) -> float:
    """P(approved) of the latent z at this issuer."""
    skewed = 1.0 - math.exp(-0.6931471805599453 * math.exp(STEEPNESS * z))
    heavy = 0.5 + math.atan(z) / math.pi
    probability: float = issuer[CEILING] * (issuer[MIX] * skewed + (1.0 - issuer[MIX]) * heavy)
    return probability


@njit(cache=True, error_model="numpy")
def latent(case: Table, issuer: Table, over: Table, mode: int, token: int) -> float:
    """z of a good payer, before memory and drift."""
    z: float = case[COMMON] + over[O_PLAIN]
    if token:
        z += issuer[TOKEN] + over[O_TOKEN]
    drop = issuer[LIMIT_DROP]
    if mode == AUTHENTICATED:
        z += issuer[THREE_DS] + over[O_THREE_DS]
        drop *= 0.5
    elif mode == EXEMPT:
        z += issuer[EXEMPTED] + over[O_EXEMPT]
    if case[LOG_AMOUNT] > issuer[LIMIT]:
        z -= drop
    if (
        case[LOG_AMOUNT] > issuer[LIMIT] - STRICT_ABOVE
        and (case[HOUR] - issuer[STRICT_FROM]) % 24.0 < issuer[STRICT_HOURS]
    ):
        z -= issuer[STRICT_DROP]
    return z


@njit(cache=True, error_model="numpy")
def soft_declined(case: Table, issuer: Table, over: Table, mode: int) -> float:
    """P(1A or 65)."""
    if mode == AUTHENTICATED or case[IN_SCOPE] == 0.0:
        return 0.0
    log_odds = issuer[SOFT_PLAIN] if mode == PLAIN else issuer[SOFT_EXEMPT] + over[O_SOFT]
    return 1.0 / (1.0 + math.exp(-log_odds))


@njit(cache=True, error_model="numpy")
def respond(
    case: Table, issuer: Table, over: Table, drift: Table, health: Table, lost: float, recovery: Table, out: Table
) -> None:
    """Fills `out` [routes, credentials, modes, (good, fraud, soft)] for one payment.

    `over` [routes, OVER]; `drift` and `health` [routes]; `lost`: what memory costs; `recovery` [routes, credentials,
    modes], ones where nothing was declined before.
    """
    for r in range(over.shape[0]):
        for token in range(2):
            works = case[TOKEN_WORKS] if token else case[NUMBER_WORKS]
            for mode in range(MODES):
                z = latent(case, issuer, over[r], mode, token) + drift[r] - lost
                soft = soft_declined(case, issuer, over[r], mode)
                again = recovery[r, token, mode]
                share = works * health[r] * (1.0 - soft if mode == PLAIN else 1.0)
                fraud_again = again if again >= 1.0 else FRAUD_RECOVERS * again
                out[r, token, mode, 0] = share * again * approved(z, issuer)
                out[r, token, mode, 1] = share * fraud_again * approved(z + case[FRAUD_SHIFT] + issuer[FRAUD], issuer)
                out[r, token, mode, 2] = soft
