"""A table of expected feature values, as somebody else computed them, from CSV or Parquet."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

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
    reader = "read_csv" if file.suffix.lower() in (".csv", ".tsv", ".gz") else "read_parquet"
    with closing(duckdb.connect()) as con:
        quoted_path = str(file).replace("'", "''")
        source = f"{reader}('{quoted_path}')"
        held = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
        absent = [name for name in (id_column, *columns) if name not in held]
        if absent:
            raise SettingsError(f"{file.name} has no column {', '.join(absent)}", hint=f"it has: {', '.join(held)}")
        quoted = ", ".join(f'CAST("{name}" AS DOUBLE)' for name in columns)
        rows = con.execute(f'SELECT CAST("{id_column}" AS VARCHAR), {quoted} FROM {source}').fetchnumpy()
    ids, *values = rows.values()
    matrix = np.column_stack([np.ma.filled(v.astype(np.float64), np.nan) for v in values])
    return ExpectedTable(ids.tolist(), tuple(columns.values()), matrix)
