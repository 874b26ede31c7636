"""A directory as people and the follower see it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_subjects import secret_of
from greenlane.decisions.live import Live
from greenlane.decisions.releases import Releases
from greenlane.errors import JournalError, SettingsError
from greenlane.features.definition import FeatureSet
from greenlane.merchants.book import Book
from greenlane.ports.journal import Entry, JournalStore
from greenlane.settings import Settings, read_settings
from greenlane.wiring.kept import Progress, all_entries
from greenlane.wiring.places import Places


@dataclass
class Reader:
    """A directory as people and the follower see it: durable entries only, nothing written."""

    places: Places
    settings: Settings
    store: JournalStore
    live: Live = field(default_factory=Live, init=False)
    book: Book = field(default_factory=Book, init=False)
    releases: Releases = field(default_factory=Releases, init=False)
    _control_seq: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.refresh()

    @cached_property
    def salt(self) -> str:
        """Of who is in which arm."""
        return secret_of(self.places.subjects, "experiments").hex() if self.places.subjects.exists() else ""

    @property
    def features(self) -> FeatureSet:
        if self.live.features is None:
            raise JournalError("no features are declared here", hint="import history, or start the server once")
        return self.live.features

    def refresh(self) -> None:
        """Fold in what control entries have said since."""
        for entry in self.store.controls(after_seq=self._control_seq):
            for fold in (self.live, self.book, self.releases):
                fold.apply(entry)
            self._control_seq = entry.seq

    def entries(self, *, after_seq: int = 0, progress: Progress | None = None) -> Iterator[Entry]:
        """All after that position, in order; `progress` hears now and then how far it is (seq, last seq)."""
        return all_entries(self.places, self.store, after_seq=after_seq, progress=progress)


def open_reader(directory: Path) -> Reader:
    if not directory.is_dir():
        raise SettingsError(f"there is no directory {directory}", hint="is --data right?")
    places = Places(directory)
    return Reader(places, read_settings(directory), SqliteJournal(places.journal, read_only=True))
