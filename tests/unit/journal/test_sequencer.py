from collections.abc import Callable

import pytest

from greenlane.errors import Conflict, InputError, JournalError, LimitExceeded
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.memory import MemoryJournal
from greenlane.journal.sequencer import Sequencer, folded
from greenlane.payments.facts import Facts
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import SOURCE_BIT, Entry, Position

ATTEMPTS, APPROVALS, DECLINES = (SOURCE_BIT[name] for name in ("attempts", "approvals", "declines"))
FRAUD, REFUNDS = SOURCE_BIT["fraud_reports"], SOURCE_BIT["refunds"]


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Entry] = []

    def apply(self, entry: Entry) -> None:
        self.seen.append(entry)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000)


@pytest.fixture
def fold() -> Recorder:
    return Recorder()


@pytest.fixture
def journal(clock: FakeClock, fold: Recorder) -> Sequencer:
    return Sequencer(MemoryJournal(), clock, [fold])


def facts(payment: str = "pay_1", attempt: str = "att_1", *, at_us: int = 1000, amount: int = 1999) -> Facts:
    return Facts(
        payment_id=payment, payment_us=at_us, amount_minor=amount, currency="EUR", amount_reporting_minor=amount,
        attempt_id=attempt, card=7, intervention="allow", route_id="route_a",
    )  # fmt: skip


def decision(event: str = "d1", **fields: object) -> Draft:
    given = {"facts": facts(), "decision_id": "dec_1", **fields}
    return Draft(kind="decision", source="decision", event_id=event, body_hash=b"b", **given)  # type: ignore[arg-type] # fields by name


def outcome(kind: str, event: str, **fields: object) -> Draft:
    given = {"refers_to": Reference(payment_id="pay_1"), **fields}
    return Draft(kind=kind, source="acquirer", event_id=event, body_hash=b"b", **given)  # type: ignore[arg-type] # fields by name


def test_a_decision_is_stamped_with_the_moment_it_was_read_at(journal: Sequencer, clock: FakeClock) -> None:
    moment = journal.now()
    clock.advance(500)
    entry = journal.append(decision(), moment=moment)
    assert (entry.ingest_us, entry.occurred_us, entry.position) == (1000, 1000, moment.next)
    assert moment.position == Position(1, 0)


@pytest.mark.parametrize(
    "about", [{"payment_id": "pay_1"}, {"payment_id": "nobody"}, {"attempt_id": "nobody"}, {"decision_id": "dec_1"}]
)
def test_a_payment_has_an_end(journal: Sequencer, monkeypatch: pytest.MonkeyPatch, about: dict[str, str]) -> None:
    monkeypatch.setattr("greenlane.journal.past.ABOUT_MAX", 4)
    journal.append(decision())
    refers_to = Reference(**about)
    taken = [outcome("refund", f"r{number}", refers_to=refers_to) for number in range(3)]
    entries = [journal.append(draft) for draft in taken]
    if "nobody" in about.values():
        journal.append(outcome("refund", "r3", refers_to=refers_to))
    with pytest.raises(LimitExceeded, match="entries about"):
        journal.append(outcome("refund", "r9", refers_to=refers_to))
    assert journal.append(taken[0]) == entries[0], "a duplicate is still answered"
    journal.append(decision("d2", facts=facts("pay_2", "att_2"), decision_id="dec_2"))


@pytest.mark.parametrize("named", [{"attempt_id": "att_1"}, {"decision_id": "dec_1"}])
def test_an_outcome_that_names_two_payments_is_refused(journal: Sequencer, named: dict[str, str]) -> None:
    journal.append(decision())
    journal.append(decision("d2", facts=facts("pay_2", "att_2"), decision_id="dec_2"))
    with pytest.raises(InputError, match="is of payment pay_1, not of pay_2"):
        journal.append(outcome("refund", "r1", refers_to=Reference(payment_id="pay_2", **named)))
    entry = journal.append(outcome("refund", "r1", refers_to=Reference(payment_id="pay_1", **named)))
    assert entry.facts is not None and entry.facts.payment_id == "pay_1"


