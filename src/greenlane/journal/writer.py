"""Two threads make entries durable, in order: one hands a batch per tick to the operating system, the other waits for
the disk, then sees to the index. What waits for them, the store holds where a crash of this process does not reach.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from msgspec import Struct

from greenlane.errors import JournalError, LimitExceeded
from greenlane.ports.journal import JournalStore, Row

TICK_S: Final = 0.004
"""Between two batches where nobody waits for one: so little a power cut may take."""
HURRIED_TICK_S: Final = 0.001
"""Where somebody waits."""
GIVES_WAY_S: Final = 0.002
"""So long whoever decides keeps the interpreter from us, a few times in a commit: a decision ends first."""
IDLE_TICKS_MAX: Final = 250
"""Ticks without work before the thread sleeps until woken; waking it costs whoever submits a few microseconds."""


class Pace(Struct, frozen=True):
    """How much is committed at once, how much may wait, and whether the producer then waits or is refused."""

    batch_rows_max: int
    queue_rows_max: int
    producer_waits: bool


LIVE: Final = Pace(512, 20_000, False)
IMPORT: Final = Pace(65_536, 131_072, True)


class Written(Struct, frozen=True, gc=False):
    """A batch that the operating system has, but the disk perhaps has not."""

    seq: int
    rows: int


class _Waiter(Struct, gc=False):
    seq: int
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[None]"


class Writer:
    """Takes rows from the sequencer's thread; tells threads and event loops when they are on disk.

    The groups handed to `submit` are never torn apart: an entry and the links it sets free are kept together or lost
    together.
    """

    def __init__(
        self,
        store: JournalStore,
        *,
        durable_seq: int = 0,
        importing: bool = False,
        before_commit: Callable[[], None] = lambda: None,
        before_sync: Callable[[], None] = lambda: None,
    ):
        """`before_commit` writes what entries name, `before_sync` makes it durable."""
        self.durable_seq = durable_seq
        self._store, self._pace = store, IMPORT if importing else LIVE
        self._before_commit, self._before_sync = before_commit, before_sync
        self._queue: deque[Sequence[Row]] = deque()
        self._written: SimpleQueue[Written | None] = SimpleQueue()
        self._accepted = self._taken = 0
        self._unsynced: deque[tuple[int, int]] = deque()
        """(last seq, when it was accepted in ns) of the groups that a power cut may lose."""
        self._exposed_seq = self._written_seq = durable_seq
        self._failure: JournalError | None = None
        self._closing = self._asleep = False
        self._work, self._waited_for = threading.Event(), threading.Event()
        self._progress = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._syncs = threading.Thread(target=self._make_durable, name="journal-sync", daemon=True)
        self._commits = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._syncs.start()
        self._commits.start()

    def check(self) -> None:
        """Raise when a commit failed, or after close."""
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise JournalError("the journal is closed", code="journal_closed")

    def check_room(self) -> None:
        """Raise (or wait, in an import) while too much waits for the disk."""
        if self._accepted - self._taken < self._pace.queue_rows_max:
            return
        if not self._pace.producer_waits:
            backlog = LimitExceeded(
                "more entries wait for the disk than are allowed to",
                code="journal_backlog",
                hint="the disk is slower than the traffic: slow down, then try again",
            )
            backlog.status = 429
            raise backlog
        with self._progress:
            self._progress.wait_for(lambda: self._failure or self._accepted - self._taken < self._pace.queue_rows_max)
        self.check()

    def submit(self, rows: Sequence[Row]) -> None:
        """Accept a group that follows everything accepted before."""
        seq = rows[-1].entry.seq
        if not self._pace.producer_waits and not self._store.hold(rows):
            self._exposed_seq = seq
        self._unsynced.append((seq, time.monotonic_ns()))
        self._queue.append(rows)
        self._accepted += len(rows)
        if self._asleep:
            self._work.set()

    @property
    def exposed(self) -> bool:
        """Would a crash of this process lose something? Only where the store has no room to hold what waits."""
        return self._exposed_seq > self._written_seq

    def unsynced_us(self) -> int:
        """Age of the oldest entry that the disk has not taken yet: a power cut may lose it. 0: none."""
        try:
            return (time.monotonic_ns() - self._unsynced[0][1]) // 1000
        except IndexError:
            return 0

    def wait(self, seq: int, *, timeout_s: float | None = None) -> None:
        """Block this thread until the entry is durable; JournalError when it will not be, or not in time."""
        self._waited_for.set()
        with self._progress:
            done = self._progress.wait_for(lambda: self._failure or self.durable_seq >= seq, timeout_s)
        if self.durable_seq >= seq:
            return
        raise (
            self._failure
            if done and self._failure
            else JournalError(f"entry {seq} was not durable within {timeout_s} s", code="journal_slow")
        )

    def when_durable(self, seq: int) -> "asyncio.Future[None]":
        """A future of the running event loop, done when the entry is durable."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._progress:
            if self.durable_seq < seq and self._failure is None:
                self._waiters.append(_Waiter(seq, loop, future))
                self._waited_for.set()
                return future
        _settle([_Waiter(seq, loop, future)], self.durable_seq, self._failure)
        return future

    def close(self) -> None:
        """Everything accepted is durable when this returns; JournalError when it could not be."""
        self._closing = True
        self._work.set()
        self._commits.join()
        self._syncs.join()
        if self._failure is not None:
            raise self._failure

    def _write(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:  # noqa: BLE001 - fail-stop: whatever it was, what the disk holds is unknown
            self._written.put(None)
            self._syncs.join()  # what was written before is still good
            self._fail(error)
        else:
            self._written.put(None)

    def _write_until_closed(self) -> None:
        idle_ticks = 0
        while self._failure is None:
            started_s = time.monotonic()
            batch = self._batch()
            if batch:
                self._commit(batch)
            if self._closing and not self._queue:
                return
            idle_ticks = 0 if batch else idle_ticks + 1
            if idle_ticks > IDLE_TICKS_MAX:
                self._sleep_until_work()
                idle_ticks = 0
            elif not self._closing:
                self._rest(started_s)

    def _rest(self, started_s: float) -> None:
        """Until the next tick; one wait where nobody hurries us, as after each the interpreter has to be won back."""
        if self._waited_for.wait(started_s + TICK_S - time.monotonic()):
            left_s = started_s + HURRIED_TICK_S - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
            self._waited_for.clear()

    def _sleep_until_work(self) -> None:
        """First the flag, then the look: whoever submits in between sees the flag and wakes us."""
        self._asleep = True
        if not self._queue and not self._closing:
            self._work.wait()
        self._asleep = False
        self._work.clear()

    def _batch(self) -> list[Row]:
        batch: list[Row] = []
        while self._queue and len(batch) < self._pace.batch_rows_max:
            batch.extend(self._queue.popleft())
        return batch

    def _commit(self, batch: list[Row]) -> None:
        self._before_commit()
        self._store.commit(batch)
        self._written_seq = batch[-1].entry.seq
        self._written.put(Written(self._written_seq, len(batch)))

    def _make_durable(self) -> None:
        """Whatever was written while the disk was busy becomes durable together."""
        while (written := self._written.get()) is not None:
            rows, closing = written.rows, False
            while not self._written.empty():
                more = self._written.get()
                if more is None:
                    closing = True
                    break
                written, rows = more, rows + more.rows
            try:
                self._before_sync()
                self._store.sync()
                self._announce(written.seq, rows)
                self._store.index_names()
            except Exception as error:  # noqa: BLE001 - fail-stop, as above
                self._fail(error)
                return
            if closing:
                return

    def _fail(self, error: Exception) -> None:
        failure = JournalError(f"a commit failed: {error}", hint="free or repair the disk, then restart")
        failure.__cause__ = error
        with self._progress:
            self._failure, ready, self._waiters = failure, self._waiters, []
            self._progress.notify_all()
        self._tell(ready)

    def _announce(self, durable_seq: int, rows: int) -> None:
        with self._progress:
            self.durable_seq = durable_seq
            self._taken += rows
            while self._unsynced and self._unsynced[0][0] <= durable_seq:
                self._unsynced.popleft()
            ready = [w for w in self._waiters if w.seq <= durable_seq]
            self._waiters = [w for w in self._waiters if w.seq > durable_seq]
            self._progress.notify_all()
        self._tell(ready)

    def _tell(self, ready: Sequence[_Waiter]) -> None:
        for loop in {id(w.loop): w.loop for w in ready}.values():
            mine = [w for w in ready if w.loop is loop]
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_settle, mine, self.durable_seq, self._failure)


def _settle(waiters: Sequence[_Waiter], durable_seq: int, failure: JournalError | None) -> None:
    for waiter in waiters:
        if waiter.future.done():
            continue
        if waiter.seq <= durable_seq:
            waiter.future.set_result(None)
        elif failure is not None:
            waiter.future.set_exception(failure)
