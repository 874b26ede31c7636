"""What a control entry remembers: who changed what in the running system, why, and what it was before and after."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from greenlane.errors import InputError
from greenlane.journal.draft import Draft
from greenlane.policy.authenticating import AuthenticationTable
from greenlane.policy.breaker import Window
from greenlane.policy.budgets import check_budget
from greenlane.policy.multipliers import check_price
from greenlane.policy.recovery import RecoveryTable
from greenlane.policy.running import HOLDOUT, checked_share
from greenlane.ports.journal import Entry, name_of


class ControlRecord(Struct, frozen=True, array_like=True, gc=False):
    """`subject` is what kind of thing changed (features, import, model, ...), `id` which one; the rest is plain JSON.

    >>> change = ControlRecord("features", "9f3c", "import", "the first of this directory", None, {"derived": []})
    >>> entry = Entry(1, 1, 0, "control", "import", "1", 0, 0, 1, b"", None, RECORD_ENCODER.encode(change))
    >>> control_of(entry) == change
    True
    """

    subject: str
    id: str
    who: str
    why: str
    before: Any
    after: Any


class Parity(Struct, frozen=True):
    """What the follower found of features served and recomputed."""

    mismatches: int = 0


WRITTEN: Final[dict[str, tuple[Any, str]]] = {
    "parity": (Parity, '{"vectors": 100, "mismatches": 0}'),
    "note": (dict[str, Any], "an object"),
    "outage": (Window | None, '{"from_us": 1790000000000000, "to_us": 1790003600000000}, or null to end it'),
    "kill_switch": (bool | None, "true, false, or null for off"),
    "price": (int | None, "micro-minor units; null takes it away"),
    "budget": (int | None, "integer minor units a day; null for the policy's own"),
    "holdout": (int, "ppm of all units that are in no experiment"),
    "recovery": (RecoveryTable | None, "see `greenlane train recovery`"),
    "authentication": (AuthenticationTable | None, "see `greenlane train authentication`"),
}
"""What may be written over the door besides merchants and models: the body, and an example."""

RECORD_ENCODER: Final = msgspec.msgpack.Encoder()
RECORD_DECODER: Final = msgspec.msgpack.Decoder(ControlRecord)


def control_draft(record: ControlRecord, *, source: str, event_id: str, ingest_us: int | None = None) -> Draft:
    """The entry to append; the same change under the same key is the same entry."""
    payload = RECORD_ENCODER.encode(record)
    return Draft(
        kind="control",
        source=source,
        event_id=event_id,
        body_hash=name_of("control", payload.hex()),
        payload=payload,
        ingest_us=ingest_us,
    )


def same_change(one: ControlRecord, other: ControlRecord) -> bool:
    """Whatever was in force before.

    >>> change = ControlRecord("model", "fraud/champion", "anna", "better", None, "mdl_1")
    >>> same_change(change, replace(change, before="mdl_0")), same_change(change, replace(change, after="mdl_2"))
    (True, False)
    """
    first, second = (RECORD_ENCODER.encode(replace(record, before=None)) for record in (one, other))
    return first == second


def check_control(subject: str, id: str, after: object) -> None:  # noqa: A002 # the word that control entries have for it
    """InputError where the running system could not take such a change over its door.

    >>> check_control("kill_switch", "route_a", True)
    >>> check_control("kill_switch", "route_a", "yes")
    Traceback (most recent call last):
    greenlane.errors.InputError: Expected `bool | null`, got `str` (at $.after)
      hint: true, false, or null for off
    """
    if subject not in WRITTEN:
        raise InputError(f"{subject!r} is not written here", param="$.subject", hint=f"one of {', '.join(WRITTEN)}")
    kind, hint = WRITTEN[subject]
    try:
        msgspec.convert(after, kind)
    except msgspec.ValidationError as error:
        raise InputError(str(error), param="$.after", hint=hint) from error
    if subject == "price":
        check_price(id, after)
    elif subject == "budget":
        check_budget(id, after)
    elif subject == HOLDOUT:
        checked_share(after)


def control_of(entry: Entry) -> ControlRecord:
    return RECORD_DECODER.decode(entry.payload)
