"""Many series of events held against their expectation: by how much more, or less, often they happen, and since when.

1. an observation moves the rows of all series it belongs to        kernel `observe`, one call
2. a row learns its own offset from the expectation, slowly          logit p = logit(expected) + offset
3. one sum of log-likelihood ratios for each tilt of the log-odds    S = max(0, S + log P(x | p tilted) / P(x | p))
4. residuals of closed blocks say how much wilder the world is       dispersion, and the tail of the blocks
5. thresholds follow from the rate of the row, the number of rows, and the false alarms that are allowed a day
6. after an alarm the same sum with the other sign finds the end, and those of larger tilts find what is worse still

A sum is last at zero where the change most probably began (Hinkley 1971), so counts since then are the size of it.
While a sum is suspicious its row learns nothing. The thresholds of step 5 are those a block bootstrap would find: what
decides is the root w of mean exp(w L) = 1 over the blocks' sums L, for a false alarm takes about e^(w h) (Lundberg's
exponent; Asmussen 2003, XIII.5); drawing paths of blocks estimates the same root with more noise.
"""

from collections.abc import Callable, Hashable, Sequence
from math import exp, log
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numba import njit

from greenlane.monitoring.cusum import threshold
from greenlane.payments.arrays import Floats, Ints
from greenlane.payments.times import DAY_US, MINUTE_US

Series = Sequence[tuple[str, tuple[str, ...]]]
Key = TypeVar("Key", bound=Hashable)

BLOCK_US: Final = 15 * MINUTE_US
"""Residuals this near are not strangers to each other."""
LIMITS_US: Final = 4 * BLOCK_US
"""How often thresholds are set anew."""
SERIES_MAX: Final = 5
"""That one observation belongs to."""
MEMORY_US: Final = 3 * DAY_US
"""A row's own offset and dispersion fade with this time constant."""
SETTLED_US: Final = DAY_US
"""An alarm that lasts so long is the new normal: the row learns it."""
PRIOR_INFORMATION: Final = 25.0
"""An offset starts with a deviation of 0.2 in log-odds."""
SURE: Final = 64.0
"""A sum is armed once the offset's error is an eighth of its tilt."""
TILTS: Final = 4
BLOCKS_KEPT: Final = 512
PRIOR_BLOCKS: Final = 20.0
"""A row's dispersion starts as that of all rows, with so many blocks' weight."""
BLOCKS_MIN: Final = 100
"""Before so many blocks were seen their tail is taken to be normal."""
EXPONENT_MAX: Final = 8.0
WILDEST: Final = 80.0
"""Deviations; e to the exponent times this is still a number."""
INFORMATION_MIN: Final = 40.0
MENDING: Final = 0.7
WORSE: Final = 1.5
"""Times the harm per trial of the alarm so far, for another one inside it."""
NEVER: Final = 1e30

# columns of a row: what it has learned, its open block, its alarm, then four groups of TILTS
OFFSET, INFORMATION, BORN, COUNT, EVENTS, BLOCK_HARM, BLOCK_INFORMATION, EXCESS, SQUARES = range(9)
ALARM, CROSSED, STARTED, MENDED, MENDED_FROM, NEWS, ENDED, HARM, TRIALS, MONEY = range(9, 19)
SUM, SINCE, HARM_SINCE, TRIALS_SINCE, MONEY_SINCE, LIMIT = (19 + TILTS * i for i in range(6))
COLUMNS: Final = 19 + 6 * TILTS
OPENED, CLOSED = 1, 2


@njit(cache=True, error_model="numpy")
def mending_tilt(row, tilts, p, change):  # type: ignore[no-untyped-def] # a kernel
    """By which tilt the end is looked for: one well below the change that is seen, whose absence then is the end."""
    now = min(max(p + change, 1e-4), 1.0 - 1e-4)
    shift = abs(log(now / (1.0 - now)) - log(p / (1.0 - p)))
    found = -1
    for j in range(TILTS):
        if row[LIMIT + j] < NEVER and (found < 0 or abs(tilts[j]) <= MENDING * shift):
            found = j
    return found


