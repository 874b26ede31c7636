"""Columns of a training set as one Parquet file, written whole or not at all; equal columns give equal bytes."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from greenlane.adapters.duckdb_engine import quoted, replaced
from greenlane.errors import TrainingError

Columns = Mapping[str, NDArray[Any]]
EXACT: Final = 2.0**53
OPTIONS: Final = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"


def write_columns(path: Path, columns: Columns) -> str:
    """All of one length, in order; answers the file's sha256. Floats that hold whole numbers only become integers with
    nulls for NaN, which are smaller and which every engine reads alike."""
    with closing(duckdb.connect(config={"threads": 1})) as con:
        con.register("arriving", {f"c{place}": array for place, array in enumerate(columns.values())})
        chosen = ", ".join(
            f'{stored(f"c{place}", array)} AS "{name}"' for place, (name, array) in enumerate(columns.items())
        )
        partial = path.with_name(path.name + ".partial")
        con.execute(f"COPY (SELECT {chosen} FROM arriving) TO {quoted(partial)} {OPTIONS}")
    return replaced(partial, path)


def stored(column: str, array: NDArray[Any]) -> str:
    """
    >>> stored("c", np.float32([1, np.nan])), stored("c", np.float32([0.5]))
    ('CAST(CASE WHEN isnan(c) THEN NULL ELSE c END AS BIGINT)', 'c')
    """
    if array.dtype.kind != "f":
        return column
    there = array[~np.isnan(array)]
    whole = np.all(np.abs(there) < EXACT) and np.all(there == np.rint(there))
    if whole and not np.any(np.signbit(there) & (there == 0.0)):
        return f"CAST(CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS BIGINT)"
    return column


def read_columns(path: Path, dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The columns as they were written, as the numpy types named; "float32" where a name is not."""
    con = duckdb.connect(config={"threads": 1})
    try:
        con.execute(f"SELECT * FROM read_parquet({quoted(path)})")
        found = con.fetchnumpy()
    except duckdb.Error as problem:
        raise TrainingError(f"{path} cannot be read: {problem}", hint="build the set again") from problem
    finally:
        con.close()
    return {name: filled(array, dtypes.get(name, "float32")) for name, array in found.items()}


def filled(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """NaN for a null of a float column, "" for one of a text."""
    if not isinstance(array, np.ma.MaskedArray):
        return array.astype(dtype)
    empty = np.nan if dtype.startswith("float") else "" if dtype == "object" else 0
    whole = np.asarray(array.data).astype("float64" if dtype.startswith("float") else dtype)
    whole[np.ma.getmaskarray(array)] = empty
    return whole.astype(dtype)
