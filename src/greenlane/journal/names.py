"""Finds earlier entries by name: in memory while they are not durable, in the store once they are."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from greenlane.journal.fingerprints import FingerprintSet
from greenlane.ports.journal import JournalStore, Row, name_of

ASKED_MAX: Final = 64


class Names:
    """What the sequencer knows of the past. That a name is new, the common case, costs no I/O.

    >>> from greenlane.journal.memory import MemoryJournal
    >>> Names(MemoryJournal()).rows("payment", "pay_1")
    ()
    """

    def __init__(self, store: JournalStore):
        self._store = store
        self._durable = FingerprintSet()
        for piece in store.names():
            self._durable.add_packed(piece)
        self._tail: dict[bytes, tuple[Row, ...]] = {}
        self._unsettled: deque[Row] = deque()
        self._asked: dict[tuple[str, ...], tuple[bytes, Sequence[Row]]] = {}
        self._key_of: dict[bytes, tuple[str, ...]] = {}
        """Of the names in `_asked`."""

    def rows(self, *key: str) -> Sequence[Row]:
        """All rows under a name, in order. What was asked lately is at hand, and kept up to date."""
        asked = self._asked.get(key)
        return self.ask(*key)[1] if asked is None else asked[1]

    def ask(self, *key: str) -> tuple[bytes, Sequence[Row]]:
        """The name of a key, such as ("payment", "pay_1"), and its rows."""
        asked = self._asked.get(key)
        if asked is None:
            if len(self._asked) >= ASKED_MAX:
                self._asked.clear()
                self._key_of.clear()
            name = name_of(*key)
            known = name in self._tail or name in self._durable
            asked = self._asked[key] = name, self._look(name) if known else ()
            self._key_of[name] = key
        return asked

    def add(self, row: Row) -> None:
        """A row that was sequenced just now."""
        self._unsettled.append(row)
        for name in row.names:
            self._tail[name] = (*self._tail.get(name, ()), row)
            key = self._key_of.get(name)
            if key is not None:
                self._asked[key] = name, (*self._asked[key][1], row)

    def settle(self, durable_seq: int) -> None:
        """Rows up to this one are in the store: let go of them."""
        names: list[bytes] = []
        while self._unsettled and self._unsettled[0].entry.seq <= durable_seq:
            for name in self._unsettled.popleft().names:
                names.append(name)
                rows = self._tail.pop(name)
                if len(rows) > 1:
                    self._tail[name] = rows[1:]
        self._durable.update(names)

    def _look(self, name: bytes) -> Sequence[Row]:
        tail = self._tail.get(name, ())
        if name not in self._durable:
            return tail
        held = self._store.named(name)
        return (*(row for row in held if not tail or row.entry.seq < tail[0].entry.seq), *tail)
