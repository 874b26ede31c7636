"""Counts by minute and response code, from a CSV or Parquet file of whatever column names."""

from pathlib import Path
from typing import Any, Final

from greenlane.adapters.sql_text import column, kinds_of, text
from greenlane.errors import SettingsError
from greenlane.monitoring.counts import Minute

TIMES: Final = ("timestamp", "time", "minute", "ts", "at", "datetime", "date_time", "created_at")
CODES: Final = ("auth_code", "code", "response_code", "network_response_code", "status", "auth_code_response")
NUMBERS: Final = ("count", "n", "cnt", "counts", "transactions", "total", "value", "f0_")
NOTHING: Final = ("index", "id", "row", "unnamed:_0", "__index_level_0__", "column0", "column00", "total", "all")
"""Numbers beside a column for each code."""
WHOLE: Final = ("INT", "INTEGER", "DOUBLE", "FLOAT")
DAY_FIRST: Final = "['%d/%m/%Y %H:%M:%S', '%d/%m/%Y %H:%M', '%d.%m.%Y %H:%M:%S', '%d.%m.%Y %H:%M']"
HINT: Final = "a Parquet or CSV file of time, code and count, e.g. 2026-01-31 10:00, 51, 12"


def read_counts(path: Path) -> list[Minute]:
    """One row a time and code, or a column for each code. Text columns that tell rows of one time and code apart are
    groups. Times without a zone are UTC.

    SettingsError where the file, its rows, a time, a code or a count is missing or is none.
    """
    import duckdb

    if not path.is_file():
        raise SettingsError(f"there is no file {path}", hint=HINT)
    reader = "read_parquet" if path.suffix.lower() in (".parquet", ".pq") else "read_csv"
    con = duckdb.connect()
    try:
        con.execute("SET TimeZone = 'UTC'")
        source = f"{reader}({text(path)})"
        kinds = in_file = kinds_of(con, source)
        wide = [name for name, kind in kinds.items() if kind.endswith(WHOLE) and plain(name) not in (*TIMES, *NOTHING)]
        if len(wide) > 1 and not any(plain(name) in CODES for name in kinds):
            named = ", ".join(column(name) for name in wide)
            source = f"(UNPIVOT (SELECT * FROM {source}) ON {named} INTO NAME code VALUE count)"
            kinds = kinds_of(con, source)
        try:
            time, code, number = columns_of(kinds)
        except LookupError:
            said = f"{path.name} needs a time, a code and a count; it has {', '.join(in_file)}"
            raise SettingsError(said, hint=HINT) from None
        at, said, many = column(time), column(code), column(number)
        con.execute(f"""CREATE TABLE rows AS SELECT * REPLACE (
            CAST(epoch_us(date_trunc('minute', {moment(time, kinds[time])})) AS BIGINT) AS {at},
            regexp_replace(CAST({said} AS VARCHAR), '[.]0$', '') AS {said},
            coalesce(CAST({many} AS DOUBLE), 0) AS {many}) FROM {source} WHERE {at} IS NOT NULL""")
        groups = [
            name
            for name, kind in kinds.items()
            if kind == "VARCHAR" and name not in (time, code) and tells_apart(con, name, time=time, code=code)
        ]
        keys = ", ".join(column(name) for name in (time, code, *groups))
        found = con.execute(f"SELECT {keys}, sum({many}) FROM rows GROUP BY ALL ORDER BY ALL").fetchall()
    except duckdb.Error as problem:
        raise SettingsError(f"{path.name} cannot be read: {str(problem).splitlines()[0]}", hint=HINT) from problem
    finally:
        con.close()
    if not found:
        raise SettingsError(f"{path.name} has no rows", hint=HINT)
    return minutes_of(found)


def plain(name: str) -> str:
    """
    >>> plain("Auth Code")
    'auth_code'
    """
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def moment(name: str, kind: str) -> str:
    """SQL for the time in a column: a timestamp, text, or a number of s, ms, us or ns since 1970."""
    told = column(name)
    if kind == "VARCHAR":
        return f"coalesce(try_strptime({told}, {DAY_FIRST}), CAST({told} AS TIMESTAMPTZ))"
    if kind.endswith(WHOLE):
        thousands = f"floor(log10(greatest({told}, 1)) / 3 - 3)"
        return f"make_timestamp(CAST({told} * pow(1000.0, 2 - {thousands}) AS BIGINT))"
    return f"CAST({told} AS TIMESTAMP)"


def tells_apart(con: Any, name: str, *, time: str, code: str) -> bool:
    """A weekday or a code's description does not."""
    within = f"SELECT count(DISTINCT {column(name)}) AS n FROM rows GROUP BY {column(time)}, {column(code)}"
    return bool((con.execute(f"SELECT max(n) FROM ({within})").fetchone()[0] or 0) > 1)


def columns_of(kinds: dict[str, str]) -> tuple[str, str, str]:
    """The columns that say when, what and how often, by their names, else by their types. LookupError without them."""
    known = {plain(name): name for name in kinds}
    time = next((known[name] for name in TIMES if name in known), None)
    time = time or next((name for name, kind in kinds.items() if kind.startswith("TIMESTAMP")), None)
    code = next((known[name] for name in CODES if name in known), None)
    number = next((known[name] for name in NUMBERS if name in known and known[name] != code), None)
    whole = [name for name, kind in kinds.items() if kind.endswith(WHOLE) and name not in (time, code)]
    number = number or (whole[0] if len(whole) == 1 else None)
    if time is None or code is None or number is None:
        raise LookupError
    return time, code, number


def minutes_of(rows: list[tuple[Any, ...]]) -> list[Minute]:
    """(time in us, code, *groups, count) -> counts by code of each minute and group."""
    found: dict[tuple[int, tuple[str, ...]], dict[str, int]] = {}
    for at_us, code, *group, count in rows:
        found.setdefault((at_us, tuple(str(name) for name in group)), {})[code or ""] = round(count)
    return [Minute(at_us, group, counts) for (at_us, group), counts in found.items()]
