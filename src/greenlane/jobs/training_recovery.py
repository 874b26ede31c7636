"""From the journal to what a declined payment is still worth: counted, shrunk to the stated shares, put in force."""

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from greenlane.decisions.control import ControlRecord
from greenlane.decisions.live import RECOVERY
from greenlane.errors import TrainingError
from greenlane.jobs.asking import server_client
from greenlane.policy.recovery import RecoveryTable, learned
from greenlane.wiring import Progress, Reader, is_running, open_reader, open_system


def train_recovery(directory: Path, *, promote: bool = True, progress: Progress) -> RecoveryTable:
    """The table that this journal teaches; in force from the next decision on unless `promote` is False.

    TrainingError where it tells of no decline.
    """
    reader = open_reader(directory)
    _, last = reader.store.span()
    table = learned(reader.entries(progress=progress))
    if not (table.shares or table.mixes):
        raise TrainingError(
            f"{last} entries tell of no decline",
            hint="post authorizations as outcomes, or import them; until then the stated shares are used",
        )
    if promote:
        put_in_force(reader, RECOVERY, table, why=f"learned from the journal up to entry {last}")
    return table


def put_in_force(reader: Reader, subject: str, table: Struct, *, why: str) -> None:
    """Through the server where one runs, else straight into the journal: a control entry, so that replay has it."""
    after, places = msgspec.to_builtins(table), reader.places
    if is_running(places):
        body = {"subject": subject, "id": subject, "why": why, "after": after}
        server_client(places).call("POST", "/v1/controls", body, dict[str, Any])
        return
    with closing(open_system(places.root)) as system:
        position = system.journal.position
        change = ControlRecord(subject, subject, "cli", why, None, after)
        system.control(change, event_id=f"{subject}/{position}", who="cli")


def shares(table: RecoveryTable) -> list[tuple[str, str]]:
    """What was learned, as lines of a table: P(approved) at the first to fourth further try."""
    return [(name, " ".join(f"{ppm / 10_000:.1f} %" for ppm in tries)) for name, tries in sorted(table.shares.items())]