def test_a_moment_is_good_for_one_append(journal: Sequencer) -> None:
    moment = journal.now()
    journal.append(decision("d1"), moment=moment)
    with pytest.raises(JournalError):
        journal.append(decision("d2"), moment=moment)


def test_ingest_never_goes_back(journal: Sequencer, clock: FakeClock) -> None:
    journal.append(decision("d1"))
    clock.set(400)
    assert journal.append(decision("d2")).ingest_us == 1000
    assert journal.ahead_us == 600


def test_a_journal_ahead_of_its_clock_does_not_open(clock: FakeClock) -> None:
    store = MemoryJournal()
    clock.set(10_000_000)
    first = Sequencer(store, clock, [])
    first.append(decision())
    first.close()
    clock.set(4_999_999)
    with pytest.raises(JournalError) as refused:
        Sequencer(store, clock, [])
    assert refused.value.code == "clock_behind_journal"
    clock.set(5_000_000)
    Sequencer(store, clock, [])


def test_a_simulated_clock_may_start_anywhere() -> None:
    store = MemoryJournal()
    first = Sequencer(store, FakeClock(10**9), [], simulated=True)
    first.append(decision())
    first.close()
    Sequencer(store, FakeClock(0), [], simulated=True)


def test_the_same_body_gets_the_same_entry_and_another_is_refused(journal: Sequencer, fold: Recorder) -> None:
    entry = journal.append(decision())
    assert journal.append(decision()) is entry
    with pytest.raises(Conflict) as refused:
        journal.append(Draft(kind="decision", source="decision", event_id="d1", body_hash=b"other"))
    assert refused.value.code == "idempotency_conflict"
    assert journal.stored("decision", "d1") is entry and len(fold.seen) == 1


def test_an_attempt_is_one_event_however_many_stages(journal: Sequencer) -> None:
    emits = [
        journal.append(decision("d1")).emits,
        journal.append(decision("d2")).emits,
        journal.append(outcome("authorization", "a1", approved=True)).emits,
        journal.append(outcome("authorization", "a2", approved=False)).emits,
    ]
    assert emits == [ATTEMPTS, 0, APPROVALS, DECLINES]


def test_the_first_authorization_stands_for_an_attempt_never_decided(journal: Sequencer) -> None:
    first = journal.append(outcome("authorization", "a1", approved=None, facts=facts(attempt=""), refers_to=None))
    assert first.emits == ATTEMPTS and first.facts is not None and first.facts.attempt_id == "pay_1/1"
    assert journal.append(outcome("authorization", "a2", approved=False)).emits == DECLINES
    second = Reference(payment_id="pay_1", attempt_no=2)
    assert journal.append(outcome("authorization", "a3", approved=True, refers_to=second)).emits == ATTEMPTS | APPROVALS


def test_shadow_decisions_feed_nothing_and_count_no_attempt(journal: Sequencer) -> None:
    assert journal.append(decision("d1", shadow=True)).emits == 0
    assert journal.append(outcome("authorization", "a1", approved=True)).emits == ATTEMPTS | APPROVALS


def test_outcomes_copy_the_facts_of_their_payment_with_their_own_words(journal: Sequencer, clock: FakeClock) -> None:
    journal.append(decision())
    clock.advance(10)
    declined = outcome(
        "authorization", "a1", approved=False, code="05", decline_class="do_not_honor", route_id="route_b"
    )
    known = journal.append(declined).facts
    assert known is not None
    assert (known.card, known.intervention, known.payment_us) == (7, "allow", 1000)
    assert (known.code, known.decline_class, known.route_id) == ("05", "do_not_honor", "route_b")


def test_a_refund_has_its_own_amount(journal: Sequencer) -> None:
    journal.append(decision())
    refund = journal.append(outcome("refund", "r1", amount_reporting_minor=500))
    assert refund.facts is not None and refund.facts.amount_reporting_minor == 500 and refund.emits == REFUNDS


