"""What a decision expected of the attempt it let pass, read from its record at a tenth of the price of the whole."""

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from greenlane.decisions.record import DecisionRecord
from greenlane.policy.actions import Action, Eligible, Way
from greenlane.policy.believe import Probabilities, mixed_e9
from greenlane.policy.choose import Chosen
from greenlane.policy.explore import Explored
from greenlane.policy.given import Given
from greenlane.policy.priors import Approval
from greenlane.ports.journal import Entry

NIL: Final = msgspec.msgpack.encode(None)


def narrowed(record: type[Struct], **wanted: Any) -> Any:
    """A struct that reads only the wanted fields of `record`, by name, and steps over the others."""
    fields = [
        (each.name, wanted.get(each.name, Raw), *([] if each.required else [Raw(NIL)]))
        for each in msgspec.structs.fields(record)
    ]
    return msgspec.defstruct(record.__name__, fields, array_like=True, kw_only=True, gc=False)


GLIMPSE: Final = narrowed(
    DecisionRecord,
    known=bytes,
    vector_of=str,
    model=str,
    release=str,
    given=narrowed(Given, fraud_probability_e9=int | None, approvals=tuple[Approval, ...] | None),
    chosen=narrowed(
        Chosen,
        action=Action,
        may=narrowed(Eligible, ways=tuple[Way, ...]),
        explored=Explored,
        probabilities=Probabilities | None,
        degraded=tuple[str, ...],
    ),
)
GLIMPSE_DECODER: Final = msgspec.msgpack.Decoder(GLIMPSE)


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
    record = GLIMPSE_DECODER.decode(entry.payload)
    chosen, seen = record.chosen, record.chosen.probabilities
    action: Action = chosen.action
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
