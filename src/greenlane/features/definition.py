"""Feature definitions: declared once, served by the stream engine, backfilled by the SQL engine, equal bit for bit.

The one rule, for a decision `q` (an entry with its ingest time) and an aggregation over entries `e` of a source:

    F(q) = fold over entries e with  key(e) = key(q)  and  e.seq < q.seq  and  e is kept
                                and  left <= t(e)  [and t(e) < right, only where delay > 0]
    t(e)  = min(e.occurred_us, e.ingest_us)   for time="report"      (when the outcome happened)
            min(e.payment_us,  e.ingest_us)   for time="payment"     (the frozen time of the payment it refers to)
    left  = floor((q.ingest_us - delay - width) / hop) * hop
    right = floor((q.ingest_us - delay) / hop) * hop + hop
    e is kept  iff  t(e) >= e.ingest_us - ttl  and  where(e)  and no part of key(e) is absent

All state and all values are integers. What is not a plain value is one of five marks, the most negative integers:

    ABSENT   q has no key for this entity (a payment without a device)
    WARMING  q.ingest_us - width - delay is earlier than the journal's first complete instant
    NEVER    no kept event e with e.seq < q.seq and t(e) >= q.ingest_us - ttl
    EMPTY    events, but none in this window: Min, Max, Last, First, TimeSince, PreviousGap (Count, Sum, Distinct say 0)
    EVICTED  state was dropped for lack of room (stream only, only where spilling is off; never in parity)

The first that holds, in this order, is the value. `Seen` has no window: 1 if such an event exists within the ttl, else
WARMING if q.ingest_us - ttl is earlier than the first complete instant, else NEVER.

An entry with sign -1 subtracts from Count and Sum; every other measure, `Seen` and NEVER pass over it.
"""

import hashlib
import re
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from greenlane.errors import FeatureError
from greenlane.payments.facts import INT_FIELDS, TEXT_FIELDS
from greenlane.ports.journal import SOURCES

NEVER: Final = -(2**63)
WARMING: Final = NEVER + 1
EMPTY: Final = NEVER + 2
ABSENT: Final = NEVER + 3
EVICTED: Final = NEVER + 4
MARKS: Final = {NEVER: "never", WARMING: "warming", EMPTY: "empty", ABSENT: "absent", EVICTED: "evicted"}
MARK_MAX: Final = NEVER + 1023
"""Every integer up to this one is a mark, never a value."""

FACT_OF_PATH: Final = {
    "payment_method.card.fingerprint": "card",
    "payment_method.fingerprint": "card",
    "payment_method.card.par": "par",
    "payment_method.card.bin": "bin8",
    "payment_method.card.issuer_id": "issuer_id",
    "payment_method.card.network": "network",
    "customer.id": "customer",
    "customer.email_hash": "email",
    "customer.email_domain": "email_domain",
    "customer.phone_hash": "phone",
    "device.id": "device",
    "device.ip": "ip",
    "device.asn": "asn",
    "shipping_hash": "shipping",
}
"""API paths of `payment` whose frozen fact has another name; every other fact goes by its own name."""

UNITS_US: Final = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def duration_us(text: str) -> int:
    """
    >>> duration_us("90s"), duration_us("2h")
    (90000000, 7200000000)
    """
    match = re.fullmatch(r"([0-9]+)(us|ms|s|m|h|d)", text)
    if not match:
        raise FeatureError(f"{text!r} is not a duration", hint="a whole number and a unit: 500ms, 90s, 5m, 24h, 30d")
    return int(match[1]) * UNITS_US[match[2]]


class Window(Struct, frozen=True, order=True):
    """width / hop + delay, in microseconds; written `30d/1d+8d`.

    >>> Window.parse("30d/1d+8d").label
    '30d+8d'
    """

    width_us: int
    hop_us: int
    delay_us: int = 0
    label: str = ""

    @classmethod
    def parse(cls, text: str) -> "Window":
        match = re.fullmatch(r"([0-9]+[a-z]+)/([0-9]+[a-z]+)(?:\+([0-9]+[a-z]+))?", text)
        if not match:
            raise FeatureError(f"{text!r} is not a window", hint="width/hop or width/hop+delay: 24h/1h, 30d/1d+8d")
        width, hop, delay = duration_us(match[1]), duration_us(match[2]), duration_us(match[3] or "0d")
        if width == 0 or hop == 0 or width % hop or delay % hop:
            raise FeatureError(
                f"window {text!r}: width and delay must be multiples of a hop above zero",
                hint="prefer a hop of at most 1/24 of the width; a delay of 7d at hop 1d reads whole tiles",
            )
        return cls(width, hop, delay, match[1] + (f"+{match[3]}" if delay else ""))


