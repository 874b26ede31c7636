"""What is known about each attempt at a stated cut, and who has a label at all.

A label says "reported as fraud" or "not reported so far". An attempt that was stopped by somebody says neither: whether
it would have been reported was never seen. Such rows are kept, with the reason.

After a passed authentication the issuer bears fraud and no chargeback comes: there only fraud *reports* are labels. In
a set of disputes such a row has none, so that a merchant whose fraud was authenticated is not taken for a safe one.
"""

# ruff: noqa: S608 - what is put into the query is our own: integers, and names of this file

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greenlane.journal.sequencer import LINK_PREFIX
from greenlane.payments.outcome import RECORD_DECODER as OUTCOME_DECODER
from greenlane.ports.journal import SOURCE_BIT, Entry

GOOD, REPORTED, BLOCKED, DECLINED, ABANDONED, AUTHENTICATION_FAILED, REVIEW_CANCELLED, LIABILITY_SHIFTED = range(8)
STATES: Final = (
    "good", "reported", "blocked", "declined", "abandoned", "authentication_failed", "review_cancelled",
    "liability_shifted",
)  # fmt: skip
"""What a row's label is; only the first two are labels."""

APPROVED_BIT, DECLINED_BIT, BLOCKED_BIT, ABANDONED_BIT, FAILED_BIT, CANCELLED_BIT, PASSED_BIT = (
    1 << i for i in range(7)
)
STOPPED: Final = MappingProxyType(
    {
        BLOCKED_BIT: BLOCKED,
        ABANDONED_BIT: ABANDONED,
        FAILED_BIT: AUTHENTICATION_FAILED,
        CANCELLED_BIT: REVIEW_CANCELLED,
        DECLINED_BIT: DECLINED,
    }
)
"""In the order that counts where several hold. An approval outweighs them all: the payment went through."""
FAILED_AUTHENTICATION: Final = ("N", "R")
"""Transaction statuses of 3-D Secure: not authenticated, rejected."""
PASSED_AUTHENTICATION: Final = ("Y", "A")
EARLY_MAX: Final = 200_000
"""What came before the attempt itself, the latest: an imported history begins with the authentication. A label that did
so is one no decision should have been made under: it keeps its own time, by which the set's checks refuse it."""
CANCELLED_REVIEW: Final = ("failed", "declined")


class Labels:
    """What later entries say about the attempts of a training set. Rows are numbered in the order of `expect`.

    `kind` is the entry kind that is the label: reports and disputes are labels of different models.
    """

    def __init__(self, kind: str, *, cut_us: int):
        self._kind, self._cut_us = kind, cut_us
        self._bit = SOURCE_BIT["fraud_reports" if kind == "fraud_report" else "disputes"]
        self._row_of: dict[str, int] = {}
        self._said: list[int] = []
        self._reported_us: list[int] = []
        self._standing: list[int] = []
        self._early: dict[str, list[Entry]] = {}
        self._waiting_us: dict[tuple[str, str], int] = {}
        """When a label came whose payment had not come yet."""

    def __len__(self) -> int:
        return len(self._said)

    def expect(self, entry: Entry) -> None:
        """A row: the entry that is the attempt's event."""
        assert entry.facts is not None, "an attempt has facts"
        self._row_of[entry.facts.attempt_id] = len(self._said)
        self._said.append(0)
        self._reported_us.append(0)
        self._standing.append(0)
        for early in self._early.pop(entry.facts.attempt_id, ()):
            self.hear(early)
        self.hear(entry)

    def hear(self, entry: Entry) -> None:
        """Any entry; one after the cut, or of no attempt expected, says nothing."""
        if entry.ingest_us > self._cut_us:
            return
        if entry.facts is None:
            if entry.kind == self._kind:
                keep_latest(self._waiting_us, (entry.source, entry.event_id), entry.ingest_us)
            return
        row = self._row_of.get(entry.facts.attempt_id)
        if row is None:
            if entry.facts.attempt_id and (entry.kind == "authentication" or entry.emits & self._bit):
                earlier = self._early.get(entry.facts.attempt_id, [])
                keep_latest(self._early, entry.facts.attempt_id, [*earlier, entry])
        elif entry.emits & self._bit:
            self._standing[row] += entry.sign
            if entry.sign > 0 and not self._reported_us[row]:
                name = entry.source, entry.event_id.removeprefix(LINK_PREFIX)
                self._reported_us[row] = self._waiting_us.pop(name, entry.ingest_us)
        elif entry.sign > 0:
            self._said[row] |= bit_of(entry)

    @property
    def reported_us(self) -> NDArray[np.int64]:
        """int64[rows]: when the first report came, 0 where none stands."""
        return np.where(np.array(self._standing, np.int64) > 0, np.array(self._reported_us, np.int64), 0)

    @property
    def states(self) -> NDArray[np.int8]:
        """int8[rows], places in STATES. A report says that the payment went through, whatever else was heard."""
        said = np.array(self._said, np.int64)
        states = np.full(len(said), GOOD, np.int8)
        for bit, state in reversed(list(STOPPED.items())):
            states[(said & bit != 0) & (said & APPROVED_BIT == 0)] = state
        states[self.reported_us > 0] = REPORTED
        if self._kind == "dispute":
            states[self.authenticated & np.isin(states, (GOOD, REPORTED))] = LIABILITY_SHIFTED
        return states

    @property
    def authenticated(self) -> NDArray[np.bool_]:
        """bool[rows]: authentication was passed, so that liability lies with the issuer."""
        passed: NDArray[np.bool_] = np.array(self._said, np.int64) & PASSED_BIT != 0
        return passed


