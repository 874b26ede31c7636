"""A table of expected feature values, as somebody else computed them, from CSV or Parquet."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from greenlane.adapters.sql_text import column, is_parquet, kinds_of, text
from greenlane.errors import SettingsError


class ExpectedTable(NamedTuple):
    """`values` float64[n, len(columns)], in the order of `ids`; NaN where the file has nothing."""

    ids: list[str]
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]


def read_expected(file: Path, *, id_column: str, columns: Mapping[str, str]) -> ExpectedTable:
    """`columns`: file column -> feature name. SettingsError names a column that the file does not have."""
    if not file.exists():
        raise SettingsError(f"there is no file {file}", param="--against")
    source = f"{'read_parquet' if is_parquet(file) else 'read_csv'}({text(file)})"
    with closing(duckdb.connect()) as con:
        held = kinds_of(con, source)
        absent = [name for name in (id_column, *columns) if name not in held]
        if absent:
            raise SettingsError(f"{file.name} has no column {', '.join(absent)}", hint=f"it has: {', '.join(held)}")
        told = ", ".join(f"CAST({column(name)} AS DOUBLE)" for name in columns)
        rows = con.execute(f"SELECT CAST({column(id_column)} AS VARCHAR), {told} FROM {source}").fetchnumpy()
    ids, *values = rows.values()
    matrix = np.column_stack([np.ma.filled(v.astype(np.float64), np.nan) for v in values])
    return ExpectedTable(ids.tolist(), tuple(columns.values()), matrix)
