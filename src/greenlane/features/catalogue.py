"""The first catalogue: what Greenlane looks at unless told otherwise, by the attack each group is there to catch."""

from typing import Final

from msgspec import Struct

from greenlane.features.definition import (
    Aggregation,
    Count,
    Derived,
    Distinct,
    Entity,
    FeatureSet,
    Last,
    Max,
    Measure,
    PreviousGap,
    Seen,
    Sum,
    TimeSince,
)

CARD: Final = Entity("card", "card")
CUSTOMER: Final = Entity("customer", "customer")
EMAIL: Final = Entity("email", "email")
DEVICE: Final = Entity("device", "device")
IP: Final = Entity("ip", "ip")
MERCHANT: Final = Entity("merchant", "merchant_id")
BIN8: Final = Entity("bin8", "bin8")
ISSUER: Final = Entity("issuer", "issuer_id")
MERCHANT_BIN8: Final = Entity("merchant_bin8", ("merchant_id", "bin8"))

AMOUNT: Final = "amount_reporting_minor"
NOW: Final = "5m/10s"
HOUR: Final = "1h/2m"
DAY: Final = "24h/1h"
WEEK: Final = "7d/6h"
MONTH: Final = "30d/1d"
QUARTER: Final = "90d/3d"
LONG: Final = "180d/6d"
SETTLED_MONTH: Final = "30d/1d+8d"
"""Payments of 8 to 38 days ago, whose fraud reports are mostly in."""
SETTLED_QUARTER: Final = "90d/3d+30d"
REPORTED_WITHIN: Final = "120d"


class Group(Struct, frozen=True):
    """Features that a person would name together, and the fraud typology they are there for."""

    name: str
    catches: str
    inputs: tuple[str, ...] = ()
    aggregations: tuple[Aggregation, ...] = ()
    derived: tuple[Derived, ...] = ()


def novelty(entity: str, *facts: str) -> Aggregation:
    """Whether a pair was seen together within half a year."""
    return Aggregation(entity, Entity(entity, facts), "attempts", (Seen(),), ttl="180d")


def settled(name: str, source: str, entity: Entity) -> Aggregation:
    """Payments or reports of payments, both under the time of the payment, so that their ratio is a rate."""
    windows = (SETTLED_MONTH, SETTLED_QUARTER)
    return Aggregation(name, entity, source, (Count(),), windows, time="payment", maturity=REPORTED_WITHIN)


def fold(name: str, entity: Entity, source: str, measures: tuple[Measure, ...], *windows: str) -> Aggregation:
    return Aggregation(name, entity, source, measures, windows)


def decline_rate(entity: str, attempts: str, window: str) -> Derived:
    """Declines per attempt; an entity with attempts and no decline has rate 0."""
    share = f"coalesce(count({entity}_declines, {window}), 0) / count({attempts}, {window})"
    return Derived(f"{entity}_decline_rate_{window}", share)


def fraud_rate(name: str, window: str) -> Derived:
    """Reported payments per approved payment of the same age."""
    return Derived(name, f"coalesce(count(merchant_fraud, {window}), 0) / count(merchant_settled, {window})")


