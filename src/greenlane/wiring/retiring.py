"""What leaves a directory: payloads of old days, names beyond the horizon, people who ask for it."""

import os
from contextlib import closing
from pathlib import Path
from typing import get_args

from greenlane.adapters.sqlite import lock
from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_subjects import SqliteSubjects
from greenlane.errors import InputError
from greenlane.journal.days import closed_days
from greenlane.payments.attempt import MethodType
from greenlane.payments.times import day_of, format_day
from greenlane.wiring.kept import day_table
from greenlane.wiring.places import Places, day_path
from greenlane.wiring.readers import open_reader
from greenlane.wiring.system import System

HORIZON_DAYS = 400
"""So long a duplicate is recognised and a late outcome finds its payment."""
SUBJECT_KINDS = (*get_args(MethodType), "par", "customer", "email", "phone", "device", "ip", "shipping")
"""What `freeze` makes pseudonyms of: an instrument goes by its method."""


def retire_old_days(system: System) -> int:
    """Drop the payloads of days that are old enough and safe in their Parquet file; how many entries that were.

    Facts, names and control entries stay for the horizon: late outcomes, duplicates and replay find them as before.
    """
    today = day_of(system.journal.now().ingest_us)
    with closing(SqliteJournal(system.places.journal, read_only=True)) as store:
        first, _ = store.span()
        before = first
        for day in closed_days(store):
            if day.number >= today - system.settings.days_in_sqlite or not day_path(system.places, day.name).exists():
                break
            before = day.last_seq + 1
    forget_before = beyond_horizon(system.places, today)
    if before > first or forget_before > system.forgotten_before:
        system.store.retire(before, forget_before_seq=forget_before)
        system.forgotten_before = forget_before
    return before - first


def beyond_horizon(places: Places, today: int) -> int:
    """The seq behind the last one of the newest day file older than the horizon; 0 where all are younger."""
    old = [path for path in sorted(places.days.glob("*.parquet")) if path.stem <= format_day(today - HORIZON_DAYS)]
    if not old:
        return 0
    with closing(day_table()) as table:
        return table.last_seq(old[-1]) + 1


def erase_subject(directory: Path, kind: str, identifier: str) -> bool:
    """Forget whom a pseudonym stood for; False where nobody was known by it. Entries and features stay as they are.

    Raises JournalError while a server runs: it remembers.
    """
    if kind not in SUBJECT_KINDS:
        raise InputError(f"{kind!r} is no kind of subject", param="KIND", hint=f"one of {', '.join(SUBJECT_KINDS)}")
    places = open_reader(directory).places
    held = lock(places.journal.with_suffix(".lock"))
    try:
        with closing(SqliteSubjects(places.subjects)) as subjects:
            return subjects.erase(kind, identifier)
    finally:
        os.close(held)
