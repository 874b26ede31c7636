import math

import numpy as np
import pytest

from greenlane.errors import FeatureError
from greenlane.features.definition import (
    ABSENT,
    EMPTY,
    EVICTED,
    NEVER,
    WARMING,
    Aggregation,
    Count,
    Derived,
    Entity,
    FeatureSet,
    PreviousGap,
    Seen,
    Sum,
    TimeSince,
)
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS

A = Aggregation(
    "a",
    Entity("card", "card"),
    "attempts",
    (Count(), Sum("amount_minor"), TimeSince(), PreviousGap(), Seen()),
    ("1h/1m",),
)
B = Aggregation("b", Entity("card", "card"), "declines", (Count(),), ("1h/1m",))


def finalised(expression: str, *columns: int, amount_minor: int = 0) -> float:
    """The value of one expression over the columns of A and B."""
    ints = np.array([amount_minor] + [ABSENT] * (len(INPUTS) - 1) + list(columns) + [ABSENT] * (6 - len(columns)))
    finaliser = Finaliser(FeatureSet((A, B), (Derived("x", expression),)))
    return float(finaliser.values64(ints.reshape(1, -1))[0, -1])


def test_names_are_inputs_columns_derived():
    features = FeatureSet((A, B), (Derived("x", "1"), Derived("y", "x + 1")))
    assert Finaliser(features).names == (*INPUTS, *(c.name for c in features.columns), "x", "y")


def test_arithmetic():
    assert finalised("1 + 2 * 3 - 4 / 8") == 6.5
    assert finalised("-(2 - 5) * 2") == 6
    assert finalised("(1 < 2) + (2 <= 2) + (3 > 2) + (2 >= 2) + (1 == 1) + (1 != 2)") == 6
    assert finalised("(2 < 1) + (3 <= 2) + (2 > 3) + (1 >= 2) + (1 == 2) + (1 != 1)") == 0


def test_mean_and_rate():
    assert finalised("mean(a.amount_minor, 1h)", 4, 10) == 2.5
    assert finalised("rate(b, a, 1h)", 4, 10, 0, 0, 1, 1) == 0.25
    assert finalised("amount_minor / mean(a.amount_minor, 1h)", 4, 10, amount_minor=5) == 2


def test_times_are_seconds():
    assert finalised("time_since(a, 1h) + previous_gap(a, 1h)", 0, 0, 1_500_000, 500_000) == 2


def test_division_by_zero_is_missing():
    assert math.isnan(finalised("1 / 0"))
    assert math.isnan(finalised("0 / 0"))
    assert math.isnan(finalised("mean(a.amount_minor, 1h)", 0, 0))


@pytest.mark.parametrize("mark", [ABSENT, EMPTY, EVICTED, NEVER, WARMING])
def test_marks_are_missing_and_missing_spreads(mark):
    for expression in ("count(a, 1h)", "count(a, 1h) + 1", "count(a, 1h) < 1", "1 != count(a, 1h)", "-count(a, 1h)"):
        assert math.isnan(finalised(expression, mark))
    assert finalised("coalesce(count(a, 1h), 7)", mark) == 7


def test_coalesce_keeps_what_is_there():
    assert finalised("coalesce(count(a, 1h), 7)", 0) == 0


def test_never_seen_is_one_zero_or_missing():
    seen = [0, 0, 0, 0]
    assert finalised("never_seen(a)", *seen, NEVER) == 1
    assert finalised("never_seen(a)", *seen, 1) == 0
    assert math.isnan(finalised("never_seen(a)", *seen, WARMING))
    assert math.isnan(finalised("never_seen(a)", *seen, ABSENT))


def test_derived_may_use_earlier_derived_only():
    ints = np.zeros(len(INPUTS), np.int64)
    assert Finaliser(FeatureSet((), (Derived("x", "hour + 1"), Derived("y", "x * 2")))).row(ints)[-1] == 2
    with pytest.raises(FeatureError, match="unknown 'y'"):
        Finaliser(FeatureSet((), (Derived("x", "y * 2"), Derived("y", "1"))))


def test_row_matrix_and_doubles_agree():
    features = FeatureSet((A, B), (Derived("x", "mean(a.amount_minor, 1h) / 3"),))
    finaliser = Finaliser(features)
    width = len(INPUTS) + len(features.columns)
    ints = np.random.default_rng(1).integers(-(10**6), 10**6, (50, width))
    ints[::3, ::2] = EMPTY
    matrix = finaliser.matrix(ints)
    assert matrix.dtype == np.float32
    for vector, row in zip(ints, matrix, strict=True):
        assert finaliser.row(vector).tobytes() == row.tobytes()
    assert np.array_equal(finaliser.values64(ints).astype(np.float32), matrix, equal_nan=True)


def test_unknown_names_suggest_the_near_one():
    with pytest.raises(FeatureError, match=r"amount_minr[\s\S]*did you mean 'amount_minor'"):
        finalised("amount_minr")
    with pytest.raises(FeatureError, match=r"a\.count\.2h[\s\S]*did you mean 'a\.count\.1h'"):
        finalised("count(a, 2h)")


def test_name_taken_twice_is_refused():
    with pytest.raises(FeatureError, match="'hour'"):
        Finaliser(FeatureSet((), (Derived("hour", "1"),)))
