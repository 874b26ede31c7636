"""The facts of the field, kept as CSV in the package: each row names its source, so that a reader can check it."""

import csv
from importlib import resources


def rows(name: str) -> list[dict[str, str]]:
    """All rows of one table of `payments/data`, as written.

    >>> rows("currencies")[0]["code"]
    'AED'
    """
    text = resources.files("greenlane.payments").joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
