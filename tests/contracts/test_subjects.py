"""Every map of subjects behaves alike."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlane.adapters.sqlite_subjects import SqliteSubjects
from greenlane.errors import SettingsError
from greenlane.ports.subjects import MemorySubjects, SubjectMap


@pytest.fixture(params=["memory", "sqlite"])
def subjects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SubjectMap]:
    made: SubjectMap = MemorySubjects() if request.param == "memory" else SqliteSubjects(tmp_path / "subjects.sqlite")
    yield made
    made.close()


def test_one_subject_has_one_pseudonym(subjects: SubjectMap) -> None:
    first = subjects.pseudonym("card", "fp_1")
    subjects.flush()
    assert subjects.pseudonym("card", "fp_1") == first
    assert first != 0 and -(2**63) <= first < 2**63


def test_kinds_and_identifiers_do_not_run_together(subjects: SubjectMap) -> None:
    pairs = [("card", "1"), ("customer", "1"), ("card", "2"), ("car", "d1")]
    assert len({subjects.pseudonym(kind, identifier) for kind, identifier in pairs}) == 4


def test_an_erased_subject_comes_back_as_somebody_else(subjects: SubjectMap) -> None:
    first = subjects.pseudonym("card", "fp_1")
    subjects.flush()
    assert subjects.erase("card", "fp_1")
    assert subjects.pseudonym("card", "fp_1") != first


def test_a_subject_is_erased_before_it_was_flushed_too(subjects: SubjectMap) -> None:
    first = subjects.pseudonym("card", "fp_1")
    assert subjects.erase("card", "fp_1")
    subjects.flush()
    assert subjects.pseudonym("card", "fp_1") != first


def test_erasing_the_unknown_says_so(subjects: SubjectMap) -> None:
    assert not subjects.erase("card", "fp_1")


def test_digests_repeat_and_depend_on_kind(subjects: SubjectMap) -> None:
    assert subjects.digest("ip24", "203.0.113") == subjects.digest("ip24", "203.0.113")
    assert subjects.digest("ip24", "203.0.113") != subjects.digest("asn", "203.0.113")
    assert len(subjects.digest("ip24", "203.0.113")) == 16


def test_a_body_has_one_fingerprint_and_another_map_gives_another(subjects: SubjectMap, tmp_path: Path) -> None:
    body = b'{"customer": {"id": "1"}}'
    mine = subjects.fingerprint(body)
    assert mine == subjects.fingerprint(body) != subjects.fingerprint(body + b" ")
    assert len(mine) == 16
    other = SqliteSubjects(tmp_path / "other.sqlite")
    assert other.fingerprint(body) != mine
    other.close()
    again = SqliteSubjects(tmp_path / "other.sqlite")
    assert again.fingerprint(body) == other.fingerprint(body)
    again.close()


def test_pseudonyms_survive_a_restart_once_flushed(tmp_path: Path) -> None:
    path = tmp_path / "subjects.sqlite"
    first = SqliteSubjects(path)
    known = {name: first.pseudonym("card", name) for name in map(str, range(1000))}
    digest = first.digest("ip24", "203.0.113")
    first.close()
    second = SqliteSubjects(path)
    assert {name: second.pseudonym("card", name) for name in known} == known
    assert second.digest("ip24", "203.0.113") == digest


def test_an_erased_row_is_on_no_page_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "subjects.sqlite"
    subjects = SqliteSubjects(path)
    subjects.pseudonym("card", "fp_1")
    subjects.flush()
    with sqlite3.connect(path) as db:
        [(row, sealed)] = db.execute("SELECT row, sealed FROM subjects").fetchall()
    subjects.erase("card", "fp_1")
    held = b"".join(file.read_bytes() for file in tmp_path.glob("subjects.sqlite*"))
    assert row not in held and sealed not in held


def test_neither_identifiers_nor_pseudonyms_stand_in_the_files(tmp_path: Path) -> None:
    subjects = SqliteSubjects(tmp_path / "subjects.sqlite")
    pseudonym = subjects.pseudonym("customer", "jane.doe-4711")
    subjects.flush()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"jane.doe-4711" not in held
    assert pseudonym.to_bytes(8, "little", signed=True) not in held
    assert pseudonym.to_bytes(8, "big", signed=True) not in held


def test_the_key_is_its_owners_alone_and_never_made_twice(tmp_path: Path) -> None:
    SqliteSubjects(tmp_path / "subjects.sqlite").close()
    key = tmp_path / "subjects.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    with pytest.raises(SettingsError):
        SqliteSubjects(tmp_path / "subjects.sqlite")


def test_the_cache_may_be_smaller_than_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlane.adapters.sqlite_subjects.CACHE_MAX", 10)
    subjects = SqliteSubjects(tmp_path / "subjects.sqlite")
    known = [subjects.pseudonym("card", str(n)) for n in range(100)]
    subjects.flush()
    assert [subjects.pseudonym("card", str(n)) for n in range(100)] == known
