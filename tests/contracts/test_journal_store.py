"""Every place that keeps a journal behaves alike."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlane.adapters.journal_tail import TABLE_BYTES
from greenlane.adapters.sqlite import create
from greenlane.adapters.sqlite_journal import SCHEMA, SqliteJournal
from greenlane.errors import JournalError
from greenlane.journal.days import closed_days
from greenlane.journal.memory import MemoryJournal
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.ports.journal import Entry, JournalStore, Row, name_of

Reopen = Callable[[], JournalStore]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Gives the same journal again, as a process would that starts anew."""
    if request.param == "memory":
        kept = MemoryJournal()
        return lambda: kept
    return lambda: SqliteJournal(tmp_path / "journal.sqlite")


@pytest.fixture
def store(reopen: Reopen) -> JournalStore:
    store = reopen()
    store.open()
    return store


def row(
    seq: int, *names: bytes, kind: str = "authorization", ingest_us: int | None = None, payload: bytes = b""
) -> Row:
    facts = Facts(
        payment_id=f"pay_{seq}",
        payment_us=seq,
        amount_minor=seq,
        currency="EUR",
        amount_reporting_minor=seq,
        card=-(2**63),
    )
    entry = Entry(
        seq, 1, seq if ingest_us is None else ingest_us, kind, "acquirer", f"ev_{seq}", seq, 3, 1, bytes(16),
        None if kind == "control" else facts, payload,
    )  # fmt: skip
    return Row(entry, (name_of("event", "acquirer", f"ev_{seq}"), name_of("payment", f"pay_{seq}"), *names))


def test_what_was_committed_is_read_back_whole_and_in_order(store: JournalStore) -> None:
    rows = [row(1, payload=b"x" * 5), row(2, payload=os.urandom(3000)), row(3, payload=b"merchant_id" * 100), row(4)]
    store.commit(rows[:1])
    store.commit(rows[1:])
    assert list(store.read()) == [r.entry for r in rows]
    assert [e.seq for e in store.read(after_seq=1, upto_seq=3)] == [2, 3]


def test_large_batches_are_kept_whole(store: JournalStore) -> None:
    store.commit([row(seq) for seq in range(1, 1338)])
    assert [e.seq for e in store.read()] == list(range(1, 1338))


def test_generation_rises_at_each_open_and_the_end_is_remembered(reopen: Reopen) -> None:
    store = reopen()
    assert store.open() == (1, 0, 0)
    store.commit([row(1), row(2, ingest_us=77)])
    store.close()
    assert reopen().open() == (2, 2, 77)


def test_a_batch_that_does_not_follow_is_refused(store: JournalStore) -> None:
    with pytest.raises(JournalError):
        store.commit([row(2)])
    assert store.span() == (1, 0)


def test_entries_are_found_by_dedup_key_and_by_payment(store: JournalStore) -> None:
    shared = name_of("payment", "pay_1")
    store.commit([row(1), row(2, shared), row(3)])
    found = store.find("acquirer", "ev_2")
    assert found is not None and found.seq == 2
    assert store.find("acquirer", "ev_4") is None
    assert [e.seq for e in store.of_payment("pay_1")] == [1, 2]


def test_names_are_all_given_back(store: JournalStore) -> None:
    store.commit([row(1), row(2)])
    names = b"".join(store.names())
    assert {names[i : i + 16] for i in range(0, len(names), 16)} == {*row(1).names, *row(2).names}


def test_whoever_finds_a_name_while_others_are_committed_reads_its_entry(store: JournalStore) -> None:
    seqs = range(1, 200)
    commits = threading.Thread(target=lambda: [store.commit([row(seq)]) for seq in seqs])
    indexes = threading.Thread(target=lambda: [store.index_names() for _ in iter(commits.is_alive, False)])
    commits.start()
    indexes.start()
    for seq in seqs:
        while not (found := store.named(name_of("event", "acquirer", f"ev_{seq}"))):
            assert commits.is_alive() or store.named(name_of("event", "acquirer", f"ev_{seq}"))
        assert found[0].entry.seq == seq


def test_what_waits_is_kept_with_its_entry(store: JournalStore) -> None:
    store.commit([Row(row(1).entry, row(1).names, b"waiting")])
    assert store.named(row(1).names[0])[0].waiting == b"waiting"


def test_retired_entries_keep_facts_and_names_but_no_payload(store: JournalStore) -> None:
    store.commit([row(seq, payload=b"p" * 200) for seq in range(1, 2500)])
    store.retire(2000)
    assert store.span() == (2000, 2499)
    [retired] = store.of_payment("pay_1999")
    assert retired.facts == row(1999).entry.facts and retired.payload == b""
    assert store.of_payment("pay_2000")[0].payload == b"p" * 200
    assert [e.seq for e in store.read(after_seq=1999)] == list(range(2000, 2500))


