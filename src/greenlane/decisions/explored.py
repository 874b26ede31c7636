"""What a decision explored, read from its entry without reading the rest: the exploration ledger asks it of each."""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from greenlane.decisions.record import DecisionRecord
from greenlane.policy.choose import Chosen
from greenlane.policy.explore import Explored
from greenlane.ports.journal import Entry


def up_to(struct: type[Struct], field: str, kind: Any) -> Any:
    """`struct` as far as `field`, of which alone the content is read: the other places stay bytes."""
    names = struct.__struct_fields__
    before = [(name, Raw) for name in names[: names.index(field)]]
    return msgspec.defstruct(struct.__name__, [*before, (field, kind)], array_like=True, gc=False)


DECODER: Final = msgspec.msgpack.Decoder(up_to(DecisionRecord, "chosen", up_to(Chosen, "explored", Explored)))


def explored_of(entry: Entry) -> Explored | None:
    """None of a decision that was only shown (shadow), or whose payload has retired."""
    if not entry.payload or entry.facts is None or not entry.facts.intervention:
        return None
    explored: Explored = DECODER.decode(entry.payload).chosen.explored
    return explored