@pytest.mark.parametrize(
    "reference",
    [
        Reference(decision_id="dec_2"),
        Reference(attempt_id="att_2"),
        Reference(payment_id="pay_1", attempt_no=2),
        Reference(payment_id="pay_1"),
        Reference(decision_id="dec_unknown", attempt_id="att_2"),
    ],
)
def test_an_outcome_finds_its_attempt(journal: Sequencer, reference: Reference) -> None:
    journal.append(decision("d1"))
    journal.append(decision("d2", facts=facts(attempt="att_2"), decision_id="dec_2"))
    found = journal.append(outcome("fraud_report", "f1", refers_to=reference)).facts
    assert found is not None and found.attempt_id == "att_2"


def test_the_time_of_a_payment_is_that_of_its_first_entry(journal: Sequencer, clock: FakeClock) -> None:
    assert journal.payment_us("pay_1") is None
    journal.append(decision("d1"))
    clock.advance(99)
    assert journal.payment_us("pay_1") == 1000
    again = journal.append(decision("d2", facts=facts(attempt="att_2", at_us=1099))).facts
    assert again is not None and again.payment_us == 1000


def test_an_early_outcome_becomes_a_link_when_its_payment_comes(
    journal: Sequencer, clock: FakeClock, fold: Recorder
) -> None:
    early = journal.append(outcome("fraud_report", "f1", occurred_us=7, payload=b"report"))
    assert (early.facts, early.emits) == (None, 0)
    clock.advance(5)
    journal.append(decision())
    link = fold.seen[-1]
    assert (link.kind, link.seq, link.source, link.event_id) == ("link", 3, "acquirer", "link f1")
    assert (link.emits, link.occurred_us, link.ingest_us, link.payload) == (FRAUD, 7, 1005, b"report")
    assert link.facts is not None and link.facts.card == 7
    journal.append(decision("d2", facts=facts(attempt="att_2")))
    assert len(fold.seen) == 4
    assert [e.seq for e in journal.entries("payment", "pay_1")] == [1, 2, 3, 4]


def test_early_outcomes_are_linked_after_a_restart_too(clock: FakeClock, fold: Recorder) -> None:
    store = MemoryJournal()
    first = Sequencer(store, clock, [])
    first.append(outcome("authorization", "a1", approved=False, refers_to=Reference(attempt_id="att_1")))
    first.close()
    second = Sequencer(store, clock, [fold])
    second.append(decision())
    assert [(e.kind, e.emits) for e in fold.seen] == [("decision", ATTEMPTS), ("link", DECLINES)]
    assert fold.seen[0].generation == 2


def test_what_only_happens_to_an_approved_attempt_is_not_laid_on_a_later_declined_one(journal: Sequencer) -> None:
    for name, approved in (("att_1", False), ("att_2", True), ("att_3", False)):
        journal.append(decision(f"d_{name}", facts=facts(attempt=name)))
        journal.append(outcome("authorization", name, approved=approved, refers_to=Reference(attempt_id=name)))
    told = {
        kind: journal.append(outcome(kind, kind, refers_to=Reference(payment_id="pay_1")))
        for kind in ("fraud_report", "refund", "dispute", "authentication")
    }
    assert {kind: entry.facts and entry.facts.attempt_id for kind, entry in told.items()} == {
        "fraud_report": "att_2", "refund": "att_2", "dispute": "att_2", "authentication": "att_3",
    }  # fmt: skip
    numbered = journal.append(outcome("fraud_report", "f1", refers_to=Reference(payment_id="pay_1", attempt_no=1)))
    assert numbered.facts and numbered.facts.attempt_id == "att_1"


def test_a_reversal_takes_back_the_latest_of_its_kind_once(journal: Sequencer) -> None:
    journal.append(decision())
    journal.append(outcome("refund", "r1", amount_reporting_minor=100))
    journal.append(outcome("refund", "r2", amount_reporting_minor=200))
    taken = [journal.append(outcome("reversal", f"v{n}", takes_back="refund")) for n in range(3)]
    assert [(e.sign, e.emits) for e in taken] == [(-1, REFUNDS), (-1, REFUNDS), (1, 0)]
    assert [e.facts.amount_reporting_minor for e in taken if e.facts and e.sign < 0] == [200, 100]


