"""What is to happen in a world, by time."""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Due(Generic[T]):
    """Things of one time come in the order in which they were put in.

    >>> due = Due[str]()
    >>> due.put(5, "later"), due.put(3, "soon"), due.put(3, "then")
    (None, None, None)
    >>> list(due.until(4))
    [(3, 'soon'), (3, 'then')]
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._order = count()

    def put(self, at_us: int, what: T) -> None:
        heappush(self._heap, (at_us, next(self._order), what))

    def until(self, now_us: int) -> Iterator[tuple[int, T]]:
        """What is due, taken out; whoever takes it may put more in."""
        while self._heap and self._heap[0][0] <= now_us:
            at_us, _, what = heappop(self._heap)
            yield at_us, what