def keep_latest(kept: dict[Any, Any], name: object, value: object) -> None:
    if name not in kept and len(kept) >= EARLY_MAX:
        del kept[next(iter(kept))]
    kept[name] = value


def kind_of(entry: Entry) -> str:
    """A link is the outcome that came before its payment."""
    return OUTCOME_DECODER.decode(entry.payload).type if entry.kind == "link" and entry.payload else entry.kind


def bit_of(entry: Entry) -> int:
    """What one entry says about its attempt, 0 where it says nothing about labels."""
    facts, kind = entry.facts, kind_of(entry)
    if facts is None:
        return 0
    if kind == "decision":
        return BLOCKED_BIT if facts.intervention == "block" else 0
    if kind == "authorization":
        approved, declined = entry.emits & SOURCE_BIT["approvals"], entry.emits & SOURCE_BIT["declines"]
        return APPROVED_BIT if approved else DECLINED_BIT if declined else 0
    if kind in ("abandoned", "not_sent"):
        return ABANDONED_BIT
    if kind == "authentication":
        failed = FAILED_BIT if facts.code in FAILED_AUTHENTICATION else 0
        return PASSED_BIT if facts.code in PASSED_AUTHENTICATION else failed
    if kind == "review":
        return CANCELLED_BIT if OUTCOME_DECODER.decode(entry.payload).result in CANCELLED_REVIEW else 0
    return 0


PLACED: Final = """
    SELECT *, COALESCE(MAX(own) OVER so_far,
        CASE WHEN attempt_id <> '' AND (kind = 'authentication' OR labels) THEN MIN(own) OVER whole END) AS row_seq
    FROM heard
    WINDOW so_far AS (PARTITION BY attempt_id ORDER BY seq ROWS UNBOUNDED PRECEDING),
        whole AS (PARTITION BY attempt_id)"""
"""An entry speaks of the latest row of its attempt so far; what may come early, of the first one."""


def labels_sql(kind: str, *, cut_us: int, condition: str, beside: Sequence[str] = ()) -> str:
    """What `Labels` says of the attempts that meet a condition, in words that DuckDB and Spark both know.

    Read from `journal`, the day files, and `told`: seq, `said` as `bit_of` has it, and the columns `beside`, which are
    handed on. One row per attempt, in order: seq, at_us, state, reported_us, amount_minor, card, authenticated. There
    is no EARLY_MAX here: nothing is forgotten.
    """
    bit = SOURCE_BIT["fraud_reports" if kind == "fraud_report" else "disputes"]
    stopped = " ".join(f"WHEN bits & {name} <> 0 THEN {state}" for name, state in STOPPED.items())
    state = (
        f"CASE WHEN reported_us > 0 THEN {REPORTED} WHEN bits & {APPROVED_BIT} <> 0 THEN {GOOD} {stopped} ELSE 0 END"
    )
    if kind == "dispute":
        shifted = f"bits & {PASSED_BIT} <> 0 AND {state} IN ({GOOD}, {REPORTED})"
        state = f"CASE WHEN {shifted} THEN {LIABILITY_SHIFTED} ELSE {state} END"
    linked = f"SUBSTR(p.event_id, 1, {len(LINK_PREFIX)}) = '{LINK_PREFIX}'"
    named = f"CASE WHEN {linked} THEN SUBSTR(p.event_id, {len(LINK_PREFIX) + 1}) ELSE p.event_id END"
    return f"""
    WITH heard AS (
        SELECT seq, ingest_us, kind, source, event_id, sign, attempt_id, (emits & {bit}) <> 0 AS labels,
            CASE WHEN {condition} THEN seq END AS own
        FROM journal WHERE payment_id IS NOT NULL AND ingest_us <= {cut_us}
    ), placed AS ({PLACED}
    ), waiting AS (
        SELECT seq, source, event_id, ingest_us FROM journal
        WHERE payment_id IS NULL AND kind = '{kind}' AND ingest_us <= {cut_us}
    ), reports AS (
        SELECT row_seq, MIN_BY(label_us, seq) AS first_us FROM (
            SELECT p.row_seq, p.seq, COALESCE(w.ingest_us, p.ingest_us) AS label_us
            FROM placed AS p LEFT JOIN waiting AS w ON w.source = p.source AND w.event_id = {named} AND w.seq < p.seq
            WHERE p.labels AND p.sign > 0 AND NOT p.row_seq IS NULL
        ) AS found WHERE label_us <> 0 GROUP BY row_seq
    ), stood AS (
        SELECT p.row_seq, SUM(CASE WHEN p.labels THEN p.sign ELSE 0 END) AS standing,
            BIT_OR(CASE WHEN p.sign > 0 AND NOT p.labels THEN t.said ELSE 0 END) AS bits
        FROM placed AS p LEFT JOIN told AS t ON t.seq = p.seq WHERE NOT p.row_seq IS NULL GROUP BY p.row_seq
    ), known AS (
        SELECT s.row_seq AS seq, s.bits, CASE WHEN s.standing > 0 THEN COALESCE(r.first_us, 0) ELSE 0 END AS reported_us
        FROM stood AS s LEFT JOIN reports AS r ON r.row_seq = s.row_seq
    )
    SELECT {", ".join(["k.seq", *(f"t.{name}" for name in beside)])}, j.ingest_us AS at_us, reported_us,
        CAST({state} AS BIGINT) AS state, j.amount_reporting_minor AS amount_minor, j.card,
        CAST(CASE WHEN bits & {PASSED_BIT} <> 0 THEN 1 ELSE 0 END AS BIGINT) AS authenticated
    FROM known AS k JOIN journal AS j ON j.seq = k.seq JOIN told AS t ON t.seq = k.seq ORDER BY k.seq"""
