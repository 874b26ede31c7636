"""Merchants as a fold of control entries."""

import msgspec
import pytest

from greenlane.decisions.control import ControlRecord, control_draft
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer
from greenlane.merchants.book import Book
from greenlane.merchants.economics import Economics
from greenlane.merchants.inherit import inherit
from greenlane.ports.clock import FakeClock


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def put(book):
    journal = Sequencer(MemoryJournal(), FakeClock(1), [book])
    ids = iter(range(100))

    def put(merchant_id, after, subject="merchant"):
        record = ControlRecord(subject, merchant_id, "ann", "new terms", None, msgspec.to_builtins(after))
        return journal.append(control_draft(record, source="console", event_id=str(next(ids))))

    yield put
    journal.close()


def test_a_control_entry_puts_a_merchant_in_force(book, put):
    terms = Economics(margin_ppm=123_456)
    put("shop_1", terms)
    assert book.economics("shop_1") == terms
    assert book.economics("shop_2", mcc="5816", country="DE") == inherit("5816", "DE")


def test_a_later_entry_replaces_and_none_takes_out(book, put):
    put("shop_1", Economics(margin_ppm=1))
    put("shop_1", Economics(margin_ppm=2))
    assert book.economics("shop_1").margin_ppm == 2
    put("shop_1", None)
    assert "shop_1" not in book.merchants


def test_only_entries_change_the_book(book, put):
    put("shop_1", Economics(margin_ppm=1))
    with pytest.raises(TypeError):
        book.merchants["shop_1"] = Economics()


def test_other_subjects_are_passed_over(book, put):
    put("shop_1", {"anything": 1}, subject="route")
    assert not book.merchants
