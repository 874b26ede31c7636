"""Which cells are under attack: where somebody tries cards one after another, issuers' answers say nothing of routes.

A cell is a merchant with a card range, or a device. Enumeration arrives as ordinary declines (05 as often as 14), so it
is known by its shape. Each answer adds its log-likelihood ratio, attack to usual trade, to a cumulative sum (Page
1954): is the amount small (below what nine in ten of the merchant's payments take), was it declined, and how soon did
it follow, given the cell's own usual rate. A sum that passes its threshold over enough distinct declined cards marks
the cell: after four attempts where amounts are small, after eight or so where they are not.

A broken route has neither the small amounts nor the pace. Attacked cells weigh nothing in health and breakers, suspect
ones less, and neither takes part in exploration; of declines that wait, health does not hear those just before a mark.
A mark expires by itself.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.payments.facts import Facts

Ints = NDArray[np.int64]

MINUTE_US: Final = 60 * 1_000_000
STEP_US: Final = 5 * MINUTE_US
"""The usual rate is counted in steps of this."""
HOLD_US: Final = 30 * MINUTE_US
"""A mark lasts so long after the last answer that earned it."""
CELLS_MAX: Final = 16_384
"""The cells used last are kept."""

RATIOS: Final = ((-3_930, -460), (460, 3_930))
"""By small, and declined, in thousandths of a nat: small with probability .9 in an attack, .1 else; declined .85
and .15."""
PACE: Final = (2_080, 7_000, -4_000)
"""An attack comes at eight times the usual rate: ln 8, less 7 for each answer that was due meanwhile; at least."""
ACQUAINTED_US: Final = 30 * MINUTE_US
"""A merchant's pace says nothing before it is known for so long: at first everything is new."""
FADES_US: Final = 2 * MINUTE_US // 1_000
"""For each such time a thousandth of a nat fades."""
MARKS: Final = 11_500
SUSPECT: Final = (4_000, 8_000)
"""Between these sums an answer's weight falls from all to nothing."""
USUAL_SHIFT: Final = 11
"""The usual rate forgets 1/2048 a step: about a week."""
BITS: Final = 64
"""Distinct cards are counted as bits of a word."""
CARDS_MIN: Final = (4, 3)
"""So many distinct cards of a range, or over a device, were declined, at least: honest devices have two."""

APPROVED: Final = 0
DECLINED: Final = 1
ASKED: Final = 2
"""Nothing was answered: is the payment in an attacked cell?"""

# columns of a cell: when it was heard and born (in steps) and last; the sum; what was declined and approved, and which
# cards (declined ones, as bits), since it rose from zero; the answers of this step, and the fading sum of those of each
# step since it was born; until when it is marked; the answer before the one that the sum rose with: a mark speaks of
# both and of all since
STEP, BORN, HEARD, SUM, FAILURES, APPROVALS, CARDS, FAILED_CARD, ANSWERS, USUAL, UNTIL, BEGAN = range(12)
COLUMNS: Final = 12
SINCE, SMALL = range(2)
"""Of a merchant: known since when, and the amount that nine in ten of its payments exceed, minor units times 1,024."""
WORD: Final = 2**64
ABSENT: Final = -1
NEW: Final = -2
"""A row from here down stands for NEW - row, begun anew."""
FASTER, EACH, LEAST = PACE
CARDS_OF_RANGE, CARDS_OF_DEVICE = CARDS_MIN


