"""Payments, entries and feature sets, short enough to read in a test."""

import random
from typing import Any

from greenlane.features.definition import (
    Aggregation,
    Count,
    Distinct,
    Entity,
    FeatureSet,
    First,
    Last,
    Max,
    Measure,
    Min,
    PreviousGap,
    Seen,
    Sum,
    TimeSince,
)
from greenlane.features.stream import StreamEngine
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
NOON = 20_000 * DAY + 12 * HOUR
CARD = Entity("card", "card")
EVERY_MEASURE: tuple[Measure, ...] = (
    Count(),
    Sum("amount_minor"),
    Min("amount_minor"),
    Max("amount_minor"),
    Last("amount_minor"),
    First("amount_minor"),
    TimeSince(),
    PreviousGap(),
    Distinct("merchant_id", 3),
    Seen(),
)


def facts(**told: Any) -> Facts:
    usual = {
        "payment_id": "p",
        "payment_us": NOON,
        "amount_minor": 100,
        "currency": "EUR",
        "amount_reporting_minor": 100,
    }
    return Facts(**(usual | {"card": 7} | told))


def entry(seq: int, ingest_us: int, /, *, source: str = "attempts", sign: int = 1, **told: Any) -> Entry:
    """An event that happened when it came in, unless `occurred_us` says otherwise."""
    occurred_us = told.pop("occurred_us", ingest_us)
    payment_us = told.pop("payment_us", occurred_us)
    known = facts(payment_us=payment_us, **told)
    emits = SOURCE_BIT[source]
    return Entry(seq, 1, ingest_us, "decision", "api", str(seq), occurred_us, emits, sign, b"", known, b"")


def control(seq: int, ingest_us: int) -> Entry:
    return Entry(seq, 1, ingest_us, "control", "console", str(seq), ingest_us, 0, 1, b"", None, b"")


def one(*measures: Measure, windows: tuple[str, ...] = ("10m/1m",), **options: Any) -> FeatureSet:
    """A feature set of one aggregation called `a`."""
    told = {"name": "a", "entity": CARD, "source": "attempts", "measures": measures, "windows": windows} | options
    return FeatureSet((Aggregation(**told),))


def engine(features: FeatureSet, *entries: Entry, first_complete_us: int | None = 0) -> StreamEngine:
    made = StreamEngine(features, first_complete_us=first_complete_us)
    for e in entries:
        made.apply(e)
    return made


def columns(made: StreamEngine, now_us: int, **told: Any) -> dict[str, int]:
    """Every column by its name, the aggregation's own left out."""
    found = made.read(facts(**told), now_us)[-len(made.features.columns) :].tolist()
    return dict(zip((c.name.partition(".")[2] for c in made.features.columns), found, strict=True))


def journal(seed: int, length: int) -> list[Entry]:
    """Entries of few cards and shops with ties, late and future-stamped events, reversals, long silences."""
    rnd, now, made = random.Random(seed), NOON, []
    for seq in range(1, length + 1):
        now += rnd.choice([0, 0, 1, 30 * SECOND, MINUTE, MINUTE, 20 * MINUTE] + [3 * HOUR] * (rnd.random() < 0.1))
        if rnd.random() < 0.05:
            made.append(control(seq, now))
            continue
        told = {
            "card": rnd.randrange(5),
            "merchant_id": rnd.choice(["", "1", "12", "2"]),
            "route_id": rnd.choice(["", "3", "23"]),
            "amount_minor": rnd.randrange(1000),
            "occurred_us": now - rnd.choice([0, 0, 0, 1, MINUTE, 9 * MINUTE, -MINUTE]),
            "payment_us": now - rnd.choice([0, MINUTE, 8 * MINUTE, HOUR]),
        }
        source = rnd.choice(["attempts", "attempts", "declines", "fraud_reports"])
        made.append(entry(seq, now, source=source, sign=rnd.choice([1, 1, 1, -1]), **told))
    return made


def many() -> FeatureSet:
    """Several aggregations per entity, a pair, a `where`, a delayed window."""
    shop, pair = Entity("shop", "merchant_id"), Entity("pair", ("merchant_id", "route_id"))
    windows = ("10m/1m", "1h/5m")
    return FeatureSet(
        (
            Aggregation("cards", CARD, "attempts", EVERY_MEASURE, windows),
            Aggregation("declined", CARD, "declines", (Count(),), windows, where="amount_minor > 500"),
            Aggregation("shops", shop, "attempts", (Count(), Distinct("card", 2)), ("3m/1us", "1h/5m")),
            Aggregation("pairs", pair, "attempts", (Seen(), Sum("amount_minor")), windows, ttl="2h"),
            Aggregation(
                "reported", shop, "fraud_reports", (Count(), Sum("amount_minor")), ("10m/1m+5m",), "payment", "30m"
            ),
        )
    )
