"""How a file of past payments is read: a TOML page that says which column is what.

    id = "TRANSACTION_ID"
    time = { column = "TX_DATETIME" }
    amount = { column = "TX_AMOUNT" }
    label = { column = "TX_FRAUD", known_after = "7d" }

    [columns]
    merchant_id = "TERMINAL_ID"
    "payment_method.card.fingerprint" = "CUSTOMER_ID"

    [constants]
    currency = "EUR"

`[columns]` and `[constants]` speak the API's words: every path of a payment that is frozen for features may be named.
`[features]` declares the features of a data directory, `[expected]` a table of values to check them against.
"""

import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.inspect import (
    BoolType,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

from greenlane.errors import SettingsError
from greenlane.features.definition import FACT_OF_PATH, DeclaredSet, FeatureSet, declared, duration_us
from greenlane.payments.attempt import Payment
from greenlane.payments.facts import Facts
from greenlane.payments.money import exponent
from greenlane.payments.times import parse_rfc3339

SPECIAL: Final = MappingProxyType(
    {"currency": "currency", "customer.account_created": "account_age_us", "payment_method.type": "method"}
)
"""Paths whose fact is read in a way of its own."""

Column = Annotated[str, Meta(min_length=1)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A misspelt key is an error with a path."""


class TimeColumn(Strict, frozen=True):
    """Text, dates and timestamps of any precision are understood; a column of numbers needs its `unit`."""

    column: Column
    unit: Literal["s", "ms", "us", "ns"] | None = None


class AmountColumn(Strict, frozen=True):
    """`major`: a decimal of the currency (12.34); `minor`: whole minor units (1234)."""

    column: Column
    unit: Literal["major", "minor"] = "major"


class LabelColumn(Strict, frozen=True):
    """Payments reported later, and when the report came: `known_after` the payment, or at the time in `known_at`."""

    column: Column | None = None
    type: Literal["fraud_report", "dispute"] = "fraud_report"
    known_after: str | None = None
    known_at: TimeColumn | None = None
    positive: tuple[str, ...] = ("1", "1.0", "true", "t", "yes", "y")
    negative: tuple[str, ...] = ("0", "0.0", "false", "f", "no", "n", "")

    @property
    def shown(self) -> str:
        """The column to name where a label cannot be used."""
        return self.column or (self.known_at.column if self.known_at else "")


class AuthorizationColumn(Strict, frozen=True):
    """What the issuer answered: `column` holds a response code or a word; all not in `approved` are declines."""

    column: Column
    approved: tuple[str, ...] = ("00", "approved", "true", "1")


class Expected(Strict, frozen=True):
    """A table of expected values: its id column, and for each of its columns the feature that must equal it."""

    id: Column
    columns: dict[str, str]
    comparison: Literal["float32", "float64"] = "float32"


class Mapping(Strict, frozen=True):
    """
    >>> page = Mapping(id="n", time=TimeColumn("t"), amount=AmountColumn("a"), constants={"currency": "EUR"})
    >>> page.check().constants
    {'currency': 'EUR'}
    """

    id: Column
    time: TimeColumn
    amount: AmountColumn
    source: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,64}$")] = "import"
    complete_from: str | None = None
    """RFC 3339: from when the files hold every payment there was. Windows that reach further back are `warming`."""
    columns: dict[str, Column] = {}
    constants: dict[str, str | int | bool] = {}
    label: LabelColumn | None = None
    authorization: AuthorizationColumn | None = None
    features: DeclaredSet | None = None
    expected: Expected | None = None

    def check(self) -> "Mapping":
        for key in ("columns", "constants"):
            for path in getattr(self, key):
                fact_of(path, param=f"$.{key}.{path}")
        for path, value in self.constants.items():
            kind = type_of_path()[path]
            if isinstance(kind, LiteralType) and value not in kind.values:
                values = ", ".join(str(one) for one in kind.values)
                raise _refused(f"{value!r} is not a value of {path}", f"$.constants.{path}", f"one of {values}")
        doubled = set(self.columns) & set(self.constants)
        if doubled:
            raise _refused(f"{', '.join(sorted(doubled))}: both a column and a constant", "$.constants", "keep one")
        self._check_currency()
        self._check_label()
        if self.complete_from:
            parse_rfc3339(self.complete_from, param="$.complete_from")
        return self

    @property
    def fact_paths(self) -> tuple[str, ...]:
        """The paths that columns are mapped to, but for the currency."""
        return tuple(path for path in self.columns if path != "currency")

    @property
    def feature_set(self) -> FeatureSet | None:
        return declared(self.features) if self.features else None

    @property
    def complete_from_us(self) -> int | None:
        return parse_rfc3339(self.complete_from) if self.complete_from else None

    def _check_currency(self) -> None:
        if "currency" in self.constants:
            exponent(str(self.constants["currency"]), param="$.constants.currency")
        elif "currency" not in self.columns:
            raise _refused("no currency", "$.constants.currency", 'add currency = "EUR" under [constants]')

    def _check_label(self) -> None:
        if self.label is None:
            return
        if (self.label.known_after is None) == (self.label.known_at is None):
            hint = 'known_after = "7d", or known_at = { column = "REPORTED_AT" }'
            raise _refused("a label is known either after a delay or at a time", "$.label", hint)
        if self.label.known_after:
            duration_us(self.label.known_after)
        elif self.label.column is None and self.label.known_at is None:
            raise _refused("a label needs its column", "$.label.column", 'column = "IS_FRAUD"')


KEYS: Final = tuple(
    sorted({name for table in (Mapping, TimeColumn, LabelColumn, Expected) for name in table.__struct_fields__})
)
"""Every key a mapping may hold, for the one that was meant."""


def read_mapping(file: Path) -> Mapping:
    """The mapping on a TOML page, checked; SettingsError with the path of what is wrong."""
    try:
        tables = tomllib.loads(file.read_text())
    except OSError as problem:
        raise SettingsError(f"the mapping cannot be read: {problem.strerror}", param=str(file)) from None
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"the mapping is no TOML: {problem}", param=str(file)) from None
    try:
        return msgspec.convert(tables, Mapping).check()
    except msgspec.ValidationError as problem:
        message, _, path = str(problem).partition(" - at ")
        where, unknown = path.strip("`") or "$", message.partition("unknown field `")[2].strip("`")
        near = get_close_matches(unknown, KEYS, n=1) if unknown else []
        hint = f"did you mean {near[0]}?" if near else f"the keys of a mapping: docs/reference.md ({file})"
        raise _refused(message, f"{where}.{unknown}" if unknown else where, hint) from None


def fact_of(path: str, *, param: str) -> str:
    """The frozen fact that a path of the API's payment becomes.

    >>> fact_of("device.ip", param="$")
    'ip'
    """
    last = path.rpartition(".")[2]
    fact = FACT_OF_PATH.get(path) or SPECIAL.get(path) or (last if last in Facts.__struct_fields__ else None)
    if path not in type_of_path() or fact is None or path in ("id", "amount", "created"):
        known = ", ".join(sorted(p for p in type_of_path() if p not in ("id", "amount", "created")))
        raise _refused(f"{path!r} is no part of a payment that is kept", param, f"one of {known}")
    return fact


@cache
def type_of_path() -> dict[str, Type]:
    """Every path of a payment with the type that the API gives it."""
    found = dict(_leaves(type_info(Payment), ""))
    found["payment_method.fingerprint"] = found["payment_method.card.fingerprint"]
    return found


def _leaves(kind: Type, path: str) -> list[tuple[str, Type]]:
    if isinstance(kind, Metadata):
        return _leaves(kind.type, path)
    if isinstance(kind, UnionType):
        return [leaf for one in kind.types if not isinstance(one, NoneType) for leaf in _leaves(one, path)]
    if isinstance(kind, StructType):
        return [
            leaf for f in kind.fields for leaf in _leaves(f.type, f"{path}.{f.encode_name}" if path else f.encode_name)
        ]
    return [(path, kind)] if isinstance(kind, StrType | IntType | BoolType | LiteralType) else []


def _refused(message: str, param: str, hint: str) -> SettingsError:
    return SettingsError(message, code="invalid_mapping", param=param, hint=hint)
