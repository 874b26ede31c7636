"""Days that leave SQLite are still there: in their Parquet file, for replay and for a late outcome."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from greenlane.features.catalogue import CATALOGUE
from greenlane.follower import run_follower
from greenlane.jobs.proving import verify_features
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import DAY_US
from greenlane.settings import Settings, make_directory, write_settings
from greenlane.simulation.answers import Sent
from greenlane.simulation.consequences import bringing
from greenlane.simulation.living import Living
from greenlane.simulation.world import World
from greenlane.wiring import (
    HORIZON_DAYS,
    Importer,
    Places,
    beyond_horizon,
    open_reader,
    open_system,
    retire_old_days,
)

START_US = 1_767_225_600_000_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("retired")
    make_directory(path)
    write_settings(path, Settings(clock="simulated", parity_sample=10))
    importer = Importer(path)
    importer.declare(CATALOGUE, at_us=START_US)
    living = Living(World.load("shop"), 5, start_us=START_US)
    for arrival in living.arrivals(3000):
        answer = living.send(arrival, Sent(arrival.attempt.eligible_routes[0].id))
        importer.take(bringing(arrival, answer.outcomes)[0][1], arrival.at_us)
    importer.close()
    run_follower(path, once=True, tell=lambda _text: None)
    return path


def test_old_days_leave_the_store_and_nothing_is_forgotten(directory: Path) -> None:
    days = sorted((directory / "days").glob("*.parquet"))
    before = [(e.seq, e.event_id, e.payload) for e in open_reader(directory).entries()]
    system = open_system(directory)
    try:
        system.settings = replace(system.settings, days_in_sqlite=1)
        last_day_us = system.journal.now().ingest_us // DAY_US * DAY_US
        assert retire_old_days(system) > 1000
        assert retire_old_days(system) == 0
        assert next(iter(system.store.read(after_seq=system.store.span()[0] - 1))).ingest_us >= last_day_us - DAY_US
        first_payment = next(e.facts for e in open_reader(directory).entries() if e.facts is not None)
        late = Outcome(type="fraud_report", source="issuer", event_id="late", payment_id=first_payment.payment_id)
    finally:
        system.close()
    after = [(e.seq, e.event_id, e.payload) for e in open_reader(directory).entries()]
    assert len(days) >= 2
    assert after[: len(before)] == before
    importer = Importer(directory)
    try:
        facts = importer.take(late, importer.journal.now().ingest_us).facts
        assert facts is not None and facts.card == first_payment.card
    finally:
        importer.close()


def test_both_engines_agree_over_retired_days(directory: Path) -> None:
    found = verify_features(directory, sample=300)
    assert found.rows > 100 and found.mismatches == 0


def test_beyond_the_horizon_even_names_are_forgotten(directory: Path) -> None:
    days = sorted((directory / "days").glob("*.parquet"))
    oldest = next(iter(open_reader(directory).entries()))
    places = Places(directory)
    today = START_US // DAY_US
    assert beyond_horizon(places, today + HORIZON_DAYS - 1) == 0
    after_first_day = beyond_horizon(places, today + HORIZON_DAYS)
    assert oldest.seq < after_first_day < beyond_horizon(places, today + HORIZON_DAYS + len(days))
