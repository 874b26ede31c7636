"""What a choice is given besides the attempt, its merchant and the policy: recorded whole, so that replay has it."""

from typing import Final, NamedTuple

from msgspec import Struct

from greenlane.policy.degrade import Rung
from greenlane.policy.explore import Context
from greenlane.policy.history import History
from greenlane.policy.parameters import Multipliers
from greenlane.policy.priors import Approval, Payer

FREE: Final = Multipliers()


class Barred(NamedTuple):
    """A way that something took away for now: a limit, a breaker, a kill switch, the state of the credential."""

    route: str
    credential: str
    why: str


class Worth(NamedTuple):
    """V(h'): what a declined payer is still worth, in micro-minor units, after a decline over one way."""

    good_micro: int
    fraud_micro: int


class Given(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The inputs of one choice.

    >>> Given(amount_minor=10_000, fraud_probability_e9=1_000_000).rung
    'full'
    """

    amount_minor: int
    """In the reporting currency, as the merchant's economics are."""
    fraud_probability_e9: int | None
    """P(reported as fraud if approved unauthenticated), integer 1e-9; None leads to the static answers."""
    ingest_us: int = 0
    rung: Rung = "full"
    stops: tuple[str, ...] = ()
    """Hits of lists and blocking rules: any leaves only the block."""
    review_open: bool = True
    multipliers: Multipliers = FREE
    history: History | None = None
    """What happened to this payment so far; None: what the attempt itself tells."""
    barred: tuple[Barred, ...] = ()
    approvals: tuple[Approval, ...] | None = None
    """One for each eligible way; None: the stated priors."""
    declined: tuple[Worth, ...] | None = None
    """One for each eligible way, in the perspective that is optimised; None: a declined payer is worth V_stop."""
    context: Context | None = None
    """What exploration looks at; None: there is none."""
    degraded: tuple[str, ...] = ()
    """Parts that failed, so that something more modest was given in their place."""
    payer: Payer | None = None
    """What was learned of 3-D Secure at this issuer; None: the stated priors."""
