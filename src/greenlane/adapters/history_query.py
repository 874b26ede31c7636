"""The SELECT that turns the columns of one file, whatever their types, into payments and their labels."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from msgspec.inspect import BoolType, IntType, LiteralType, StrType, Type

from greenlane.adapters.history_mapping import AmountColumn, LabelColumn, Mapping, TimeColumn, fact_of, type_of_path
from greenlane.adapters.sql_text import column, text
from greenlane.errors import SettingsError
from greenlane.features.definition import duration_us
from greenlane.payments.money import AMOUNT_MAX

SUBJECTS: Final = ("card", "par", "customer", "email", "phone", "device", "ip", "shipping")
"""Facts that become pseudonyms: whatever text names them will do."""
US_PER_UNIT: Final = MappingProxyType({"s": "1000000", "ms": "1000", "us": "1", "ns": "0.001"})
SEPARATOR: Final = "\x1f"
"""Between the column and the message of a fault."""
ID_MAX: Final = 128
"""Characters of an id of others: a merchant's name may stand in its place, with spaces and accents."""
NOISE: Final = "0.0000001"
"""Of a minor unit. What is left of a decimal below this is a binary float's, not the file's."""


class HistoryQuery:
    """One file's columns (`kinds`: their DuckDB types by name) under a mapping."""

    def __init__(self, mapping: Mapping, kinds: dict[str, str], *, file: str):
        self._mapping, self._kinds, self._file = mapping, kinds, file

    def select(self, number: int, source: str) -> str:
        """Rows of (file, row, event_id, time_us, amount_minor, currency, answer, label_us, f0, ..., hash, fault)."""
        paths = self._mapping.fact_paths
        read = [
            f"{number} AS file, row",
            f"{self._text(self._mapping.id, '$.id')} AS event_id",
            f"{self._time(self._mapping.time, '$.time')} AS time_us",
            f"{self._text(self._mapping.amount.column, '$.amount.column')} AS amount_text",
            f"{self._currency()} AS currency",
            f"{self._answer()} AS answer",
            *self._label(self._mapping.label),
            *(f"{self._field(path)} AS f{i}" for i, path in enumerate(paths)),
        ]
        values = ", ".join(
            ["event_id, time_us, amount_minor, currency, answer, label_us", *(f"f{i}" for i in range(len(paths)))]
        )
        return f"""
            SELECT file, row, {values}, unhex(md5(concat_ws(chr(31), {values}))) AS hash, {self._fault(paths)} AS fault
            FROM (SELECT told.*, exponent, {amount_minor(self._mapping.amount)} AS amount_minor
                  FROM (SELECT {", ".join(read)} FROM {source}) AS told LEFT JOIN currencies ON code = currency)
        """

    # ---- what a column says

    def _column(self, name: str, param: str) -> str:
        if name not in self._kinds:
            raise SettingsError(
                f"{self._file} has no column {name!r}",
                code="invalid_mapping",
                param=param,
                hint=f"its columns are {', '.join(self._kinds)}",
            )
        return column(name)

    def _text(self, name: str, param: str) -> str:
        return f"nullif(trim(CAST({self._column(name, param)} AS VARCHAR)), '')"

    def _time(self, moment: TimeColumn, param: str) -> str:
        """Microseconds UTC, finer fractions cut; a text without offset is UTC."""
        told, kind = self._column(moment.column, f"{param}.column"), self._kinds[moment.column]
        if moment.unit:
            return f"CAST(floor(TRY_CAST({told} AS DECIMAL(28, 6)) * {US_PER_UNIT[moment.unit]}) AS BIGINT)"
        if kind in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
            return f"epoch_ns({told}) // 1000"
        if kind.startswith(("TIMESTAMP", "DATE")):
            return f"epoch_us(CAST({told} AS TIMESTAMPTZ))"
        if kind != "VARCHAR":
            raise SettingsError(
                f"{moment.column} of {self._file} holds numbers ({kind})",
                code="invalid_mapping",
                param=f"{param}.unit",
                hint='say what they count: unit = "s", "ms", "us" or "ns"',
            )
        return f"epoch_us(TRY_CAST({told} AS TIMESTAMPTZ))"

    def _currency(self) -> str:
        if "currency" in self._mapping.columns:
            return self._text(self._mapping.columns["currency"], "$.columns.currency")
        return text(str(self._mapping.constants["currency"]))

    def _answer(self) -> str:
        told = self._mapping.authorization
        return self._text(told.column, "$.authorization.column") if told else "CAST(NULL AS VARCHAR)"

    def _label(self, label: LabelColumn | None) -> list[str]:
        if label is None:
            return ["CAST(NULL AS BIGINT) AS label_us", "true AS label_readable"]
        is_positive = is_readable = "true"
        if label.column:
            told = f"lower(coalesce({self._text(label.column, '$.label.column')}, ''))"
            is_positive = f"{told} IN ({listed(label.positive)})"
            is_readable = f"{told} IN ({listed((*label.positive, *label.negative))})"
        if label.known_at:
            known_us = self._time(label.known_at, "$.label.known_at")
        else:
            known_us = f"{self._time(self._mapping.time, '$.time')} + {duration_us(label.known_after or '0s')}"
        return [f"CASE WHEN {is_positive} THEN {known_us} END AS label_us", f"{is_readable} AS label_readable"]

    def _field(self, path: str) -> str:
        name, param = self._mapping.columns[path], f"$.columns.{path}"
        if path == "customer.account_created":
            return self._time(TimeColumn(name), param)
        value, kind = self._text(name, param), type_of_path()[path]
        if isinstance(kind, BoolType):
            return f"CAST(TRY_CAST({value} AS BOOLEAN) AS INTEGER)"
        return f"TRY_CAST({value} AS BIGINT)" if isinstance(kind, IntType) else value

    # ---- what is wrong with a row

    def _fault(self, paths: Sequence[str]) -> str:
        """Column and message of the first thing that is wrong, or NULL."""
        mapping = self._mapping
        amount, currency = mapping.amount.column, mapping.columns.get("currency", "")
        label = mapping.label.shown if mapping.label else ""
        no_id = f"event_id IS NULL OR NOT {accepted(type_of_path()['id'], 'event_id')}"
        checks = [
            (mapping.id, "event_id", no_id, "not an id: 1 to 128 visible characters"),
            (mapping.time.column, "NULL", "time_us IS NULL", "not a time that can be read"),
            (currency, "currency", "exponent IS NULL", "not an ISO 4217 currency"),
            (amount, "amount_text", "amount_minor IS NULL", "not an amount of this currency"),
            (amount, "amount_text", f"amount_minor NOT BETWEEN 0 AND {AMOUNT_MAX}", "negative, or above 10^13"),
            (label, "NULL", "NOT label_readable", "neither a positive nor a negative label"),
            (label, "NULL", "label_us < time_us", "known before its payment"),
            *(self._field_check(path, f"f{i}") for i, path in enumerate(paths)),
        ]
        whens = [
            f"WHEN {bad} THEN {text(name + SEPARATOR + message)} || coalesce(': ' || {shown}, '')"
            for name, shown, bad, message in checks
        ]
        return f"CASE {' '.join(whens)} END"

    def _field_check(self, path: str, value: str) -> tuple[str, str, str, str]:
        kind, name = type_of_path()[path], self._mapping.columns[path]
        if fact_of(path, param=path) in SUBJECTS or not isinstance(kind, StrType | LiteralType):
            return name, "NULL", "false", ""
        bad = f"length({value}) > {ID_MAX}" if kind == type_of_path()["id"] else f"NOT {accepted(kind, value)}"
        return name, value, bad, f"not a value of {path}"


