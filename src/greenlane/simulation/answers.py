"""The words between a policy and a living world: what is sent, what comes back, and what may be known of the odds."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from greenlane.payments.outcome import Outcome

Sending = Literal["allow", "exempt", "challenge", "review", "block"]
Result = Literal["approved", "declined", "unknown", "not_sent", "failed", "refused", "cancelled", "blocked"]
"""`unknown`: a time-out, see `Answer.issuer_approved`; `failed`: the authentication; `refused`: by the reviewer;
`cancelled`: the payer did not wait for the review."""

PLAIN, AUTHENTICATED, EXEMPT = range(3)
"""Modes of an authorisation request: the last axis of `WayOdds`."""

Happened = list[tuple[int, Outcome]]
Telling = Callable[[], Happened]


class Sent(NamedTuple):
    """One action carried out at `at_us` (UTC microseconds). A block needs no route."""

    route: str = ""
    credential: str = "pan"
    """"pan" or "network_token"."""
    intervention: Sending = "allow"
    exemption: str = ""
    at_us: int = 0
    """0: at the arrival's own time."""
    attempt_no: int = 1
    corrected: bool = False
    """The payer was asked and typed the card data again."""


class Past(Protocol):
    """One earlier attempt as any caller remembers it: `policy.history.Tried` and `Heard` both are one."""

    @property
    def at_us(self) -> int: ...
    @property
    def route(self) -> str: ...
    @property
    def credential(self) -> str: ...
    @property
    def intervention(self) -> str: ...
    @property
    def code(self) -> str: ...


class Heard(NamedTuple):
    """An earlier attempt and its answer; for planning, also one that is only imagined."""

    at_us: int
    route: str
    credential: str
    intervention: str
    code: str
    """The network response code; "" where none came (time-out, not sent)."""


History = Sequence[Past]


class Authenticated(NamedTuple):
    """The answer of 3-D Secure."""

    status: Literal["Y", "N", "U"]
    flow: Literal["frictionless", "challenge", ""]
    shifted: bool
    """The issuer bears a fraud dispute."""
    at_us: int
    """When the answer came."""


class Authenticating(NamedTuple):
    """Odds of 3-D Secure at this issuer, in the order of the policy's own; probabilities 0..1."""

    frictionless_good: float
    success_good: float
    frictionless_fraud: float
    success_fraud: float
    unavailable: float


class WayOdds(NamedTuple):
    """What the informed oracle may see: P(approved | what a caller can know, the issuers' memory, the time), for every
    way and mode, given that the payer is good, and given a fraudster. It never tells which of them this payer is.

    Arrays are float64 [ways, modes (PLAIN, AUTHENTICATED, EXEMPT)], and `rates` all three of them. `good` and `fraud`
    of PLAIN already count out what the issuer declines softly; those of EXEMPT are given that the exemption is
    honoured, so that P(approved | exempt) = (1 - soft) good.
    """

    ways: tuple[tuple[str, str], ...]
    """(route, credential) in the order of `eligible_routes`, "pan" before "network_token"."""
    rates: NDArray[np.float64]
    """[ways, modes, (good, fraud, soft)]; soft, P(1A / 65), is 0 after authentication and out of scope."""

    @property
    def good(self) -> NDArray[np.float64]:
        return self.rates[..., 0]

    @property
    def fraud(self) -> NDArray[np.float64]:
        return self.rates[..., 1]


class Terms(NamedTuple):
    """True expected money of one action now, minor units, with the payer's own probabilities; see `Living.true_terms`.

    `value` is the immediate money, without what may still follow a decline; `declined * stop` is V_stop, due once, when
    nothing more is tried. P(approved) + P(declined) < 1 where the payer fails the challenge or review, or is blocked.
    """

    approved: float
    """P(approved by this action)."""
    declined: float
    """P(an authorisation was asked for and not given)."""
    value: float
    margin: float
    fees: float
    fraud_loss: float
    dispute: float
    authentication: float
    friction: float
    review: float
    stop: float
    """V_stop of this payer given a decline: 0 for a fraudster."""
    reported: float
    """P(approved and then reported as fraud): expected reports."""


class Answer(NamedTuple):
    """What came of one `Sent`."""

    result: Result
    approval_probability: float
    """True P(this action ends approved) of this very payer at this moment, through authentication or review."""
    authorization_probability: float
    """True P(approved) of the authorisation request that was made; 0 where none was."""
    code: str
    """Network response code: "00", "51", ...; "" where the network said nothing."""
    advice: str
    """Mastercard merchant advice code, often ""."""
    authentication: Authenticated | None
    sent_at_us: int
    """When the authorisation went out (after authentication or review)."""
    at_us: int
    """When the answer was known."""
    issuer_approved: bool
    """What the issuer holds to be true; differs from `result` only where that is `unknown`: a query tells."""
    telling: Telling
    """Tells `outcomes`, in any order: most who ask for an answer do not want them."""

    @property
    def outcomes(self) -> Happened:
        """Everything to be told to Greenlane, each with the time (UTC microseconds) at which it becomes known: first
        authentication, review, authorisation; then, if approved, fraud reports and disputes weeks later."""
        return sorted(self.telling(), key=lambda event: event[0])

    @property
    def approved(self) -> bool:
        return self.result == "approved"
