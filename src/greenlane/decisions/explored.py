"""What a decision explored: the exploration ledger asks it of each."""

from greenlane.decisions.record import record_of
from greenlane.policy.explore import Explored
from greenlane.ports.journal import Entry


def explored_of(entry: Entry) -> Explored | None:
    """None of a decision that was only shown (shadow), or whose payload has retired."""
    if not entry.payload or entry.facts is None or not entry.facts.intervention:
        return None
    return record_of(entry).chosen.explored
