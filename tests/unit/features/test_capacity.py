import numpy as np
import pytest
from unit.features.cases import DAY, MINUTE, NOON, columns, entry, journal, many, one

from greenlane.adapters.sqlite_spill import SqliteSpill
from greenlane.features.definition import ABSENT, EVICTED, NEVER, WARMING, Count
from greenlane.features.inputs import INPUTS
from greenlane.features.stream import StreamEngine


@pytest.mark.parametrize("seed", range(3))
def test_spilled_histories_come_back_whole(seed):
    entries = journal(seed, 200)
    roomy, tight = StreamEngine(many()), StreamEngine(many(), capacity_records=3, spill=SqliteSpill(":memory:"))
    _, wanted = roomy.fold_and_read(entries, lambda _e: True)
    _, found = tight.fold_and_read(entries, lambda _e: True)
    assert (wanted == found).all()
    assert tight.memory.records <= 3
    assert roomy.canonical() == tight.canonical()
    assert tight.evicted == 0


def test_reads_alone_stay_within_the_capacity():
    made = StreamEngine(one(Count()), first_complete_us=0, capacity_records=2, spill=SqliteSpill(":memory:"))
    for card in range(1, 9):
        made.apply(entry(card, NOON, card=card))
    assert [columns(made, NOON, card=card)["count.10m"] for card in range(1, 9)] == [1] * 8
    assert made.memory.records <= 2


def test_dropped_histories_say_so_and_are_counted():
    entries = journal(1, 200)
    roomy, tight = StreamEngine(many()), StreamEngine(many(), capacity_records=3)
    _, wanted = roomy.fold_and_read(entries, lambda _e: True)
    _, found = tight.fold_and_read(entries, lambda _e: True)
    differ = wanted != found
    assert differ.any()
    assert (found[differ] == EVICTED).all()
    assert tight.evicted == int((found[:, len(INPUTS) :] == EVICTED).sum())
    known = np.isin(found, [ABSENT, WARMING])
    assert (wanted[known] == found[known]).all()


def test_dropped_history_is_forgiven_after_its_ttl():
    made = StreamEngine(one(Count()), first_complete_us=0, capacity_records=1)
    made.apply(entry(1, NOON, card=1))
    made.apply(entry(2, NOON, card=2))
    made.apply(entry(3, NOON, card=1))
    assert EVICTED in {columns(made, NOON + MINUTE, card=card)["count.10m"] for card in (1, 2)}
    assert columns(made, NOON + DAY, card=1)["count.10m"] == columns(made, NOON + DAY, card=2)["count.10m"] == NEVER
