"""Finds earlier entries by name: in memory while they are not durable, in the store once they are."""

from collections import deque
from typing import Final

from greenlane.journal.fingerprints import FingerprintSet
from greenlane.ports.journal import JournalStore, Row, name_of

ASKED_MAX: Final = 64


class Names:
    """What the sequencer knows of the past. That a name is new, the common case, costs no I/O.

    >>> from greenlane.journal.memory import MemoryJournal
    >>> Names(MemoryJournal()).rows("payment", "pay_1")
    []
    """

    def __init__(self, store: JournalStore):
        self._store = store
        self._durable = FingerprintSet()
        for piece in store.names():
            self._durable.add_all(piece)
        self._tail: dict[bytes, list[Row]] = {}
        self._unsettled: deque[Row] = deque()
        self._asked: dict[tuple[str, tuple[str, ...]], tuple[bytes, list[Row]]] = {}

    def rows(self, space: str, *parts: str) -> list[Row]:
        """All rows under a name, in order. Asked again before the next `add`, the answer is at hand."""
        return self._ask(space, parts)[1]

    def name(self, space: str, *parts: str) -> bytes:
        return self._ask(space, parts)[0]

    def add(self, row: Row) -> None:
        """A row that was sequenced just now."""
        self._asked.clear()
        self._unsettled.append(row)
        for name in row.names:
            self._tail.setdefault(name, []).append(row)

    def settle(self, durable_seq: int) -> None:
        """Rows up to this one are in the store: let go of them."""
        while self._unsettled and self._unsettled[0].entry.seq <= durable_seq:
            row = self._unsettled.popleft()
            for name in row.names:
                self._durable.add(name)
                rows = self._tail[name]
                rows.pop(0)
                if not rows:
                    del self._tail[name]

    def _ask(self, space: str, parts: tuple[str, ...]) -> tuple[bytes, list[Row]]:
        asked = self._asked.get((space, parts))
        if asked is None:
            if len(self._asked) >= ASKED_MAX:
                self._asked.clear()
            name = name_of(space, *parts)
            asked = self._asked[space, parts] = name, self._look(name)
        return asked

    def _look(self, name: bytes) -> list[Row]:
        tail = self._tail.get(name)
        if name not in self._durable:
            return list(tail) if tail else []
        held = self._store.named(name)
        return [row for row in held if row.entry.seq < tail[0].entry.seq] + tail if tail else held
