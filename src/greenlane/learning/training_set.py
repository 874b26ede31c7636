"""A training set is a query over the journal: one row per attempt, what was known at its decision, what came of it.

Features are those of the entry's own position: the vector that the decision logged, else the stream engine's at that
place. Labels are as known at a stated cut. The same journal, features and cut give the same bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.decisions.packing import unpack
from greenlane.decisions.record import record_of
from greenlane.decisions.releases import Releases
from greenlane.errors import TrainingError
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.learning.estimator import Record
from greenlane.learning.examples import Examples
from greenlane.learning.labels import GOOD, REPORTED, STATES, Labels
from greenlane.learning.quality import UNKNOWN, Inspected
from greenlane.policy.distribution import TOTAL
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.replay import width_of

ATTEMPTS: Final = SOURCE_BIT["attempts"]
CHUNK_ENTRIES: Final = 100_000

Progress = Callable[[int, int], None]
Logged = Callable[[Entry], NDArray[np.int64] | None]
"""The vector that a decision logged, where it is one of this feature set."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """One row per attempt, oldest first. All arrays have the length of `seq`.

    seq int64: the journal position of the decision; at_us int64, its time; X float32[n, m], NaN where missing; state
    int8, a place in `labels.STATES`; reported_us int64, when the label came, 0 without; weight float64, 1 / P(let
    through); amount_minor int64 in the reporting currency; card int64, a pseudonym; authenticated int8, 1 where
    authentication was passed, which no decision knew beforehand: it says which labels can come.
    """

    names: tuple[str, ...]
    seq: NDArray[np.int64]
    at_us: NDArray[np.int64]
    X: NDArray[np.float32]
    state: NDArray[np.int8]
    reported_us: NDArray[np.int64]
    weight: NDArray[np.float64]
    amount_minor: NDArray[np.int64]
    card: NDArray[np.int64]
    authenticated: NDArray[np.int8]
    manifest: Record

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        return np.isin(self.state, (GOOD, REPORTED))

    def known_at(self, cut_us: int) -> "TrainingSet":
        """The rows decided until then, with the reports that had come by then; later ones had not been heard of.

        What stopped an attempt is taken as heard at once, and a report that was withdrawn as never made.
        """
        found = self.take(self.at_us <= cut_us)
        unheard = (found.state == REPORTED) & (found.reported_us > cut_us)
        return replace(
            found,
            state=np.where(unheard, GOOD, found.state).astype(np.int8),
            reported_us=np.where(unheard, 0, found.reported_us),
            manifest=self.manifest | {"label_cut_us": cut_us},
        )

    def take(self, rows: NDArray[np.bool_]) -> "TrainingSet":
        """Some of the rows, under the manifest of them all."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("names", "manifest")}
        return TrainingSet(self.names, **columns, manifest=self.manifest)

    def examples(self, rows: NDArray[Any] | None = None, *, columns: Sequence[str] | None = None) -> Examples:
        """The labelled rows among `rows` (a mask or an index in time order), with all features or the named ones."""
        chosen = np.arange(len(self))[slice(None) if rows is None else rows]
        chosen = chosen[self.labelled[chosen]]
        names = self.names if columns is None else tuple(columns)
        absent = sorted(set(names) - set(self.names))
        if absent:
            raise TrainingError(f"the training set has no {', '.join(absent)}", hint=f"it has {', '.join(self.names)}")
        picked = slice(None) if columns is None else [self.names.index(name) for name in names]
        return Examples(
            names=names,
            X=np.ascontiguousarray(self.X[chosen][:, picked]),
            y=(self.state[chosen] == REPORTED).astype(np.int8),
            weight=self.weight[chosen],
            at_us=self.at_us[chosen],
            amount_minor=self.amount_minor[chosen],
            card=self.card[chosen],
        )


def build(
    entries: Iterable[Entry],
    features: FeatureSet,
    *,
    label_cut_us: int,
    from_us: int = 0,
    to_us: int | None = None,
    label: str = "fraud_report",
    first_complete_us: int | None = None,
    logged: Logged = lambda _entry: None,
    total: int = 0,
    progress: Progress | None = None,
) -> TrainingSet:
    """All attempts decided from `from_us` until before `to_us` (by default the cut), labelled as known at the cut.

    `entries` is the journal from its beginning, and `total` how many there are, for `progress`.
    """
    to_us = end_of(to_us, label_cut_us)
    rows = Rows(features, label=label, label_cut_us=label_cut_us, first_complete_us=first_complete_us, logged=logged)
    done = 0
    for chunk in chunks(entries):
        rows.take(chunk, from_us=from_us, to_us=to_us)
        done += len(chunk)
        if progress:
            progress(done, max(total, done))
    return rows.finished(from_us=from_us, to_us=to_us)