def test_a_reversal_that_comes_first_takes_back_what_comes_later(journal: Sequencer, fold: Recorder) -> None:
    journal.append(decision())
    journal.append(outcome("reversal", "v1", takes_back="fraud_report"))
    journal.append(outcome("fraud_report", "f1"))
    assert [(e.kind, e.sign, e.emits) for e in fold.seen[1:]] == [
        ("reversal", 1, 0), ("fraud_report", 1, FRAUD), ("link", -1, FRAUD),
    ]  # fmt: skip


def test_taking_back_an_authorization_leaves_the_attempt(journal: Sequencer) -> None:
    journal.append(outcome("authorization", "a1", approved=True, facts=facts()))
    assert journal.append(outcome("reversal", "v1", takes_back="authorization")).emits == APPROVALS


def test_an_authorization_is_taken_back_of_the_attempt_that_is_named(journal: Sequencer) -> None:
    for number, approved in ((1, True), (2, True), (3, False), (4, None)):
        attempt = Reference(attempt_id=f"att_{number}", payment_id="pay_1")
        more = {"facts": facts()} if number == 1 else {}
        journal.append(outcome("authorization", f"a{number}", approved=approved, refers_to=attempt, **more))
    first = journal.append(
        outcome("reversal", "v1", takes_back="authorization", refers_to=Reference(attempt_id="att_1"))
    )
    assert (first.sign, first.emits, first.facts and first.facts.attempt_id) == (-1, APPROVALS, "att_1")
    unanswered = Reference(attempt_id="att_4")
    last = journal.append(outcome("reversal", "v4", takes_back="authorization", refers_to=unanswered))
    assert (last.sign, last.emits, last.facts and last.facts.attempt_id) == (1, 0, "att_4")
    unnamed = journal.append(outcome("reversal", "v2", takes_back="authorization"))
    assert (unnamed.sign, unnamed.facts and unnamed.facts.attempt_id) == (-1, "att_2")


def test_control_entries_have_no_facts(journal: Sequencer) -> None:
    entry = journal.append(Draft(kind="control", source="console", event_id="1", body_hash=b"", payload=b"rule"))
    assert (entry.facts, entry.emits, entry.payload) == (None, 0, b"rule")


def test_only_an_import_says_when_an_entry_arrived(journal: Sequencer, clock: FakeClock) -> None:
    with pytest.raises(JournalError):
        journal.append(decision(ingest_us=5))
    importing = Sequencer(MemoryJournal(), clock, [], importing=True)
    assert importing.append(decision(ingest_us=5)).ingest_us == 5
    importing.append(decision("d2", ingest_us=9))
    with pytest.raises(InputError) as refused:
        importing.append(decision("d3", ingest_us=8))
    assert refused.value.code == "import_out_of_order"
    assert importing.append(decision(ingest_us=5)).seq == 1, "the same import again changes nothing"
    importing.close()


def test_a_fold_that_raises_poisons_the_sequencer(clock: FakeClock) -> None:
    class Broken:
        def apply(self, entry: Entry) -> None:
            raise ArithmeticError("overflow")

    store = MemoryJournal()
    journal = Sequencer(store, clock, [Broken()])
    with pytest.raises(ArithmeticError):
        journal.append(decision())
    calls: list[Callable[[], object]] = [
        journal.now, lambda: journal.append(decision()),
        lambda: journal.stored("a", "b"), lambda: journal.payment_us("p"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(JournalError):
            call()
    journal.close()
    assert list(store.read()) == [], "what no fold could take is not remembered either"


def test_a_closed_journal_takes_nothing(journal: Sequencer) -> None:
    journal.close()
    with pytest.raises(JournalError):
        journal.append(decision())


def test_replay_brings_folds_up_to_the_store(clock: FakeClock, fold: Recorder) -> None:
    store = MemoryJournal()
    journal = Sequencer(store, clock, [fold])
    journal.append(outcome("fraud_report", "f1"))
    journal.append(decision())
    journal.close()
    late = Recorder()
    folded(late, store.read(after_seq=1))
    assert late.seen == fold.seen[1:]
