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
from msgspec import Struct

from greenlane.payments.facts import Facts

MINUTE_US: Final = 60 * 1_000_000
STEP_US: Final = 5 * MINUTE_US
"""The usual rate is counted in steps of this."""
HOLD_US: Final = 30 * MINUTE_US
"""A mark lasts so long after the last answer that earned it."""
CELLS_MAX: Final = 16_384
"""The cells used last are kept."""

RATIOS: Final = {(True, True): 3_930, (True, False): 460, (False, True): -460, (False, False): -3_930}
"""By (small, declined), thousandths of a nat: small with probability .9 in an attack, .1 else; declined .85 and .15."""
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
RANGE_CARDS: Final = 4
DEVICE_CARDS: Final = 3
"""So many distinct cards were declined, at least: honest devices have two."""


class Cell(Struct, array_like=True, gc=False):
    """The sum; `declined`, `approved` and `cards` (declined ones, as bits) since it rose from zero.

    `usual` is the fading sum of the answers of each step since `born`, `answers` those of this one.
    """

    step: int
    born: int
    heard_us: int
    sum: int = 0
    declined: int = 0
    approved: int = 0
    cards: int = 0
    failed_card: int = 0
    answers: int = 0
    usual: int = 0
    until_us: int = 0
    began_us: int = 0
    """The answer before the one that the sum rose with: a mark speaks of both and of all since."""

    def roll(self, at_us: int) -> None:
        """Move on to the step that `at_us` lies in; what happens under a mark or suspicion is not usual."""
        passed = at_us // STEP_US - self.step
        if passed <= 0:
            return
        if self.sum < SUSPECT[0] and at_us >= self.until_us:
            self.usual += self.answers
            self.usual -= min(self.usual, self.usual * passed >> USUAL_SHIFT)
        self.answers, self.step = 0, self.step + passed

    def hear(self, card: int, *, small: bool, declined: bool, paced: bool, at_us: int) -> None:
        """One answer; a card that is declined again and again counts once."""
        if at_us // STEP_US > self.step:
            self.roll(at_us)
        ratio, before_us = RATIOS[small, declined], self.heard_us
        waited_us, self.heard_us = at_us - before_us, at_us
        self.answers += 1
        if not self.sum and ratio <= -PACE[0]:  # whatever the pace, nothing rises: most answers
            self.declined = self.approved = self.cards = 0
            return
        self.sum = max(0, self.sum - waited_us // FADES_US)
        if declined and card == self.failed_card:
            return
        pace = self._pace(waited_us) if paced else 0
        if not self.sum and at_us >= self.until_us:
            self.began_us = before_us
        self.sum = min(2 * MARKS, max(0, self.sum + ratio + pace))
        if not self.sum:
            self.declined = self.approved = self.cards = 0
        elif declined:
            self.failed_card, self.declined, self.cards = card, self.declined + 1, self.cards | 1 << card % BITS
        else:
            self.approved += 1

    def is_attacked(self, cards_min: int) -> bool:
        """By what is in the sum; mostly declined, so that no sale is taken for an attack."""
        if self.sum < MARKS or self.declined < 2 * self.approved:
            return False
        return self.cards.bit_count() >= cards_min

    def _pace(self, waited_us: int) -> int:
        """One answer a step is taken as usual before any is known."""
        age = min(self.step - self.born, 1 << USUAL_SHIFT)
        faster, each, least = PACE
        return max(least, faster - each * waited_us * (self.usual + 1) // ((age + 1) * STEP_US))


class Merchant(Struct, array_like=True, gc=False):
    """Known since when, and the amount that nine in ten of its payments exceed, minor units times 1,024."""

    since_us: int
    small: int = 0

    def learn(self, amount: int) -> None:
        """A tenth quantile, step by step (Robbins and Monro 1951): up 1/640 or down 9/640."""
        if not self.small:
            self.small = amount // 4
        else:
            self.small = max(1, self.small + (self.small // 640 + 1 if amount > self.small else -self.small * 9 // 640))


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
        self._cells = OrderedDict[str, Cell]()
        self._merchants: dict[str, Merchant] = {}

    def answer(self, facts: Facts, at_us: int, *, declined: bool) -> bool:
        """An attempt was approved, declined, or blocked before it was sent; True: in an attacked cell.

        Technical failures are no answer.
        """
        merchant, amount = self._merchants.get(facts.merchant_id), amount_of(facts)
        if merchant is None:
            merchant = self._merchants[facts.merchant_id] = Merchant(at_us)
        small, suspect, covered = amount < merchant.small, False, False
        paced = at_us - merchant.since_us >= ACQUAINTED_US
        for key, cards_min in keys_of(facts):
            cell = self._cell(key, at_us)
            cell.hear(facts.card, small=small, declined=declined, paced=paced, at_us=at_us)
            if cell.sum >= MARKS and cell.is_attacked(cards_min):
                cell.until_us = at_us + HOLD_US
            covered = covered or at_us < cell.until_us
            suspect = suspect or covered or cell.sum > SUSPECT[0]
        if not suspect:
            merchant.learn(amount)
        return covered

    def weight_ppm(self, facts: Facts, at_us: int) -> int:
        """How much an answer of this payment may teach: nothing in an attacked cell, less in a suspect one."""
        if self.covers(facts, at_us):
            return 0
        cells = (self._cells.get(key) for key, _ in keys_of(facts))
        worst = max((cell.sum for cell in cells if cell is not None), default=0)
        full, none = SUSPECT
        return min(1_000_000, max(0, (none - worst) * 1_000_000 // (none - full)))

    def covers(self, facts: Facts, at_us: int) -> bool:
        """Is the payment in an attacked cell?"""
        for key, _ in keys_of(facts):
            cell = self._cells.get(key)
            if cell is not None and at_us < cell.until_us:
                return True
        return False

    def verdict(self, keys: Sequence[str], *, heard_us: int, at_us: int) -> Literal["genuine", "attack", "suspect"]:
        """What is known by now of an answer that these cells gave then: suspect while the sum of one still stands."""
        cells = [cell for key in keys if (cell := self._cells.get(key)) is not None]
        if any(cell.began_us <= heard_us < cell.until_us for cell in cells):
            return "attack"
        return "suspect" if any(cell.sum > (at_us - cell.heard_us) // FADES_US for cell in cells) else "genuine"

    def marked(self, at_us: int) -> list[str]:
        """The cells that are marked now, for people to look at."""
        return sorted(key for key, cell in self._cells.items() if at_us < cell.until_us)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((list(self._cells.items()), list(self._merchants.items())))

    @classmethod
    def load(cls, dumped: bytes) -> "Attacked":
        found = cls()
        cells, merchants = msgspec.msgpack.decode(
            dumped, type=tuple[list[tuple[str, Cell]], list[tuple[str, Merchant]]]
        )
        found._cells, found._merchants = OrderedDict(cells), dict(merchants)
        return found

    def _cell(self, key: str, at_us: int) -> Cell:
        cell = self._cells.get(key)
        if cell is not None:
            self._cells.move_to_end(key)
            return cell
        if len(self._cells) >= CELLS_MAX:
            self._cells.popitem(last=False)
        cell = self._cells[key] = Cell(at_us // STEP_US, at_us // STEP_US, at_us)
        return cell


def amount_of(facts: Facts) -> int:
    """Times 1,024: a quantile moves in small steps."""
    return facts.amount_reporting_minor << 10


def keys_of(facts: Facts) -> list[tuple[str, int]]:
    """The cells of a payment, each with the distinct cards that an attack on it needs.

    None where nobody is there: a morning's collection run is a burst of declines too, of cards long on file.
    """
    if facts.initiator == "mit":
        return []
    found = [(f"{facts.merchant_id} {facts.bin8}", RANGE_CARDS)] if facts.bin8 else []
    if facts.device:
        found.append((f"device {facts.device:x}", DEVICE_CARDS))
    return found
