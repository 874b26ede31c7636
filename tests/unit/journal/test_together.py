"""Entries that are appended together are one commit; what is asked again is at hand, and up to date."""

import pytest

from greenlane.errors import InputError
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer
from greenlane.payments.facts import Facts
from greenlane.ports.clock import FakeClock

FACTS = Facts(
    payment_id="pay", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, attempt_id="att"
)


class Counting(MemoryJournal):
    """Notes the size of each commit."""

    def __init__(self):
        super().__init__()
        self.commits = []

    def commit(self, batch):
        self.commits.append(len(batch))
        super().commit(batch)


@pytest.fixture
def store():
    return Counting()


def decision(n):
    return Draft(
        kind="decision", source="decision", event_id=str(n), body_hash=b"", facts=FACTS, decision_id=f"dec_{n}"
    )


def refund(n):
    told = Reference(payment_id="pay")
    return Draft(kind="refund", source="acquirer", event_id=str(n), body_hash=b"", refers_to=told)


def test_what_is_appended_together_is_one_commit(store):
    journal = Sequencer(store, FakeClock(7), [])
    with journal.together():
        journal.append(decision(1))
        assert journal.writer.unsynced_us() == 0
        journal.append(refund(2))
    journal.close()
    assert store.commits == [2]


def test_what_was_appended_before_a_failure_is_kept(store):
    journal = Sequencer(store, FakeClock(7), [])
    with pytest.raises(InputError), journal.together():
        journal.append(decision(1))
        raise InputError("the second half is refused")
    journal.append(refund(2))
    journal.close()
    assert [entry.kind for entry in store.read()] == ["decision", "refund"]


def test_what_was_asked_before_is_answered_with_what_came_since(store):
    journal = Sequencer(store, FakeClock(7), [])
    seen = []
    for n, draft in enumerate((decision(1), refund(2), refund(3))):
        assert len(journal.entries("payment", "pay")) == n
        journal.append(draft)
        journal.writer.wait(journal.position.seq)
        seen.append([entry.seq for entry in journal.entries("payment", "pay")])
    journal.close()
    assert seen == [[1], [1, 2], [1, 2, 3]] and len(store.of_payment("pay")) == 3