class Entity(Struct, frozen=True):
    """Whose history: one fact, or several together.

    >>> Entity("card_merchant", ("card", "merchant_id")).facts
    ('card', 'merchant_id')
    """

    name: str
    key: str | tuple[str, ...]

    @property
    def facts(self) -> tuple[str, ...]:
        return tuple(fact_named(part) for part in ((self.key,) if isinstance(self.key, str) else self.key))


def fact_named(path: str) -> str:
    name = FACT_OF_PATH.get(path, path)
    if name not in TEXT_FIELDS and name not in INT_FIELDS:
        near = get_close_matches(path, (*TEXT_FIELDS, *INT_FIELDS, *FACT_OF_PATH), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(TEXT_FIELDS + INT_FIELDS)}"
        raise FeatureError(f"{path!r} is no frozen fact", hint=hint)
    return name


Op = Literal["count", "sum", "min", "max", "last", "first", "time_since", "previous_gap", "distinct", "seen"]
OPS: Final[tuple[Op, ...]] = get_args(Op)
OPS_ALONE: Final[tuple[Op, ...]] = ("count", "time_since", "previous_gap", "seen")
FIELD_OPS: Final[tuple[Op, ...]] = ("sum", "min", "max", "last", "first")
"""Over an integer fact. `distinct` takes any fact."""
ADDITIVE_OPS: Final = ("count", "sum", "seen")
"""All that a delayed window can serve."""


class Measure(Struct, frozen=True, order=True):
    """What is folded; written `count`, `sum(amount_reporting_minor)`, `distinct(merchant_id, 16)`.

    time_since: q.ingest_us less the latest t. previous_gap: the latest t less the one before. last / first: the field
    at the greatest / least (t, seq). distinct: min(number of distinct non-absent values, cap).
    """

    op: Op
    field: str = ""
    cap: int = 0

    @property
    def label(self) -> str:
        return f"{self.op}_{self.field}" if self.field else self.op


def over(op: Op, field: str) -> Measure:
    return Measure(op, fact_named(field))


Count, TimeSince, PreviousGap, Seen = (partial(Measure, op) for op in OPS_ALONE)
Sum, Min, Max, Last, First = (partial(over, op) for op in FIELD_OPS)


def Distinct(field: str, cap: int = 16) -> Measure:  # noqa: N802 - declarations read as nouns
    return Measure("distinct", fact_named(field), cap)


class Column(Struct, frozen=True):
    """One integer that both engines answer: a measure of an aggregation in a window (`window` None for Seen)."""

    aggregation: str
    measure: Measure
    window: Window | None

    @property
    def name(self) -> str:
        return f"{self.aggregation}.{self.measure.label}" + (f".{self.window.label}" if self.window else "")


