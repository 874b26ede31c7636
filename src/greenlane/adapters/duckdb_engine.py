"""DuckDB inside this process: entries as a table, feature queries over it, and days of the journal as Parquet files.

All that Greenlane asks of DuckDB goes through here. Rows enter as numpy columns and leave the same way, so neither
pandas nor pyarrow is needed.
"""

import hashlib
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import duckdb
import msgspec
import numpy as np
from msgspec import Struct

from greenlane.errors import JournalError
from greenlane.features.kernels import Ints
from greenlane.learning.backfilled_set import TOLD
from greenlane.payments.facts import TEXT_FIELDS, Facts
from greenlane.ports.journal import Entry

CHUNK_ROWS: Final = 20_000
ENTRY_TYPES: Final = {
    "seq": "BIGINT",
    "generation": "BIGINT",
    "ingest_us": "BIGINT",
    "kind": "VARCHAR",
    "source": "VARCHAR",
    "event_id": "VARCHAR",
    "occurred_us": "BIGINT",
    "emits": "INTEGER",
    "sign": "INTEGER",
    "body_hash": "BLOB",
}
FACT_TYPES: Final = {fact: "VARCHAR" if fact in TEXT_FIELDS else "BIGINT" for fact in Facts.__struct_fields__}
DAY_TYPES: Final = ENTRY_TYPES | FACT_TYPES | {"payload": "BLOB"}
"""A day file, and with its rows that have facts the relation `entries`."""
TOLD_TYPES: Final = {name: "DOUBLE" if name == "weight" else "BIGINT" for name in TOLD}
Tell = Callable[[Sequence[Entry]], Mapping[str, Any]]
"""Entries to a column for each of TOLD."""
HELD: Final = ("seq", "ingest_us", "occurred_us", "kind", "emits", "sign", *FACT_TYPES)


class DayFile(Struct, frozen=True):
    """One closed day of the journal: enough to name the file and to notice a changed one."""

    path: Path
    first_seq: int
    last_seq: int
    rows: int
    sha256: str


class DuckdbEngine:
    """An in-process database of entries.

    >>> engine = DuckdbEngine(threads=1)
    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, card=7)
    >>> engine.load([Entry(4, 1, 60, "decision", "api", "e1", 50, 1, 1, bytes(16), facts, b"")])
    >>> engine.read_at("SELECT seq, card, ingest_us FROM entries SEMI JOIN queries USING (seq)", [4])
    (array([4]), array([[ 7, 60]]))
    """

    def __init__(self, *, threads: int = 1, memory_mb_max: int = 1024):
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{memory_mb_max}MB",
            "temp_directory": str(Path(gettempdir()) / "greenlane-duckdb"),
            "autoinstall_known_extensions": False,
        }
        self._con = duckdb.connect(":memory:", config=settings)
        self._con.execute("SET enable_progress_bar = false")  # it would draw on standard output, between the JSON
        self._con.execute(f"CREATE TABLE held ({', '.join(f'{name} {DAY_TYPES[name]}' for name in HELD)})")
        self._days: list[Path] = []
        self._define_entries()

    def load(self, entries: Iterable[Entry]) -> None:
        for columns in columns_of(entries, HELD):
            self._insert("held", columns)

    def load_days(self, paths: Sequence[Path]) -> None:
        """Adds the entries of day files, read from disk whenever they are asked for."""
        self._days += paths
        self._define_entries()

    def first_ingest_us(self) -> int:
        ((first,),) = self._con.execute("SELECT COALESCE(MIN(ingest_us), 0) FROM recorded").fetchall()
        return int(first)

    def read_at(self, query: str, seqs: Sequence[int] | Ints) -> tuple[Ints, Ints]:
        """Repeated seqs are answered each; JournalError where one is no entry with facts."""
        wanted = np.asarray(seqs, np.int64)
        asked, places = np.unique(wanted, return_inverse=True)
        self._con.register("queries", {"seq": asked})
        found, rows = matrix_of(self._con.execute(query))
        if not np.array_equal(found, asked):
            raise JournalError("a query asks at an entry that is not held", hint="load the entries first")
        return wanted, rows[places]

    def write_at(self, query: str, condition: str, path: Path) -> None:
        """Answers a feature query at the entries that meet a condition over their columns, into a Parquet file."""
        self._con.register("queries", self._con.execute(f"SELECT seq FROM entries WHERE {condition}").fetchnumpy())
        self._con.execute(f"COPY ({query}) TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd)")

    def write_rows(self, query: str, tell: Tell, path: Path) -> None:
        """Answers a query over `journal`, the day files, and `told`, what `tell` says of each entry with facts."""
        self._con.execute(f"CREATE OR REPLACE TEMP VIEW journal AS FROM {parquet(self._days)}")
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE told ({', '.join(f'{n} {t}' for n, t in TOLD_TYPES.items())})")
        for day in self._days:
            entries = (entry for entry in self.read_day(day) if entry.facts is not None)
            while chunk := list(islice(entries, CHUNK_ROWS)):
                self._insert("told", tell(chunk))
        self._con.execute(f"COPY ({query}) TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd)")
        self._con.execute("DROP TABLE told")

    def rows_of(self, paths: Sequence[Path]) -> int:
        """How many rows Parquet files have."""
        ((rows,),) = self._con.execute(f"SELECT COUNT(*) FROM {parquet(paths)}").fetchall()
        return int(rows)

    def write_day(self, path: Path, entries: Iterable[Entry]) -> DayFile:
        """Writes a Parquet file whole or not at all; JournalError for an empty day."""
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE day ({', '.join(f'{n} {t}' for n, t in DAY_TYPES.items())})")
        for columns in columns_of(entries, DAY_TYPES):
            self._insert("day", columns)
        partial = path.with_name(path.name + ".partial")
        ((first, last, rows),) = self._con.execute("SELECT MIN(seq), MAX(seq), COUNT(*) FROM day").fetchall()
        if not rows:
            raise JournalError(f"no entries for {path.name}")
        options = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
        self._con.execute(f"COPY (FROM day ORDER BY seq) TO {quoted(partial)} {options}")
        self._con.execute("DROP TABLE day")
        return DayFile(path, first, last, rows, replaced(partial, path))

    def read_day(self, path: Path, *, seq: int | None = None) -> Iterator[Entry]:
        """The entries of a day file as they were written, in order; or the one of a seq."""
        cursor = self._con.cursor()
        only = "" if seq is None else f"WHERE seq = {seq:d}"
        cursor.execute(f"SELECT {', '.join(DAY_TYPES)} FROM read_parquet({quoted(path)}) {only} ORDER BY seq")
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield from map(entry_of, rows)

    def last_seq(self, path: Path) -> int:
        """Of a day file."""
        ((last,),) = self._con.execute(f"SELECT MAX(seq) FROM read_parquet({quoted(path)})").fetchall()
        return int(last)

    def close(self) -> None:
        self._con.close()

    def _insert(self, table: str, columns: Mapping[str, Any]) -> None:
        self._con.register("arriving", columns)
        self._con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM arriving")
        self._con.unregister("arriving")

    def _define_entries(self) -> None:
        """`recorded`: every entry; `entries`: those with facts."""
        names = ", ".join(HELD)
        days = f"SELECT {names} FROM {parquet(self._days)}"
        both = f"SELECT {names} FROM held" + (f" UNION ALL {days}" if self._days else "")
        self._con.execute(f"CREATE OR REPLACE TEMP VIEW recorded AS {both}")
        self._con.execute("CREATE OR REPLACE TEMP VIEW entries AS FROM recorded WHERE payment_id IS NOT NULL")


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(map(quoted, paths))}])"


