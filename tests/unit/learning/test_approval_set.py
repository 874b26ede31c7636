"""Rows come from every authorization, know only what came before it, and weigh what the payer's honesty is worth."""

import msgspec
import numpy as np
from unit.learning.answered_attempts import ROUTES, answered, facts_of

from greenlane.learning.approval_set import Samples, encoded
from greenlane.models.approval_rows import AUTHENTICATED, COLUMNS, EXEMPT, PLAIN
from greenlane.outcomes.accept import ENCODER
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import OutcomeRecord
from greenlane.policy.online import ANSWERS
from greenlane.ports.journal import Entry

HOUR_US = 3_600_000_000


class Journal:
    """Entries as the sequencer would make them, an hour apart."""

    def __init__(self) -> None:
        self.samples, self.seq = Samples(), 0

    def entry(self, kind: str, facts: Facts, payload: bytes = b"", *, emits: int = 0) -> None:
        self.seq += 1
        at_us = self.seq * HOUR_US
        self.samples.apply(Entry(self.seq, 1, at_us, kind, "a", str(self.seq), at_us, emits, 1, b"", facts, payload))

    def answer(self, facts: Facts, code: str, decline_class: str, *, attempt: str = "a1", **said: str) -> None:
        told = msgspec.structs.replace(
            facts, code=code, decline_class=decline_class, attempt_id=attempt,
            route_id=said.pop("route", "acq_a"), intervention=said.pop("intervention", ""),
        )  # fmt: skip
        self.entry("authorization", told, ENCODER.encode(OutcomeRecord(type="authorization", **said)), emits=ANSWERS)


def test_attempts_that_nobody_decided_here_teach_with_the_way_they_went() -> None:
    journal = Journal()
    journal.answer(facts_of(1, amount=500), "00", "approved", executed_credential="network_token")
    (row,) = journal.samples.rows
    assert (row.route, row.credential, row.mode, row.approved, row.genuine) == (
        "acq_a", "network_token", PLAIN, True, 1.0,
    )  # fmt: skip


def test_a_retry_knows_the_decline_before_it_and_nothing_later() -> None:
    journal, facts = Journal(), facts_of(1, amount=500)
    journal.answer(facts, "05", "soft")
    journal.answer(facts, "51", "soft", attempt="a2", route="acq_b")
    first, second = (row.situation for row in journal.samples.rows)
    assert (first.attempt_no, first.last_category, first.last_route) == (1, "", "")
    assert (second.attempt_no, second.last_category, second.last_us, second.last_route) == (
        2, "do_not_honor", HOUR_US, "acq_a",
    )  # fmt: skip


def test_after_an_attempt_that_was_never_answered_no_decline_is_the_last() -> None:
    journal, facts = Journal(), facts_of(1, amount=500)
    journal.answer(facts, "05", "soft")
    journal.answer(facts, "", "unknown", attempt="a2")
    journal.answer(facts, "00", "approved", attempt="a3")
    last = journal.samples.rows[-1].situation
    assert (last.attempt_no, last.last_category, last.last_us) == (3, "", 0)


def test_the_mode_is_what_the_issuer_saw() -> None:
    journal = Journal()
    for n, (status, intervention) in enumerate((("", "allow"), ("", "exempt"), ("Y", "challenge"), ("U", "challenge"))):
        facts = facts_of(1, amount=500, payment=f"p{n}")
        if status:
            journal.entry("authentication", msgspec.structs.replace(facts, code=status))
        journal.answer(facts, "00", "approved", intervention=intervention)
    assert [row.mode for row in journal.samples.rows] == [PLAIN, EXEMPT, AUTHENTICATED, PLAIN]


