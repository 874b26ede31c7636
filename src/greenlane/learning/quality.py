"""Is a training set fit to learn from? Checks whose breaches stop a pipeline, each naming column, value and threshold.

    schema       the columns are those promised, as float32; there are rows
    ranges       no infinity; amounts, codes and flags within theirs; a longer window never counts less than a shorter
    nulls        a column is missing about as often as in the reference
    unseen       codes that the reference never held are rare
    duplicates   no decision twice, hardly any equal rows
    leakage      no label from before its decision or from after the cut; no single column that tells the label

The reference is the profile of an earlier set, mostly the champion's. Without one nothing is compared with it.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.features.inputs import CHANNEL, COUNTRY, CREDENTIAL, FUNDING, INITIATOR, METHOD, NETWORK
from greenlane.learning.pages import grid, marked
from greenlane.payments.times import day_of, format_day

NULLS_MOVED_MAX: Final = 0.2
UNSEEN_MAX: Final = 0.05
OUT_OF_RANGE_MAX: Final = 0.001
"""Of the rows: late reversals may take away what a short window never held."""
TWINS_MAX: Final = 0.01
AUC_MAX: Final = 0.98
"""A single column that ranks events better has seen them."""
EVENTS_MIN: Final = 20
"""Fewer events say nothing about a column."""
ROWS_MIN: Final = 200
"""Fewer rows are not compared with a reference."""
AMOUNT_MAX: Final = 1e13
CODES: Final[Mapping[str, int]] = MappingProxyType({
    "channel": len(CHANNEL), "initiator": len(INITIATOR), "method": len(METHOD), "network": len(NETWORK),
    "funding": len(FUNDING), "credential": len(CREDENTIAL), "issuer_country": len(COUNTRY),
    "ip_country": len(COUNTRY), "billing_country": len(COUNTRY), "mcc": 9_999,
})  # fmt: skip
"""Columns that hold codes, and the highest one."""
BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "amount_minor": (0.0, AMOUNT_MAX),
        "amount_reporting_minor": (0.0, AMOUNT_MAX),
        "minute_of_day": (0.0, 1439.0),
        "hour": (0.0, 23.0),
        "weekday": (0.0, 6.0),
        **dict.fromkeys(("is_weekend", "is_night", "is_proxy"), (0.0, 1.0)),
        **{name: (0.0, float(most)) for name, most in CODES.items()},
    }
)
SECONDS: Final[Mapping[str, int]] = {"m": 60, "h": 3_600, "d": 86_400}
GROWING: Final = ("count", "distinct")
UNKNOWN: Final = -1
"""The label of a row that has none."""

Floats = NDArray[np.float32]


class Column(Struct, frozen=True):
    """What a column looked like, for later sets to be held against."""

    missing: float
    low: float | None
    high: float | None
    codes: list[int] = []
    """The values of a column of codes."""
    auc: float | None = None
    """Of this column alone, in its better direction; None where too few labels are known."""


Profile = dict[str, Column]


class Breach(Struct, frozen=True):
    """One thing that is wrong."""

    check: str
    column: str
    value: float
    threshold: float
    hint: str

    def __str__(self) -> str:
        return f"{self.check}: {self.column} is {self.value:g}, allowed {self.threshold:g}"


class Quality(Struct, frozen=True):
    """The result, for machines and, by `html`, for people."""

    rows: int
    labelled: int
    events: int
    compared: bool
    """Whether there was a reference."""
    columns: Profile
    breaches: list[Breach]

    def check(self) -> "Quality":
        """Itself where nothing is breached; TrainingError naming the worst first."""
        if self.breaches:
            first, more = self.breaches[0], len(self.breaches) - 1
            raise TrainingError(
                f"the training set is refused: {first}" + (f", and {more} more" if more else ""),
                code="training_set_refused",
                param=first.column,
                hint=first.hint,
            )
        return self


class Inspected(Struct, frozen=True, eq=False):
    """What is looked at: X float32[n, m]; y int8[n], 1 event, 0 none, UNKNOWN; `key` int64[n], unique to each row;
    at_us int64[n]; label_us int64[n], when an event became known, 0 for no event."""

    names: tuple[str, ...]
    X: Floats
    y: NDArray[np.int8]
    key: NDArray[np.int64]
    at_us: NDArray[np.int64]
    label_us: NDArray[np.int64]
    cut_us: int
    same: NDArray[np.int64]
    """[n, k]: what two rows share only where they may be one told twice, such as card and amount."""


def inspect(found: Inspected, *, expected: tuple[str, ...] = (), reference: Profile | None = None) -> Quality:
    """All checks. `expected` are the columns promised; nothing is raised here, see `Quality.check`."""
    columns = {name: column_of(found, place) for place, name in enumerate(found.names)}
    breaches = [*schema(found, expected), *leakage(found, columns), *ranges(found), *duplicates(found)]
    if reference and len(found.X) >= ROWS_MIN:
        breaches += [*nulls(columns, reference), *unseen(found, reference)]
    labelled = int((found.y != UNKNOWN).sum())
    return Quality(len(found.X), labelled, int((found.y == 1).sum()), bool(reference), columns, breaches)


def column_of(found: Inspected, place: int) -> Column:
    values, name = found.X[:, place], found.names[place]
    there = values[np.isfinite(values)]
    missing = float(np.isnan(values).mean()) if len(values) else 0.0
    if not len(there):
        return Column(missing, None, None)
    codes = sorted({int(code) for code in np.unique(there).tolist()}) if name in CODES else []
    return Column(missing, float(there.min()), float(there.max()), codes, auc_alone(values, found.y))


def auc_alone(values: Floats, y: NDArray[np.int8]) -> float | None:
    """The better of ranking by the value and by whether it is there; ties count half.

    >>> auc_alone(np.repeat([np.float32(0), np.float32(1)], 20), np.repeat([0, 1], 20).astype(np.int8))
    1.0
    """
    labelled = y != UNKNOWN
    x, event = values[labelled].astype(np.float64), y[labelled] == 1
    if min(int(event.sum()), int((~event).sum())) < EVENTS_MIN:
        return None
    lowest = np.where(np.isnan(x), -np.inf, x)
    return max(_auc(lowest, event), _auc(np.where(np.isnan(x), np.inf, x), event), _auc(np.isnan(x), event))


def _auc(score: NDArray[Any], event: NDArray[np.bool_]) -> float:
    """In its better direction, by mid-ranks (Mann and Whitney 1947)."""
    distinct, place = np.unique(score, return_inverse=True)
    events, others = (np.bincount(place, part, len(distinct)) for part in (event, ~event))
    below = np.cumsum(others) - others
    auc = float(events @ (below + others / 2.0) / (events.sum() * others.sum()))
    return max(auc, 1.0 - auc)


def schema(found: Inspected, expected: tuple[str, ...]) -> Iterator[Breach]:
    if found.X.dtype != np.float32 or found.X.shape != (len(found.y), len(found.names)):
        yield Breach("schema", "X", found.X.ndim, 2, f"X is {found.X.dtype}{found.X.shape}: float32, one row a label")
    if not len(found.X):
        yield Breach("schema", "rows", 0, 1, "import history, or take a longer window; see `greenlane status`")
    for name in sorted(set(expected) - set(found.names)):
        yield Breach("schema", name, 0, 1, "the set lacks a column that was promised: build it with the live features")
    for name in sorted(set(found.names) - set(expected)) if expected else ():
        yield Breach("schema", name, 1, 0, "the set has a column that nobody promised: declare the feature first")


def ranges(found: Inspected) -> Iterator[Breach]:
    for place, name in enumerate(found.names):
        values = found.X[:, place]
        infinite = int(np.isinf(values).sum())
        if infinite:
            yield Breach("ranges, infinite rows", name, infinite, 0, "a feature divides by something too small")
        low, high = BOUNDS.get(name, (-np.inf, np.inf))
        outside = _share((values < low) | (values > high))
        if outside > OUT_OF_RANGE_MAX:
            hint = f"values lie in {low:g} to {high:g}: see what the import maps here"
            yield Breach("ranges, share of rows outside", name, outside, OUT_OF_RANGE_MAX, hint)
    for shorter, longer in nested(found.names):
        falling = _share(found.X[:, found.names.index(shorter)] > found.X[:, found.names.index(longer)])
        if falling > OUT_OF_RANGE_MAX:
            hint = f"{longer} counts a longer time and yet less: rebuild the features"
            yield Breach("ranges, share of rows that count more", shorter, falling, OUT_OF_RANGE_MAX, hint)


def _share(rows: NDArray[np.bool_]) -> float:
    return float(rows.mean()) if len(rows) else 0.0


def nested(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Counts of one thing over a shorter and the next longer window.

    >>> list(nested(("card.count.24h", "card.count.1h", "card.sum.1h", "card.count.30d+8d")))
    [('card.count.1h', 'card.count.24h')]
    """
    windows: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        what, _, window = name.rpartition(".")
        number, unit = window[:-1], window[-1:]
        if number.isdigit() and unit in SECONDS and set(what.split(".")) & set(GROWING):
            windows.setdefault(what, []).append((int(number) * SECONDS[unit], name))
    for found in windows.values():
        for (_, shorter), (_, longer) in pairwise(sorted(found)):
            yield shorter, longer


