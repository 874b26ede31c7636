import asyncio
import threading
from collections.abc import Sequence

import pytest

from greenlane.errors import JournalError, LimitExceeded
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.writer import Pace, Writer, _Waiter
from greenlane.ports.journal import Entry, Row


def row(seq: int) -> Row:
    return Row(Entry(seq, 1, seq, "control", "test", str(seq), seq, 0, 1, b"", None, b""), (seq.to_bytes(16, "big"),))


class Gate(MemoryJournal):
    """Commits when it is let to, and remembers the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.batches: list[list[int]] = []
        self.fails = False

    def commit(self, batch: Sequence[Row]) -> None:
        assert self.go.wait(5)
        if self.fails:
            raise OSError("disk full")
        super().commit(batch)
        self.batches.append([r.entry.seq for r in batch])


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_close_makes_everything_accepted_durable(gate: Gate) -> None:
    writer = Writer(gate)
    for seq in range(1, 2001):
        writer.submit([row(seq)])
    gate.go.set()
    writer.close()
    assert gate.span() == (1, 2000) and writer.durable_seq == 2000
    assert max(map(len, gate.batches)) <= 512


def test_groups_are_never_torn_apart(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.journal.writer.LIVE", Pace(2, 100, False))
    gate.go.set()
    writer = Writer(gate)
    writer.submit([row(1)])
    writer.submit([row(2), row(3), row(4)])
    writer.submit([row(5)])
    writer.close()
    assert any({2, 3, 4} <= set(batch) for batch in gate.batches)


def test_pseudonyms_are_flushed_before_each_commit(gate: Gate) -> None:
    gate.go.set()
    order: list[str] = []
    writer = Writer(gate, before_commit=lambda: order.append(f"flush at {gate.span()[1]}"))
    writer.submit([row(1)])
    writer.wait(1, timeout_s=5)
    writer.close()
    assert order[0] == "flush at 0"


def test_too_much_waiting_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.journal.writer.LIVE", Pace(10, 3, False))
    writer = Writer(gate)
    writer.submit([row(1), row(2), row(3)])
    with pytest.raises(LimitExceeded) as refused:
        writer.check_room()
    assert refused.value.code == "journal_backlog"
    gate.go.set()
    writer.wait(3, timeout_s=5)
    writer.check_room()
    writer.close()


def test_an_import_waits_for_room(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.journal.writer.IMPORT", Pace(10, 2, True))
    writer = Writer(gate, importing=True)
    writer.submit([row(1), row(2)])
    threading.Timer(0.05, gate.go.set).start()
    writer.check_room()
    assert writer.durable_seq == 2
    writer.close()


class SlowDisk(MemoryJournal):
    """Takes what was written when it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.syncs = threading.Event(), 0

    def sync(self) -> None:
        assert self.go.wait(5)
        self.syncs += 1


def test_a_slow_disk_holds_up_no_commit_and_takes_all_that_came_meanwhile_at_once() -> None:
    disk, order = SlowDisk(), list[str]()
    writer = Writer(disk, before_sync=lambda: order.append("pseudonyms"))
    for seq in range(1, 6):
        writer.submit([row(seq)])
        while disk.span()[1] < seq:
            threading.Event().wait(0.001)
    assert writer.durable_seq == 0 and writer.unsynced_us() > 0
    disk.go.set()
    writer.wait(5, timeout_s=5)
    writer.close()
    assert disk.syncs == len(order) == 2 and writer.unsynced_us() == 0


def test_a_failed_sync_is_fail_stop() -> None:
    class Broken(MemoryJournal):
        def sync(self) -> None:
            raise OSError("I/O error")

    writer = Writer(Broken())
    writer.submit([row(1)])
    with pytest.raises(JournalError, match="I/O error"):
        writer.wait(1, timeout_s=5)
    with pytest.raises(JournalError, match="I/O error"):
        writer.check()


def test_age_is_that_of_the_oldest_entry_the_disk_has_not_taken(gate: Gate) -> None:
    writer = Writer(gate)
    assert writer.unsynced_us() == 0
    writer.submit([row(1)])
    threading.Event().wait(0.02)
    assert writer.unsynced_us() >= 15_000
    gate.go.set()
    writer.wait(1, timeout_s=5)
    assert writer.unsynced_us() == 0
    writer.close()