def end_of(to_us: int | None, label_cut_us: int) -> int:
    """Before which the rows were decided; TrainingError where that is after the cut."""
    to_us = label_cut_us + 1 if to_us is None else to_us
    if to_us > label_cut_us + 1:
        raise TrainingError(
            "rows are asked for that were decided after the label cut", hint="end the rows at the cut, or cut later"
        )
    return to_us


class Rows:
    """A training set on its way: the engine at its place in the journal, and what was found so far."""

    def __init__(
        self,
        features: FeatureSet,
        *,
        label: str,
        label_cut_us: int,
        first_complete_us: int | None,
        logged: Logged,
    ):
        self._features, self._finaliser = features, Finaliser(features)
        self._engine = StreamEngine(features, first_complete_us=first_complete_us)
        self._labels, self._label, self._cut_us = Labels(label, cut_us=label_cut_us), label, label_cut_us
        self._logged_vector = logged
        self._first: Place = (0, 0)
        self._last: Place = (0, 0)
        self._logged = self._logged_differ = 0
        self._X: list[NDArray[np.float32]] = []
        self._about: list[NDArray[np.int64]] = []
        self._weights: list[float] = []

    def take(self, chunk: list[Entry], *, from_us: int, to_us: int) -> None:
        """Entries that follow those taken before."""
        self._first = self._first if self._last[0] else (chunk[0].seq, chunk[0].generation)
        self._last = (chunk[-1].seq, chunk[-1].generation)
        wanted = [e for e in chunk if e.emits & ATTEMPTS and e.sign > 0 and from_us <= e.ingest_us < to_us]
        seqs = {entry.seq for entry in wanted}
        read_at, vectors = self._engine.fold_and_read(chunk, lambda entry: entry.seq in seqs)
        check_positions([entry.seq for entry in wanted], (read_at - 1).tolist())
        for entry in chunk:
            if entry.seq in seqs:
                self._labels.expect(entry)
            else:
                self._labels.hear(entry)
        for entry, vector in zip(wanted, vectors, strict=True):
            self._prefer_logged(entry, vector)
        self._X.append(self._finaliser.matrix(vectors))
        self._about.append(np.array([about(entry) for entry in wanted], np.int64).reshape(-1, 4))
        self._weights += [weight_of(entry) for entry in wanted]

    def _prefer_logged(self, entry: Entry, vector: NDArray[np.int64]) -> None:
        """What the decision knew is what it logged; that the engine says the same is counted."""
        known = self._logged_vector(entry)
        if known is not None:
            self._logged += 1
            self._logged_differ += not np.array_equal(known, vector)
            vector[:] = known

    def finished(self, *, from_us: int, to_us: int) -> TrainingSet:
        nothing = np.empty((0, 4), np.int64)
        seq, at_us, amount_minor, card = np.concatenate([nothing, *self._about]).T.copy()
        found = TrainingSet(
            names=self._finaliser.names,
            seq=seq,
            at_us=at_us,
            X=np.concatenate([np.empty((0, len(self._finaliser.names)), np.float32), *self._X]),
            state=self._labels.states,
            reported_us=self._labels.reported_us,
            weight=np.array(self._weights, np.float64),
            amount_minor=amount_minor,
            card=card,
            authenticated=self._labels.authenticated.astype(np.int8),
            manifest={},
        )
        found.manifest.update(
            manifest_of(
                found,
                self._features,
                Made(self._label, self._cut_us, from_us, to_us, self._first, self._last),
                logged=self._logged,
                differ=self._logged_differ,
            )
        )
        return found


Place = tuple[int, int]
"""(seq, generation)."""


class Made(Struct, frozen=True):
    """What a set is of: the rows decided from `from_us` until before `to_us`, labelled as known at the cut, of the
    journal from its first entry to its last."""

    label: str
    label_cut_us: int
    from_us: int
    to_us: int
    first: Place
    last: Place


def manifest_of(found: TrainingSet, features: FeatureSet, made: Made, *, logged: int, differ: int) -> Record:
    """Plain JSON: enough to build the same set again and to notice when it is another."""
    names = ("first_seq", "first_generation", "last_seq", "last_generation")
    return {
        "journal": dict(zip(names, (*made.first, *made.last), strict=True)),
        "feature_set": features.digest,
        "feature_versions": features.versions,
        "label": made.label,
        "label_cut_us": made.label_cut_us,
        "from_us": made.from_us,
        "to_us": made.to_us,
        "rows": len(found),
        "states": {name: int((found.state == place).sum()) for place, name in enumerate(STATES)},
        "logged_vectors": logged,
        "logged_vectors_that_differ": differ,
        "rows_hash": rows_hash(found),
    }


