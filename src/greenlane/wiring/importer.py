"""The way of history into a directory."""

from pathlib import Path

import msgspec

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_subjects import SqliteSubjects
from greenlane.decisions.control import ControlRecord, control_draft
from greenlane.decisions.live import (
    Live,
    features_change,
)
from greenlane.features.definition import FeatureSet
from greenlane.journal.bulk import BulkSequencer
from greenlane.journal.sequencer import folded
from greenlane.outcomes.accept import draft_of
from greenlane.payments.outcome import Outcome
from greenlane.ports.clock import FakeClock, SystemClock
from greenlane.ports.journal import Entry
from greenlane.settings import make_directory, read_settings
from greenlane.wiring.places import Places
from greenlane.wiring.system import reporting_of


class Importer:
    """The writer of a directory into which history goes: no folds, no decisions, as fast as the disk takes it."""

    def __init__(self, directory: Path):
        make_directory(directory)
        self.places, self.settings = Places(directory), read_settings(directory)
        self.subjects = SqliteSubjects(self.places.subjects)
        simulated = self.settings.clock == "simulated"
        store = SqliteJournal(self.places.journal)
        self.journal = BulkSequencer(
            store, FakeClock() if simulated else SystemClock(), [], importing=True, simulated=simulated,
            before_commit=self.subjects.flush, before_sync=self.subjects.sync,
        )  # fmt: skip
        self.live = folded(Live(), store.controls())
        self.reporting = reporting_of(self.settings)

    def control(self, record: ControlRecord, *, source: str, event_id: str, ingest_us: int) -> None:
        self.journal.append(control_draft(record, source=source, event_id=event_id, ingest_us=ingest_us))

    def declare(self, features: FeatureSet, *, at_us: int) -> None:
        """The features of this directory, where none are declared yet."""
        if self.live.features is None:
            change = features_change(features, None, who="import", why="first features of this directory")
            self.control(change, source="import", event_id="features/1", ingest_us=at_us)

    def take(self, outcome: Outcome, at_us: int) -> Entry:
        """An outcome that became known at `at_us`."""
        draft = draft_of(
            outcome,
            body_hash=self.subjects.fingerprint(msgspec.json.encode(outcome)),
            subjects=self.subjects,
            reporting=self.reporting,
            now_us=at_us,
            ingest_us=at_us,
        )
        return self.journal.append(draft)

    def close(self) -> None:
        try:
            self.journal.close()
        finally:
            self.subjects.close()
