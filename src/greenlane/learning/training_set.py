"""A training set is a query over the journal: one row per attempt, features as of its position, its label as of a cut.

Every row is kept and says what is known about it:

    labelled   it was let pass, and a report would have come to us
    blocked, declined, abandoned, authentication_failed, review_cancelled
               nobody can ever report it: it has no label, and is not a good payment
    immature   too young at the cut for its label to have come (see `maturity`)

Vectors are those of the stream engine at the entry's own position, so no entry at or behind it can be in them. Where a
decision logged its vector, the two must be equal, or the set is refused.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.decisions.control import control_of
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import record_of
from greenlane.errors import TrainingError
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.inputs import INPUTS
from greenlane.features.stream import StreamEngine
from greenlane.journal.emits import ATTEMPTS
from greenlane.learning.examples import Examples
from greenlane.learning.maturity import SHARE_MIN, Maturity, learn_maturity, loss_rows
from greenlane.outcomes.accept import RECORD_DECODER as OUTCOME_DECODER
from greenlane.ports.journal import SOURCE_BIT, Entry

STATES: Final = (
    "labelled",
    "blocked",
    "declined",
    "abandoned",
    "authentication_failed",
    "review_cancelled",
    "immature",
)
LABELLED, BLOCKED, DECLINED, ABANDONED, FAILED, CANCELLED, IMMATURE = range(len(STATES))
FRAUD: Final = SOURCE_BIT["fraud_reports"]
LOST_AUTHENTICATION: Final = ("N", "R")
CLOSED_AFTER_US: Final = 7 * 86_400_000_000
"""Where fewer than this many labels ever came, F cannot be learned; labels then count as final after a week."""
LABELS_MIN: Final = 20

Ints = NDArray[np.int64]


class Window(NamedTuple):
    """Attempts from `from_us` on and before `to_us`, with labels known at `cut_us` (all UTC microseconds of ingest)."""

    from_us: int
    to_us: int
    cut_us: int


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows in journal order. All arrays have one length n; `vectors` int64[n, k] as the engines answer them."""

    features: FeatureSet
    window: Window
    seq: Ints
    vectors: Ints
    y: NDArray[np.int8]
    """1 where a fraud report was known at the cut and not taken back."""
    state: NDArray[np.int8]
    """Index into STATES."""
    share: NDArray[np.float64]
    """F: how much of its label had matured."""
    at_us: Ints
    amount_minor: Ints
    card: Ints
    last_seq: int

    def manifest(self) -> dict[str, Any]:
        """What makes this set again, to the byte: the same journal and window give the same hash."""
        return {
            "journal": {"rows_from_seq": int(self.seq[0]) if len(self.seq) else 0, "read_to_seq": self.last_seq},
            "window": self.window._asdict(),
            "feature_set": self.features.digest,
            "feature_versions": self.features.versions,
            "label": "reported fraud known at the cut",
            "rows": len(self.seq),
            "states": {name: int((self.state == i).sum()) for i, name in enumerate(STATES)},
            "events": int(self.y.sum()),
            "hash": self.digest(),
        }

    def digest(self) -> str:
        found = hashlib.blake2b(self.features.digest.encode(), digest_size=16)
        for part in (self.seq, self.vectors, self.y, self.state, self.share, self.at_us, self.amount_minor):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()

    def examples(self) -> Examples:
        """The rows that teach, weighted so that the loss is the one of the final labels (`maturity.loss_rows`)."""
        taught = np.flatnonzero(self.state == LABELLED)
        weighed = loss_rows(self.y[taught], self.share[taught])
        row = taught[weighed.row]
        finaliser = Finaliser(self.features)
        return Examples(
            finaliser.names,
            finaliser.matrix(np.ascontiguousarray(self.vectors[row])),
            weighed.y,
            weighed.weight,
            self.at_us[row],
            self.amount_minor[row],
            self.card[row],
        )


