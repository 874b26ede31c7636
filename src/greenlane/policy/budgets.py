"""The exploration ledger: what trying other actions costs, what it bought, and how much of it is still allowed today.

A fold of decisions and outcomes. An explored decision is charged at once with the upper 95 % of its expected loss. It
is reconciled when the truth is known, or as known as it will be:

    not sent                                  nothing was spent and nothing bought
    route, challenge: the issuer answers      the expected loss was spent, an answer bought (unanswered: after a day)
    release: declined                         nothing was spent and no label bought
    release: reported or disputed             the amount was spent, a label bought
    release: neither, for `LABEL_US`          nothing was spent, a label bought

The difference between charge and spending belongs to the day on which it is reconciled: what comes back adds to that
day's budget, at most doubling it; what was spent beyond its charge is taken from it, and from later days' until it is
paid. So in the long run one budget a day is spent, and no day charges more than two.

Budgets are paced by thinning, never first come first served: for each policy epoch, what is left is divided by what
full exploration would cost until midnight (as on the last day that had any, or at today's rate if that is more).
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US
from greenlane.policy.explore import KINDS, PPM, Allowance, Allowances, Explored, Exploring, Kind
from greenlane.policy.limits import ANSWER_DECODER, Answer
from greenlane.policy.parameters import EPOCH_US, epoch_of
from greenlane.ports.journal import CHANGE_DECODER, Entry

SUBJECT: Final = "budget"
SLOTS: Final = DAY_US // EPOCH_US
START_PPM: Final = 50_000
"""The pace while nothing is known of the demand."""
LABEL_US: Final = 60 * DAY_US
"""Three of four fraud reports have come by then."""
ANSWER_US: Final = DAY_US
CELLS_MAX: Final = 4_096
MICRO: Final = 1_000_000

Reader = Callable[[Entry], Explored | None]
"""What a decision entry explored; None where it was only shown (shadow), or explored nothing."""


BUDGET_DECODER: Final = msgspec.msgpack.Decoder(int | None)


class Bought(Struct, array_like=True, gc=False):
    """Of one cell: how often it was explored, and how many of these said something."""

    explored: int = 0
    known: int = 0


class Account(Struct, array_like=True):
    """All that is remembered of one kind. Money in micro-minor units of the reporting currency."""

    budget_minor: int | None = None
    """Set by a control entry; None: the policy's."""
    charged_today: int = 0
    returned_today: int = 0
    pace_ppm: int = 0
    demand: list[int] = []
    """Of today, by policy epoch."""
    usual: list[int] = []
    """Of the last day that had any."""
    explored: int = 0
    charged: int = 0
    """Since ever."""
    reconciled: int = 0
    reconciled_charge: int = 0
    spent: int = 0
    cells: dict[str, Bought] = {}

    @property
    def bought(self) -> int:
        """Answers or labels that nobody would have had."""
        return sum(cell.known for cell in self.cells.values())


class Position(Struct, frozen=True, array_like=True, gc=False):
    """An explored decision until it is reconciled."""

    kind: Kind
    attempt_id: str
    due_us: int
    charged_micro: int
    expected_micro: int
    amount_micro: int
    cell: str


class Due(NamedTuple):
    due_us: int
    payment_id: str


Dump = tuple[
    int, dict[Kind, Account], dict[str, list[Position]], dict[Kind, list[Due]], list[tuple[int, int]]
]  # fmt: skip
DUMP_DECODER: Final = msgspec.msgpack.Decoder(Dump)


