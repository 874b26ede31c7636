"""Counts by minute and response code, from a CSV or Parquet file of whatever column names."""

from pathlib import Path
from typing import Any, Final

from greenlane.errors import SettingsError
from greenlane.monitoring.counts import Minute

TIMES: Final = ("timestamp", "time", "minute", "ts", "at", "datetime", "date_time", "created_at")
CODES: Final = ("auth_code", "code", "response_code", "network_response_code", "status", "auth_code_response")
NUMBERS: Final = ("count", "n", "cnt", "counts", "transactions", "total", "value", "f0_")
WHOLE: Final = ("INT", "INTEGER", "DOUBLE")


def read_counts(path: Path) -> list[Minute]:
    """One row a time and code, or a column for each code; further text columns are groups.

    SettingsError where time, code or count is missing.
    """
    import duckdb

    if not path.is_file():
        raise SettingsError(f"there is no file {path}", hint="a Parquet or CSV file of time, code, count")
    reader = "read_parquet" if path.suffix.lower() == ".parquet" else "read_csv"
    con = duckdb.connect()
    try:
        con.execute("SET TimeZone = 'UTC'")
        source = f"{reader}('{str(path).replace(chr(39), chr(39) * 2)}')"
        kinds = kinds_of(con, source)
        wide = [name for name, kind in kinds.items() if kind.endswith(WHOLE)]
        if len(wide) > 1 and not any(name.lower() in CODES for name in kinds):
            named = ", ".join(f'"{name}"' for name in wide)
            source = f"(UNPIVOT (SELECT * FROM {source}) ON {named} INTO NAME code VALUE count)"
            kinds = kinds_of(con, source)
        time, code, number = columns_of(kinds, path)
        groups = [name for name, kind in kinds.items() if kind == "VARCHAR" and name not in (time, code)]
        named = "".join(f', CAST("{name}" AS VARCHAR)' for name in groups)
        places = ", ".join(str(place) for place in range(1, len(groups) + 3))
        rows = con.execute(
            f"""SELECT CAST(epoch_us(date_trunc('minute', CAST("{time}" AS TIMESTAMP))) AS BIGINT),
                CAST("{code}" AS VARCHAR){named}, CAST(sum("{number}") AS BIGINT)
            FROM {source} WHERE "{time}" IS NOT NULL GROUP BY {places} ORDER BY {places}"""
        ).fetchall()
    except duckdb.Error as problem:
        raise SettingsError(f"{path.name} cannot be read: {problem}") from problem
    finally:
        con.close()
    return minutes_of(rows)


def kinds_of(con: Any, source: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def columns_of(kinds: dict[str, str], path: Path) -> tuple[str, str, str]:
    """The columns that say when, what and how often, by their names, else by their types."""
    lower = {name.lower(): name for name in kinds}
    time = next((lower[name] for name in TIMES if name in lower), None)
    time = time or next((name for name, kind in kinds.items() if kind.startswith("TIMESTAMP")), None)
    code = next((lower[name] for name in CODES if name in lower), None)
    number = next((lower[name] for name in NUMBERS if name in lower and lower[name] != code), None)
    whole = [name for name, kind in kinds.items() if kind.endswith(WHOLE) and name != code]
    number = number or (whole[0] if len(whole) == 1 else None)
    if time is None or code is None or number is None:
        raise SettingsError(
            f"{path.name} needs a time, a code and a count", hint=f"it has {', '.join(kinds)}; e.g. time, code, count"
        )
    return time, code, number


def minutes_of(rows: list[tuple[Any, ...]]) -> list[Minute]:
    """(time in us, code, *groups, count) -> counts by code of each minute and group."""
    found: dict[tuple[int, tuple[str, ...]], dict[str, int]] = {}
    for at_us, code, *group, count in rows:
        found.setdefault((at_us, tuple(str(name) for name in group)), {})[code or ""] = count
    return [Minute(at_us, group, counts) for (at_us, group), counts in found.items()]
