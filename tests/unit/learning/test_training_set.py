from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from greenlane.adapters.duckdb_engine import DuckdbEngine, read_table
from greenlane.errors import TrainingError
from greenlane.features.definition import Aggregation, Count, Entity, FeatureSet, Sum
from greenlane.features.inputs import INPUTS
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer
from greenlane.learning import training_set
from greenlane.learning.backfilled_set import HANDED_ON, told_by
from greenlane.learning.labels import STATES, labels_sql
from greenlane.learning.quality import inspect
from greenlane.learning.training_set import BESIDE, TrainingSet, build, check_positions, inspected
from greenlane.outcomes.accept import ENCODER
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import OutcomeRecord
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import Entry

HOUR_US = 3_600_000_000
FEATURES = FeatureSet(
    (Aggregation("velocity", Entity("card", "card"), "attempts", (Count(), Sum("amount_minor")), ("24h/1h",)),)
)


class Shop:
    """A journal of a few attempts, one an hour, and what became of them."""

    def __init__(self) -> None:
        self._store, self._clock = MemoryJournal(), FakeClock(HOUR_US)
        self._journal = Sequencer(self._store, self._clock, [])

    def pay(self, name: str, *, card: int = 7, approved: bool | None = True, at_hour: int | None = None) -> None:
        self._at(at_hour)
        facts = Facts(
            payment_id=name,
            payment_us=self._clock.now_us(),
            amount_minor=100,
            currency="EUR",
            amount_reporting_minor=100,
            attempt_id=name,
            card=card,
        )
        self._append("authorization", name, approved=approved, facts=facts)

    def say(self, kind: str, name: str, *, at_hour: int | None = None, result: str | None = None, **told: Any) -> None:
        self._at(at_hour)
        payload = ENCODER.encode(OutcomeRecord(type=kind, result=result))
        self._append(kind, f"{kind} {name}", payload=payload, refers_to=Reference(payment_id=name), **told)

    def rows(self, *, cut_hour: int = 1000, label: str = "fraud_report", **options: Any) -> TrainingSet:
        """Labelled by the fold and by SQL alike."""
        cut_us = cut_hour * HOUR_US
        found = build(self.entries, FEATURES, label=label, label_cut_us=cut_us, first_complete_us=-(10**12), **options)
        told = labelled_by_sql(self.entries, found.manifest)
        for name, dtype in BESIDE.items():
            assert told[name].astype(dtype).tolist() == getattr(found, name).tolist(), name
        return found

    @property
    def entries(self) -> list[Entry]:
        self._journal.writer.wait(self._journal.position.seq, timeout_s=10)
        return list(self._store.read())

    def _at(self, hour: int | None) -> None:
        self._clock.set(hour * HOUR_US if hour is not None else self._clock.now_us() + HOUR_US)

    def _append(self, kind: str, event_id: str, **told: Any) -> None:
        self._journal.append(Draft(kind=kind, source="test", event_id=event_id, body_hash=b"", **told))


def labelled_by_sql(entries: list[Entry], made: dict[str, Any]) -> dict[str, Any]:
    within = f"ingest_us >= {made['from_us']} AND ingest_us < {made['to_us']}"
    condition = f"(emits & {training_set.ATTEMPTS}) <> 0 AND sign > 0 AND {within}"
    query = labels_sql(made["label"], cut_us=made["label_cut_us"], condition=condition, beside=HANDED_ON)
    with TemporaryDirectory() as folder, closing(DuckdbEngine()) as engine:
        engine.load_days([engine.write_day(Path(folder) / "day.parquet", entries).path])
        (Path(folder) / "rows").mkdir()
        engine.write_rows(query, partial(told_by, logged=lambda _entry: None), Path(folder) / "rows" / "rows.parquet")
        return dict(zip(*read_table(Path(folder) / "rows"), strict=True))


def states(found: TrainingSet) -> list[str]:
    return [STATES[place] for place in found.state]