@njit(cache=True, error_model="numpy")
def pace_of(cell, waited_us):  # type: ignore[no-untyped-def] # a kernel
    """One answer a step is taken as usual before any is known."""
    age = min(cell[STEP] - cell[BORN], 1 << USUAL_SHIFT)
    due = float(EACH) * waited_us * (cell[USUAL] + 1)
    if due > 2.0 * (FASTER - LEAST) * (age + 1) * STEP_US:  # far beyond the least; its exact value may be no int64
        return LEAST
    return max(LEAST, FASTER - EACH * waited_us * (cell[USUAL] + 1) // ((age + 1) * STEP_US))


@njit(cache=True, error_model="numpy")
def add(cell, card, small, declined, paced, at_us):  # type: ignore[no-untyped-def] # a kernel
    """One answer; a card that is declined again and again counts once. What happens under a mark or suspicion is not
    usual."""
    passed = at_us // STEP_US - cell[STEP]
    if passed > 0:
        if cell[SUM] < SUSPECT[0] and at_us >= cell[UNTIL]:
            cell[USUAL] += cell[ANSWERS]
            cell[USUAL] -= min(cell[USUAL], cell[USUAL] * passed >> USUAL_SHIFT)
        cell[ANSWERS] = 0
        cell[STEP] += passed
    ratio, before_us = RATIOS[small][declined], cell[HEARD]
    waited_us = at_us - before_us
    cell[HEARD] = at_us
    cell[ANSWERS] += 1
    if cell[SUM] or ratio > -FASTER:  # else nothing rises, whatever the pace: most answers
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
def hear(cell, cards_min, card, small, declined, paced, at_us):  # type: ignore[no-untyped-def] # a kernel
    """Mark the cell by what is in its sum then; mostly declined, so that no sale is taken for an attack."""
    add(cell, card, small, declined, paced, at_us)
    if cell[SUM] >= MARKS and cell[FAILURES] >= 2 * cell[APPROVALS] and bits_of(cell[CARDS]) >= cards_min:
        cell[UNTIL] = at_us + HOLD_US


@njit(cache=True, error_model="numpy")
def cell_at(cells, row, at_us):  # type: ignore[no-untyped-def] # a kernel
    if row <= NEW:
        row = NEW - row
        cells[row] = 0
        cells[row, STEP] = cells[row, BORN] = at_us // STEP_US
        cells[row, HEARD] = at_us
    return cells[row]


@njit(cache=True, error_model="numpy")
def answer_one(cells, merchant, first, second, at_us, said, amount, card):  # type: ignore[no-untyped-def] # a kernel
    """Which of both cells is marked, as bits."""
    small, suspect, covered = int(amount < merchant[SMALL]), 0, 0
    for bit, row, cards_min in ((1, first, CARDS_OF_RANGE), (2, second, CARDS_OF_DEVICE)):
        if row == ABSENT:
            continue
        cell = cell_at(cells, row, at_us)
        if said != ASKED:
            hear(cell, cards_min, card, small, said, at_us - merchant[SINCE] >= ACQUAINTED_US, at_us)
        if at_us < cell[UNTIL]:
            covered |= bit
        suspect |= covered | int(cell[SUM] > SUSPECT[0])
    if said != ASKED and not suspect:  # a tenth quantile, step by step (Robbins and Monro 1951)
        least = merchant[SMALL]
        step = least // 640 + 1 if amount > least else -least * 9 // 640
        merchant[SMALL] = max(1, least + step) if least else amount // 4
    return covered


@njit(cache=True, error_model="numpy")
def answer_many(cells, merchants, told):  # type: ignore[no-untyped-def] # a kernel
    covered = np.zeros(len(told), np.int64)
    for n in range(len(told)):
        one = told[n]
        covered[n] = answer_one(cells, merchants[one[2]], one[0], one[1], one[3], one[4], one[5], one[6])
    return covered


class Cells:
    """Named rows of numbers, those used last: `rows[self.row(name)]` is one.

    >>> cells = Cells()
    >>> cells.place("shop 40000000"), cells.place("shop 40000000"), cells.row("device 4d")
    (-2, 0, -1)
    """

    def __init__(self) -> None:
        self.rows: Ints = np.zeros((CELLS_MAX, COLUMNS), np.int64)
        self._row = OrderedDict[str, int]()

    def row(self, name: str) -> int:
        """ABSENT where it has none."""
        return self._row.get(name, ABSENT)

    def place(self, name: str) -> int:
        """Its row, used now; where it had none, NEW less the row that it takes."""
        row = self._row.get(name)
        if row is not None:
            self._row.move_to_end(name)
            return row
        full = len(self._row) >= CELLS_MAX
        self._row[name] = row = self._row.popitem(last=False)[1] if full else len(self._row)
        return NEW - row

    def marked(self, at_us: int) -> list[str]:
        """The cells that are marked now, for people to look at."""
        marked = set(np.flatnonzero(self.rows[:, UNTIL] > at_us).tolist())
        return sorted([name for name, row in self._row.items() if row in marked]) if marked else []

    def dump(self) -> list[tuple[str, list[int]]]:
        """The longest unused first."""
        cells = self.rows[list(self._row.values())].tolist()
        for cell in cells:
            cell[CARDS] %= WORD
        return list(zip(self._row, cells, strict=True))

    def load(self, dumped: Sequence[tuple[str, list[int]]]) -> None:
        self._row = OrderedDict((name, row) for row, (name, _) in enumerate(dumped))
        for row, (_, cell) in enumerate(dumped):
            self.rows[row] = [*cell[:CARDS], cell[CARDS] - WORD * (cell[CARDS] >= WORD // 2), *cell[CARDS + 1 :]]


class Attacked:
    """A fold of answers in the order of the journal.

    >>> attacked = Attacked()
    >>> for card in range(1, 9):
    ...     amount = 5_000 if card == 1 else 99
    ...     facts = Facts(payment_id="p", payment_us=0, amount_minor=amount, currency="EUR",
    ...                   amount_reporting_minor=amount, merchant_id="shop", bin8="40000000", card=card)
    ...     known = attacked.answer(facts, card * 1_000_000, declined=card > 1)
    >>> attacked.covers(facts, 9_000_000), attacked.covers(facts, 9_000_000 + HOLD_US)
    (True, False)
    """

    def __init__(self) -> None:
        self.cells = Cells()
        self._shops: dict[str, int] = {}
        self._merchants: Ints = np.zeros((64, 2), np.int64)

    def answer(self, facts: Facts, at_us: int, *, declined: bool) -> bool:
        """An attempt was approved, declined, or blocked before it was sent; True: in an attacked cell.

        Technical failures are no answer.
        """
        first, second, shop, *told = self._told((facts,), (at_us,), (DECLINED if declined else APPROVED,))
        return bool(answer_one(self.cells.rows, self._merchants[shop], first, second, *told))

    def answer_all(self, facts: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> Ints:
        """The same of many, in order, for a fraction of the cost; some may only be ASKED about. 0: in no attacked cell;
        1: in that of its range, 2: of its device, 3: of both."""
        told = np.array(self._told(facts, at_us, said), np.int64).reshape(-1, 7)
        return np.asarray(answer_many(self.cells.rows, self._merchants, told))

    def weight_ppm(self, facts: Facts, at_us: int) -> int:
        """How much an answer of this payment may teach: nothing in an attacked cell, less in a suspect one."""
        if self.covers(facts, at_us):
            return 0
        worst = max((int(cell[SUM]) for cell in self._known(keys_of(facts))), default=0)
        full, none = SUSPECT
        return min(1_000_000, max(0, (none - worst) * 1_000_000 // (none - full)))

    def covers(self, facts: Facts, at_us: int) -> bool:
        """Is the payment in an attacked cell?"""
        return any(at_us < cell[UNTIL] for cell in self._known(keys_of(facts)))

    def verdict(self, keys: Sequence[str], *, heard_us: int, at_us: int) -> Literal["genuine", "attack", "suspect"]:
        """What is known by now of an answer that these cells gave then: suspect while the sum of one still stands."""
        cells = self._known(keys)
        if any(cell[BEGAN] <= heard_us < cell[UNTIL] for cell in cells):
            return "attack"
        return "suspect" if any(cell[SUM] > (at_us - cell[HEARD]) // FADES_US for cell in cells) else "genuine"

    def marked(self, at_us: int) -> list[str]:
        return self.cells.marked(at_us)

    def dump(self) -> bytes:
        shops = self._merchants[: len(self._shops)].tolist()
        return msgspec.msgpack.encode((self.cells.dump(), list(zip(self._shops, shops, strict=True))))

    @classmethod
    def load(cls, dumped: bytes) -> "Attacked":
        kinds = tuple[list[tuple[str, list[int]]], list[tuple[str, list[int]]]]
        found = cls()
        cells, shops = msgspec.msgpack.decode(dumped, type=kinds)
        found.cells.load(cells)
        found._shops = {name: shop for shop, (name, _) in enumerate(shops)}
        found._merchants = np.array([*(shop for _, shop in shops), *[(0, 0)] * 64], np.int64)
        return found

    def _known(self, keys: Sequence[str]) -> list[Ints]:
        rows = [self.cells.row(key) for key in keys if key]
        return [self.cells.rows[row] for row in rows if row != ABSENT]

    def _told(self, facts: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> list[int]:
        """Seven numbers of each: both rows, the merchant's, then time, answer, amount and card."""
        found = list[int]()
        for each, at, what in zip(facts, at_us, said, strict=True):
            find = self.cells.row if what == ASKED else self.cells.place
            ranged, device = keys_of(each)
            first, second = find(ranged) if ranged else ABSENT, find(device) if device else ABSENT
            shop = self._shops.get(each.merchant_id)
            if shop is None:
                shop = 0 if what == ASKED else self._meet(each.merchant_id, at)
            found += (first, second, shop, at, what, each.amount_reporting_minor << 10, each.card)
        return found

    def _meet(self, merchant_id: str, at_us: int) -> int:
        """A merchant's row, from now on."""
        shop = self._shops[merchant_id] = len(self._shops)
        if shop == len(self._merchants):
            self._merchants = np.concatenate([self._merchants, np.zeros_like(self._merchants)])
        self._merchants[shop] = at_us, 0
        return shop


def keys_of(facts: Facts) -> tuple[str, str]:
    """The cells of a payment: its merchant with the card range, and its device; "" where there is none.

    None where nobody is there: a morning's collection run is a burst of declines too, of cards long on file.
    """
    if facts.initiator == "mit":
        return "", ""
    ranged = f"{facts.merchant_id} {facts.bin8}" if facts.bin8 else ""
    return ranged, f"device {facts.device:x}" if facts.device else ""
