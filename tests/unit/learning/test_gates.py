"""Each gate lets through what it should, stops what it should, and says why."""

from typing import Any

import pytest
from msgspec.structs import replace

from greenlane.learning.canary import CanaryReadout, StageReadout
from greenlane.learning.gates import GATES, Evidence, failed, judge
from greenlane.learning.registry import Card, Cost, Lineage
from greenlane.learning.resampling import Figure
from greenlane.learning.shadow import ShadowReport


def card(id_: str = "mdl_2", **changes: Any) -> Card:
    cost = Cost(bytes_on_disk=5_000_000, load_ms=40.0, p50_us=18.0, p99_us=26.0, predictions=2_000)
    whole = Card(
        id=id_, kind="fraud", family="lightgbm", trainer="lightgbm 4.6", names=("amount_minor", "is_proxy"),
        lineage=Lineage(), cost=cost, evaluation={"verdict": "calibrated", "events": 900},
    )  # fmt: skip
    return replace(whole, **changes)


def shadow(**changes: Any) -> ShadowReport:
    whole = ShadowReport(
        kind="fraud", champion="mdl_1", shadow="mdl_2", from_us=0, upto_us=1, decisions=5_000, scored=4_990,
        coverage=0.998, errors=1, late=0, dropped=9, latency_us_p50=20.0, latency_us_p99=40.0, flips=100, moved=120,
        difference=Figure(300.0, 50.0, 550.0), champion_per_1000_minor=90_000.0, resting_on_belief=0.2, mature=0.9,
        cells=(),
    )  # fmt: skip
    return replace(whole, **changes)


def evidence(**changes: Any) -> Evidence:
    return replace(Evidence(candidate=card(), champion=card("mdl_1"), shadow=shadow()), **changes)


def stage(**changes: Any) -> StageReadout:
    return replace(
        StageReadout(experiment="canary.2.1", share_ppm=10_000, state="running", control=300, treatment=310), **changes
    )


def test_a_good_model_passes_every_gate_that_is_asked() -> None:
    verdicts = judge(evidence(canary=CanaryReadout(model="mdl_2", stages=(stage(),))))
    assert len(verdicts) == len(GATES)
    assert {verdict.state for verdict in verdicts} == {"passed"}
    assert all(verdict.reason and (verdict.limit or verdict.gate == "golden") for verdict in verdicts)


SLOW = Cost(bytes_on_disk=500_000_000, load_ms=40.0, p50_us=180.0, p99_us=900.0, predictions=2_000)


@pytest.mark.parametrize(
    ("gates", "changes"),
    [
        (["golden"], {"refused": "its margins differ from the trainer's own by 0.08"}),
        (["features"], {"unserved": ("card_velocity.count.1h",)}),
        (["calibration"], {"candidate": card(evaluation={"verdict": "not calibrated", "events": 900})}),
        (["calibration"], {"candidate": card(evaluation={})}),
        (["latency", "size"], {"candidate": card(cost=SLOW)}),
        (["coverage"], {"shadow": shadow(coverage=0.5)}),
        (["coverage"], {"shadow": shadow(scored=500, flips=20, errors=0)}),
        (["errors"], {"shadow": shadow(errors=40)}),
        (["errors"], {"shadow": shadow(late=40)}),
        (["flips"], {"shadow": shadow(flips=1_000)}),
        (["labels"], {"shadow": shadow(mature=0.2)}),
        (["labels"], {"shadow": shadow(resting_on_belief=0.9)}),
        (["money"], {"shadow": shadow(difference=Figure(300.0, -5_000.0, 5_600.0))}),
        (["canary"], {"canary": CanaryReadout(model="mdl_2", stages=(stage(breached=("latency_us",)),))}),
        (["canary"], {"canary": CanaryReadout(model="mdl_2", stages=(stage(treatment=3),))}),
    ],
)
def test_a_fault_fails_its_own_gate_and_no_other(gates: list[str], changes: dict[str, Any]) -> None:
    assert failed(judge(evidence(**changes))) == gates


def test_evidence_that_is_missing_fails() -> None:
    found = failed(judge(evidence(shadow=None)))
    assert found == ["coverage", "errors", "flips", "labels", "money"]


def test_the_first_model_is_not_compared_with_anybody() -> None:
    verdicts = judge(evidence(champion=None, shadow=None))
    assert failed(verdicts) == []
    assert [v.gate for v in verdicts if v.state == "not asked"] == [
        "coverage", "errors", "flips", "labels", "money", "canary",
    ]  # fmt: skip


def test_too_few_events_to_say_is_not_the_same_as_wrong() -> None:
    undecided = judge(evidence(candidate=card(evaluation={"verdict": "undecided", "events": 12})))
    assert failed(undecided) == []
    assert "too few" in next(v.reason for v in undecided if v.gate == "calibration")


def test_an_approval_model_has_to_have_had_traffic() -> None:
    approval = card(kind="approval", evaluation={"log_loss": 0.3, "base_log_loss": 0.4})
    assert failed(judge(evidence(candidate=approval))) == ["canary"]
    useless = card(kind="approval", evaluation={"log_loss": 0.4, "base_log_loss": 0.4})
    assert failed(judge(evidence(candidate=useless))) == ["calibration", "canary"]