def test_each_attempt_is_one_row_with_what_was_known_before_it():
    shop = Shop()
    for name in ("a", "b", "c"):
        shop.pay(name)
    shop.say("capture", "c")
    found = shop.rows()
    assert found.X[:, found.names.index("velocity.count.24h")].tolist()[1:] == [1.0, 2.0]
    assert np.isnan(found.X[0, found.names.index("velocity.count.24h")])
    assert found.at_us.tolist() == [2 * HOUR_US, 3 * HOUR_US, 4 * HOUR_US]


def test_what_was_known_earlier_is_what_a_set_of_an_earlier_cut_says():
    shop = Shop()
    for name, hour in (("a", 10), ("b", 11), ("c", 12), ("d", 60)):
        shop.pay(name, at_hour=hour, approved=name != "c")
    for name, hour in (("a", 50), ("b", 70), ("d", 80)):
        shop.say("fraud_report", name, at_hour=hour)
    found = shop.rows()
    for hour in (49, 50, 69, 70, 90):
        known, expected = found.known_at(hour * HOUR_US), shop.rows(cut_hour=hour)
        assert (states(known), known.reported_us.tolist()) == (states(expected), expected.reported_us.tolist())
        assert np.array_equal(known.X, expected.X, equal_nan=True)
        assert known.manifest["label_cut_us"] == expected.manifest["label_cut_us"]


def test_labels_are_those_known_at_the_cut():
    shop = Shop()
    shop.pay("a", at_hour=10)
    shop.say("fraud_report", "a", at_hour=50)
    assert states(shop.rows(cut_hour=49)) == ["good"]
    known = shop.rows(cut_hour=50)
    assert (states(known), known.reported_us.tolist()) == (["reported"], [50 * HOUR_US])


def test_a_report_that_was_taken_back_is_no_label():
    shop = Shop()
    shop.pay("a")
    shop.say("fraud_report", "a")
    shop.say("reversal", "a", takes_back="fraud_report")
    assert states(shop.rows()) == ["good"]


def test_reports_and_disputes_are_labels_of_different_sets():
    shop = Shop()
    shop.pay("a")
    shop.say("dispute", "a")
    assert states(shop.rows()) == ["good"]
    assert states(shop.rows(label="dispute")) == ["reported"]


def test_authenticated_fraud_leaves_no_chargeback_and_is_no_proof_of_safety():
    shop = Shop()
    for name in ("authenticated", "plain"):
        shop.pay(name)
    shop.say("authentication", "authenticated", code="Y")
    shop.say("fraud_report", "authenticated")
    assert states(shop.rows()) == ["reported", "good"]
    found = shop.rows(label="dispute")
    assert states(found) == ["liability_shifted", "good"]
    assert (found.authenticated.tolist(), len(found.examples())) == ([1, 0], 1)


def test_what_was_stopped_has_no_label_and_keeps_its_row():
    shop = Shop()
    shop.pay("declined", approved=False)
    shop.pay("left", approved=None)
    shop.say("abandoned", "left")
    shop.pay("failed", approved=None)
    shop.say("authentication", "failed", code="N")
    shop.pay("cancelled", approved=None)
    shop.say("review", "cancelled", result="failed")
    shop.pay("good")
    found = shop.rows()
    assert states(found) == ["declined", "abandoned", "authentication_failed", "review_cancelled", "good"]
    assert len(found.examples()) == 1
    assert found.manifest["states"]["declined"] == 1


def test_what_was_heard_before_its_payment_counts_as_if_it_had_come_after():
    shop = Shop()
    shop.say("review", "cancelled", result="failed")
    shop.say("abandoned", "left")
    shop.say("authorization", "declined", approved=False)
    shop.say("authorization", "approved", approved=True)
    shop.say("abandoned", "approved")
    for name in ("cancelled", "left", "declined", "approved"):
        shop.pay(name, approved=None)
    assert states(shop.rows()) == ["review_cancelled", "abandoned", "declined", "good"]