@njit(cache=True, error_model="numpy")
def observe(state, rows, tilts, logit, events, trials, money, at_us, sharp=NEVER):  # type: ignore[no-untyped-def] # a kernel
    """Fold `events` among `trials` of one expectation into `rows`; how many rows have news. Below 0 is none."""
    news = 0
    raised = np.exp(tilts)
    for r in rows:
        if r < 0:
            break
        row = state[r]
        p = 1.0 / (1.0 + exp(-(logit + row[OFFSET])))
        sign = 1.0 if tilts[0] > 0.0 else -1.0
        harm = sign * (events - trials * p)
        information = trials * p * (1.0 - p)
        row[COUNT] += trials
        row[EVENTS] += events
        suspicious = row[ALARM] > 0.0
        for j in range(TILTS):
            suspicious = suspicious or row[SUM + j] > 0.5 * row[LIMIT + j]
        if not suspicious:
            row[INFORMATION] += information
            row[OFFSET] += sign * harm / (row[INFORMATION] + PRIOR_INFORMATION)
            row[BLOCK_HARM] += harm
            row[BLOCK_INFORMATION] += information
        crossed, now = -1, p
        if row[ALARM] > 0.0:
            now = min(max(p + sign * row[HARM] / row[TRIALS], 1e-4), 1.0 - 1e-4)
        for j in range(TILTS):
            if row[LIMIT + j] >= NEVER:
                row[SUM + j] = 0.0
                continue
            ratio = tilts[j] * events - trials * log(1.0 - p + p * raised[j])
            if row[ALARM] > 0.0:
                if int(row[ALARM]) == j + 1:
                    row[MENDED] = max(0.0, row[MENDED] - ratio)
                if j <= int(row[CROSSED]):
                    continue
                ratio = tilts[j] * events - trials * log(1.0 - now + now * raised[j])
            if row[SUM + j] == 0.0:
                row[SINCE + j] = at_us
                row[HARM_SINCE + j] = row[TRIALS_SINCE + j] = row[MONEY_SINCE + j] = 0.0
            row[SUM + j] = max(0.0, row[SUM + j] + ratio)
            row[HARM_SINCE + j] += harm
            row[TRIALS_SINCE + j] += trials
            row[MONEY_SINCE + j] += harm * money
            if row[SUM + j] >= row[LIMIT + j]:
                crossed = j
        inside = crossed >= 0 and row[ALARM] > 0.0
        if inside and row[HARM_SINCE + crossed] * row[TRIALS] < WORSE * row[HARM] * row[TRIALS_SINCE + crossed]:
            row[SUM + crossed] = 0.0
            crossed = -1
        if crossed >= 0:
            row[ALARM] = 1 + mending_tilt(row, tilts, p, sign * row[HARM_SINCE + crossed] / row[TRIALS_SINCE + crossed])
            row[CROSSED], row[NEWS], row[MENDED], row[MENDED_FROM] = crossed, OPENED, 0.0, at_us
            dated = crossed
            for j in range(crossed + 1, TILTS):
                if row[SUM + j] > sharp * row[LIMIT + j]:
                    dated = j
            row[STARTED], row[HARM] = row[SINCE + dated], row[HARM_SINCE + dated]
            row[TRIALS], row[MONEY] = row[TRIALS_SINCE + dated], row[MONEY_SINCE + dated]
            for j in range(crossed + 1, TILTS):
                row[SUM + j] = 0.0
            news += 1
        elif row[ALARM] > 0.0:
            row[HARM] += harm
            row[TRIALS] += trials
            row[MONEY] += harm * money
            if row[MENDED] == 0.0:
                row[MENDED_FROM] = at_us
            elif row[MENDED] >= 0.5 * row[LIMIT + int(row[ALARM]) - 1]:
                row[ENDED], row[NEWS], row[ALARM] = row[MENDED_FROM], CLOSED, 0.0
                for j in range(TILTS):
                    row[SUM + j] = 0.0
                news += 1
    return news