def test_reading_retired_entries_is_an_error_and_never_a_gap(store: JournalStore) -> None:
    store.commit([row(1), row(2), row(3)])
    store.retire(3)
    with pytest.raises(JournalError) as refused:
        list(store.read(after_seq=1))
    assert refused.value.code == "entries_retired"


def test_past_the_horizon_even_names_are_forgotten(store: JournalStore) -> None:
    store.commit([row(1), row(2), row(3)])
    store.retire(3, forget_before_seq=2)
    assert store.find("acquirer", "ev_1") is None
    assert store.find("acquirer", "ev_2") is not None


def test_control_entries_never_retire(store: JournalStore) -> None:
    store.commit([row(1, kind="control", payload=b"c" * 300), row(2), row(3, kind="control", payload=b"d")])
    store.retire(3, forget_before_seq=3)
    assert [(e.seq, e.payload) for e in store.controls()] == [(1, b"c" * 300), (3, b"d")]
    assert [e.seq for e in store.controls(after_seq=1)] == [3]


def test_the_end_is_remembered_when_everything_has_retired(reopen: Reopen) -> None:
    store = reopen()
    store.open()
    store.commit([row(1), row(2, ingest_us=9)])
    store.retire(3)
    store.close()
    again = reopen()
    assert again.open() == (2, 2, 9)
    assert again.span() == (3, 2)
    again.commit([row(3)])


def test_simulated_and_live_time_never_mix(reopen: Reopen) -> None:
    store = reopen()
    store.open(simulated=True)
    store.close()
    with pytest.raises(JournalError) as refused:
        reopen().open(simulated=False)
    assert refused.value.code == "journal_clock"
    reopen().open(simulated=True)


def test_two_cannot_write_one_journal(reopen: Reopen) -> None:
    first = reopen()
    first.open()
    with pytest.raises(JournalError) as refused:
        reopen().open()
    assert refused.value.code == "journal_locked"
    first.close()
    reopen().open()


def test_a_day_closes_when_a_later_one_is_durable(store: JournalStore) -> None:
    ingests = [5, 6, DAY_US - 1, DAY_US, 3 * DAY_US, 3 * DAY_US + 1]
    store.commit([row(seq, ingest_us=us) for seq, us in enumerate(ingests, start=1)])
    days = [(day.number, day.first_seq, day.last_seq) for day in closed_days(store)]
    assert days == [(0, 1, 3), (1, 4, 4)]
    store.retire(4)
    assert [day.number for day in closed_days(store)] == [1]


def test_an_empty_journal_has_no_days(store: JournalStore) -> None:
    assert list(closed_days(store)) == []


def test_a_reader_sees_what_is_durable_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    writer = SqliteJournal(path)
    writer.open()
    reader = SqliteJournal(path, read_only=True)
    writer.commit([row(1)])
    assert [e.seq for e in reader.read()] == [1]
    with pytest.raises(JournalError):
        reader.commit([row(2)])


def test_what_a_reader_gives_out_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.sqlite"
    writer = SqliteJournal(path)
    writer.open()
    writer.commit([row(1), row(2, kind="control")])
    synced: list[str] = []
    monkeypatch.setattr("greenlane.adapters.sqlite.Wal.sync", lambda wal: synced.append(str(wal)))
    reader = SqliteJournal(path, read_only=True)
    assert len(list(reader.read())) == 2 and len(synced) == 1
    assert len(list(reader.controls())) == 1 and len(synced) == 2


