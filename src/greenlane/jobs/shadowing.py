"""Shadows beside the champions of one directory: scored in the follower as entries come, or over what was decided."""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from greenlane.adapters.onnx_net import open_net
from greenlane.decide import believed_from
from greenlane.decisions.control import control_of
from greenlane.decisions.live import MODEL, Live
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.decisions.releases import Releases
from greenlane.decisions.standing import Standing
from greenlane.errors import GreenlaneError, TrainingError
from greenlane.features.finalise import Finaliser
from greenlane.jobs.experimenting import kept_tallies
from greenlane.learning.labels import Labels
from greenlane.learning.lateness import Lateness
from greenlane.learning.shadow import Believe, Flip, ShadowReport, Watched, report_of, score
from greenlane.merchants.book import Book
from greenlane.models.approval_model import load_approval
from greenlane.policy.approving import Approving
from greenlane.policy.given import Given
from greenlane.policy.history import NOTHING_YET
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry, Position
from greenlane.replay import facts_asked, width_of
from greenlane.settings import write_whole
from greenlane.wiring import Places, Progress, Reader, holds, load_model, model_path

SHARE: Final = 0.5
"""Of one core: so much of its time the follower gives to shadows. What does not fit is dropped, and counted."""
SAVED_S_MAX: Final = 5.0
WATCHED_MAX: Final = 20
"""Pairs of champion and shadow that are remembered; the oldest goes."""


class TimeBudget:
    """A bucket of seconds that fills at a share of the time that passes.

    >>> now = [0.0]
    >>> budget = TimeBudget(0.5, saved_s_max=1.0, clock=lambda: now[0])
    >>> with budget: now[0] = 3.0
    >>> budget.left(), now.__setitem__(0, 9.0), budget.left()
    (False, None, True)
    """

    def __init__(self, share: float, *, saved_s_max: float, clock: Callable[[], float] = time.monotonic):
        self.share, self.saved_s_max, self.clock = share, saved_s_max, clock
        self.saved_s, self.at_s, self.started_s = saved_s_max, clock(), 0.0

    def left(self) -> bool:
        now_s = self.clock()
        self.saved_s = min(self.saved_s_max, self.saved_s + (now_s - self.at_s) * self.share)
        self.at_s = now_s
        return self.saved_s > 0

    def __enter__(self) -> None:
        self.started_s = self.clock()

    def __exit__(self, *_: object) -> None:
        self.saved_s -= self.clock() - self.started_s


class Kept(Struct):
    """What survives a restart: every pair, and up to where the journal was followed."""

    position: Position
    watched: list[Watched]


class Shadows:
    """A fold. `apply` comes before `standing` moves on: a decision is seen as it stood when it was made.

    `budget` None scores everything, however long it takes.
    """

    def __init__(
        self,
        reader: Reader,
        standing: Standing,
        *,
        tell: Callable[[str], None],
        budget: TimeBudget | None,
        aliases: dict[str, str] | None = None,
    ):
        self.reader, self.standing, self.tell, self.budget = reader, standing, tell, budget
        self.aliases = aliases
        """In force whatever the journal says; None: what it says."""
        self.live, self.book, self.releases = Live(), Book(), Releases()
        self.watched: list[Watched] = []
        self.believing: dict[str, Believe | None] = {}
        """By shadow; None where it could not be loaded."""
        self.finalisers: dict[str, Finaliser] = {}

    def apply(self, entry: Entry) -> None:
        if entry.kind == "decision":
            for kind, shadow in self.shadows():
                self.see(kind, shadow, entry)
        elif entry.kind == "control":
            for fold in (self.live, self.book, self.releases):
                fold.apply(entry)
            if control_of(entry).subject == MODEL:
                watching = {shadow for _, shadow in self.shadows()}
                self.believing = {shadow: known for shadow, known in self.believing.items() if shadow in watching}

    def shadows(self) -> list[tuple[str, str]]:
        """(kind, model) of each that watches now."""
        aliases = self.live.aliases if self.aliases is None else self.aliases
        named = ((alias.partition("/"), model) for alias, model in aliases.items() if model)
        return [(kind, model) for (kind, _, role), model in named if role == "shadow"]

    def see(self, kind: str, shadow: str, entry: Entry) -> None:
        record = record_of(entry)
        if record.further is not None or record.attempt.mode == "shadow" or not record.chosen.values_micro:
            return
        made_by = self.releases.versions(record.release)
        champion = made_by.models.get(kind, "")
        if champion in ("", shadow) or made_by.features != self.live.digest:
            return
        watched = self.pair(kind, champion, shadow)
        if entry.seq <= watched.upto_seq:
            return
        watched.from_us = watched.from_us or entry.ingest_us
        watched.upto_us, watched.upto_seq = entry.ingest_us, entry.seq
        watched.decisions += 1
        believe = self.belief(kind, shadow)
        if believe is None:
            watched.errors += 1
        elif self.budget is None:
            self.score(watched, record, believe, entry)
        elif self.budget.left():
            with self.budget:
                self.score(watched, record, believe, entry)
        else:
            watched.dropped += 1

    def score(self, watched: Watched, record: DecisionRecord, believe: Believe, entry: Entry) -> None:
        payment = record.attempt.payment
        score(
            watched,
            entry,
            record,
            believe=believe,
            economics=self.book.economics(payment.merchant_id, mcc=payment.mcc),
            policy=self.live.policies[record.chosen.policy_version],
        )

    def pair(self, kind: str, champion: str, shadow: str) -> Watched:
        for watched in self.watched:
            if (watched.kind, watched.champion, watched.shadow) == (kind, champion, shadow):
                return watched
        self.watched = [*self.watched[1 - WATCHED_MAX :], Watched(kind=kind, champion=champion, shadow=shadow)]
        return self.watched[-1]

    def belief(self, kind: str, shadow: str) -> Believe | None:
        if shadow not in self.believing:
            try:
                self.believing[shadow] = self.loaded(kind, shadow)
            except GreenlaneError as error:
                self.tell(f"the shadow {shadow} cannot be loaded: {error}")
                self.believing[shadow] = None
        return self.believing[shadow]

    def loaded(self, kind: str, shadow: str) -> Believe:
        """Verified and warmed, as for the hot path. ModelRefused or NotFound."""
        places, priors = self.reader.places, Policy(perspective=self.reader.settings.perspective).priors
        if kind == "approval":
            approving = Approving(
                self.standing.online.health,
                priors,
                lambda id_, mcc: self.book.economics(id_, mcc=mcc),
                load_approval(model_path(places, shadow), open_net=open_net),
            )
            return lambda entry, record: approval_as(approving, entry, record)
        features = self.live.features or self.reader.features
        model, finaliser = load_model(places, shadow), Finaliser(features)
        bound, width = model.bind(finaliser.names, versions=features.versions), width_of(features)

        def fraud(_entry: Entry, record: DecisionRecord) -> Given:
            vector = unpack(record.known, width)
            return replace(
                record.given, fraud_probability_e9=believed_from(vector, finaliser, bound).fraud_probability_e9
            )

        return fraud

    def restore(self, path: Path, upto: Position) -> None:
        """What was kept, and the control entries up to there; `apply` goes on after `upto`."""
        for entry in takewhile(lambda entry: entry.seq <= upto.seq, self.reader.store.controls()):
            self.apply(entry)
        self.watched = kept_at(path, self.reader)

    def save(self, path: Path, position: Position) -> None:
        write_whole(path, msgspec.msgpack.encode(Kept(position, self.watched)))