def peak_mb() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def columns_of(entries: Iterable[Entry], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Entries by the chunk, as one numpy array per name; facts of an entry without facts are None."""
    left = iter(entries)
    while chunk := list(islice(left, CHUNK_ROWS)):
        yield {name: column_of(chunk, name) for name in names}


def column_of(chunk: list[Entry], name: str) -> Any:
    kind = DAY_TYPES[name]
    if name not in FACT_TYPES:
        values = [getattr(e, name) for e in chunk]
        return np.array(values, np.int64) if kind in ("BIGINT", "INTEGER") else np.array(values, object)
    if kind == "VARCHAR":
        return np.array([None if e.facts is None else getattr(e.facts, name) for e in chunk], object)
    present = np.array([0 if e.facts is None else getattr(e.facts, name) for e in chunk], np.int64)
    return np.ma.array(present, mask=[e.facts is None for e in chunk])


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A row of a day file as the entry it was."""
    head, facts, payload = row[: len(ENTRY_TYPES)], row[len(ENTRY_TYPES) : -1], row[-1]
    return msgspec.convert((*head, None if facts[0] is None else facts, payload), Entry)


def matrix_of(result: Any) -> tuple[Ints, Ints]:
    """The first column and the others, all BIGINT."""
    columns = list(result.fetchnumpy().values())
    return columns[0], np.stack(columns[1:], axis=1) if len(columns) > 1 else np.empty((len(columns[0]), 0), np.int64)


def read_vectors(folder: Path) -> tuple[tuple[str, ...], Ints, Ints]:
    """(columns, seqs rising, vectors) of a backfill's Parquet files."""
    names, (seqs, *columns) = read_table(folder)
    return names[1:], seqs, np.stack(columns, axis=1) if columns else np.empty((len(seqs), 0), np.int64)


def read_table(folder: Path) -> tuple[tuple[str, ...], list[Any]]:
    """The names and the columns, without NULLs, of Parquet files in the order of their `seq`."""
    with closing(duckdb.connect(config={"threads": 1})) as con:
        result = con.execute(f"FROM {parquet(sorted(folder.glob('*.parquet')))} ORDER BY seq")
        names = tuple(column[0] for column in result.description)
        return names, list(result.fetchnumpy().values())


def replaced(partial: Path, path: Path) -> str:
    """Makes `partial` durable under its final name; its SHA-256."""
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest
