"""Journals made to hurt: ties, tile edges, late and future-stamped events, reversals, hot and absent keys."""

import random
from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import strategies as st

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
from greenlane.payments.facts import Facts
from greenlane.ports.journal import SOURCE_BIT, Entry

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
STARTS = (1_772_323_200_000_000, -11 * MINUTE, -50 * HOUR - 1)
"""Of the clock: in 2026, just before the epoch so that the journal crosses it, and long before."""

MEASURES: tuple[Measure, ...] = (
    Count(),
    Sum("amount_reporting_minor"),
    Sum("account_age_us"),
    Min("amount_reporting_minor"),
    Max("amount_reporting_minor"),
    Last("amount_reporting_minor"),
    First("amount_reporting_minor"),
    TimeSince(),
    PreviousGap(),
    Distinct("mcc", 2),
    Distinct("device", 256),
    Seen(),
)
WINDOWS = ("5m/1m", "10m/1us", "1h/5m", "30m/30m")
DELAYED = ("1h/30m+30m", "5m/1m+10m", "2h/1us+1us")
CARD = Entity("card", "payment_method.card.fingerprint")
SHOP = Entity("shop", ("merchant_id", "mcc"))


class Event(NamedTuple):
    """What varies between entries; times in microseconds."""

    gap: int
    lag: int
    on_edge: bool
    payment_lag: int
    sources: tuple[str, ...]
    sign: int
    amount: int
    account_age: int
    card: int
    merchant_id: str
    mcc: str
    device: int
    has_facts: bool


CHOICES = {
    "gap": (0, 0, 1, SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, 12 * HOUR),
    "lag": (0, 0, 0, 1, 7 * SECOND, MINUTE, 5 * MINUTE, 40 * MINUTE, 3 * HOUR, -MINUTE, -5 * HOUR),
    "on_edge": (False, False, True),
    "payment_lag": (0, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 5 * HOUR, 30 * HOUR),
    "sources": (("attempts",), ("attempts",), ("attempts", "approvals"), ("fraud_reports",), ()),
    "sign": (1, 1, 1, 1, -1),
    "amount": (1, 5, 5, -3, 0, 10**13),
    "account_age": (-1, 0, 2**53 - 1, 2**53 + 1),
    "card": (7, 7, 7, 7, -(2**63), 2**63 - 1, 0),
    "merchant_id": ("1", "12", "shop é", ""),
    "mcc": ("23", "3", "a", ""),
    "device": (0, 1, 2, 3, 4, 5),
    "has_facts": (True, True, True, True, True, True, True, False),
}
events = st.builds(Event, **{name: st.sampled_from(choices) for name, choices in CHOICES.items()})
journals = st.builds(
    lambda start, given: journal_of(given, start_us=start),
    st.sampled_from(STARTS),
    st.lists(events, min_size=1, max_size=60),
)


def seeded_journal(size: int, *, seed: int, start_us: int = STARTS[0], **choices: tuple[object, ...]) -> list[Entry]:
    """`size` events drawn independently; `choices` replace the usual ones."""
    draw = random.Random(seed).choice
    drawn = (Event(**{name: draw(values) for name, values in (CHOICES | choices).items()}) for _ in range(size))
    return journal_of(drawn, start_us=start_us)


def journal_of(given: Iterable[Event], *, start_us: int) -> list[Entry]:
    """Events as entries: seqs with holes, ingest times that never fall."""
    now_us, entries = start_us, []
    for i, event in enumerate(given):
        now_us += event.gap
        entries.append(entry_of(event, seq=3 * i + 5, ingest_us=now_us))
    return entries


def entry_of(event: Event, *, seq: int, ingest_us: int) -> Entry:
    occurred_us = ingest_us - event.lag
    if event.on_edge:
        occurred_us -= occurred_us % (5 * MINUTE)
    facts = Facts(
        payment_id=f"pay_{seq}",
        payment_us=(occurred_us if event.on_edge else ingest_us) - event.payment_lag,
        amount_minor=event.amount,
        currency="EUR",
        amount_reporting_minor=event.amount,
        account_age_us=event.account_age,
        card=event.card,
        merchant_id=event.merchant_id,
        mcc=event.mcc,
        device=event.device,
    )
    emits = sum(SOURCE_BIT[source] for source in event.sources)
    known = facts if event.has_facts else None
    return Entry(
        seq, 1, ingest_us, "authorization", "psp", f"e{seq}", occurred_us, emits, event.sign, bytes(16), known, b""
    )


EVERYTHING = FeatureSet(
    (
        Aggregation("card_all", CARD, "attempts", MEASURES, WINDOWS),
        Aggregation(
            "shop_some",
            SHOP,
            "attempts",
            MEASURES,
            ("5m/1m", "1h/5m"),
            ttl="2h",
            where="amount_reporting_minor >= 0 AND NOT (merchant_id = '1' AND device IN (1, 2))",
        ),
        Aggregation(
            "labels",
            Entity("merchant", "merchant_id"),
            "fraud_reports",
            (Count(), Sum("amount_reporting_minor"), Sum("account_age_us"), Seen()),
            (*DELAYED, "1h/5m"),
            time="payment",
            maturity="4h",
        ),
        Aggregation(
            "labels_undelayed",
            Entity("merchant", "merchant_id"),
            "fraud_reports",
            MEASURES,
            WINDOWS,
            time="payment",
            maturity="4h",
            ttl="3h",
        ),
        Aggregation("device_approved", Entity("device", "device"), "approvals", (Seen(),), ttl="40m"),
    )
).check()
"""Every measure, in every kind of window that serves it, over both times, with and without where and ttl."""

ONE_BY_ONE = FeatureSet(
    tuple(
        Aggregation(
            f"only_{i}", CARD, "attempts", (measure,), () if measure.op == "seen" else ("5m/1m", "1h/5m"), ttl="2h"
        )
        for i, measure in enumerate(MEASURES)
    )
).check()
"""Each measure alone: the SQL leaves out every step it does not need."""