@njit(cache=True, error_model="numpy")
def observe_all(state, rows, tilts, logits, events, money, at_us, first, sharp):  # type: ignore[no-untyped-def] # a kernel
    """Observations from `first` on, one trial each; the first that has news, or how many there are."""
    for at in range(first, len(rows)):
        if observe(state, rows[at], tilts, logits[at], events[at], 1.0, money[at], at_us[at], sharp):
            return at
    return len(rows)


class Budget(NamedTuple):
    """False alarms a day that all series of these levels may give together."""

    levels: tuple[str, ...]
    per_day: float


class Change(NamedTuple):
    """A series that moved, or moved back."""

    level: str
    name: tuple[str, ...]
    started_us: int
    ended_us: int
    """0 while it lasts."""
    harm: float
    """Events too many, or too few, since it started."""
    trials: float
    money_minor: float
    expected: float
    """The usual rate of the series, before."""


class Streams:
    """Series of one kind of event. `tilts` are the changes of its log-odds that are looked for, all of one sign.

    >>> streams = Streams((-0.26, -0.41, -0.75, -2.0), [Budget(("route",), 1.0)], base=0.9)
    >>> for second in range(20_000):
    ...     found = streams.hear([("route", ("acq_a",))], 0.0, happened=second % 10 > 0, at_us=second * 1_000_000)
    ...     streams.turn(second * 1_000_000)
    >>> for second in range(20_000, 20_030):
    ...     found += streams.hear([("route", ("acq_a",))], 0.0, happened=False, at_us=second * 1_000_000)
    >>> found[0].level, found[0].name, found[0].started_us // 1_000_000 in range(19_990, 20_001)
    ('route', ('acq_a',), True)
    """

    def __init__(
        self,
        tilts: Sequence[float],
        budgets: Sequence[Budget],
        *,
        base: float,
        rows_max: int = 8_192,
        sharp: float = NEVER,
    ):
        """Where a flat sum passes its limit, the sharpest that came to `sharp` of its own dates the change."""
        assert len(tilts) == TILTS, "as many tilts as a row has room for"
        self.sharp = sharp
        self.tilts, self.budgets, self.base, self.rows_max = np.array(tilts, np.float64), tuple(budgets), base, rows_max
        self.state: Floats = np.zeros((64, COLUMNS))
        self._rows: dict[tuple[str, tuple[str, ...]], int] = {}
        self._at: dict[str, Ints] = {}
        """The rows of each level, as far as they were counted."""
        self.names: list[tuple[str, tuple[str, ...]]] = []
        self._known: dict[Hashable, int] = {}
        self._placed = np.zeros((64, SERIES_MAX), np.int64)
        """The rows of each known key; -1 behind the last."""
        self._blocks = {level: np.zeros(BLOCKS_KEPT) for budget in budgets for level in budget.levels}
        self._seen = dict.fromkeys(self._blocks, 0)
        self._block_us = self._limited_us = 0

    def hear(
        self,
        series: Series,
        logit: float,
        *,
        happened: float,
        at_us: int,
        trials: float = 1.0,
    ) -> list[Change]:
        """One observation of all these series, the widest first: a new one starts with its offset.

        `logit` 0 stands for no expectation: the base rate is taken.
        """
        rows = self._placed[self._number(tuple(series), tuple, at_us)]
        logit = logit or log(self.base / (1.0 - self.base))
        news = observe(self.state, rows, self.tilts, logit, float(happened), trials, 0.0, at_us, self.sharp)
        return self._news(rows) if news else []

    def hear_all(
        self,
        keys: Sequence[Key],
        series_of: Callable[[Key], Series],
        logits: Floats,
        *,
        happened: Floats,
        at_us: Ints,
        money_minor: Floats,
    ) -> list[tuple[int, Change]]:
        """As many observations in their order, and at which of them something changed. A key stands for its series."""
        logits = np.where(logits == 0.0, log(self.base / (1.0 - self.base)), logits)
        found, first = list[tuple[int, Change]](), 0
        while first < len(keys):
            self._number(keys[first], series_of, int(at_us[first]))
            numbers = list(map(self._known.get, keys[first:]))
            count = numbers.index(None) if None in numbers else len(numbers)
            rows = self._placed[np.array(numbers[:count])]
            here, at = slice(first, first + count), 0
            columns = logits[here], happened[here], money_minor[here], at_us[here]
            while (at := observe_all(self.state, rows, self.tilts, *columns, at, self.sharp)) < count:
                found += [(first + at, change) for change in self._news(rows[at])]
                at += 1
            first += count
        return found

    def _number(self, key: Key, series_of: Callable[[Key], Series], at_us: int) -> int:
        """Of the rows of a key, in `_placed`."""
        number = self._known.get(key)
        if number is None:
            rows = self._place(series_of(key), at_us)
            number = self._known[key] = len(self._known)
            if number == len(self._placed):
                self._placed = np.concatenate([self._placed, np.zeros_like(self._placed)])
            self._placed[number] = rows
        return number

    def _news(self, rows: Ints) -> list[Change]:
        return [self._change(row) for row in rows.tolist() if row >= 0 and self.state[row, NEWS]]

    def turn(self, at_us: int) -> None:
        """Close blocks and set thresholds, where it is time; costs nothing in between."""
        if at_us - self._block_us < BLOCK_US:
            return
        elapsed = min(at_us - self._block_us, MEMORY_US) if self._block_us else 0
        self._block_us = at_us
        state = self.state[: len(self.names)]
        fade = exp(-elapsed / MEMORY_US)
        self._close_blocks(state)
        state[:, [INFORMATION, COUNT, EVENTS, EXCESS, SQUARES]] *= fade
        settled = (state[:, ALARM] > 0.0) & (at_us - state[:, STARTED] > SETTLED_US)
        state[settled, INFORMATION] = 0.0
        state[settled, ALARM] = 0.0
        state[settled, SUM : SUM + TILTS] = 0.0
        if at_us - self._limited_us >= LIMITS_US:
            self._limited_us = at_us
            for budget in self.budgets:
                self._set_limits(budget)

    @property
    def open(self) -> list[Change]:
        """The series that are in alarm now."""
        return [self._read(row) for row in np.flatnonzero(self.state[: len(self.names), ALARM]).tolist()]

    @property
    def armed(self) -> int:
        """How many series are known well enough that a change of theirs would be told."""
        return int((self.state[: len(self.names), LIMIT : LIMIT + TILTS] < NEVER).any(axis=1).sum())

    def all(self) -> list[Change]:
        """Every series as it stands: what was lost or gained since its widest sum was last at zero."""
        return [self._read(row) for row in range(len(self.names))]

    def learn_from(self, other: "Streams") -> None:
        """What another has learned of the same series, as if it had been heard just before; no alarm, no sum."""
        self.load(other.dump())
        self.state[:, BLOCK_HARM : BLOCK_INFORMATION + 1] = 0.0
        self.state[:, BORN] -= max(0, self._block_us - self.state[: len(self.names), BORN].min(initial=self._block_us))
        self.state[:, ALARM : SUM + TILTS] = 0.0
        self._block_us = self._limited_us = 0

    def dump(self) -> bytes:
        count = len(self.names)
        blocks = {level: kept.tobytes() for level, kept in self._blocks.items()}
        rows = self.state[:count].tobytes()
        return msgspec.msgpack.encode((self.names, rows, blocks, self._seen, self._block_us, self._limited_us))

    def load(self, dumped: bytes) -> None:
        kinds = tuple[list[tuple[str, tuple[str, ...]]], bytes, dict[str, bytes], dict[str, int], int, int]
        decoded = msgspec.msgpack.decode(dumped, type=kinds)
        self.names, rows, blocks, self._seen, self._block_us, self._limited_us = decoded
        self._hold(np.frombuffer(rows).reshape(-1, COLUMNS))
        self._blocks = {level: np.frombuffer(kept).copy() for level, kept in blocks.items()}

    def _hold(self, rows: Floats) -> None:
        self.state = np.concatenate([rows, np.zeros((max(64, len(rows)), COLUMNS))])
        self._rows = {name: row for row, name in enumerate(self.names)}
        self._known.clear()
        self._at.clear()

    def _place(self, series: Series, at_us: int) -> Ints:
        if len(self.names) + len(series) > self.rows_max:
            self._make_room()
        rows = np.array([self._row(one, at_us) for one in series], np.int64)
        new = rows[self.state[rows, COUNT] == 0.0]
        self.state[new, OFFSET] = self.state[rows[0], OFFSET]
        return np.concatenate([rows, np.full(SERIES_MAX - len(rows), -1)])

    def _row(self, one: tuple[str, tuple[str, ...]], at_us: int) -> int:
        row = self._rows.get(one)
        if row is None:
            row = self._rows[one] = len(self.names)
            self.names.append(one)
            if row == len(self.state):
                self.state = np.concatenate([self.state, np.zeros_like(self.state)])
            self.state[row, BORN] = at_us
            self.state[row, LIMIT:] = NEVER
        return row

    def _make_room(self) -> None:
        """The half that is heard most stays, and whatever is in alarm."""
        state = self.state[: len(self.names)]
        worth = state[:, COUNT] + NEVER * (state[:, ALARM] > 0.0)
        best = np.sort(np.argsort(-worth, kind="stable")[: self.rows_max // 2])
        self.names = [self.names[row] for row in best.tolist()]
        self._hold(state[best])

    def _change(self, row: int) -> Change:
        found = self._read(row, ended=self.state[row, NEWS] == CLOSED)
        self.state[row, NEWS] = 0.0
        return found

    def _read(self, row: int, *, ended: bool = False) -> Change:
        state, (level, name) = self.state[row], self.names[row]
        at = TRIALS if state[ALARM] or ended else 0
        widest = int(np.argmax(state[TRIALS_SINCE : TRIALS_SINCE + TILTS]))
        harm, trials, money = (
            state[[HARM, TRIALS, MONEY]]
            if at
            else state[[HARM_SINCE + widest, TRIALS_SINCE + widest, MONEY_SINCE + widest]]
        )
        started = state[STARTED] if at else state[SINCE + widest]
        usual = state[EVENTS] / state[COUNT] if state[COUNT] else 0.0
        ended_us = int(state[ENDED]) if ended else 0
        return Change(level, name, int(started), ended_us, float(harm), float(trials), float(money), float(usual))

    def _close_blocks(self, state: Floats) -> None:
        """Residuals of the blocks that end now: how far they are from what independent answers would give."""
        z, v = state[:, BLOCK_HARM], state[:, BLOCK_INFORMATION]
        calm = (v > 0.5) & (state[:, ALARM] == 0.0)
        state[calm, EXCESS] += np.minimum(z[calm] ** 2, 25.0 * v[calm] + v[calm] ** 2 / 4.0) - v[calm]
        state[calm, SQUARES] += v[calm] ** 2
        for level, kept in self._blocks.items():
            mine = self._rows_at(level)
            mine = mine[calm[mine]]
            mine = mine[:: max(1, len(mine) // 8)]
            spread = self._dispersion(state[mine], level) if len(mine) else np.ones(0)
            for each in (z[mine] / np.sqrt(v[mine] * spread)).tolist():
                kept[self._seen[level] % BLOCKS_KEPT] = each
                self._seen[level] += 1
        state[:, [BLOCK_HARM, BLOCK_INFORMATION]] = 0.0

    def _rows_at(self, level: str) -> Ints:
        """The rows of a level, in order."""
        if not self._at or sum(map(len, self._at.values())) != len(self.names):
            found: dict[str, list[int]] = {each: [] for each in self._blocks}
            for row, (each, _) in enumerate(self.names):
                found[each].append(row)
            self._at = {each: np.array(rows, np.int64) for each, rows in found.items()}
        return self._at[level]

    def _dispersion(self, rows: Floats, level: str) -> Floats:
        """Variance of a block's residual over that of independent answers: 1 + tau^2 v, tau drawn to its level's."""
        together = self.state[self._rows_at(level)]
        pooled = max(together[:, EXCESS].sum(), 0.0) / max(together[:, SQUARES].sum(), 1e-9)
        v = self._block_information(rows)
        prior = PRIOR_BLOCKS * np.maximum(v, 1.0) ** 2
        tau = (np.maximum(rows[:, EXCESS], 0.0) + pooled * prior) / (rows[:, SQUARES] + prior)
        return np.asarray(1.0 + tau * v)

    def _observed_us(self, rows: Floats) -> Floats:
        """How long a row's fading counts have been counted."""
        age = np.maximum(self._block_us - rows[:, BORN], BLOCK_US)
        return np.asarray(MEMORY_US * (1.0 - np.exp(-age / MEMORY_US)))

    def _block_information(self, rows: Floats) -> Floats:
        return np.asarray(rows[:, INFORMATION] / np.maximum(self._observed_us(rows) / BLOCK_US, 1.0))

    def _set_limits(self, budget: Budget) -> None:
        count = sum(len(self._rows_at(level)) for level in budget.levels)
        for level in budget.levels:
            mine = self._rows_at(level)
            if len(mine):
                self._set_level(mine, level, false_alarms_per_day=budget.per_day / count / TILTS)

    def _set_level(self, mine: Ints, level: str, *, false_alarms_per_day: float) -> None:
        rows = self.state[mine]
        run_length = rows[:, COUNT] / self._observed_us(rows) * DAY_US / false_alarms_per_day
        usual, block = rows[:, INFORMATION] / np.maximum(rows[:, COUNT], 1.0), self._block_information(rows)
        spread = self._dispersion(rows, level)
        blocks = self._blocks[level][: self._seen[level]]
        for j, tilt in enumerate(np.abs(self.tilts).tolist()):
            information = np.maximum(tilt * tilt * usual / 2.0, 1e-9)
            wild = spread * tail(blocks, tilt * np.sqrt(block * spread) / (2.0 * spread))
            armed = rows[:, INFORMATION] >= max(SURE / tilt**2, INFORMATION_MIN)
            self.state[mine, LIMIT + j] = np.where(armed, threshold(run_length, information, wild), NEVER)


def tail(blocks: Floats, steepness: Floats) -> Floats:
    """By how much blocks are wilder than normal ones of the same variance, at least 1: where the exponent is t,
    log mean exp(t u) = t * steepness, and t = 2 * steepness for normal residuals u.

    >>> normal = np.random.default_rng(1).standard_normal(500)
    >>> wild = np.where(np.arange(500) % 50 == 0, 4.0, normal)
    >>> [float(tail(kind, np.array([0.5]))[0].round(1)) for kind in (normal, wild)]
    [1.0, 1.5]
    """
    if len(blocks) < BLOCKS_MIN:
        return np.ones_like(steepness)
    t = np.linspace(0.05, EXPONENT_MAX, 160)
    centred = np.minimum(blocks - blocks.mean(), WILDEST)
    rises = np.log(np.exp(t[:, None] * centred).mean(axis=1)) / t
    exponent = np.interp(steepness, np.maximum.accumulate(rises), t, right=np.inf)
    return np.maximum(2.0 * steepness / np.maximum(exponent, 1e-9), 1.0)
