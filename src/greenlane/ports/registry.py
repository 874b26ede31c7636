"""Where models and their moves are looked up: an index over the journal's control entries, which can be made again."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from greenlane.ports.journal import Position

NOWHERE: Final = Position(0, 0)
"""Where an empty index stands."""


class Registered(Struct, frozen=True, kw_only=True):
    """One model of the index."""

    id: str
    kind: str
    """What is predicted: fraud, approval, ..."""
    family: str
    registered_us: int
    who: str
    parent: str
    """The champion of its kind when it was registered, or ""."""
    card: dict[str, Any]
    """Lineage, size, latency, evaluation: see `learning.registry.Card`."""


class Move(Struct, frozen=True, kw_only=True):
    """An alias that began to name another model, or a judgement of the gates: one line of the audit."""

    seq: int
    """Of its control entry."""
    at_us: int
    subject: str
    """"model" for a move, "gates" for a judgement."""
    alias: str
    model: str
    """"" where the alias names nothing any more."""
    before: str
    who: str
    why: str
    verdicts: tuple[dict[str, Any], ...] = ()


class Registry(Protocol):
    """An index up to one control entry of the journal. It says nothing that the journal and the files do not."""

    def upto(self) -> Position:
        """The last control entry that was taken in; NOWHERE of an empty index."""
        ...

    def take(
        self, models: Sequence[Registered], moves: Sequence[Move], *, seen: Position, upto: Position, anew: bool = False
    ) -> bool:
        """Put in, all or nothing, in place of everything where `anew`. What has the same id, or seq and alias, is
        replaced. False, and nothing happened, where the index no longer stands where it was `seen`.
        """
        ...

    def models(self, *, kind: str = "") -> list[Registered]:
        """In the order in which they were registered; of all kinds unless one is named."""
        ...

    def moves(self, *, model: str = "", limit: int = 1_000) -> list[Move]:
        """The last ones, oldest first; with a model, those that put it somewhere or took it away."""
        ...

    def close(self) -> None: ...