@pytest.mark.parametrize(
    ("room", "importing", "exposed"), [(True, False, False), (False, False, True), (False, True, False)]
)
def test_what_the_store_has_no_room_to_hold_is_exposed_until_it_is_written(
    room: bool, importing: bool, exposed: bool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "hold", lambda rows: room)
    writer = Writer(gate, importing=importing)
    writer.submit([row(1)])
    assert writer.exposed == exposed
    monkeypatch.setattr(gate, "hold", lambda rows: True)
    writer.submit([row(2)])
    assert writer.exposed == exposed, "what is held behind a gap would be lost with it"
    gate.go.set()
    writer.wait(2, timeout_s=5)
    assert not writer.exposed
    writer.close()


def test_it_wakes_after_a_rest(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.journal.writer.IDLE_TICKS_MAX", 1)
    gate.go.set()
    writer = Writer(gate)
    for seq in (1, 2, 3):
        threading.Event().wait(0.03)
        writer.submit([row(seq)])
        writer.wait(seq, timeout_s=5)
    writer.close()


def test_a_failed_commit_stops_everything(gate: Gate) -> None:
    writer = Writer(gate)
    gate.fails = True
    writer.submit([row(1)])
    gate.go.set()
    with pytest.raises(JournalError, match="disk full"):
        writer.wait(1, timeout_s=5)
    with pytest.raises(JournalError):
        writer.check()
    with pytest.raises(JournalError):
        writer.close()
    assert gate.span() == (1, 0)


def test_waiting_has_an_end(gate: Gate) -> None:
    writer = Writer(gate)
    writer.submit([row(1)])
    with pytest.raises(JournalError) as late:
        writer.wait(1, timeout_s=0.01)
    assert late.value.code == "journal_slow"
    gate.go.set()
    writer.close()


def test_event_loops_are_told(gate: Gate) -> None:
    async def scene() -> None:
        writer = Writer(gate)
        writer.submit([row(1), row(2)])
        futures = [writer.when_durable(1), writer.when_durable(2), writer.when_durable(3)]
        assert not any(f.done() for f in futures)
        gate.go.set()
        await asyncio.wait_for(asyncio.gather(futures[0], futures[1]), 5)
        assert writer.when_durable(2).done()
        gate.fails = True
        writer.submit([row(3)])
        with pytest.raises(JournalError):
            await asyncio.wait_for(futures[2], 5)
        with pytest.raises(JournalError):
            await writer.when_durable(4)

    asyncio.run(scene())


def test_what_is_written_while_names_are_indexed_counts_as_unsynced() -> None:
    class Indexing(MemoryJournal):
        def __init__(self) -> None:
            super().__init__()
            self.begun, self.go, self.committed = threading.Event(), threading.Event(), threading.Event()

        def commit(self, batch: Sequence[Row]) -> None:
            super().commit(batch)
            if batch[-1].entry.seq == 2:
                self.committed.set()

        def index_names(self) -> None:
            self.begun.set()
            assert self.go.wait(5)

    store = Indexing()
    writer = Writer(store)
    writer.submit([row(1)])
    writer.wait(1, timeout_s=5)
    assert store.begun.wait(5) and writer.unsynced_us() == 0
    writer.submit([row(2)])
    assert store.committed.wait(5)
    assert writer.durable_seq == 1 and writer.unsynced_us() > 0
    store.go.set()
    writer.close()
    assert writer.durable_seq == 2 and writer.unsynced_us() == 0


def test_an_event_loop_that_closes_that_moment_stops_nothing(gate: Gate) -> None:
    class Closing:
        def is_closed(self) -> bool:
            return False

        def call_soon_threadsafe(self, *_: object) -> None:
            raise RuntimeError("Event loop is closed")

    gate.go.set()
    writer = Writer(gate)
    writer._waiters.append(_Waiter(1, Closing(), None))  # type: ignore[arg-type] # stands in for a loop
    writer.submit([row(1)])
    writer.wait(1, timeout_s=5)
    writer.submit([row(2)])
    writer.wait(2, timeout_s=5)
    writer.close()
