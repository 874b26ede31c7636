"""The online path, with faults put into it by hand."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from small_shop import attempt, attempt_body, risky, shop_in

from greenlane import decide as online
from greenlane.decide import decide
from greenlane.decisions.answer import Decision
from greenlane.decisions.record import DecisionRecord, answer_of, record_of
from greenlane.errors import InputError
from greenlane.merchants.book import Book
from greenlane.payments.attempt import Attempt
from greenlane.ports.journal import Entry
from greenlane.wiring import System

NOON = 1_790_000_000_000_000
CAP = Book().economics("shop_1").unscored_amount_max_minor
numbers = count(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = shop_in(tmp_path_factory.mktemp("decide"))
    yield system
    system.close()


def decided(shop: System, wanted: Attempt) -> tuple[Entry, DecisionRecord]:
    shop.clock.set(max(shop.clock.now_us() + 1_000_000, NOON))
    return decide(wanted, lane=shop.lane, event_id=f"e{next(numbers)}", body_hash=bytes(16))


def answered(shop: System, wanted: Attempt) -> Decision:
    entry, record = decided(shop, wanted)
    return answer_of(entry, record, shop.releases.versions(record.release))


class Broken:
    """Stands in for a part and fails at whatever is asked of it."""

    def __init__(self, part: Any):
        self.part = part

    def __getattr__(self, name: str) -> Any:
        if name in ("read", "predict"):
            raise RuntimeError(f"no {name} today")
        return getattr(self.part, name)


@pytest.fixture
def without_features(shop: System) -> Iterator[System]:
    whole = shop.lane.features
    shop.lane.features = Broken(whole)
    yield shop
    shop.lane.features = whole


@pytest.fixture
def without_model(shop: System) -> Iterator[System]:
    whole = shop.lane.model
    shop.lane.model = Broken(whole)
    yield shop
    shop.lane.model = whole


def fallbacks(shop: System, part: str) -> float:
    return shop.metrics.fallbacks.labels(part, "RuntimeError")._value.get()


def test_a_decision_is_an_entry_at_the_moment_it_was_made(shop: System) -> None:
    before = shop.journal.position.seq
    entry, record = decided(shop, attempt(1))
    assert entry.seq == before + 1 and entry.ingest_us == shop.clock.now_us()
    assert entry.facts is not None and entry.facts.intervention == record.chosen.action.intervention
    assert record.degraded == () and record.model == shop.lane.model.id


def test_the_record_that_is_remembered_is_the_one_that_is_kept(shop: System) -> None:
    entry, record = decided(shop, attempt(2))
    assert record_of(entry) is record
    assert record_of(replace(entry, payload=bytes(bytearray(entry.payload)))) == record


def test_a_later_stage_uses_the_vector_of_the_first(shop: System) -> None:
    first, record = decided(shop, attempt(10, stage="pre_authentication"))
    verification = {"three_ds": {"trans_status": "Y", "flow": "challenge", "liability_shift": True}}
    second, later = decided(shop, attempt(10, stage="pre_authorization", verification=verification))
    assert later.known == record.known
    assert later.vector_of == f"dec_{first.generation}_{first.seq}"
    assert later.attempt_no == record.attempt_no
    assert later.fraud_probability_e9 == record.fraud_probability_e9
    assert second.facts.payment_us == first.facts.payment_us
    _, third = decided(shop, attempt(10, stage="post_authorization", verification=verification))
    assert third.vector_of == later.vector_of


def test_an_attempt_of_another_payment_is_refused(shop: System) -> None:
    decided(shop, attempt(11))
    position = shop.journal.position
    other = attempt_body(12) | {"attempt_id": "att_11", "stage": "post_authorization"}
    with pytest.raises(InputError, match="is of payment pay_11") as caught:
        decided(shop, msgspec.convert(other, Attempt))
    assert (caught.value.code, caught.value.param) == ("references_differ", "$.attempt_id")
    assert shop.journal.position == position


def test_a_live_decision_after_a_shadow_one_reads_for_itself(shop: System) -> None:
    shadow, _ = decided(shop, attempt(13, mode="shadow"))
    assert (shadow.emits, shadow.facts.intervention, shadow.facts.route_id) == (0, "", "")
    live, record = decided(shop, attempt(13))
    assert (record.vector_of, record.attempt_no) == ("", 1)
    assert live.emits and live.facts.intervention == record.chosen.action.intervention


def test_attempts_of_a_payment_are_counted_from_one(shop: System) -> None:
    bodies = [attempt_body(20) | {"attempt_id": f"att_20_{n}"} for n in range(3)]
    numbers_told = [answered(shop, msgspec.convert(body, Attempt)).attempt_no for body in bodies]
    assert numbers_told == [1, 2, 3]


def test_a_shadow_decision_feeds_no_features(shop: System) -> None:
    state = shop.lane.features.canonical()
    entry, _ = decided(shop, attempt(30, mode="shadow"))
    assert entry.emits == 0
    assert shop.lane.features.canonical()[16:] == state[16:]
    entry, _ = decided(shop, attempt(31))
    assert entry.emits != 0


def test_without_features_a_decision_still_comes_back(without_features: System) -> None:
    before = fallbacks(without_features, "features")
    small, large = (answered(without_features, attempt(40 + a, amount=CAP + a)) for a in (0, 1))
    assert small.degraded == large.degraded == ("static",)
    assert (small.action.intervention, large.action.intervention) == ("allow", "challenge")
    assert small.expected_value is None and small.probabilities is None
    assert fallbacks(without_features, "features") == before + 2


def test_without_the_model_a_decision_still_comes_back_and_keeps_what_it_knew(without_model: System) -> None:
    _, record = decided(without_model, attempt(50, amount=CAP))
    assert record.degraded == ("static",)
    assert record.known and record.fraud_probability_e9 is None and record.reasons == ()
    assert record.chosen.action.intervention == "allow"
    assert fallbacks(without_model, "model") >= 1


def test_no_time_left_gives_the_merchants_default(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    later = iter(range(0, 10**12, 4_000_000))
    monkeypatch.setattr(online.time, "perf_counter_ns", lambda: next(later))
    told = answered(shop, attempt(60, amount=CAP, deadline_ms=4))
    assert told.degraded == ("merchant_default",)
    assert told.action.intervention == "allow"


def test_little_time_left_gives_the_static_answer(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    later = iter(range(0, 10**12, 4_500_000))
    monkeypatch.setattr(online.time, "perf_counter_ns", lambda: next(later))
    assert answered(shop, attempt(61, amount=CAP, deadline_ms=5)).degraded == ("static",)


@pytest.mark.parametrize("fault", ["without_features", "without_model"])
def test_hard_stops_hold_on_every_rung(shop: System, fault: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(fault)
    rejected = {"three_ds": {"trans_status": "R"}}
    told = answered(shop, attempt(next(numbers) + 1000, amount=100, verification=rejected))
    assert told.action.intervention == "block"
    assert "authentication_rejected" in told.rule_hits
    assert told.degraded == ("static",)


def test_a_hard_stop_holds_when_no_time_is_left(shop: System, monkeypatch: pytest.MonkeyPatch) -> None:
    later = iter(range(0, 10**12, 4_000_000))
    monkeypatch.setattr(online.time, "perf_counter_ns", lambda: next(later))
    rejected = {"three_ds": {"trans_status": "R"}}
    told = answered(shop, attempt(70, amount=100, verification=rejected, deadline_ms=4))
    assert (told.degraded, told.action.intervention) == (("merchant_default",), "block")


def test_the_rungs_end_when_the_fault_ends(shop: System) -> None:
    assert answered(shop, attempt(80)).degraded == ()


def test_a_currency_without_a_rate_is_refused_and_nothing_is_written(shop: System) -> None:
    before = shop.journal.position
    with pytest.raises(InputError) as refusal:
        decided(shop, msgspec.convert(attempt_body(90, currency="JPY"), Attempt))
    assert refusal.value.param == "$.payment.currency"
    assert shop.journal.position == before


def test_the_answer_is_the_same_bytes_whenever_it_is_rebuilt(shop: System) -> None:
    entry, record = decided(shop, msgspec.convert(risky(100), Attempt))
    versions = shop.releases.versions(record.release)
    first = msgspec.json.encode(answer_of(entry, record, versions))
    kept = shop.journal.entries("decision", f"dec_{entry.generation}_{entry.seq}")[0]
    again = record_of(kept)
    assert msgspec.json.encode(answer_of(kept, again, versions)) == first


@pytest.mark.parametrize("number", [110, 111, 112])
def test_terms_sum_to_the_value_and_shares_to_one(shop: System, number: int) -> None:
    routes = [{"id": "north"}, {"id": "south", "network": "visa"}, {"id": "amex_only", "network": "amex"}]
    body = (risky(number) if number == 110 else attempt_body(number)) | {"eligible_routes": routes}
    _, record = decided(shop, msgspec.convert(body, Attempt))
    chosen = record.chosen
    assert sum(chosen.terms_micro) == max(chosen.values_micro)
    assert sum(chosen.distribution) == 2**32
    assert [way.route for way in chosen.may.ways] == ["north", "south"]
    told = answered(shop, msgspec.convert(body | {"attempt_id": f"b{number}"}, Attempt))
    assert set(told.probabilities.approval_probability) == {"north", "south"}
    assert told.exploration.propensity["intervention"] == 1.0


def test_an_attempt_that_never_left_may_go_over_the_next_best_routes(shop: System) -> None:
    routes = [{"id": name} for name in ("east", "north", "south")]
    answer = answered(shop, attempt(61, eligible_routes=routes))
    chosen, rest = answer.action.route, answer.action.fallback_routes
    assert sorted([str(chosen), *rest]) == ["east", "north", "south"]
    assert answered(shop, attempt(62, eligible_routes=routes[:1])).action.fallback_routes == ()
