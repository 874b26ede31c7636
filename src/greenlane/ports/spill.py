"""Where the stream engine puts the histories it has no room for, and finds them again."""

from collections.abc import Iterator
from typing import Protocol


class SpillStore(Protocol):
    """Keeps one opaque blob per (entity, key). It belongs to one engine; a snapshot carries its content."""

    def put(self, entity: int, key: int, blob: bytes, expires_us: int) -> None: ...

    def take(self, entity: int, key: int) -> bytes | None:
        """The blob, which is no longer held here; None where there is none."""
        ...

    def forget(self, before_us: int) -> None:
        """Drop the blobs that expired before."""
        ...

    def items(self) -> Iterator[tuple[int, int, bytes, int]]:
        """(entity, key, blob, expires_us) of everything held, in any order."""
        ...

    def clear(self) -> None: ...

    def close(self) -> None: ...