CATALOGUE_GROUPS: Final = (
    Group(
        "amount",
        catches="stolen card: an amount unlike what this payer usually spends here",
        inputs=("amount_minor", AMOUNT),
        aggregations=(
            fold("card_usual", CARD, "approvals", (Count(), Sum(AMOUNT), Max(AMOUNT)), QUARTER),
            fold("customer_usual", CUSTOMER, "approvals", (Count(), Sum(AMOUNT)), QUARTER),
            fold("card_recency", CARD, "attempts", (TimeSince(), PreviousGap(), Last(AMOUNT)), MONTH),
        ),
        derived=(
            Derived("amount_vs_card_mean", f"{AMOUNT} / mean(card_usual.{AMOUNT}, 90d)"),
            Derived("amount_vs_card_max", f"{AMOUNT} / max(card_usual.{AMOUNT}, 90d)"),
            Derived("amount_vs_customer_mean", f"{AMOUNT} / mean(customer_usual.{AMOUNT}, 90d)"),
            Derived("amount_vs_last", f"{AMOUNT} / last(card_recency.{AMOUNT}, 30d)"),
        ),
    ),
    Group(
        "time",
        catches="bots and stolen cards work at night, in hours the payer sleeps",
        inputs=("minute_of_day", "hour", "weekday", "is_weekend", "is_night"),
    ),
    Group(
        "instrument",
        catches="card testing prefers instruments with weak authentication: prepaid, plain PAN, some networks",
        inputs=("method", "network", "funding", "credential", "issuer_country", "initiator"),
    ),
    Group(
        "place",
        catches="stolen card: issuer, address and buyer in different countries, or behind a proxy",
        inputs=(
            "ip_country",
            "billing_country",
            "issuer_ip_country_differ",
            "issuer_billing_country_differ",
            "is_proxy",
            "asn",
        ),
    ),
    Group(
        "card velocity",
        catches="stolen card: many attempts, much money, many merchants in a short time",
        aggregations=(
            fold("card_velocity", CARD, "attempts", (Count(), Sum(AMOUNT), Distinct("merchant_id")), HOUR, DAY, MONTH),
            fold("card_declines", CARD, "declines", (Count(),), HOUR, DAY, WEEK),
            fold("card_fraud", CARD, "fraud_reports", (Count(),), MONTH, LONG),
        ),
        derived=(decline_rate("card", "card_velocity", "24h"),),
    ),
    Group(
        "customer",
        catches="account takeover and triangulation: many cards on one account; friendly fraud: repeat claimants",
        inputs=("account_age_hours",),
        aggregations=(
            fold("customer_velocity", CUSTOMER, "attempts", (Count(), Sum(AMOUNT), Distinct("card")), DAY, MONTH),
            fold("customer_disputes", CUSTOMER, "disputes", (Count(),), MONTH, LONG),
        ),
    ),
    Group(
        "email",
        catches="card testing and promotion abuse: many cards behind one address",
        aggregations=(fold("email_velocity", EMAIL, "attempts", (Count(), Distinct("card")), HOUR, DAY),),
    ),
    Group(
        "device",
        catches="card testing: many cards or accounts on one device, most of them declined",
        aggregations=(
            fold("device_velocity", DEVICE, "attempts", (Count(), Distinct("card")), HOUR, DAY, WEEK),
            fold("device_customers", DEVICE, "attempts", (Distinct("customer"),), DAY, WEEK),
            fold("device_declines", DEVICE, "declines", (Count(),), HOUR, DAY),
            fold("device_fraud", DEVICE, "fraud_reports", (Count(),), MONTH, LONG),
        ),
        derived=(decline_rate("device", "device_velocity", "24h"),),
    ),
    Group(
        "address",
        catches="enumeration: one address trying many cards within minutes",
        aggregations=(
            fold("ip_velocity", IP, "attempts", (Count(), Distinct("card")), NOW, HOUR, DAY),
            fold("ip_declines", IP, "declines", (Count(),), NOW, HOUR),
        ),
        derived=(decline_rate("ip", "ip_velocity", "1h"),),
    ),
    Group(
        "merchant risk",
        catches="bust-out: volume and ticket leave the merchant's own history; fraud and declines rise",
        inputs=("mcc", "channel"),
        aggregations=(
            fold("merchant_volume", MERCHANT, "attempts", (Count(), Sum(AMOUNT)), HOUR, DAY, MONTH),
            fold("merchant_declines", MERCHANT, "declines", (Count(),), HOUR, DAY),
            settled("merchant_settled", "approvals", MERCHANT),
            settled("merchant_fraud", "fraud_reports", MERCHANT),
        ),
        derived=(
            Derived("merchant_volume_surge", "30 * count(merchant_volume, 24h) / count(merchant_volume, 30d)"),
            Derived(
                "merchant_ticket_surge", f"mean(merchant_volume.{AMOUNT}, 24h) / mean(merchant_volume.{AMOUNT}, 30d)"
            ),
            Derived("amount_vs_merchant_mean", f"{AMOUNT} / mean(merchant_volume.{AMOUNT}, 30d)"),
            decline_rate("merchant", "merchant_volume", "1h"),
            fraud_rate("merchant_fraud_rate_30d", "30d+8d"),
            fraud_rate("merchant_fraud_rate_90d", "90d+30d"),
        ),
    ),
    Group(
        "issuer range",
        catches="BIN attack: attempts, distinct cards and declines of one BIN rise, above all at one merchant",
        aggregations=(
            fold("bin8_velocity", BIN8, "attempts", (Count(), Distinct("card", 64), Distinct("ip", 64)), NOW, HOUR),
            fold("bin8_declines", BIN8, "declines", (Count(),), NOW, HOUR),
            fold("merchant_bin8_velocity", MERCHANT_BIN8, "attempts", (Count(), Distinct("card", 64)), NOW, HOUR, DAY),
            fold("issuer_velocity", ISSUER, "attempts", (Count(),), HOUR, DAY),
            fold("issuer_declines", ISSUER, "declines", (Count(),), HOUR, DAY),
        ),
        derived=(decline_rate("bin8", "bin8_velocity", "1h"), decline_rate("issuer", "issuer_velocity", "1h")),
    ),
    Group(
        "novelty",
        catches="account takeover: an old account with a device or a card it never used; a card new to the merchant",
        aggregations=(
            novelty("card_merchant", "card", "merchant_id"),
            novelty("card_device", "card", "device"),
            novelty("customer_device", "customer", "device"),
            novelty("customer_card", "customer", "card"),
        ),
        derived=(
            Derived("card_new_at_merchant", "never_seen(card_merchant)"),
            Derived("card_new_on_device", "never_seen(card_device)"),
            Derived("device_new_to_customer", "never_seen(customer_device)"),
            Derived("card_new_to_customer", "never_seen(customer_card)"),
        ),
    ),
)

CATALOGUE: Final = FeatureSet(
    tuple(a for group in CATALOGUE_GROUPS for a in group.aggregations),
    tuple(d for group in CATALOGUE_GROUPS for d in group.derived),
).check()


def groups_by_output() -> dict[str, str]:
    found = {}
    for group in CATALOGUE_GROUPS:
        columns = (c.name for a in group.aggregations for c in a.columns)
        for name in (*group.inputs, *columns, *(d.name for d in group.derived)):
            found[name] = group.name
    return found


GROUPS: Final = groups_by_output()
"""Output of the finaliser -> the group it belongs to, in which reasons are given.

>>> GROUPS["amount_vs_card_mean"], GROUPS["card_velocity.count.1h"]
('amount', 'card velocity')
"""