def approval_as(approving: Approving, entry: Entry, record: DecisionRecord) -> Given:
    assert entry.facts is not None, "a decision always has facts"
    given = record.given
    found = approving.approvals(
        record.attempt,
        facts_asked(record, entry.facts),
        record.chosen.may.ways,
        history=given.history or NOTHING_YET,
        at_us=given.ingest_us,
    )
    return replace(given, approvals=found)


def shadows_path(places: Places) -> Path:
    return places.snapshots / "shadows"


def shadow_reports(reader: Reader) -> list[ShadowReport]:
    """Of every pair that the follower has kept, the latest last, with the labels as the journal has them now."""
    if not (kept := kept_at(shadows_path(reader.places), reader)):
        return []
    tallies, after_seq = kept_tallies(reader)  # which know how late reports come
    for entry in reader.entries(after_seq=after_seq):
        tallies.lateness.apply(entry)
    return [reported(reader, watched, tallies.lateness) for watched in kept]


def kept_at(path: Path, reader: Reader) -> list[Watched]:
    """Nothing where there is no such file, or it is not one of ours, or of another journal."""
    with suppress(OSError, msgspec.MsgspecError):
        kept = msgspec.msgpack.decode(path.read_bytes(), type=Kept)
        if holds(reader.store, kept.position.generation, kept.position.seq):
            return kept.watched
    return []


def shadow_over(reader: Reader, model_id: str, *, progress: Progress) -> list[ShadowReport]:
    """What this fraud model would have done in all that the journal's champions decided; nothing has to run for it."""
    standing = Standing(Policy(perspective=reader.settings.perspective).exploring)
    failed, lateness = list[str](), Lateness()
    shadows = Shadows(reader, standing, tell=failed.append, budget=None, aliases={"fraud/shadow": model_id})
    for entry in reader.entries(progress=progress):
        lateness.apply(entry)
        shadows.apply(entry)
    if failed:
        raise TrainingError(failed[0])
    return [reported(reader, watched, lateness) for watched in shadows.watched]


def reported(reader: Reader, watched: Watched, lateness: Lateness) -> ShadowReport:
    _, last = reader.store.span()
    now_us = next(iter(reader.store.read(after_seq=last - 1))).ingest_us if last else 0
    reports = lateness.curve("fraud_reports", at_us=now_us)
    return report_of(watched, lambda flip: state_of(reader, flip), now_us=now_us, reports=reports)


def state_of(reader: Reader, flip: Flip) -> int:
    """What the payment's entries say of the attempt that was decided, as `learning.labels.STATES` counts."""
    entries = reader.store.of_payment(flip.payment_id)
    decided = next((entry for entry in entries if entry.seq == flip.seq), None)
    if decided is None or decided.facts is None:
        return -1
    labels = Labels("fraud_report", cut_us=entries[-1].ingest_us)
    labels.expect(decided)
    for entry in entries:
        if entry.seq > flip.seq:
            labels.hear(entry)
    return int(labels.states[0])
