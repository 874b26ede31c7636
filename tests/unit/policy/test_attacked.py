"""Attacks are marked within a few attempts, whatever their form; ordinary trade and broken routes are not."""

import msgspec
import pytest
from unit.policy.shops_and_issuers import ROUTES, SECOND_US, trading

from greenlane.payments.facts import Facts
from greenlane.policy.attacked import ABSENT, ACQUAINTED_US, CELLS_MAX, HOLD_US, Attacked


def payment(*, card: int, amount: int = 5_000, bin8: str = "40000000", device: int = 0) -> Facts:
    return Facts(
        payment_id="p", payment_us=0, amount_minor=amount, currency="EUR", amount_reporting_minor=amount,
        merchant_id="shop", bin8=bin8, device=device, card=card,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_many_small_declines_of_distinct_cards_mark_their_cell_and_no_other(seed: int) -> None:
    stream = trading(seed=seed)
    for _ in range(6):
        stream.attempt("iss_3", "acq_a", amount=99, kind="refused", bin8="40000300")
        stream.run(1)
    assert stream.online.attacked.marked(stream.at_us) == ["shop 40000300"]


def test_a_burst_of_usual_amounts_is_marked_too() -> None:
    stream = trading()
    for _ in range(40):
        stream.attempt("iss_3", "acq_a", amount=6_000, kind="neutral", bin8="40000300")
    assert stream.online.attacked.marked(stream.at_us) == ["shop 40000300"]


def test_one_device_with_many_cards_is_marked_over_all_ranges() -> None:
    attacked, start_us = Attacked(), ACQUAINTED_US
    attacked.answer(payment(card=50), 0, declined=False)
    for card in range(1, 9):
        facts = payment(card=card, bin8=f"4000000{card}", device=77)
        attacked.answer(facts, start_us + card * SECOND_US, declined=True)
    assert attacked.marked(start_us + 9 * SECOND_US) == ["device 4d"]
    assert attacked.weight_ppm(payment(card=99, bin8="55555555", device=77), start_us + 9 * SECOND_US) == 0


def test_one_card_that_is_declined_again_and_again_is_no_attack() -> None:
    stream = trading()
    for _ in range(30):
        stream.attempt("iss_3", "acq_a", amount=99, kind="refused", bin8="40000300", card=12345)
    assert stream.online.attacked.marked(stream.at_us) == []


@pytest.mark.parametrize("kind_approval", [0.88, 0.5])
def test_ordinary_trade_is_never_marked_however_much_is_declined(kind_approval: float) -> None:
    stream = trading(500, gap_us=SECOND_US // 5)
    stream.approval = kind_approval
    assert stream.run(8_000).online.attacked.marked(stream.at_us) == []


def test_a_collection_run_is_no_attack() -> None:
    attacked = Attacked()
    attacked.answer(payment(card=50), 0, declined=False)
    for card in range(1, 60):
        due = msgspec.structs.replace(payment(card=card, amount=999), initiator="mit")
        attacked.answer(due, ACQUAINTED_US + card * SECOND_US, declined=card % 8 > 0)
    assert attacked.marked(ACQUAINTED_US + 60 * SECOND_US) == []


def test_a_broken_route_is_no_attack() -> None:
    stream = trading()
    stream.broken = lambda _at_us, _issuer, route: 0.95 * (route == "acq_a")
    assert stream.run(3_000).online.attacked.marked(stream.at_us) == []


def test_suspect_cells_weigh_less_before_they_are_marked() -> None:
    stream, weights = trading(), []
    for card in (1, 2, 3):
        weights.append(stream.online.attacked.weight_ppm(payment(card=card, amount=99), stream.at_us))
        stream.attempt("iss_0", "acq_a", amount=99, kind="refused", bin8="40000000", card=card)
    assert weights[0] == 1_000_000
    assert weights[0] >= weights[1] > weights[2]


def test_a_mark_expires_by_itself() -> None:
    stream = trading()
    for _ in range(10):
        stream.attempt("iss_3", "acq_a", amount=99, kind="refused", bin8="40000300")
    attacked = stream.online.attacked
    assert attacked.marked(stream.at_us)
    assert attacked.marked(stream.at_us + HOLD_US) == []


def test_memory_is_bounded_and_the_cells_used_last_are_kept() -> None:
    attacked = Attacked()
    for n in range(CELLS_MAX + 10):
        attacked.answer(payment(card=n, bin8=f"{n:08d}"), n, declined=False)
    assert len(attacked.cells.dump()) == CELLS_MAX
    assert attacked.cells.row(f"shop {CELLS_MAX + 9:08d}") != ABSENT


def test_loaded_it_goes_on_as_if_never_dumped() -> None:
    stream, other = trading(500), trading(500)
    other.online.attacked = Attacked.load(other.online.attacked.dump())
    for each in (stream, other):
        for _ in range(3):
            each.attempt("iss_3", ROUTES[0], amount=99, kind="refused", bin8="40000300")
    assert stream.online.attacked.dump() == other.online.attacked.dump()
