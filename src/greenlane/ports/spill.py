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


class MemorySpill:
    """
    >>> spill = MemorySpill()
    >>> spill.put(0, 7, b"history", expires_us=5)
    >>> spill.take(0, 7), spill.take(0, 7)
    (b'history', None)
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], tuple[bytes, int]] = {}

    def put(self, entity: int, key: int, blob: bytes, expires_us: int) -> None:
        self._held[entity, key] = blob, expires_us

    def take(self, entity: int, key: int) -> bytes | None:
        blob, _ = self._held.pop((entity, key), (None, 0))
        return blob

    def forget(self, before_us: int) -> None:
        self._held = {at: held for at, held in self._held.items() if held[1] >= before_us}

    def items(self) -> Iterator[tuple[int, int, bytes, int]]:
        for (entity, key), (blob, expires_us) in self._held.items():
            yield entity, key, blob, expires_us

    def clear(self) -> None:
        self._held.clear()

    def close(self) -> None:
        """There is nothing to let go of."""
