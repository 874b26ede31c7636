import numpy as np
from unit.features.cases import DAY, MINUTE, NOON, entry, facts

from greenlane.features.catalogue import CATALOGUE, CATALOGUE_GROUPS, GROUPS
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine

SUBJECTS = {
    "customer": 2, "email": 3, "device": 4, "ip": 5, "merchant_id": "shop", "bin8": "40000000", "issuer_id": "bank",
}  # fmt: skip


def output(engine: StreamEngine, now_us: int, **told) -> dict[str, float]:
    finaliser = Finaliser(CATALOGUE)
    row = finaliser.row(engine.read(facts(**(SUBJECTS | told)), now_us))
    return dict(zip(finaliser.names, row.tolist(), strict=True))


def test_every_output_is_in_one_group():
    assert set(GROUPS) == set(Finaliser(CATALOGUE).names)
    assert all(group.catches for group in CATALOGUE_GROUPS)


def test_size_is_as_intended():
    assert 70 <= len(CATALOGUE.columns) <= 100
    assert {a.entity.name for a in CATALOGUE.aggregations} >= {
        "card", "customer", "email", "device", "ip", "merchant", "bin8", "issuer",
    }  # fmt: skip


def test_card_testing_on_one_device_shows():
    engine = StreamEngine(CATALOGUE, first_complete_us=0)
    for i in range(20):
        source = "attempts" if i % 2 == 0 else "declines"
        engine.apply(entry(i + 1, NOON + i, source=source, card=100 + i // 2, **SUBJECTS))
    found = output(engine, NOON + MINUTE, card=500)
    assert found["device_velocity.distinct_card.1h"] == 10
    assert found["device_decline_rate_24h"] == 1.0
    assert found["ip_velocity.distinct_card.5m"] == 10
    assert found["card_new_on_device"] == found["card_new_at_merchant"] == 1.0
    assert np.isnan(found["amount_vs_card_mean"])


def test_unusual_amount_shows():
    engine = StreamEngine(CATALOGUE, first_complete_us=0)
    for i in range(4):
        engine.apply(entry(i + 1, NOON + i * DAY, source="approvals", **SUBJECTS))
    found = output(engine, NOON + 5 * DAY, amount_reporting_minor=1000)
    assert found["amount_vs_card_mean"] == found["amount_vs_card_max"] == 10.0


def test_merchant_fraud_rate_counts_reports_at_their_payments():
    engine = StreamEngine(CATALOGUE, first_complete_us=0)
    for i in range(10):
        engine.apply(entry(i + 1, NOON, source="approvals", **SUBJECTS))
    assert output(engine, NOON + 20 * DAY)["merchant_fraud_rate_30d"] == 0.0
    engine.apply(entry(11, NOON + 15 * DAY, source="fraud_reports", payment_us=NOON, **SUBJECTS))
    assert np.isclose(output(engine, NOON + 20 * DAY)["merchant_fraud_rate_30d"], 0.1)