@pytest.mark.parametrize("label", ["fraud_report", "dispute"])
def test_a_label_journalled_before_its_attempt_is_refused(label):
    shop = Shop()
    shop.pay("sound")
    shop.say(label, "sound")
    inspect(inspected(shop.rows(label=label))).check()
    shop.say(label, "planted")
    shop.pay("planted")
    found = shop.rows(label=label)
    assert states(found) == ["reported", "reported"]
    with pytest.raises(TrainingError, match="labels known before their decision: label is 1, allowed 0"):
        inspect(inspected(found)).check()


def test_a_reported_payment_went_through_whatever_else_was_heard():
    shop = Shop()
    shop.pay("a", approved=False)
    shop.say("fraud_report", "a")
    assert states(shop.rows()) == ["reported"]


def test_the_same_query_gives_the_same_bytes_and_another_cut_another_hash():
    shop = Shop()
    for number in range(20):
        shop.pay(f"p{number}", card=number % 3 + 1)
    shop.say("fraud_report", "p7", at_hour=90)
    first, again, earlier = shop.rows(), shop.rows(), shop.rows(cut_hour=80)
    assert msgspec.json.encode(first.manifest) == msgspec.json.encode(again.manifest)
    assert first.X.tobytes() == again.X.tobytes()
    assert first.manifest["rows_hash"] != earlier.manifest["rows_hash"]
    assert first.manifest["journal"] == {
        "first_seq": 1, "first_generation": 1, "last_seq": 21, "last_generation": 1,
    }  # fmt: skip


def test_a_window_of_rows_sees_the_history_before_it():
    shop = Shop()
    for hour in (10, 11, 12, 13):
        shop.pay(f"p{hour}", at_hour=hour)
    found = shop.rows(from_us=12 * HOUR_US, to_us=13 * HOUR_US)
    assert found.X[:, found.names.index("velocity.count.24h")].tolist() == [2.0]


def test_rows_after_the_label_cut_are_refused():
    shop = Shop()
    shop.pay("a")
    with pytest.raises(TrainingError, match="after the label cut"):
        shop.rows(cut_hour=5, to_us=6 * HOUR_US)


def test_features_that_were_cut_at_or_after_the_decision_are_refused():
    check_positions([4, 9], [3, 8])
    with pytest.raises(TrainingError, match="entry 9 were cut at 9"):
        check_positions([4, 9], [3, 9])


def test_what_a_decision_logged_is_preferred_and_a_difference_is_counted():
    shop = Shop()
    shop.pay("a")
    shop.pay("b")
    vector = np.full(len(INPUTS) + 2, 5, np.int64)
    found = shop.rows(logged=lambda entry: vector if entry.event_id == "b" else None)
    assert (found.manifest["logged_vectors"], found.manifest["logged_vectors_that_differ"]) == (1, 1)
    assert found.X[1, found.names.index("velocity.count.24h")] == 5.0


@pytest.mark.parametrize(
    ("chosen", "weight"),
    [("allow", 1 / 0.4), ("challenge", 1 / 0.4), ("block", 1.0)],
    ids=["plain", "asked", "stopped"],
)
def test_a_release_stands_for_the_blocks_it_was_drawn_from_and_a_swap_for_itself(monkeypatch, chosen, weight):
    actions = [SimpleNamespace(intervention=name) for name in ("allow", "challenge", "block")]
    shares = [round(share * 2**32) for share in (0.3, 0.1, 0.6)]
    drawn = SimpleNamespace(actions=actions, distribution=shares, action=SimpleNamespace(intervention=chosen))
    monkeypatch.setattr(training_set, "record_of", lambda _entry: SimpleNamespace(chosen=drawn))
    assert training_set.weight_of(SimpleNamespace(kind="decision")) == pytest.approx(weight)


def test_examples_take_rows_and_columns_by_name():
    shop = Shop()
    for number in range(4):
        shop.pay(f"p{number}")
    found = replace(shop.rows(), weight=np.array([1.0, 2.0, 3.0, 4.0]))
    examples = found.examples(np.array([False, True, False, True]), columns=["hour"])
    assert (examples.names, examples.weight.tolist(), examples.X.shape) == (("hour",), [2.0, 4.0], (2, 1))
    with pytest.raises(TrainingError, match="has no haste"):
        found.examples(columns=["haste"])
