"""Card testing: which cells, since when, what it looks like, and the rule that would stop it.

The cells of a merchant with a card range, and of a device, are those that health and exploration leave out already
(policy.attacked). A range over many merchants, and a merchant over many ranges, are known by their small payments; they
are told only where no narrower cell explains most of them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numba import njit

from greenlane.monitoring.alarms import Alarm, Cause, ControlProposal, Finding
from greenlane.payments.facts import Facts
from greenlane.policy.attacked import (
    ABSENT,
    ASKED,
    CELLS_MAX,
    DECLINED,
    HOLD_US,
    UNTIL,
    Attacked,
    Cells,
    cell_at,
    hear,
    keys_of,
)

WIDE_CARDS: Final = 12
"""Distinct cards with a small payment declined, before a whole merchant or a whole range is said to be attacked."""
SMALL_MINOR: Final = 500
CODES_MAX: Final = 16


@njit(cache=True, error_model="numpy")
def hear_small(cells, told, cards_min):  # type: ignore[no-untyped-def] # a kernel
    """Small payments of (row, time, declined, card): which of them lie in a marked cell."""
    marked = np.zeros(len(told), np.bool_)
    for n in range(len(told)):
        row, at_us, declined, card = told[n, 0], told[n, 1], told[n, 2], told[n, 3]
        cell = cell_at(cells, row, at_us)
        hear(cell, cards_min, card, 1, declined, True, at_us)
        marked[n] = at_us < cell[UNTIL]
    return marked


class Evidence(Struct, array_like=True):
    """What was seen in one cell since it was marked."""

    since_us: int
    attempts: int = 0
    approved: int = 0
    small: int = 0
    money_minor: int = 0
    largest_minor: int = 0
    codes: dict[str, int] = {}


class Attacks:
    """A fold of answers.

    >>> from greenlane.policy.attacked import APPROVED
    >>> attacks = Attacks()
    >>> amounts = [99 if n else 5_000 for n in range(60)]
    >>> told = [Facts(payment_id="p", payment_us=0, amount_minor=amount, currency="EUR", card=n, code="14",
    ...               amount_reporting_minor=amount, merchant_id="shop", bin8="40000000")
    ...         for n, amount in enumerate(amounts)]
    >>> sum(attacks.answer(told, range(0, 60_000_000, 1_000_000), [APPROVED] + [DECLINED] * 59))
    56
    >>> alarm, rule = attacks.turn(60_000_000)[:2]
    >>> str(alarm.causes[0]), rule.after["where"]
    ('merchant shop', "merchant_id = 'shop' AND bin8 = '40000000' AND amount_reporting_minor <= 500")
    """

    def __init__(self) -> None:
        self.narrow, self.wide = Attacked(), Cells()
        self.evidence: dict[str, Evidence] = {}
        self.open: dict[str, Alarm] = {}
        self._near: set[str] = set()
        """What the keys of evidence are made of: most payments have none of it."""

    def answer(self, told: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> list[bool]:
        """In order: APPROVED, DECLINED (or blocked before it was sent), or only ASKED. True: no other monitor should
        learn from it."""
        marks: list[int] = self.narrow.answer_all(told, at_us, said).tolist()
        small = self._small(told, at_us, said)
        if not self.evidence and not small and not any(marks):
            return [False] * len(told)
        covered = [mark > 0 for mark in marks]
        for n, facts in enumerate(told):
            is_marked = covered[n] or n in small
            if said[n] != ASKED and (is_marked or self._is_near(facts)):
                ranged, device = keys_of(facts)
                keys = ((ranged, marks[n] & 1), (device, marks[n] & 2), *((key, is_marked) for key in wide_keys(facts)))
                for key, begins in keys:
                    if key and (begins or key in self.evidence):
                        self._note(key, facts, approved=said[n] != DECLINED, at_us=at_us[n])
                covered[n] = covered[n] or any(key in self.open for key in wide_keys(facts))
        return covered

    def turn(self, at_us: int) -> list[Finding]:
        """Cells that are newly marked, with a rule; and marks that have expired. Ask every minute."""
        if not self.evidence:
            return []
        marked = {*self.narrow.marked(at_us), *self.wide.marked(at_us)}
        found: list[Finding] = []
        for key in sorted(marked - self.open.keys(), key=lambda key: (self._is_wide(key), key)):
            if not self._explained(key):
                found += self._open(key, at_us)
        for key in sorted(self.open.keys() - marked):
            found.append(msgspec.structs.replace(self._measured(key), ended_us=at_us - HOLD_US))
            found.append(ControlProposal(subject="rule", id=f"attack {key}", why="the attack is over", after=None))
            del self.open[key]
        kept = {k: seen for k, seen in self.evidence.items() if k in self.open or seen.since_us >= at_us - HOLD_US}
        if len(kept) < len(self.evidence):
            self.evidence, self._near = kept, names_of(kept)
        return found

    def measured(self) -> list[Alarm]:
        """The open alarms as they stand by now."""
        return [self._measured(key) for key in self.open]

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.narrow.dump(), self.wide.dump(), self.evidence, self.open))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[bytes, list[tuple[str, list[int]]], dict[str, Evidence], dict[str, Alarm]]
        narrow, wide, self.evidence, self.open = msgspec.msgpack.decode(dumped, type=kinds)
        self.narrow = Attacked.load(narrow)
        self.wide.load(wide)
        self._near = names_of(self.evidence)

    def _small(self, told: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> set[int]:
        """Which of them are small payments at a marked merchant, or of a marked range, over many cells."""
        heard = [
            (n, key)
            for n, facts in enumerate(told)
            if facts.amount_reporting_minor <= SMALL_MINOR and said[n] != ASKED
            for key in wide_keys(facts)
        ]
        rows = [(self.wide.place(key), at_us[n], said[n], told[n].card) for n, key in heard]
        marked = hear_small(self.wide.rows, np.array(rows, np.int64).reshape(-1, 4), WIDE_CARDS)
        return {heard[at][0] for at in np.flatnonzero(marked).tolist()}

    def _is_near(self, facts: Facts) -> bool:
        near = self._near
        return facts.merchant_id in near or facts.bin8 in near or (bool(facts.device) and f"{facts.device:x}" in near)

    def _is_wide(self, key: str) -> bool:
        return self.wide.row(key) != ABSENT

    def _explained(self, key: str) -> bool:
        if not self._is_wide(key):
            return False
        half = self.evidence.get(key, Evidence(0)).attempts // 2
        cause = causes_of(key)[0]
        inside = (narrow for narrow in self.open if not self._is_wide(narrow) and cause in causes_of(narrow))
        return any(self.evidence.get(narrow, Evidence(0)).attempts >= half for narrow in inside)

    def _note(self, key: str, facts: Facts, *, approved: bool, at_us: int) -> None:
        seen = self.evidence.get(key)
        if seen is None:
            if len(self.evidence) >= CELLS_MAX:
                return
            seen = self.evidence[key] = Evidence(at_us)
            self._near |= names_of([key])
        amount = facts.amount_reporting_minor
        seen.attempts += 1
        seen.approved += approved
        seen.small += amount <= SMALL_MINOR
        seen.money_minor += amount if approved else 0
        seen.largest_minor = max(seen.largest_minor, amount)
        if not approved and (facts.code in seen.codes or len(seen.codes) < CODES_MAX):
            seen.codes[facts.code] = seen.codes.get(facts.code, 0) + 1

    def _open(self, key: str, at_us: int) -> list[Finding]:
        seen = self.evidence.setdefault(key, Evidence(at_us))
        self.open[key] = Alarm(
            signal="attack",
            series=key,
            severity="page" if self._is_wide(key) else "ticket",
            started_us=seen.since_us,
            detected_us=at_us,
            causes=causes_of(key),
        )
        alarm = self._measured(key)
        where = rule_of(key, small_only=seen.small >= 0.9 * seen.attempts)
        after: dict[str, str | int | float | bool | list[str]] = {"where": where, "then": "block"}
        return [alarm, ControlProposal(subject="rule", id=f"attack {key}", why=alarm.note, after=after)]

    def _measured(self, key: str) -> Alarm:
        alarm, seen = self.open[key], self.evidence.get(key, Evidence(0))
        codes = ", ".join(f"{code or '?'} {count}" for code, count in Counter(seen.codes).most_common(3))
        return msgspec.structs.replace(
            alarm,
            count=seen.attempts,
            harm=float(seen.attempts),
            observed=seen.approved / max(seen.attempts, 1),
            size_minor=seen.money_minor,
            note=f"{seen.attempts} answers, {seen.small} small, {seen.approved} approved; declines: {codes}",
        )


def names_of(keys: Iterable[str]) -> set[str]:
    """
    >>> sorted(names_of(["shop 40000000", "device 4d"]))
    ['40000000', '4d', 'device', 'shop']
    """
    return {name for key in keys for name in key.split(" ")}


def wide_keys(facts: Facts) -> tuple[str, ...]:
    """
    >>> wide_keys(Facts(payment_id="", payment_us=0, amount_minor=1, currency="", amount_reporting_minor=1, bin8="4"))
    ('bin 4',)
    """
    return tuple(f"{kind} {name}" for kind, name in (("merchant", facts.merchant_id), ("bin", facts.bin8)) if name)


def causes_of(key: str) -> tuple[Cause, ...]:
    kind, _, name = key.partition(" ")
    if kind == "merchant":
        return (Cause("merchant", name),)
    if kind == "bin":
        return (Cause("bin", name),)
    if kind == "device":
        return (Cause("device", name),)
    return (Cause("merchant", kind), Cause("bin", name))


def rule_of(key: str, *, small_only: bool) -> str:
    """The cell in the language of `where=` (features.where), which rules share.

    >>> rule_of("device -1f", small_only=False)
    'device = -31'
    """
    kind, _, name = key.partition(" ")
    if kind == "device":
        where = f"device = {int(name, 16)}"
    elif kind in ("merchant", "bin"):
        where = f"{'merchant_id' if kind == 'merchant' else 'bin8'} = {quoted(name)}"
    else:
        where = f"merchant_id = {quoted(kind)} AND bin8 = {quoted(name)}"
    return where + (f" AND amount_reporting_minor <= {SMALL_MINOR}" if small_only else "")


def quoted(text: str) -> str:
    """
    >>> quoted("o'neil")
    "'o''neil'"
    """
    return "'" + text.replace("'", "''") + "'"