class Ledger:
    """The fold. Call `advance` before anything is read; entries advance it by themselves.

    >>> ledger = Ledger(Exploring(), lambda entry: None)
    >>> ledger.advance(0)
    >>> ledger.allowances.route
    Allowance(budget_micro=0, remaining_micro=0, pace_ppm=50000)
    """

    def __init__(self, exploring: Exploring, explored: Reader):
        self._exploring, self._explored = exploring, explored
        self._epoch = -1
        self.accounts: dict[Kind, Account] = {
            kind: Account(demand=[0] * SLOTS, usual=[0] * SLOTS, cells={}) for kind in KINDS
        }
        self._open: dict[str, list[Position]] = {}
        """By payment."""
        self._due: dict[Kind, deque[Due]] = {kind: deque() for kind in KINDS}
        self._released: dict[int, int] = {}
        """Today's, by the pseudonym of card and of device."""

    @property
    def allowances(self) -> Allowances:
        """What may be explored now."""
        return Allowances(*[self._allowance(kind) for kind in KINDS])

    def released_today(self, facts: Facts) -> int:
        """Of this card or of this device, whichever is more."""
        return max(self._released.get(facts.card, 0), self._released.get(facts.device, 0))

    def apply(self, entry: Entry) -> None:
        """Folds in decisions, outcomes and `budget` control entries; passes over everything else."""
        self.advance(entry.ingest_us)
        if entry.kind == "control":
            self._configure(entry)
        elif entry.facts is None:
            return
        elif entry.kind == "decision":
            explored = self._explored(entry)
            if explored is not None and explored.kind:
                self._charge(explored, explored.kind, entry.facts, entry.ingest_us)
        elif self._open and entry.facts.payment_id in self._open:
            self._hear(ANSWER_DECODER.decode(entry.payload), entry.facts)

    def advance(self, at_us: int) -> None:
        """Begin the policy epoch that `at_us` lies in, and close what is due. Asked again, nothing."""
        epoch = epoch_of(at_us)
        if epoch > self._epoch:
            days = epoch // SLOTS - self._epoch // SLOTS
            if days:
                self._begin_day(days)
            self._epoch = epoch
            self._mature(epoch * EPOCH_US)  # whoever asks first, and when, an epoch begins with the same pace
            for kind in KINDS:
                self.accounts[kind].pace_ppm = self._pace_ppm(kind)
        self._mature(at_us)

    def dump(self) -> bytes:
        """The whole state: the same bytes for the same entries."""
        due = {kind: list(waiting) for kind, waiting in self._due.items()}
        state: Dump = (self._epoch, self.accounts, self._open, due, sorted(self._released.items()))
        return msgspec.msgpack.encode(state)

    @classmethod
    def load(cls, dumped: bytes, exploring: Exploring, explored: Reader) -> "Ledger":
        """
        >>> Ledger.load(Ledger(Exploring(), lambda entry: None).dump(), Exploring(), lambda entry: None)._epoch
        -1
        """
        found = cls(exploring, explored)
        found._epoch, found.accounts, found._open, due, released = DUMP_DECODER.decode(dumped)
        found._due = {kind: deque(waiting) for kind, waiting in due.items()}
        found._released = dict(released)
        return found

    def _allowance(self, kind: Kind) -> Allowance:
        budget, account = self._budget(kind), self.accounts[kind]
        returned = min(account.returned_today, budget)
        return Allowance(budget, max(0, budget + returned - account.charged_today), account.pace_ppm)

    def _budget(self, kind: Kind) -> int:
        stated = self.accounts[kind].budget_minor
        minor: int = getattr(self._exploring, kind).budget_minor if stated is None else stated
        return minor * MICRO

    def _pace_ppm(self, kind: Kind) -> int:
        account, slot = self.accounts[kind], self._epoch % SLOTS
        expected = max(sum(account.usual[slot:]), _at_todays_rate(account.demand[:slot]))
        if expected == 0:
            return START_PPM
        return min(PPM, self._allowance(kind).remaining_micro * PPM // expected)

    def _begin_day(self, days: int) -> None:
        """`days` after the last one: what was overspent is paid by the budgets of the days between, then by today's."""
        self._released.clear()
        for kind, account in self.accounts.items():
            if any(account.demand):
                account.usual, account.demand = account.demand, [0] * SLOTS
            left = days * self._budget(kind) + account.returned_today - account.charged_today
            account.charged_today, account.returned_today = 0, min(0, left)

    def _configure(self, entry: Entry) -> None:
        change = CHANGE_DECODER.decode(entry.payload)
        account = next((self.accounts[kind] for kind in KINDS if kind == change.id), None)
        if change.subject == SUBJECT and account is not None:
            account.budget_minor = BUDGET_DECODER.decode(change.after)

    def _charge(self, explored: Explored, kind: Kind, facts: Facts, at_us: int) -> None:
        account = self.accounts[kind]
        account.demand[self._epoch % SLOTS] += explored.demand_micro
        if not explored.explored:
            return
        account.explored += 1
        account.charged += explored.charged_micro
        account.charged_today += explored.charged_micro
        if kind == "release":
            for unit in {facts.card, facts.device} - {0}:
                self._released[unit] = self._released.get(unit, 0) + 1
        due_us = at_us + (LABEL_US if kind == "release" else ANSWER_US)
        cell = self._cell(account, facts)
        account.cells[cell].explored += 1
        amount = facts.amount_reporting_minor * MICRO
        position = Position(
            kind, facts.attempt_id, due_us, explored.charged_micro, explored.expected_micro, amount, cell
        )
        self._open.setdefault(facts.payment_id, []).append(position)
        self._due[kind].append(Due(due_us, facts.payment_id))

    @staticmethod
    def _cell(account: Account, facts: Facts) -> str:
        cell = f"{facts.issuer_id or facts.issuer_country or '?'} {facts.route_id}"
        if cell not in account.cells and len(account.cells) >= CELLS_MAX:
            cell = "other"
        account.cells.setdefault(cell, Bought())
        return cell

    def _hear(self, outcome: Answer, facts: Facts) -> None:
        for position in self._open[facts.payment_id]:
            ours = facts.attempt_id in ("", position.attempt_id)
            found = _reconciled(position, outcome) if ours or outcome.type in ("fraud_report", "dispute") else None
            if found is not None:
                spent, known = found
                self._close(position, facts.payment_id, spent=spent, known=known, returns=True)

    def _mature(self, at_us: int) -> None:
        for kind, waiting in self._due.items():
            while waiting and waiting[0].due_us <= at_us:
                due = waiting.popleft()
                for position in self._open.get(due.payment_id, ()):
                    if position.kind == kind and position.due_us == due.due_us:
                        spent = 0 if kind == "release" else position.expected_micro
                        today = due.due_us // DAY_US == at_us // DAY_US
                        self._close(position, due.payment_id, spent=spent, known=kind == "release", returns=today)

    def _close(self, position: Position, payment_id: str, *, spent: int, known: bool, returns: bool) -> None:
        account = self.accounts[position.kind]
        account.reconciled += 1
        account.reconciled_charge += position.charged_micro
        account.spent += spent
        account.cells[position.cell].known += known
        if returns:
            account.returned_today += position.charged_micro - spent
        rest = [other for other in self._open[payment_id] if other is not position]
        if rest:
            self._open[payment_id] = rest
        else:
            del self._open[payment_id]


def _at_todays_rate(demand: list[int]) -> int:
    """Of the rest of the day, from the epochs so far, counted from the first that had any.

    >>> _at_todays_rate([0, 0, 10, 30])  # 20 an epoch, and 92 epochs to come
    1840
    """
    first = next((slot for slot, micro in enumerate(demand) if micro), None)
    if first is None:
        return 0
    return sum(demand) * (SLOTS - len(demand)) // (len(demand) - first)


def _reconciled(position: Position, outcome: Answer) -> tuple[int, bool] | None:
    """(spent, something was learned), or None where the outcome settles nothing."""
    if outcome.type == "not_sent":
        return 0, False
    if outcome.type in ("fraud_report", "dispute"):
        return (position.amount_micro, True) if position.kind == "release" else None
    if outcome.type != "authorization" or outcome.result in (None, "unknown"):
        return None
    if position.kind != "release":
        return position.expected_micro, True
    return (0, False) if outcome.result == "declined" else None


def check_budget(kind: str, after: object) -> None:
    """Raises InputError where a `budget` control entry could not be folded: integer minor units a day, or None."""
    if kind not in KINDS:
        hint = f"one of {', '.join(KINDS)}"
        raise InputError(f"{kind!r} is no kind of exploration", code="invalid_budget", param="$.id", hint=hint)
    if after is not None and (not isinstance(after, int) or isinstance(after, bool) or not 0 <= after <= 10**9):
        hint = "integer minor units a day, 0 for none, null for the policy's own"
        raise InputError("a budget is an amount of money", code="invalid_budget", param="$.after", hint=hint)
