"""Card testing: which cells, since when, what it looks like, and the rule that would stop it.

The cells of a merchant with a card range, and of a device, are those that health and exploration leave out already
(policy.attacked). A range over many merchants, and a merchant over many ranges, are known by their small payments; they
are told only where no narrower cell explains most of them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from greenlane.monitoring.alarms import Alarm, Cause, ControlProposal, Finding
from greenlane.monitoring.cells import ASKED, DECLINED, Cells
from greenlane.payments.facts import Facts
from greenlane.policy.attacked import CELLS_MAX, HOLD_US, STEP_US, Cell, keys_of

WIDE_CARDS: Final = 12
"""Distinct cards with a small payment declined, before a whole merchant or a whole range is said to be attacked."""
SMALL_MINOR: Final = 500
CODES_MAX: Final = 16


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

    >>> from greenlane.monitoring.cells import APPROVED
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
        self.cells = Cells()
        self.wide: dict[str, Cell] = {}
        self.evidence: dict[str, Evidence] = {}
        self.open: dict[str, Alarm] = {}

    def answer(self, told: Sequence[Facts], at_us: Sequence[int], said: Sequence[int]) -> list[bool]:
        """In order: APPROVED, DECLINED (or blocked before it was sent), or only ASKED. True: no other monitor should
        learn from it."""
        covered: list[bool] = self.cells.answer(told, at_us, said).tolist()
        for n, facts in enumerate(told):
            if said[n] == ASKED:
                continue
            is_marked, declined = covered[n], said[n] == DECLINED
            if facts.amount_reporting_minor <= SMALL_MINOR:
                for key in wide_keys(facts):
                    is_marked |= self._small(key, facts, at_us[n], declined=declined)
            if self.evidence or is_marked:
                for key in (*[key for key, _ in keys_of(facts)], *wide_keys(facts)):
                    self._note(key, facts, approved=not declined, at_us=at_us[n])
                covered[n] = covered[n] or any(key in self.open for key in wide_keys(facts))
        return covered

    def turn(self, at_us: int) -> list[Finding]:
        """Cells that are newly marked, with a rule; and marks that have expired. Ask every minute."""
        if not self.evidence:
            return []
        marked = {*self.cells.marked(at_us), *(key for key, cell in self.wide.items() if at_us < cell.until_us)}
        found: list[Finding] = []
        for key in sorted(marked - self.open.keys(), key=lambda key: (key in self.wide, key)):
            if not self._explained(key):
                found += self._open(key, at_us)
        for key in sorted(self.open.keys() - marked):
            found.append(msgspec.structs.replace(self._measured(key), ended_us=at_us - HOLD_US))
            found.append(ControlProposal(subject="rule", id=f"attack {key}", why="the attack is over", after=None))
            del self.open[key]
        for key in [
            key for key, seen in self.evidence.items() if key not in self.open and seen.since_us < at_us - HOLD_US
        ]:
            del self.evidence[key]
        return found

    def measured(self) -> list[Alarm]:
        """The open alarms as they stand by now."""
        return [self._measured(key) for key in self.open]

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.cells.dump(), list(self.wide.items()), self.evidence, self.open))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[bytes, list[tuple[str, Cell]], dict[str, Evidence], dict[str, Alarm]]
        cells, wide, self.evidence, self.open = msgspec.msgpack.decode(dumped, type=kinds)
        self.cells.load(cells)
        self.wide = dict(wide)

    def _small(self, key: str, facts: Facts, at_us: int, *, declined: bool) -> bool:
        cell = self.wide.pop(key, None)
        if cell is None:
            cell = Cell(at_us // STEP_US, at_us // STEP_US, at_us)
            if len(self.wide) >= CELLS_MAX:
                del self.wide[next(iter(self.wide))]
        self.wide[key] = cell
        cell.hear(facts.card, small=True, declined=declined, paced=True, at_us=at_us)
        if cell.is_attacked(WIDE_CARDS):
            cell.until_us = at_us + HOLD_US
        return at_us < cell.until_us

    def _explained(self, key: str) -> bool:
        if key not in self.wide:
            return False
        half = self.evidence.get(key, Evidence(0)).attempts // 2
        cause = causes_of(key)[0]
        inside = (narrow for narrow in self.open if narrow not in self.wide and cause in causes_of(narrow))
        return any(self.evidence.get(narrow, Evidence(0)).attempts >= half for narrow in inside)

    def _note(self, key: str, facts: Facts, *, approved: bool, at_us: int) -> None:
        seen = self.evidence.get(key)
        if seen is None:
            if len(self.evidence) >= CELLS_MAX:
                return
            seen = self.evidence[key] = Evidence(at_us)
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
            severity="page" if key in self.wide else "ticket",
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
