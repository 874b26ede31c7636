"""Names, texts and files as they stand in DuckDB's SQL."""

from pathlib import Path
from typing import Any


def text(value: object) -> str:
    """
    >>> text("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def column(name: str) -> str:
    r'''
    >>> column('"code" of 3')
    '"""code"" of 3"'
    '''
    return '"' + name.replace('"', '""') + '"'


def is_parquet(file: Path) -> bool:
    with file.open("rb") as head:
        return head.read(4) == b"PAR1"


def kinds_of(con: Any, source: str) -> dict[str, str]:
    """What a source's columns are called, and DuckDB's names of their types."""
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