def test_soft_declines_of_exempted_attempts_are_counted_apart() -> None:
    journal = Journal()
    for n, code in enumerate(("1A", "00", "1A")):
        decline_class = "approved" if code == "00" else "sca"
        journal.answer(facts_of(1, amount=9, payment=f"p{n}"), code, decline_class, intervention="exempt")
    assert len(journal.samples.rows) == 1
    assert [soft for _, soft, _ in journal.samples.exempted] == [True, False, True]
    found = encoded(journal.samples.rows, routes=ROUTES, exempted=journal.samples.exempted)
    assert found.encoding.soft == {"": (2, 3), "iss_1": (2, 3)}


def test_what_never_was_answered_teaches_nothing_and_an_answer_told_twice_teaches_once() -> None:
    journal = Journal()
    journal.answer(facts_of(1, amount=9), "", "unknown")
    journal.answer(facts_of(1, amount=9), "00", "approved")
    journal.answer(facts_of(1, amount=9), "00", "approved")
    assert len(journal.samples.rows) == 1
    assert journal.samples.left_out == {"no answer": 1}


def test_reported_fraud_weighs_nothing() -> None:
    journal = Journal()
    journal.answer(facts_of(1, amount=9, payment="good"), "00", "approved")
    journal.answer(facts_of(1, amount=9, payment="bad"), "00", "approved")
    journal.entry("fraud_report", facts_of(1, amount=9, payment="bad"))
    assert [row.genuine for row in journal.samples.rows] == [1.0, 0.0]
    assert len(encoded(journal.samples.rows, routes=ROUTES).examples) == 1


def test_attacked_cells_are_left_out() -> None:
    journal = Journal()
    for n in range(200):
        journal.answer(facts_of(1, amount=5_000, card=n, payment=f"p{n}"), "00", "approved")
    now = journal.samples._online
    for n in range(40):
        facts = facts_of(1, amount=50, card=1_000 + n, payment=f"x{n}")
        told = msgspec.structs.replace(facts, code="05", decline_class="soft", attempt_id=f"a{n}", route_id="acq_a")
        at_us = journal.seq * HOUR_US + n * 1_000_000
        payload = ENCODER.encode(OutcomeRecord(type="authorization"))
        journal.samples.apply(Entry(n, 1, at_us, "authorization", "a", str(n), at_us, ANSWERS, 1, b"", told, payload))
    assert now.attacked.marked(journal.seq * HOUR_US + 60_000_000)
    assert journal.samples.left_out["attacked"] >= 34


def test_a_row_knows_of_names_what_other_fifths_of_the_time_show_and_never_its_own_answer() -> None:
    samples = answered(300)
    whole = encoded(samples.rows, routes=samples.routes).examples.X
    turned = samples.rows[-1]._replace(approved=not samples.rows[-1].approved)
    other = encoded([*samples.rows[:-1], turned], routes=samples.routes).examples.X
    assert np.array_equal(whole[-60:], other[-60:], equal_nan=True)
    assert not np.array_equal(whole[:60], other[:60], equal_nan=True)


def test_frozen_effects_know_nothing_later() -> None:
    samples = answered(400)
    cut_us = samples.rows[200].situation.at_us
    frozen = encoded(samples.rows, routes=samples.routes, frozen_from_us=cut_us)
    alone = encoded(samples.rows[:200], routes=samples.routes)
    assert frozen.encoding.effects == alone.encoding.effects
    assert np.array_equal(frozen.examples.X[: len(alone.examples)], alone.examples.X, equal_nan=True)


def test_a_route_nobody_knew_is_missing_and_has_its_parents_log_odds() -> None:
    samples = answered(2_000)
    encoding = encoded(samples.rows, routes=samples.routes).encoding
    from greenlane.models.approval_rows import WAY_COLUMNS, way_values

    values = way_values(facts_of(2, amount=9), encoding, route="acq_new", credential="pan", mode=0)
    row = dict(zip(WAY_COLUMNS, values, strict=True))
    assert np.isnan(row["route"]) and np.isnan(row["acquirer"]) and np.isnan(row["domestic"])
    assert row["route_log_odds"] == encoding.of_all
    assert len(COLUMNS) == len(set(COLUMNS))