def nulls(columns: Profile, reference: Profile) -> Iterator[Breach]:
    for name, column in columns.items():
        before = reference.get(name)
        if before is not None and abs(column.missing - before.missing) > NULLS_MOVED_MAX:
            hint = f"missing in {column.missing:.0%} of the rows, {before.missing:.0%} in the reference: see its source"
            moved = abs(column.missing - before.missing)
            yield Breach("nulls, share moved against the reference", name, moved, NULLS_MOVED_MAX, hint)


def unseen(found: Inspected, reference: Profile) -> Iterator[Breach]:
    for place, name in enumerate(found.names):
        before = reference.get(name)
        if name not in CODES or before is None or not before.codes:
            continue
        values = found.X[:, place]
        unknown = ~np.isnan(values) & ~np.isin(values, np.array(before.codes, np.float32))
        if _share(unknown) > UNSEEN_MAX:
            hint = "many rows have a code that the reference never held: a new market, or a changed mapping"
            yield Breach("unseen values, share of rows", name, _share(unknown), UNSEEN_MAX, hint)


def duplicates(found: Inspected) -> Iterator[Breach]:
    twice = len(found.key) - len(np.unique(found.key))
    if twice:
        yield Breach("duplicates", "rows of one decision", twice, 0, "one row for each decision: see how it was joined")
    told = np.column_stack([found.at_us, found.same])
    twins = len(told) - len(np.unique(told, axis=0))
    if len(told) and twins / len(told) > TWINS_MAX:
        hint = "equal card, amount and time: was a file imported under two names?"
        yield Breach("duplicates, share of equal rows", "card, amount and time", twins / len(told), TWINS_MAX, hint)