def amount_minor(amount: AmountColumn) -> str:
    """Minor units, or NULL where the text is no decimal of the currency. Nothing goes through a binary float."""
    decimal = "TRY_CAST(amount_text AS DECIMAL(38, 18))"
    scaled = decimal if amount.unit == "minor" else f"{decimal} * CAST(10 ** exponent AS DECIMAL(6, 0))"
    is_whole = f"abs({scaled} - round({scaled}, 0)) <= {NOISE}"
    return f"CASE WHEN abs({decimal}) <= {AMOUNT_MAX} AND {is_whole} THEN CAST(round({scaled}, 0) AS BIGINT) END"


def accepted(kind: Type, value: str) -> str:
    """The API's own rule for a text, as SQL."""
    if isinstance(kind, LiteralType):
        return f"{value} IN ({listed([str(one) for one in kind.values])})"
    rules = ["true"]
    if isinstance(kind, StrType) and kind.pattern:
        rules.append(f"regexp_full_match({value}, {text(kind.pattern.strip('^$'))})")
    if isinstance(kind, StrType) and kind.max_length:
        rules.append(f"length({value}) <= {kind.max_length}")
    return f"({' AND '.join(rules)})"


def listed(values: Sequence[str]) -> str:
    return ", ".join(text(value) for value in values)
