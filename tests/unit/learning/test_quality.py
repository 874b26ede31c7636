"""A set that is unfit to learn from is refused, and the refusal says why."""

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from greenlane.errors import TrainingError
from greenlane.learning.quality import UNKNOWN, Inspected, Profile, html, inspect

ROWS, HOUR_US = 2000, 3_600_000_000
NAMES = ("amount_minor", "mcc", "card_velocity.count.1h", "card_velocity.count.24h", "is_proxy")


def sound(**instead: Any) -> Inspected:
    rng = np.random.default_rng(1)
    short = rng.integers(0, 4, ROWS)
    X = np.column_stack(
        [
            rng.integers(100, 90_000, ROWS),
            rng.choice([5411, 5732], ROWS),
            short,
            short + rng.integers(0, 5, ROWS),
            np.where(rng.random(ROWS) < 0.3, np.nan, rng.integers(0, 2, ROWS)),
        ]
    ).astype(np.float32)
    y = (rng.random(ROWS) < 0.05).astype(np.int8)
    y[:100] = UNKNOWN
    at_us = np.arange(ROWS) * HOUR_US
    label_us = np.where(y == 1, at_us + 7 * 24 * HOUR_US, 0)
    keys = np.arange(ROWS)
    found = Inspected(NAMES, X, y, keys, at_us, label_us, 10_000 * HOUR_US, keys[:, None])
    return replace(found, **instead)


def with_column(name: str, values: Any) -> Inspected:
    found = sound()
    X = found.X.copy()
    if name in NAMES:
        X[:, NAMES.index(name)] = values
        return replace(found, X=X)
    return replace(found, names=(*NAMES, name), X=np.column_stack([X, values]).astype(np.float32))


def breaches(found: Inspected, **options: Any) -> list[tuple[str, str]]:
    return [(one.check.partition(",")[0], one.column) for one in inspect(found, **options).breaches]


def profile() -> Profile:
    return inspect(sound()).columns


def test_a_sound_set_passes_against_itself():
    quality = inspect(sound(), expected=NAMES, reference=profile()).check()
    assert (quality.breaches, quality.labelled, quality.compared) == ([], ROWS - 100, True)
    assert msgspec.convert(msgspec.to_builtins(quality), type(quality)) == quality


def test_a_label_among_the_features_is_refused_with_column_value_threshold_and_hint():
    found = sound()
    planted = with_column("settled_as", np.where(found.y == UNKNOWN, np.nan, found.y))
    with pytest.raises(TrainingError, match=r"AUC of one column: settled_as is 1, allowed 0.98") as refused:
        inspect(planted).check()
    assert (refused.value.param, refused.value.code) == ("settled_as", "training_set_refused")
    assert "known at the decision" in str(refused.value.hint)


def test_a_column_that_is_missing_only_for_events_tells_the_label_too():
    assert breaches(with_column("refund_amount", np.where(sound().y == 1, np.nan, 5.0))) == [
        ("leakage", "refund_amount")
    ]


def test_a_label_known_before_its_decision_or_after_the_cut_is_refused():
    found = sound()
    first = int(np.flatnonzero(found.y == 1)[0])
    early, late = found.label_us.copy(), found.label_us.copy()
    early[first], late[first] = found.at_us[first] - 1, found.cut_us + 1
    with pytest.raises(TrainingError, match="known before their decision: label is 1, allowed 0") as refused:
        inspect(replace(found, label_us=early)).check()
    assert f"the label of entry {found.key[first]} was" in str(refused.value.hint), "and the days to leave out"
    assert breaches(replace(found, label_us=late)) == [("leakage", "label")]


@pytest.mark.parametrize(
    ("column", "value"),
    [("amount_minor", -1.0), ("amount_minor", np.inf), ("is_proxy", 2.0), ("mcc", 12_345.0)],
)
def test_values_out_of_range_are_refused(column: str, value: float):
    assert ("ranges", column) in breaches(with_column(column, value))


def test_a_longer_window_never_counts_less():
    assert breaches(with_column("card_velocity.count.24h", 0.0)) == [("ranges", "card_velocity.count.1h")]


def test_promised_and_present_columns_are_the_same():
    found = inspect(sound(), expected=(*NAMES[1:], "hour"))
    assert [(b.check, b.column) for b in found.breaches] == [("schema", "hour"), ("schema", "amount_minor")]


def test_a_source_that_fell_silent_is_noticed_against_the_reference():
    assert breaches(with_column("mcc", np.nan), reference=profile()) == [("nulls", "mcc")]
    assert breaches(with_column("mcc", np.nan)) == []


def test_codes_that_the_reference_never_held_are_noticed():
    assert breaches(with_column("mcc", 4511.0), reference=profile()) == [("unseen values", "mcc")]


def test_a_decision_twice_and_rows_told_twice_are_refused():
    found = sound()
    twice = found.key.copy()
    twice[1] = 0
    assert breaches(replace(found, key=twice)) == [("duplicates", "rows of one decision")]
    again = replace(found, at_us=found.at_us // (100 * HOUR_US), same=np.zeros((ROWS, 1), np.int64))
    assert ("duplicates", "card, amount and time") in breaches(again)


def test_the_section_of_the_report_names_what_is_wrong():
    page = html(inspect(with_column("is_proxy", 2.0)))
    assert "1 breaches" in page and "is_proxy is 1, allowed 0.001" in page
