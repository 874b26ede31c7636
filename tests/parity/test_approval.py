"""What the approval model is trained on is what it was asked about: the same attempts, through the engine and after."""

from itertools import count
from pathlib import Path

import msgspec
from small_shop import attempt_body, shop_in

from greenlane.decide import decide
from greenlane.learning.approval_set import Samples, kept
from greenlane.models.approval_rows import Situation
from greenlane.outcomes.accept import draft_of
from greenlane.payments.attempt import Attempt
from greenlane.payments.outcome import Executed, Outcome
from greenlane.wiring import System

NOON, SECOND_US = 1_790_000_000_000_000, 1_000_000
ROUTES = [{"id": "acq_a", "acquirer": "north"}, {"id": "acq_b", "acquirer": "south"}]


class Asked:
    """Stands in for the approval model and remembers what it was asked."""

    id = "mdl_asked"

    def __init__(self) -> None:
        self.situations: list[Situation] = []

    def predict(self, situation: Situation, ways: list[tuple[str, str]]) -> list[list[int]]:
        self.situations.append(situation)
        return [[900_000_000, 880_000_000, 930_000_000] for _ in ways]

    def soft_decline_e9(self, _issuer: str) -> int:
        return 80_000_000


class Till:
    """Decides and answers attempts, ten minutes apart."""

    def __init__(self, system: System):
        self.system, self.numbers = system, count(1)
        system.clock.set(NOON)

    def attempt(self, payment: int, *, code: str, result: str, second: bool = False) -> None:
        number = next(self.numbers)
        self.system.clock.set(self.system.clock.now_us() + 600 * SECOND_US)
        body = attempt_body(payment, network_transaction_id="ntid_1") if payment % 2 else attempt_body(payment)
        body |= {"attempt_id": f"att_{number}", "eligible_routes": ROUTES[second:]}
        body["payment"]["payment_method"]["card"] |= {"issuer_id": "iss_1", "bin": "40000000", "funding": "debit"}
        wanted = msgspec.convert(body, Attempt)
        _, record = decide(wanted, lane=self.system.lane, event_id=f"e{number}", body_hash=bytes(16))
        action = record.chosen.action
        assert action.intervention == "allow"
        self.answer(number, code=code, result=result, route=action.route)

    def answer(self, number: int, *, code: str, result: str, route: str) -> None:
        outcome = Outcome(
            type="authorization", source="acquirer", event_id=f"auth_{number}", attempt_id=f"att_{number}",
            result=result, network="visa", network_response_code=code or None,
            executed=Executed(route=route, credential="pan"),
        )  # fmt: skip
        system = self.system
        now_us = system.clock.now_us()
        system.journal.append(
            draft_of(outcome, body_hash=bytes(16), subjects=system.subjects, reporting=system.reporting, now_us=now_us)
        )

    def reverse(self, number: int) -> None:
        """Nothing is sent while an answer is unknown: first it is taken back."""
        outcome = Outcome(
            type="reversal", source="acquirer", event_id=f"rev_{number}", attempt_id=f"att_{number}",
            reverses="authorization",
        )  # fmt: skip
        system = self.system
        now_us = system.clock.now_us()
        system.journal.append(
            draft_of(outcome, body_hash=bytes(16), subjects=system.subjects, reporting=system.reporting, now_us=now_us)
        )


def plain(situation: Situation) -> Situation:
    """Without what no row is made of."""
    return situation._replace(facts=kept(situation.facts))


def test_a_row_is_the_situation_that_was_asked_about(tmp_path: Path) -> None:
    system = shop_in(tmp_path / "shop")
    try:
        asked = system.approving.model = Asked()
        till = Till(system)
        for payment in (1, 2):
            till.attempt(payment, code="05", result="declined")
            till.attempt(payment, code="51", result="declined", second=True)
            till.attempt(payment, code="00", result="approved", second=True)
        till.attempt(3, code="", result="unknown")
        till.reverse(7)
        till.attempt(3, code="00", result="approved", second=True)
        system.journal.writer.wait(system.journal.position.seq)
        samples = Samples()
        samples.take(system.store.read())
    finally:
        system.close()
    known = [situation for situation in asked.situations if situation.facts.payment_id != "pay_3"]
    assert [row.situation for row in samples.rows[:6]] == [plain(situation) for situation in known]
    assert samples.rows[6].situation == plain(asked.situations[-1])
    assert [row.situation.attempt_no for row in samples.rows] == [1, 2, 3, 1, 2, 3, 2]
    assert samples.rows[1].genuine < 1.0