def test_there_is_nothing_to_read_where_no_journal_is(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as refused:
        SqliteJournal(tmp_path / "journal.sqlite", read_only=True)
    assert refused.value.code == "no_journal"


def test_a_failed_commit_keeps_nothing_of_its_batch(tmp_path: Path) -> None:
    store = SqliteJournal(tmp_path / "journal.sqlite")
    store.open()
    store.commit([row(1)])
    with pytest.raises(sqlite3.Error):
        store.commit([row(2), row(2)])
    assert [e.seq for e in store.read()] == [1]
    store.commit([row(2)])


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET value = 99 WHERE key = 'format'")
    with pytest.raises(JournalError) as refused:
        SqliteJournal(path)
    assert refused.value.code == "journal_format"


def test_two_that_create_at_once_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    first = SqliteJournal(path)
    first.open()
    first.commit([row(1)])
    create(path, SCHEMA)
    assert [e.seq for e in SqliteJournal(path, read_only=True).read()] == [1]


def test_names_that_a_power_cut_took_are_made_again_from_the_entries(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    store = SqliteJournal(path)
    store.open()
    store.commit([row(seq) for seq in range(1, 4)])
    store.close()
    with sqlite3.connect(path.with_suffix(".names")) as index:
        index.execute("DELETE FROM names WHERE seq > 1")
        index.execute("UPDATE indexed SET seq = 1")
    reader = SqliteJournal(path, read_only=True)
    assert [e.seq for e in reader.of_payment("pay_3")] == [3]
    again = SqliteJournal(path)
    again.open()
    assert [[e.seq for e in again.of_payment(f"pay_{seq}")] for seq in (1, 2, 3, 4)] == [[1], [2], [3], []]
    assert len(b"".join(again.names())) == 6 * 16


def test_names_of_entries_that_a_power_cut_took_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    store = SqliteJournal(path)
    store.open()
    store.commit([row(seq) for seq in range(1, 4)])
    store.close()
    with sqlite3.connect(path) as entries:
        entries.execute("DELETE FROM entries WHERE seq = 3")
    again = SqliteJournal(path)
    again.open()
    again.commit([Row(row(3).entry, (name_of("payment", "another"),))])
    assert [[e.seq for e in again.of_payment(name)] for name in ("pay_2", "pay_3", "another")] == [[2], [], [3]]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / "journal.sqlite").open()
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o077 == 0
    assert (tmp_path / "journal.names").stat().st_mode & 0o077 == 0


CRASH = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_journal_store import row
from greenlane.adapters.sqlite import create
from greenlane.adapters.sqlite_journal import SCHEMA, SqliteJournal
from greenlane.adapters import sqlite
store = SqliteJournal(Path(sys.argv[1]))
store.open()
store.commit([row(1), row(2)])
insert = sqlite.insert
def torn(db, table, values, *, columns):
    insert(db, table, values, columns=columns)
    if table == "entries":
        os._exit(9)
sqlite.insert = torn
store.commit([row(seq) for seq in range(3, 600)])
"""


def test_a_process_killed_inside_a_batch_leaves_the_prefix_before_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", CRASH, str(path), here], check=False)
    assert done.returncode == 9
    store = SqliteJournal(path)
    assert store.open()[:2] == (2, 2)
    assert [e.seq for e in store.read()] == [1, 2]
    assert len(b"".join(store.names())) == 4 * 16


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_journal_store import row
from greenlane.adapters.sqlite_journal import SqliteJournal
store = SqliteJournal(Path(sys.argv[1]))
store.open()
assert store.hold([row(1), row(2)]) and store.hold([row(3)]) and store.hold([row(4, payload=bytes(500))])
store.commit([row(1), row(2)])
os._exit(9)
"""


def test_what_a_killed_process_held_is_committed_by_the_next_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)], check=False)
    assert done.returncode == 9
    store = SqliteJournal(path)
    assert store.open() == (2, 4, 4)
    assert list(store.read()) == [row(1).entry, row(2).entry, row(3).entry, row(4, payload=bytes(500)).entry]
    assert [r.entry.seq for r in store.named(name_of("payment", "pay_4"))] == [4]
    assert store.hold([row(5)])
    store.commit([row(5)])
    store.index_names()
    store.close()
    again = SqliteJournal(path)
    assert again.open()[:2] == (3, 5) and len(b"".join(again.names())) == 10 * 16
    again.close()
    assert not (tmp_path / "journal.tail").exists()


def test_what_could_not_be_committed_is_there_at_the_next_open(tmp_path: Path) -> None:
    store = SqliteJournal(tmp_path / "journal.sqlite")
    store.open()
    store.commit([row(1)])
    assert store.hold([row(2)])
    store.close()
    again = SqliteJournal(tmp_path / "journal.sqlite")
    assert again.open()[:2] == (2, 2)
    again.close()


def test_a_control_entry_that_retires_while_controls_are_read_is_missed_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    store = SqliteJournal(path)
    store.open()
    store.commit([row(1, kind="control"), row(2, kind="control")])
    reader = SqliteJournal(path, read_only=True)
    asked = reader._reader

    class Retiring:
        """Days retire right after each statement."""

        def execute(self, *given: object) -> object:
            found = asked.execute(*given)  # type: ignore[arg-type] # handed on as it comes
            store.retire(2)
            return found

    reader._reader = Retiring()  # type: ignore[assignment] # stands in for the connection
    assert [entry.seq for entry in reader.controls()] == [1, 2]
    reader._reader = asked
    reader.close()
    store.close()


def test_an_open_leaves_nothing_of_earlier_lives_in_the_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)], check=False)
    assert done.returncode == 9
    store = SqliteJournal(path)
    store.open()
    assert store._tail is not None and not any(store._tail._map[:TABLE_BYTES])
    store.close()
