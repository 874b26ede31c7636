"""CSV and Parquet files of past payments, read through DuckDB: many rows at a time, in the order things became known.

1. each file becomes rows (file, row, one text, integer or flag per thing the mapping names)   table `history`
2. what cannot be read is a fault: file, row, column, message                                 column `fault`
3. the others are sorted by arrival; a label comes before a payment of the same microsecond    `events`
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from greenlane.adapters.history_mapping import Mapping, fact_of
from greenlane.adapters.history_query import SEPARATOR, HistoryQuery
from greenlane.adapters.sql_text import is_parquet, kinds_of, text
from greenlane.errors import PanNotAccepted, SettingsError
from greenlane.payments.guard import refuse_card_data
from greenlane.payments.money import EXPONENTS

CHUNK: Final = 20_000
THIRTEEN_DIGITS: Final = "[0-9]([ -]?[0-9]){12}"


class Fault(NamedTuple):
    """A row that cannot be used. `line` is the line of a CSV file, or the row of a Parquet file, both from 1."""

    file: str
    line: int
    column: str
    message: str


class Rejected(NamedTuple):
    """A record of a CSV file with too few or too many columns."""

    file: int
    record: int
    column: str
    message: str


class HistoryTable:
    """All rows of some files under one mapping, held by DuckDB, which spills to disk where memory is short.

    What it spills holds people's identifiers: it goes where only its owner reads, and is gone after the import.
    """

    def __init__(self, files: Sequence[Path], mapping: Mapping):
        self._scratch = TemporaryDirectory(prefix="greenlane-import-")
        self._con = connect(self._scratch.name)
        self._files, self._mapping = list(files), mapping
        paths = mapping.fact_paths
        self.facts = tuple(fact_of(path, param="$.columns") for path in paths)
        self._columns = {"event_id": mapping.id} | {f"f{i}": mapping.columns[path] for i, path in enumerate(paths)}
        self._values = "".join(f", f{i}" for i in range(len(paths)))
        self._rejected: list[Rejected] = []
        known = ", ".join(f"('{code}', {decimals})" for code, decimals in EXPONENTS.items())
        self._con.execute(f"CREATE TABLE currencies AS SELECT * FROM (VALUES {known}) AS known (code, exponent)")
        for number, file in enumerate(self._files):
            self._load(number, file)
        self._refuse_card_data()

    def __enter__(self) -> "HistoryTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()
        self._scratch.cleanup()

    @property
    def fault_count(self) -> int:
        return len(self._rejected) + self._number("SELECT count(*) FROM history WHERE fault IS NOT NULL")

    @property
    def payment_count(self) -> int:
        return self._number("SELECT count(*) FROM history WHERE fault IS NULL")

    @property
    def label_count(self) -> int:
        return self._number("SELECT count(label_us) FROM history WHERE fault IS NULL")

    @property
    def first_us(self) -> int:
        """When the first payment was made; 0 where there is none."""
        return self._number("SELECT coalesce(min(time_us), 0) FROM history WHERE fault IS NULL")

    @property
    def last_us(self) -> int:
        """When the last payment or label became known; 0 where there is none."""
        return self._number("SELECT coalesce(max(greatest(time_us, label_us)), 0) FROM history WHERE fault IS NULL")

    def faults(self, limit: int) -> list[Fault]:
        """The first faults in the order of the files."""
        found = self._con.execute(
            "SELECT file, row, fault FROM history WHERE fault IS NOT NULL ORDER BY file, row LIMIT ?", [limit]
        ).fetchall()
        told = [(file, row, *said.split(SEPARATOR, 1)) for file, row, said in found]
        told += [(one.file, -one.record, one.column, one.message) for one in self._rejected]
        lines = self._lines([(file, row) for file, row, *_ in told])
        faults = sorted((file, lines[file, row], column, message) for file, row, column, message in told)
        return [Fault(str(self._files[file]), *rest) for file, *rest in faults[:limit]]

    def place(self, file: int, row: int) -> tuple[str, int]:
        """The file's name and the line (or row) to tell a person."""
        return str(self._files[file]), self._lines([(file, row)])[file, row]

    def events(self) -> Iterator[list[tuple[Any, ...]]]:
        """Chunks of (at_us, is_label, file, row, event_id, amount_minor, currency, answer, hash, *facts)."""
        body = f"file, row, event_id, amount_minor, currency, answer, hash{self._values}"
        cursor = self._con.execute(
            f"""SELECT time_us AS at_us, false AS is_label, {body} FROM history WHERE fault IS NULL
            UNION ALL SELECT label_us, true, {body} FROM history WHERE fault IS NULL AND label_us IS NOT NULL
            ORDER BY at_us, is_label DESC, file, row"""
        )
        while chunk := cursor.fetchmany(CHUNK):
            yield chunk

    def _number(self, query: str) -> int:
        rows = self._con.execute(query).fetchall()
        return int(rows[0][0])

    def _load(self, number: int, file: Path) -> None:
        source = source_of(file)
        kinds = columns_of(self._con, source, file=file)
        query = HistoryQuery(self._mapping, kinds, file=str(file)).select(number, source)
        verb = "INSERT INTO history" if number else "CREATE TABLE history AS"
        self._con.execute(f"{verb} {query}")
        if not is_parquet(file):
            self._keep_rejected(number)

    def _keep_rejected(self, number: int) -> None:
        """DuckDB's `line` counts the records of the file from 1, its header and blank lines included."""
        rows = self._con.execute(
            "SELECT line, coalesce(column_name, ''), error_message FROM reject_errors "
            "QUALIFY row_number() OVER (PARTITION BY line ORDER BY column_idx) = 1 ORDER BY line"
        ).fetchall()
        self._rejected += [Rejected(number, record, column, said.splitlines()[0]) for record, column, said in rows]
        self._con.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")

    def _refuse_card_data(self) -> None:
        """A row with a card number in any column is a fault; what it says is neither kept nor shown."""
        texts = ", ".join(self._columns)
        suspects = self._con.execute(
            f"SELECT file, row, {texts} FROM history WHERE regexp_matches(concat_ws(' / ', {texts}), ?)",
            [THIRTEEN_DIGITS],
        ).fetchall()
        found = [(f, row, column) for f, row, *values in suspects if (column := self._card_data(values)) is not None]
        for file, row, column in found:
            said = f"{column}{SEPARATOR}what looks like a card number is not accepted: hash the column first"
            self._con.execute("UPDATE history SET fault = ? WHERE file = ? AND row = ?", [said, file, row])

    def _card_data(self, values: Sequence[Any]) -> str | None:
        for name, value in zip(self._columns, values, strict=True):
            try:
                refuse_card_data(msgspec.json.encode({"value": value}))
            except PanNotAccepted:
                return self._columns[name]
        return None

    def _lines(self, rows: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """The line of each (file, row); a row below 0 is a record of a CSV file that was rejected."""
        found = {(file, row): row + 1 for file, row in rows}
        for file in {file for file, _ in rows}:
            if not is_parquet(self._files[file]):
                wanted = {row for f, row in rows if f == file}
                rejected = {one.record for one in self._rejected if one.file == file}
                found |= {(file, row): line for row, line in csv_lines(self._files[file], wanted, rejected)}
        return found


def connect(scratch: str) -> Any:
    import duckdb

    con = duckdb.connect(config={"temp_directory": scratch})
    con.execute("SET TimeZone = 'UTC'")
    return con


def columns_of(con: Any, source: str, *, file: Path) -> dict[str, str]:
    """The file's columns with DuckDB's names of their types."""
    import duckdb

    try:
        return kinds_of(con, f"(SELECT * EXCLUDE row FROM {source})")
    except duckdb.Error as problem:
        hint = "CSV in UTF-8 with a header line, separated by , ; | or tabs, or Parquet"
        raise SettingsError(f"the file cannot be read as a table: {file}", param=str(file), hint=hint) from problem


def source_of(file: Path) -> str:
    """What to select from: the file's columns as they are, and `row`, counted from 0."""
    if not file.is_file():
        raise SettingsError(f"there is no file {file}", param=str(file), hint="give the files after `import`")
    name = text(file)
    if is_parquet(file):
        reader = f"read_parquet({name}, file_row_number = true)"
        return f"(SELECT file_row_number AS row, * EXCLUDE file_row_number FROM {reader})"
    dialect = f"delim = {text(csv_delimiter(file))}, quote = '\"', escape = '\"', header = true, all_varchar = true"
    reader = f"read_csv({name}, {dialect}, store_rejects = true, rejects_limit = 0)"
    return f"(SELECT row_number() OVER () - 1 AS row, * FROM {reader})"


def csv_delimiter(file: Path) -> str:
    """The one of , ; tab | that the header holds most of."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    return max(",;\t|", key=header.count)


def csv_lines(file: Path, wanted: set[int], rejected: set[int]) -> Iterator[tuple[int, int]]:
    """(row, line) of the rows wanted, and (-record, line) of what was rejected.

    Quoted texts may run over several lines, so lines have to be counted.
    """
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        records = csv.reader(lines, delimiter=csv_delimiter(file))
        row = line = 0
        for number, record in enumerate(records, 1):
            if number in rejected:
                yield -number, line + 1
            elif record and number > 1:
                if row in wanted:
                    yield row, line + 1
                row += 1
            line = records.line_num
