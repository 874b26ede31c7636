"""Replay over a directory: decisions by id, or a sample of all of them."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.decisions.answer import Versions
from greenlane.decisions.record import decision_id
from greenlane.errors import NotFound
from greenlane.features.definition import FeatureSet
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import JournalStore, name_of
from greenlane.replay import Replayed, Replayer
from greenlane.settings import Settings
from greenlane.wiring import (
    Places,
    Progress,
    complete_from,
    engine_version,
    load_model,
    open_reader,
    runtime_fingerprint,
)


def replay_sample(directory: Path, *, sample: int, refold: bool, progress: Progress) -> Replayed:
    """Recompute a sample of all decisions, drawn by the hash of their ids: the same journal, the same sample."""
    reader = open_reader(directory)
    decisions = [decision_id(e.generation, e.seq) for e in reader.entries() if e.kind == "decision"]
    ranked = sorted(decisions, key=lambda one: name_of("sample", one))
    wanted = set(ranked[:sample])
    replayer = replayer_of(
        reader.places,
        reader.settings,
        refold=reader.features if refold else None,
        first_complete_us=complete_from(reader.store),
        store=reader.store,
    )
    for _ in replayer.walk(reader.entries(progress=progress), wanted):
        pass
    return replayer.found


def replay_decisions(places: Places, settings: Settings, ids: Sequence[str]) -> Replayed:
    """Recompute these decisions from what was logged; NotFound names the first that is unknown."""
    with closing(SqliteJournal(places.journal, read_only=True)) as store:
        wanted = [entry for one in ids for entry in store.named(name_of("decision", one))[:1]]
        if len(wanted) < len(ids):
            known = {decision_id(row.entry.generation, row.entry.seq) for row in wanted}
            raise NotFound(f"there is no decision {next(i for i in ids if i not in known)}", param="$.decision_ids")
        entries = sorted([*store.controls(), *(row.entry for row in wanted)], key=lambda entry: entry.seq)
        replayer = replayer_of(places, settings, store=store)
        for _ in replayer.walk(entries, set(ids)):
            pass
        return replayer.found


def replayer_of(
    places: Places,
    settings: Settings,
    *,
    store: JournalStore,
    refold: FeatureSet | None = None,
    first_complete_us: int | None = None,
) -> Replayer:
    policy = Policy(perspective=settings.perspective)
    versions = Versions(
        engine=engine_version(), runtime=runtime_fingerprint(), models={}, features="", policy=policy.version
    )
    return Replayer(
        partial(load_model, places),
        policy=policy,
        versions=versions,
        refold=refold,
        first_complete_us=first_complete_us,
        named=lambda space, name: [row.entry for row in store.named(name_of(space, name))],
    )
