"""People's identifiers enter the journal as random pseudonyms only; the map between them is what can forget."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol


class SubjectMap(Protocol):
    """Used from the sequencer's thread; `flush` from the writer's."""

    def pseudonym(self, kind: str, identifier: str) -> int:
        """A random signed 64-bit number, never 0, made on first sight and kept until the subject is erased."""
        ...

    def pseudonyms(self, named: Sequence[tuple[str, str]]) -> list[int]:
        """Of several (kind, identifier), as a payment names them: cheaper than one by one."""
        return [self.pseudonym(kind, identifier) for kind, identifier in named]

    def digest(self, kind: str, value: str) -> str:
        """A keyed hash, 16 hex digits, of a derived value that points at no person: the network of an address."""
        ...

    def fingerprint(self, body: bytes) -> bytes:
        """A keyed hash, 16 bytes, of a body as it was sent: nobody without the key can guess who was named in it."""
        ...

    def secret(self, purpose: str) -> bytes:
        """A key of this tenant's own, for one purpose: the same as long as the map's key is."""
        ...

    def erase(self, kind: str, identifier: str) -> bool:
        """Forget, durably: no entry leads back to this identifier. False when it was not known."""
        ...

    def flush(self) -> None:
        """Write every pseudonym handed out so far: called before the entries that carry them are written."""
        ...

    def sync(self) -> None:
        """What was flushed is durable when this returns: called before the entries that carry it are told to be."""
        return

    def close(self) -> None: ...


class MemorySubjects(SubjectMap):
    """The in-memory twin: pseudonyms follow from the seed, so that tests and simulated worlds repeat.

    >>> subjects = MemorySubjects(seed=1)
    >>> first = subjects.pseudonym("card", "fp_1")
    >>> subjects.pseudonym("card", "fp_1") == first, subjects.erase("card", "fp_1")
    (True, True)
    >>> subjects.pseudonym("card", "fp_1") == first
    False
    """

    def __init__(self, *, seed: int = 0):
        self._seed = seed
        self._erased = 0
        self._pseudonyms: dict[tuple[str, str], int] = {}

    def pseudonym(self, kind: str, identifier: str) -> int:
        known = self._pseudonyms.get((kind, identifier))
        if known is None:
            text = f"{self._seed}\0{self._erased}\0{kind}\0{identifier}"
            known = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) or 1
            self._pseudonyms[kind, identifier] = known
        return known

    def digest(self, kind: str, value: str) -> str:
        return blake2b(f"{self._seed}\0{kind}\0{value}".encode(), digest_size=8).hexdigest()

    def fingerprint(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=16, key=str(self._seed).encode()).digest()

    def secret(self, purpose: str) -> bytes:
        return blake2b(f"{self._seed}\0{purpose}".encode()).digest()

    def erase(self, kind: str, identifier: str) -> bool:
        self._erased += 1
        return self._pseudonyms.pop((kind, identifier), None) is not None

    def flush(self) -> None:
        """There is no disk to wait for."""

    def close(self) -> None:
        """There is nothing to let go of."""
