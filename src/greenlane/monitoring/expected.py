"""What a decision expected of the attempt it let pass, in probabilities."""

from typing import NamedTuple

from greenlane.decisions.record import record_of
from greenlane.policy.actions import Action, Way
from greenlane.policy.believe import Probabilities, mixed_e9
from greenlane.policy.explore import Explored
from greenlane.policy.priors import Approval
from greenlane.ports.journal import Entry


class Expected(NamedTuple):
    """Probabilities 0..1; 0 where nothing was believed."""

    intervention: str
    route: str
    approval: float
    """P(approved), of this payer over this way in this mode."""
    fraud: float
    """p, reported as fraud if approved unauthenticated."""
    fraud_given_approval: float
    model: str
    release: str
    known: bytes
    """The packed feature vector, b"" where an earlier one of the attempt was used again."""
    explored: Explored
    """What was drawn, and from what."""


def expected_of(entry: Entry) -> Expected:
    """Of a decision entry."""
    record = record_of(entry)
    chosen, seen = record.chosen, record.chosen.probabilities
    action = chosen.action
    fraud_e9 = record.given.fraud_probability_e9 or 0
    return Expected(
        intervention=action.intervention,
        route=action.route,
        approval=0.0 if seen is None else approval_e9(action, chosen.may.ways, seen, record.given.approvals) / 1e9,
        fraud=fraud_e9 / 1e9,
        fraud_given_approval=0.0 if seen is None else seen.fraud_given_approval_e9 / 1e9,
        model=record.model,
        release=record.release,
        known=b"" if record.vector_of else record.known,
        explored=chosen.explored,
    )


def approval_e9(
    action: Action, ways: tuple[Way, ...], seen: Probabilities, approvals: tuple[Approval, ...] | None
) -> int:
    """In the mode in which it was sent: plain, authenticated, or with an exemption that may be declined softly."""
    if action.way not in ways:
        return 0
    at = ways.index(action.way)
    if approvals is None or action.intervention not in ("challenge", "exempt"):
        return seen.approval_e9[at]
    over, p_e9 = approvals[at], seen.fraud_given_history_e9
    if action.intervention == "challenge":
        return mixed_e9(p_e9, good_e9=over.good_3ds_e9, fraud_e9=over.fraud_3ds_e9)
    honoured_e9 = 1_000_000_000 - over.soft_decline_e9
    return mixed_e9(p_e9, good_e9=over.good_exempt_e9, fraud_e9=over.fraud_exempt_e9) * honoured_e9 // 1_000_000_000
