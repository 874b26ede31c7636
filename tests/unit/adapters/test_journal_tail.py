from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlane.adapters import journal_tail
from greenlane.adapters.journal_tail import SLOT, SLOTS, TABLE_BYTES, JournalTail
from greenlane.errors import JournalError
from greenlane.ports.journal import Entry, Row


def group(first: int, rows: int = 1, *, size: int = 50, generation: int = 1) -> list[Row]:
    seqs = range(first, first + rows)
    return [Row(Entry(s, generation, s, "control", "t", str(s), s, 0, 1, b"", None, bytes(size)), ()) for s in seqs]


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[JournalTail]:
    kept = JournalTail(tmp_path / "journal.tail")
    yield kept
    kept.close()


def seqs(tail: JournalTail, after: int, generation: int = 1) -> list[int]:
    return [row.entry.seq for rows in tail.after(after, generation=generation) for row in rows]


def test_what_waits_is_found_by_the_next_life_with_its_groups_whole(tmp_path: Path) -> None:
    killed = JournalTail(tmp_path / "journal.tail")
    kept = [group(1), group(2, rows=3), group(5)]
    assert all(map(killed.put, kept))
    killed.committed_seq = 1
    again = JournalTail(tmp_path / "journal.tail")
    assert list(again.after(1, generation=1)) == kept[1:]
    assert (tmp_path / "journal.tail").stat().st_mode & 0o077 == 0


def test_a_group_of_an_earlier_generation_is_none(tail: JournalTail) -> None:
    assert tail.put(group(1)) and tail.put(group(2)) and tail.put(group(3))
    assert tail.put(group(2, generation=2))
    assert (seqs(tail, 1, generation=2), seqs(tail, 0, generation=1)) == ([2], [1])


def test_entries_of_another_build_are_told_as_such(tail: JournalTail) -> None:
    data = b"\x91\x01"
    tail._map[TABLE_BYTES : TABLE_BYTES + len(data)] = data
    SLOT.pack_into(tail._map, SLOT.size, 0, len(data), crc32(data, journal_tail.FORMAT))
    with pytest.raises(JournalError, match="of another build"):
        seqs(tail, 0)


def test_what_is_forgotten_is_not_found_again(tail: JournalTail) -> None:
    assert tail.put(group(1))
    tail.forget()
    assert seqs(tail, 0) == []
    assert tail.put(group(2)) and seqs(tail, 1) == [2]


@pytest.mark.parametrize("at", [0, 4, 8])
def test_a_half_written_group_ends_what_is_found(tail: JournalTail, at: int) -> None:
    assert all(tail.put(group(seq)) for seq in (1, 2, 3))
    tail._map[2 * SLOT.size + at] ^= 1
    assert seqs(tail, 0) == [1]
    tail._map[2 * SLOT.size + at] ^= 1
    assert seqs(tail, 0) == [1, 2, 3]
    tail._map[TABLE_BYTES + tail._open[2][2]] ^= 1
    assert seqs(tail, 0) == [1, 2]


def test_what_has_no_room_is_refused_and_nothing_is_written_over(tail: JournalTail) -> None:
    assert not tail.put(group(1, size=journal_tail.RING_BYTES))
    assert tail.put(group(1)) and not tail.put(group(1 + SLOTS)), "their slots are one"
    put = 1
    while tail.put(group(put + 1, size=100_000)):
        put += 1
    assert put > 15 and seqs(tail, 0) == list(range(1, put + 1))
    tail.committed_seq = put
    assert tail.put(group(put + 1, size=100_000)) and seqs(tail, put) == [put + 1]


def test_a_full_disk_is_told_before_anything_is_kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(JournalError, match="No space left"):
        JournalTail(tmp_path / "journal.tail")


def test_the_file_goes_with_the_last_commit_and_stays_without(tmp_path: Path) -> None:
    path = tmp_path / "journal.tail"
    tail = JournalTail(path)
    assert tail.put(group(1))
    tail.close()
    tail = JournalTail(path)
    assert seqs(tail, 0) == [1] and tail.put(group(2))
    tail.committed_seq = 2
    tail.close()
    assert not path.exists()


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 900), st.integers(0, 12)), min_size=5, max_size=60),
)
def test_everything_put_and_not_committed_is_always_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int]]
) -> None:
    """A ring so small that it goes round many times; each step puts a group and commits some of what waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_tail, "RING_BYTES", 4096)
        tail, waiting, seq = JournalTail(tmp_path_factory.mktemp("tail") / "t"), list[list[Row]](), 0
        for rows, size, commits in steps:
            new = group(seq + 1, rows, size=size)
            if tail.put(new):
                waiting.append(new)
                seq += rows
            committed = waiting[:commits]
            if committed:
                tail.committed_seq = committed[-1][-1].entry.seq
                waiting = waiting[commits:]
            assert list(tail.after(tail.committed_seq, generation=1)) == waiting
        tail.committed_seq = seq
        tail.close()