def build(
    entries: Iterable[Entry],
    features: FeatureSet,
    window: Window,
    *,
    first_complete_us: int | None = None,
    maturity: Maturity | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrainingSet:
    """Walks the journal once, up to the label cut. `maturity` None: learned from the labels seen.

    TrainingError where the window is empty, or a logged vector differs from the recomputed one.
    """
    if not window.from_us < window.to_us <= window.cut_us:
        raise TrainingError("the window must end before its label cut", hint="--from < --to <= --cut")
    seen = Seen(window)
    engine = StreamEngine(features, first_complete_us=first_complete_us)
    seqs, vectors = engine.fold_and_read(seen.watch(entries, progress), seen.wanted)
    if not len(seqs):
        raise TrainingError("no attempt lies in this window", hint="see `greenlane status` for what the journal holds")
    check_logged(seen.logged, seqs, vectors, features=features)
    rows = seen.rows
    payment_us = np.array([r.payment_us for r in rows], np.int64)
    y = np.array([seen.reports.get(r.payment_id, 0) > 0 for r in rows], np.int8)
    state = np.array([seen.states.get(r.attempt_id, LABELLED) for r in rows], np.int8)
    known = maturity or seen.maturity()
    share = np.ones(len(rows)) if known is None else known.at(window.cut_us - payment_us)
    if known is None:
        share[window.cut_us - payment_us < CLOSED_AFTER_US] = 0.0
    state[(state == LABELLED) & (share < SHARE_MIN)] = IMMATURE
    return TrainingSet(
        features,
        window,
        seqs,
        vectors,
        y,
        state,
        share,
        np.array([r.at_us for r in rows], np.int64),
        np.array([r.amount_minor for r in rows], np.int64),
        np.array([r.card for r in rows], np.int64),
        seen.last_seq,
    )


class Row(NamedTuple):
    payment_id: str
    attempt_id: str
    payment_us: int
    at_us: int
    amount_minor: int
    card: int


class Seen:
    """What the walk has seen so far: wanted rows, what became of attempts, which payments were reported."""

    def __init__(self, window: Window):
        self.window = window
        self.rows: list[Row] = []
        self.states: dict[str, int] = {}
        self.reports: dict[str, int] = {}
        self.delays: list[tuple[int, int]] = []
        self.logged: dict[int, tuple[bytes, str]] = {}
        self.digest = ""
        self.last_seq = 0

    def watch(self, entries: Iterable[Entry], progress: Callable[[int], None] | None) -> Iterator[Entry]:
        """Passes entries on until the label cut: what came later is not known."""
        for entry in entries:
            if entry.ingest_us > self.window.cut_us:
                return
            self.note(entry)
            self.last_seq = entry.seq
            if progress and entry.seq % 5000 == 0:
                progress(entry.seq)
            yield entry

    def wanted(self, entry: Entry) -> bool:
        inside = bool(entry.emits & ATTEMPTS) and self.window.from_us <= entry.ingest_us < self.window.to_us
        if inside and entry.facts is not None:
            facts = entry.facts
            row = Row(
                facts.payment_id,
                facts.attempt_id,
                facts.payment_us,
                entry.ingest_us,
                facts.amount_reporting_minor,
                facts.card,
            )
            self.rows.append(row)
            if entry.kind == "decision":
                record = record_of(entry)
                if record.known and not record.vector_of:
                    self.logged[entry.seq] = (record.known, self.digest)
        return inside

    def note(self, entry: Entry) -> None:
        facts = entry.facts
        if entry.kind == "control":
            record = control_of(entry)
            if record.subject == "features":
                self.digest = record.id
        if facts is None:
            return
        if entry.emits & FRAUD:
            self.reports[facts.payment_id] = self.reports.get(facts.payment_id, 0) + entry.sign
            if entry.sign > 0:
                self.delays.append((entry.ingest_us - facts.payment_us, self.window.cut_us - facts.payment_us))
        state = state_told(entry)
        if state is not None and facts.attempt_id:
            self.states[facts.attempt_id] = state

    def maturity(self) -> Maturity | None:
        """F, from the delays of all labels known at the cut; None where there are too few to learn it from."""
        if len(self.delays) < LABELS_MIN:
            return None
        delay_us, age_us = np.array(self.delays, np.int64).T
        return learn_maturity(np.maximum(delay_us, 0), np.maximum(age_us, delay_us))


def state_told(entry: Entry) -> int | None:
    """What an entry says about whether its attempt can ever be reported; None where it says nothing."""
    facts = entry.facts
    if facts is None:
        return None
    if entry.kind == "decision":
        return BLOCKED if facts.intervention == "block" else None
    if entry.kind == "authorization":
        return DECLINED if facts.decline_class not in ("", "approved", "unknown") else LABELLED
    if entry.kind in ("abandoned", "not_sent"):
        return ABANDONED
    if entry.kind == "authentication":
        return FAILED if facts.code in LOST_AUTHENTICATION else None
    if entry.kind == "review":
        return CANCELLED if OUTCOME_DECODER.decode(entry.payload).result == "failed" else None
    return None


def check_logged(logged: Mapping[int, tuple[bytes, str]], seqs: Ints, vectors: Ints, *, features: FeatureSet) -> None:
    """Served and recomputed vectors are equal, wherever the same definitions were live."""
    width = len(INPUTS) + len(features.columns)
    for seq, vector in zip(seqs.tolist(), vectors, strict=True):
        packed, digest = logged.get(seq, (b"", ""))
        if packed and digest == features.digest and not np.array_equal(unpack(packed, width), vector):
            raise TrainingError(
                f"the vector that entry {seq} was decided on is not the one the journal gives",
                hint="run `greenlane features verify` and `greenlane replay --refold`",
            )