class Aggregation(Struct, frozen=True):
    """A fold of one source per entity.

    >>> velocity = Aggregation("card_velocity", entity=Entity("card", "card"), source="attempts",
    ...     measures=(Count(), Sum("amount_reporting_minor")), windows=("1h/2m", "30d/1d"))
    >>> [c.name for c in velocity.columns][:2]
    ['card_velocity.count.1h', 'card_velocity.count.30d']
    >>> velocity.version
    'card_velocity@...'
    """

    name: str
    entity: Entity
    source: str
    measures: tuple[Measure, ...]
    windows: tuple[str, ...] = ()
    time: Literal["report", "payment"] = "report"
    maturity: str | None = None
    """How long after the payment its label may still come; required with time="payment"."""
    ttl: str | None = None
    """Default: the largest width + delay + hop, plus the maturity."""
    where: str | None = None
    """A boolean SQL expression over the frozen facts of the event."""

    @property
    def parsed_windows(self) -> tuple[Window, ...]:
        return tuple(Window.parse(text) for text in self.windows)

    @property
    def ttl_us(self) -> int:
        if self.ttl:
            return duration_us(self.ttl)
        reach = max((w.width_us + w.delay_us + w.hop_us for w in self.parsed_windows), default=0)
        return reach + (duration_us(self.maturity) if self.maturity else 0)

    @property
    def columns(self) -> tuple[Column, ...]:
        found = []
        for measure in self.measures:
            windows = (None,) if measure.op == "seen" else self.parsed_windows
            found += [Column(self.name, measure, window) for window in windows]
        return tuple(found)

    @property
    def digest(self) -> str:
        return digest_of(self)

    @property
    def version(self) -> str:
        return f"{self.name}@{self.digest[:8]}"

    def check(self) -> None:
        """Raises FeatureError where the definition cannot be served equally by both engines."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise FeatureError(f"aggregation name {self.name!r}", hint="snake_case: card_velocity")
        if self.source not in SOURCES:
            raise FeatureError(f"{self.name}: unknown source {self.source!r}", hint=f"one of {', '.join(SOURCES)}")
        if not self.measures:
            raise FeatureError(f"{self.name} measures nothing", hint="add Count()")
        windows = self.parsed_windows
        if len({w.label for w in windows}) < len(windows):
            raise FeatureError(f"{self.name}: two windows of the same width and delay", hint="keep one hop per width")
        if not windows and any(m.op != "seen" for m in self.measures):
            raise FeatureError(f"{self.name} has no windows", hint='add windows=("24h/1h",)')
        if any(w.delay_us for w in windows) and any(m.op not in ADDITIVE_OPS for m in self.measures):
            raise FeatureError(f"{self.name}: a delayed window serves Count and Sum only", hint="split the aggregation")
        if self.time == "payment" and not self.maturity:
            raise FeatureError(f'{self.name}: time="payment" needs a maturity', hint='maturity="120d"')
        if any(self.ttl_us < w.width_us + w.delay_us + w.hop_us for w in windows) or self.ttl_us <= 0:
            raise FeatureError(f"{self.name}: ttl shorter than its windows", hint="leave ttl out for the default")
        for measure in self.measures:
            if measure.op in FIELD_OPS and measure.field not in INT_FIELDS:
                raise FeatureError(f"{self.name}: {measure.op} needs an integer fact, not {measure.field!r}")
            if measure.op == "distinct" and not 1 <= measure.cap <= 256:
                raise FeatureError(f"{self.name}: distinct cap {measure.cap}", hint="1 to 256")
        _ = self.entity.facts


class Derived(Struct, frozen=True):
    """A float computed by the finaliser from columns and inputs; missing (NaN) where any part it needs is missing.

    Grammar: + - * / ( ), comparisons (1 or 0), numbers, inputs by name, and
    count(agg, 30d)  sum(agg.field, 30d)  min max last first distinct  time_since(agg, 30d) and previous_gap in seconds
    mean(agg.field, 30d) = sum / count   rate(agg_a, agg_b, 30d) = count / count   never_seen(agg) = 1 or 0
    coalesce(x, y) = y where x is missing. A division by zero is missing.
    """

    name: str
    expression: str


class FeatureSet(Struct, frozen=True, dict=True):
    """What one system serves: the union of all live definitions, in one fixed order."""

    aggregations: tuple[Aggregation, ...]
    derived: tuple[Derived, ...] = ()

    def check(self) -> "FeatureSet":
        names = [a.name for a in self.aggregations] + [d.name for d in self.derived]
        doubled = {n for n in names if names.count(n) > 1}
        if doubled:
            raise FeatureError(f"declared twice: {', '.join(sorted(doubled))}")
        for aggregation in self.aggregations:
            aggregation.check()
        return self

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The integers both engines answer, in the order of the vector."""
        return tuple(c for a in self.aggregations for c in a.columns)

    @cached_property
    def digest(self) -> str:
        return digest_of(self)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Digest of each aggregation and each derived feature."""
        return {a.name: a.digest for a in self.aggregations} | {d.name: digest_of(d) for d in self.derived}


def digest_of(definition: Struct) -> str:
    """The hash of a definition's canonical JSON is its version."""
    canonical = msgspec.json.encode(definition, order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def measure_from(text: str) -> Measure:
    """
    >>> measure_from("distinct(merchant_id, 16)")
    Measure(op='distinct', field='merchant_id', cap=16)
    """
    match = re.fullmatch(r"([a-z_]+)(?:\(([a-z0-9_.]+)(?:,\s*([0-9]+))?\))?", text)
    if not match:
        raise FeatureError(
            f"{text!r} is not a measure", hint="count, sum(amount_reporting_minor), distinct(merchant_id, 16)"
        )
    try:
        op = msgspec.convert(match[1], Op)
    except msgspec.ValidationError:
        raise FeatureError(f"unknown measure {match[1]!r}", hint=f"one of {', '.join(OPS)}") from None
    cap = int(match[3]) if match[3] else (16 if op == "distinct" else 0)
    return Measure(op, fact_named(match[2]) if match[2] else "", cap)


class DeclaredAggregation(Struct, forbid_unknown_fields=True):
    """An aggregation as a TOML table declares it."""

    name: str
    entity: str
    key: list[str] | str
    source: str
    measures: list[str]
    windows: list[str] = []
    time: Literal["report", "payment"] = "report"
    maturity: str | None = None
    ttl: str | None = None
    where: str | None = None


class DeclaredSet(Struct, forbid_unknown_fields=True):
    aggregation: list[DeclaredAggregation] = []
    derived: dict[str, str] = {}


def declared(tables: DeclaredSet) -> FeatureSet:
    """A feature set from TOML tables: `[[aggregation]]` ... and `[derived]` name = "expression"."""
    aggregations = tuple(
        Aggregation(
            a.name, Entity(a.entity, a.key if isinstance(a.key, str) else tuple(a.key)), a.source,
            tuple(map(measure_from, a.measures)), tuple(a.windows), a.time, a.maturity, a.ttl, a.where,
        )
        for a in tables.aggregation
    )  # fmt: skip
    return FeatureSet(aggregations, tuple(Derived(n, e) for n, e in tables.derived.items())).check()
