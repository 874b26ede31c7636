from dataclasses import replace

import msgspec
import numpy as np
import pytest
from unit.learning.synthetic_examples import payments

from greenlane.learning.evaluate import evaluate
from greenlane.learning.frontier import Candidate, Value, choose
from greenlane.learning.served import Served

TEST, TRUTH = payments(6_000, seed=3)
VALUE = Value(TEST, seed=1)


def candidate(family: str, probabilities: np.ndarray, *, p50_us: float, p99_us: float = 100.0) -> Candidate:
    evaluation = evaluate(np.log(probabilities / (1 - probabilities)), probabilities, TEST, replicates=20)
    return Candidate(
        family,
        "by hand",
        msgspec.structs.replace(evaluation, verdict="calibrated"),
        VALUE.per_1000(VALUE.saved(probabilities)),
        Served(1, 1, 1.0, p50_us, p99_us),
        1.0,
        {},
    )


def chosen(told: dict[str, tuple[np.ndarray, float, float]]):
    candidates = [candidate(name, p, p50_us=p50, p99_us=p99) for name, (p, p50, p99) in told.items()]
    return choose(candidates, {name: VALUE.saved(p) for name, (p, _, _) in told.items()}, VALUE)


CONSTANT = np.full(len(TRUTH), TRUTH.mean())


def test_the_truth_saves_more_than_the_base_rate_and_is_chosen_though_slower():
    found = chosen({"truth": (TRUTH, 90.0, 120.0), "constant": (CONSTANT, 1.0, 2.0)})
    assert found.family == "truth" and found.ahead["constant"].low > 0.0


def test_a_tie_goes_to_the_faster_and_says_so():
    found = chosen({"slow": (TRUTH, 90.0, 120.0), "fast": (np.clip(TRUTH * 1.001, 0, 0.999), 9.0, 20.0)})
    assert found.family == "fast"
    assert "slow" not in found.why or "a tie" in found.why


def test_beyond_the_budget_nothing_is_chosen_however_good():
    assert chosen({"truth": (TRUTH, 900.0, 1200.0), "constant": (CONSTANT, 1.0, 2.0)}).family == "constant"
    assert "beyond the budget" in chosen({"truth": (TRUTH, 900.0, 1200.0), "constant": (CONSTANT, 1.0, 2.0)}).why
    assert chosen({"truth": (TRUTH, 900.0, 1200.0)}) is None


def test_what_is_saved_is_the_difference_of_the_two_policies_costs():
    evaluation = evaluate(np.log(TRUTH / (1 - TRUTH)), TRUTH, TEST, replicates=20)
    point = evaluation.operating_point
    found = VALUE.per_1000(VALUE.saved(TRUTH))
    assert found.value == pytest.approx(point.allow_all_cost_per_1000_minor - point.cost_per_1000_minor)
    assert found.low < found.value < found.high


def test_rows_may_weigh_differently():
    doubled = Value(replace(TEST, weight=TEST.weight * 2.0), seed=1)
    found, before = doubled.per_1000(doubled.saved(TRUTH)).value, VALUE.per_1000(VALUE.saved(TRUTH)).value
    assert found == pytest.approx(before)
