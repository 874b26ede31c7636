"""What a decision expected of the attempt it let pass, in probabilities."""

from typing import Final

from msgspec import Struct

from greenlane.decisions.record import DecisionRecord
from greenlane.policy.actions import Action, Way
from greenlane.policy.believe import Probabilities, mixed_e9
from greenlane.policy.distribution import TOTAL
from greenlane.policy.priors import Approval

UNCHALLENGED: Final = ("allow", "exempt")
RELEASED: Final = "release"


class Expected(Struct, frozen=True, array_like=True, gc=False):
    """Remembered until the answer comes. Probabilities 0..1; 0 where nothing was believed."""

    route: str
    approval: float
    """P(approved), of this payer over this way in this mode."""
    fraud: float
    """p_A, reported as fraud given that it is approved."""
    model: str
    weight: float
    """1 / propensity of a released block, else 0."""
    passes: bool
    """Without a challenge."""


def expected_of(record: DecisionRecord) -> Expected:
    chosen = record.chosen
    seen, action, drawn = chosen.probabilities, chosen.action, chosen.explored
    released = drawn.explored and drawn.kind == RELEASED and drawn.distribution[drawn.place]
    return Expected(
        action.route,
        0.0 if seen is None else approval_e9(action, chosen.may.ways, seen, record.given.approvals) / 1e9,
        0.0 if seen is None else seen.fraud_given_approval_e9 / 1e9,
        record.model,
        TOTAL / drawn.distribution[drawn.place] if released else 0.0,
        action.intervention in UNCHALLENGED,
    )


def approval_e9(
    action: Action, ways: tuple[Way, ...], seen: Probabilities, approvals: tuple[Approval, ...] | None
) -> int:
    """In the mode in which it was sent: plain, authenticated, or with an exemption that may be declined softly."""
    wanted = (action.route, action.credential)
    if wanted not in ways:
        return 0
    at = ways.index(wanted)
    if approvals is None or action.intervention not in ("challenge", "exempt"):
        return seen.approval_e9[at]
    over, p_e9 = approvals[at], seen.fraud_given_history_e9
    if action.intervention == "challenge":
        return mixed_e9(p_e9, good_e9=over.good_3ds_e9, fraud_e9=over.fraud_3ds_e9)
    honoured_e9 = 1_000_000_000 - over.soft_decline_e9
    return mixed_e9(p_e9, good_e9=over.good_exempt_e9, fraud_e9=over.fraud_exempt_e9) * honoured_e9 // 1_000_000_000
