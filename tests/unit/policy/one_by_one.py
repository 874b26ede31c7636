"""The obviously correct twin of `policy.attacked`: one answer after another, each cell an object."""

from collections import OrderedDict

import msgspec
from msgspec import Struct

from greenlane.payments.facts import Facts
from greenlane.policy import attacked
from greenlane.policy.attacked import (
    ACQUAINTED_US,
    BITS,
    CARDS_MIN,
    FADES_US,
    HOLD_US,
    MARKS,
    PACE,
    RATIOS,
    STEP_US,
    SUSPECT,
    USUAL_SHIFT,
    keys_of,
)


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
        ratio, before_us = RATIOS[small][declined], self.heard_us
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


class OneByOne:
    def __init__(self) -> None:
        self._cells = OrderedDict[str, Cell]()
        self._merchants: dict[str, Merchant] = {}

    def answer(self, facts: Facts, at_us: int, *, declined: bool) -> bool:
        """An attempt was approved, declined, or blocked before it was sent; True: in an attacked cell.

        Technical failures are no answer.
        """
        merchant, amount = self._merchants.get(facts.merchant_id), facts.amount_reporting_minor << 10
        if merchant is None:
            merchant = self._merchants[facts.merchant_id] = Merchant(at_us)
        small, suspect, covered = amount < merchant.small, False, False
        paced = at_us - merchant.since_us >= ACQUAINTED_US
        for key, cards_min in zip(keys_of(facts), CARDS_MIN, strict=True):
            if not key:
                continue
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
        cells = (self._cells.get(key) for key in keys_of(facts))
        worst = max((cell.sum for cell in cells if cell is not None), default=0)
        full, none = SUSPECT
        return min(1_000_000, max(0, (none - worst) * 1_000_000 // (none - full)))

    def covers(self, facts: Facts, at_us: int) -> bool:
        """Is the payment in an attacked cell?"""
        for key in keys_of(facts):
            cell = self._cells.get(key)
            if cell is not None and at_us < cell.until_us:
                return True
        return False

    def marked(self, at_us: int) -> list[str]:
        """The cells that are marked now, for people to look at."""
        return sorted(key for key, cell in self._cells.items() if at_us < cell.until_us)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((list(self._cells.items()), list(self._merchants.items())))

    def _cell(self, key: str, at_us: int) -> Cell:
        cell = self._cells.get(key)
        if cell is not None:
            self._cells.move_to_end(key)
            return cell
        if len(self._cells) >= attacked.CELLS_MAX:
            self._cells.popitem(last=False)
        cell = self._cells[key] = Cell(at_us // STEP_US, at_us // STEP_US, at_us)
        return cell