def check_positions(decided: Sequence[int], cuts: Sequence[int]) -> None:
    """Each decision's features end before the decision; a later cut would train on what nobody knew.

    >>> check_positions([7], [7])
    Traceback (most recent call last):
    greenlane.errors.TrainingError: the features of entry 7 were cut at 7, not before it
      hint: ...
    """
    late = next(((seq, cut) for seq, cut in zip(decided, cuts, strict=True) if cut >= seq), None)
    if late is not None:
        raise TrainingError(
            f"the features of entry {late[0]} were cut at {late[1]}, not before it",
            hint="read features at the decision's own position",
        )


def logged_vector(releases: Releases, features: FeatureSet, entry: Entry) -> NDArray[np.int64] | None:
    """What a decision knew, where it was read at its own position and under these features."""
    if entry.kind != "decision":
        return None
    record = record_of(entry)
    if not record.known or record.vector_of or releases.versions(record.release).features != features.digest:
        return None
    return unpack(record.known, width_of(features))


def chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    left = iter(entries)
    while chunk := list(islice(left, CHUNK_ENTRIES)):
        yield chunk


def about(entry: Entry) -> tuple[int, int, int, int]:
    """(seq, time, amount, card)."""
    assert entry.facts is not None, "an attempt has facts"
    return entry.seq, entry.ingest_us, entry.facts.amount_reporting_minor, entry.facts.card


def weight_of(entry: Entry) -> float:
    """1 / the probability that the payment was let through: a release stands for the blocks it was drawn from.

    Whether it was challenged or not was drawn, too, but its label comes either way, so that this weighs nothing.
    """
    if entry.kind != "decision":
        return 1.0
    chosen = record_of(entry).chosen
    drawn = zip(chosen.actions, chosen.distribution, strict=True)
    passed = sum(share for action, share in drawn if action.intervention != "block")
    return 1.0 if chosen.action.intervention == "block" or not passed else TOTAL / passed


BESIDE: Final[Mapping[str, str]] = {
    "seq": "int64", "at_us": "int64", "state": "int8", "reported_us": "int64", "weight": "float64",
    "amount_minor": "int64", "card": "int64", "authenticated": "int8",
}  # fmt: skip
"""What a row has beside its features, with its type."""
FEATURE: Final = "x."
"""Before a feature's name where rows are columns of one table."""


def rows_hash(found: TrainingSet) -> str:
    """Of every value of every row, and of what they are called."""
    digest = hashlib.blake2b("\0".join(found.names).encode(), digest_size=16)
    for name in ("X", *BESIDE):
        digest.update(np.ascontiguousarray(getattr(found, name)).tobytes())
    return digest.hexdigest()


def columns_of(found: TrainingSet) -> dict[str, NDArray[Any]]:
    """The set as one table."""
    beside = {name: getattr(found, name) for name in BESIDE}
    return beside | {f"{FEATURE}{name}": found.X[:, place] for place, name in enumerate(found.names)}


def set_of(columns: Mapping[str, NDArray[Any]], manifest: Record) -> TrainingSet:
    """The set that `columns_of` made a table; TrainingError where its rows are not those of the manifest."""
    names = tuple(name.removeprefix(FEATURE) for name in columns if name.startswith(FEATURE))
    absent = sorted(set(BESIDE) - set(columns))
    if absent:
        raise TrainingError(f"the table has no {', '.join(absent)}", hint="it is no training set; build one")
    X = np.column_stack([columns[f"{FEATURE}{name}"] for name in names])
    found = TrainingSet(names=names, X=X, manifest=manifest, **{name: columns[name] for name in BESIDE})
    if rows_hash(found) != manifest.get("rows_hash"):
        raise TrainingError("the rows are not those that the manifest names", hint="build the set again")
    return found


def inspected(found: TrainingSet) -> Inspected:
    """As the data-quality checks look at it."""
    y = np.select([found.state == GOOD, found.state == REPORTED], [0, 1], UNKNOWN).astype(np.int8)
    return Inspected(
        names=found.names,
        X=found.X,
        y=y,
        key=found.seq,
        at_us=found.at_us,
        label_us=found.reported_us,
        cut_us=int(found.manifest["label_cut_us"]),
        same=np.column_stack([found.card, found.amount_minor]),
    )
