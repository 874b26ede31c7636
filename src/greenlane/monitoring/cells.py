"""The cells of card testing (policy.attacked), many answers at once: the same sums, compiled, over rows of numbers.

A tuple of names finds a row; rows used last are kept, as there. What is asked of whole batches costs a tenth of what it
costs one by one, and says the same to the last byte.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.payments.facts import Facts
from greenlane.policy.attacked import (
    ACQUAINTED_US,
    BITS,
    CELLS_MAX,
    DEVICE_CARDS,
    FADES_US,
    HOLD_US,
    MARKS,
    PACE,
    RANGE_CARDS,
    RATIOS,
    STEP_US,
    SUSPECT,
    USUAL_SHIFT,
)

Ints = NDArray[np.int64]

APPROVED: Final = 0
DECLINED: Final = 1
ASKED: Final = 2
"""Nothing was answered: is the payment in an attacked cell?"""

# columns of a cell and of a merchant, in the order of `policy.attacked`
STEP, BORN, HEARD, SUM, FAILURES, APPROVALS, CARDS, FAILED_CARD, ANSWERS, USUAL, UNTIL, BEGAN = range(12)
COLUMNS: Final = 12
SINCE, SMALL = range(2)
WORD: Final = 2**64
RATIO: Final = np.array([[RATIOS[small, declined] for declined in (False, True)] for small in (False, True)])
FASTER, EACH, LEAST = PACE
CARDS_MIN: Final = (RANGE_CARDS, DEVICE_CARDS)


@njit(cache=True, error_model="numpy")
def pace_of(cell, waited_us):  # type: ignore[no-untyped-def] # a kernel
    age = min(cell[STEP] - cell[BORN], 1 << USUAL_SHIFT)
    due = float(EACH) * waited_us * (cell[USUAL] + 1)
    if due > 2.0 * (FASTER - LEAST) * (age + 1) * STEP_US:  # far beyond the least; its exact value may be no int64
        return LEAST
    return max(LEAST, FASTER - EACH * waited_us * (cell[USUAL] + 1) // ((age + 1) * STEP_US))


@njit(cache=True, error_model="numpy")
def answer_cell(cell, card, small, declined, paced, at_us):  # type: ignore[no-untyped-def] # a kernel
    """`Cell.hear`."""
    passed = at_us // STEP_US - cell[STEP]
    if passed > 0:
        if cell[SUM] < SUSPECT[0] and at_us >= cell[UNTIL]:
            cell[USUAL] += cell[ANSWERS]
            cell[USUAL] -= min(cell[USUAL], cell[USUAL] * passed >> USUAL_SHIFT)
        cell[ANSWERS] = 0
        cell[STEP] += passed
    ratio, before_us = RATIO[small, declined], cell[HEARD]
    waited_us = at_us - before_us
    cell[HEARD] = at_us
    cell[ANSWERS] += 1
    if cell[SUM] or ratio > -FASTER:
        cell[SUM] = max(0, cell[SUM] - waited_us // FADES_US)
        if declined and card == cell[FAILED_CARD]:
            return
        pace = pace_of(cell, waited_us) if paced else 0
        if not cell[SUM] and at_us >= cell[UNTIL]:
            cell[BEGAN] = before_us
        cell[SUM] = min(2 * MARKS, max(0, cell[SUM] + ratio + pace))
    if not cell[SUM]:
        cell[FAILURES] = cell[APPROVALS] = cell[CARDS] = 0
    elif declined:
        cell[FAILED_CARD] = card
        cell[FAILURES] += 1
        cell[CARDS] |= 1 << card % BITS
    else:
        cell[APPROVALS] += 1


@njit(cache=True, error_model="numpy")
def bits_of(word):  # type: ignore[no-untyped-def] # a kernel
    count = 0
    while word:
        word &= word - 1
        count += 1
    return count


@njit(cache=True, error_model="numpy")
def answer_all(cells, merchants, rows, told):  # type: ignore[no-untyped-def] # a kernel
    """`Attacked.answer`, or `covers`, of each of `told`; a row below -1 stands for -2 - row, begun anew."""
    covered = np.zeros(len(rows), np.bool_)
    for n in range(len(rows)):
        at_us, said, amount, card = told[n, 0], told[n, 1], told[n, 2], told[n, 3]
        merchant = merchants[told[n, 4]]
        small, suspect = int(amount < merchant[SMALL]), False
        paced = at_us - merchant[SINCE] >= ACQUAINTED_US
        for k in range(2):
            row = rows[n, k]
            if row == -1:
                continue
            if row < 0:
                row = -2 - row
                cells[row] = 0
                cells[row, STEP] = cells[row, BORN] = at_us // STEP_US
                cells[row, HEARD] = at_us
            cell = cells[row]
            if said != ASKED:
                answer_cell(cell, card, small, said, paced, at_us)
                if (
                    cell[SUM] >= MARKS
                    and cell[FAILURES] >= 2 * cell[APPROVALS]
                    and bits_of(cell[CARDS]) >= CARDS_MIN[k]
                ):
                    cell[UNTIL] = at_us + HOLD_US
            covered[n] |= at_us < cell[UNTIL]
            suspect = suspect or covered[n] or cell[SUM] > SUSPECT[0]
        if said != ASKED and not suspect:
            least = merchant[SMALL]
            step = least // 640 + 1 if amount > least else -least * 9 // 640
            merchant[SMALL] = max(1, least + step) if least else amount // 4
    return covered


class Cells:
    """A fold of answers, equal to `Attacked`.

    >>> cells = Cells()
    >>> facts = [Facts(payment_id="p", payment_us=0, amount_minor=99, currency="EUR", merchant_id="shop", card=n,
    ...                bin8="40000000", amount_reporting_minor=99 if n else 5_000) for n in range(9)]
    >>> cells.answer(facts, [n * 1_000_000 for n in range(9)], [DECLINED if n else APPROVED for n in range(9)]).tolist()
    [False, False, False, False, True, True, True, True, True]
    """

    def __init__(self) -> None:
        self._rows = OrderedDict[str, int]()
        self._cells: Ints = np.zeros((CELLS_MAX, COLUMNS), np.int64)
        self._shops: dict[str, int] = {}
        self._merchants: Ints = np.zeros((64, 2), np.int64)

    def answer(self, facts: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> NDArray[np.bool_]:
        """In the order of the journal: APPROVED, DECLINED (or blocked), or ASKED. True: in an attacked cell."""
        rows, told = list[int](), list[int]()
        for each, at, what in zip(facts, at_us, said, strict=True):
            merchant_id, ranged, device = each.merchant_id, -1, -1
            if each.initiator != "mit":
                place = self._known if what == ASKED else self._place
                if each.bin8:
                    ranged = place(f"{merchant_id} {each.bin8}")
                if each.device:
                    device = place(f"device {each.device:x}")
            rows += ranged, device
            shop = 0 if what == ASKED else self._shop(merchant_id, at)
            told += at, what, each.amount_reporting_minor << 10, each.card, shop
        shaped = np.array(rows, np.int64).reshape(-1, 2), np.array(told, np.int64).reshape(-1, 5)
        return np.asarray(answer_all(self._cells, self._merchants, *shaped))

    def marked(self, at_us: int) -> list[str]:
        """The cells that are marked now."""
        until = self._cells[:, UNTIL].tolist()
        return sorted(key for key, row in self._rows.items() if at_us < until[row])

    def dump(self) -> bytes:
        """As `Attacked` does."""
        cells = self._cells[list(self._rows.values())].tolist()
        for cell in cells:
            cell[CARDS] %= WORD
        shops = self._merchants[: len(self._shops)].tolist()
        return msgspec.msgpack.encode(
            (list(zip(self._rows, cells, strict=True)), list(zip(self._shops, shops, strict=True)))
        )

    def load(self, dumped: bytes) -> None:
        kinds = tuple[list[tuple[str, list[int]]], list[tuple[str, list[int]]]]
        cells, shops = msgspec.msgpack.decode(dumped, type=kinds)
        self._rows = OrderedDict((key, row) for row, (key, _) in enumerate(cells))
        self._shops = {key: row for row, (key, _) in enumerate(shops)}
        for row, (_, cell) in enumerate(cells):
            cell[CARDS] -= WORD * (cell[CARDS] >= WORD // 2)
            self._cells[row] = cell
        self._merchants = np.array([*(shop for _, shop in shops), *[(0, 0)] * 64], np.int64)

    def _known(self, key: str) -> int:
        return self._rows.get(key, -1)

    def _place(self, key: str) -> int:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
            return row
        full = len(self._rows) >= CELLS_MAX
        self._rows[key] = row = self._rows.popitem(last=False)[1] if full else len(self._rows)
        return -2 - row

    def _shop(self, merchant_id: str, at_us: int) -> int:
        shop = self._shops.get(merchant_id)
        if shop is None:
            shop = self._shops[merchant_id] = len(self._shops)
            if shop == len(self._merchants):
                self._merchants = np.concatenate([self._merchants, np.zeros_like(self._merchants)])
            self._merchants[shop] = at_us, 0
        return shop
