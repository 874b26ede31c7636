"""Days of the journal: the UTC day of `ingest_us`. A day closes when an entry of a later day is durable."""

from collections.abc import Iterator

from msgspec import Struct

from greenlane.payments.times import day_of, format_day
from greenlane.ports.journal import JournalStore


class Day(Struct, frozen=True, order=True):
    """A UTC day, counted from 1970, and the entries that belong to it: first and last seq, both included.

    >>> Day(20_778, 1, 9).name
    '2026-11-21'
    """

    number: int
    first_seq: int
    last_seq: int

    @property
    def name(self) -> str:
        return format_day(self.number)


def closed_days(store: JournalStore) -> Iterator[Day]:
    """The days held that can become files: all but the one that the last durable entry belongs to.

    Ingest never goes back, so each day's end is found by bisection, without a scan.
    """
    first, last = store.span()
    while first <= last and day_of(_ingest_us(store, first)) < day_of(_ingest_us(store, last)):
        number = day_of(_ingest_us(store, first))
        after = _first_seq_after(store, number, low=first, high=last)
        yield Day(number, first, after - 1)
        first = after


def _first_seq_after(store: JournalStore, number: int, *, low: int, high: int) -> int:
    while low < high:
        middle = (low + high) // 2
        if day_of(_ingest_us(store, middle)) <= number:
            low = middle + 1
        else:
            high = middle
    return low


def _ingest_us(store: JournalStore, seq: int) -> int:
    return next(store.read(after_seq=seq - 1, upto_seq=seq)).ingest_us