def leakage(found: Inspected, columns: Profile) -> Iterator[Breach]:
    event = found.y == 1
    early = np.flatnonzero(event & (found.label_us < found.at_us))
    if len(early):
        first, last = (format_day(day_of(int(at_us))) for at_us in found.at_us[early[[0, -1]]])
        of = f"the label of entry {found.key[early[0]]} was journalled before it"
        hint = (
            f"{of}: import in the order of time, with `known_after` in the mapping; or learn from days without such "
            f"attempts, which are of {first} to {last}: --from or --to"
        )
        yield Breach("leakage, labels known before their decision", "label", len(early), 0, hint)
    late = int((found.label_us[event] > found.cut_us).sum())
    if late:
        yield Breach("leakage, labels from after the cut", "label", late, 0, "build the set again at this cut")
    for name, column in sorted(columns.items(), key=lambda item: -(item[1].auc or 0.0)):
        if column.auc is not None and column.auc > AUC_MAX:
            hint = f"{name} alone all but tells the label: is it known at the decision, or made of what came later?"
            yield Breach("leakage, AUC of one column", name, column.auc, AUC_MAX, hint)


def html(quality: Quality) -> str:
    """A section of a report."""
    told = "no breach" if not quality.breaches else f"{len(quality.breaches)} breaches"
    against = "against the reference" if quality.compared else "without a reference"
    wrong = [(marked(str(b), "fail"), b.hint) for b in quality.breaches]
    strongest = sorted(quality.columns.items(), key=lambda item: -(item[1].auc or 0.0))[:10]
    rows = [(name, f"{c.missing:.1%}", *map(_number, (c.low, c.high, c.auc))) for name, c in strongest]
    return (
        f"<h2>Data quality: {told}, {against}</h2>{grid(('breach', 'what to do'), wrong) if wrong else ''}"
        f"<p>{quality.rows:,} rows, {quality.labelled:,} with a label, {quality.events:,} events. The ten columns that "
        f"tell most on their own:</p>{grid(('column', 'missing', 'least', 'most', 'AUC alone'), rows)}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
