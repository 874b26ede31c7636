"""The second process: folds the journal for everything that is not an answer.

    snapshots   the feature state, so that a server starts in seconds
    days        each closed UTC day as one Parquet file
    parity      a sample of the served vectors, computed again: by this fold at once, by SQL when the day closes
    alarms      what moved, grouped into incidents, to whoever the settings name
    shadows     what a model without traffic would have decided, beside the champion that did
    experiments what their arms did; a guardrail that breaks pauses its arm
    prices      of shared budgets, from forecasts of what reports and disputes will come to, once per policy epoch
    merchants   that nobody configured lose the caps of new ones, once enough of their payments have matured

It reads durable entries only and writes none. What it finds it tells the server over the local admin door.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from greenlane.client import Client, Refused, Unreachable
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.experiments.readout import fold, why_of
from greenlane.features.inputs import INPUTS
from greenlane.features.kernels import Ints
from greenlane.features.parity import Mismatch, compare, is_sampled, report
from greenlane.features.sql import features_sql
from greenlane.jobs.asking import server_client
from greenlane.jobs.experimenting import kept_tallies, save_tallies
from greenlane.jobs.monitoring import kept_monitors, monitors_path
from greenlane.jobs.shadowing import SAVED_S_MAX, SHARE, Shadows, TimeBudget, shadows_path
from greenlane.journal.days import Day, closed_days
from greenlane.learning.headroom import Headroom
from greenlane.monitoring.notices import Notifier
from greenlane.payments.times import DAY_US, day_of
from greenlane.policy.multipliers import Pricing, repriced
from greenlane.policy.parameters import Policy, epoch_of
from greenlane.ports.clock import SystemClock
from greenlane.ports.journal import Entry, Position
from greenlane.replay import facts_asked, width_of
from greenlane.settings import write_whole
from greenlane.wiring import (
    SERVER_PID,
    Places,
    Reader,
    alarm_lines,
    day_path,
    day_table,
    holds,
    kept_engine,
    lock_follower,
    open_reader,
    save_snapshot,
    standing_at,
)

POLL_S = 0.5
BATCH_MAX = 20_000
SQL_ROWS_MAX = 2_000
"""Vectors of one day that SQL computes again."""


@dataclass
class Parity:
    """What was compared since the follower started, and what differed."""

    vectors: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)


class Follower:
    """One follower of one directory; `step` does a bounded piece of work, so that it can stop at any time."""

    def __init__(self, reader: Reader, *, tell: Callable[[str], None], admin: Client | None):
        self.reader, self.tell, self.admin = reader, tell, admin
        self.parity = Parity()
        self.today = -1
        self.ended: list[Day] = []
        """Days before today that have no file yet, the oldest first."""
        self.closed: list[tuple[str, int]] = []
        """Days that became files, with their entries, and were not told yet."""
        self.saved_at = time.monotonic()
        self.at_us = 0
        self.notifier = Notifier(alarm_lines(reader.settings, tell))
        with suppress(OSError, msgspec.MsgspecError):  # nothing kept, damaged, or not ours: all is told anew
            self.notifier.load(notices_path(reader.places).read_bytes())
        self.begin()

    def begin(self) -> None:
        """Where the newest snapshot stands: everything after it is folded, and checked, by `step`."""
        reader = self.reader
        self.engine, self.position = kept_engine(
            reader.places, reader.features, reader.store, settings=reader.settings, spill_name="follower-spill.sqlite"
        )
        policy = Policy(perspective=reader.settings.perspective)
        self.standing = standing_at(reader.places, reader.store, policy.exploring, seq=self.position.seq)
        self.tallies, _ = kept_tallies(reader, self.position)
        self.headroom = self.kept_headroom()
        here = reader.entries(after_seq=self.position.seq - 1) if self.position.seq else ()
        self.at_us = next((entry.ingest_us for entry in here), 0)
        self.priced_epoch = epoch_of(self.at_us)
        self.monitors = kept_monitors(reader, self.position)
        self.shadows = Shadows(reader, self.standing, tell=self.tell, budget=TimeBudget(SHARE, saved_s_max=SAVED_S_MAX))
        self.shadows.restore(shadows_path(reader.places), self.position)

    def kept_headroom(self) -> Headroom:
        """As it stands at the position: what was kept, and the entries since. Tallies know how late labels come."""
        reader, after_seq = self.reader, 0
        found = Headroom(lambda merchant_id: reader.book.economics(merchant_id), self.tallies.lateness)
        with suppress(OSError, ValueError, msgspec.MsgspecError):  # nothing kept, damaged, or not ours
            at, dumped = msgspec.msgpack.decode(headroom_path(reader.places).read_bytes(), type=tuple[Position, bytes])
            if at.seq <= self.position.seq and holds(reader.store, at.generation, at.seq):
                found.load(dumped)
                after_seq = at.seq
        for entry in takewhile(lambda entry: entry.seq <= self.position.seq, reader.entries(after_seq=after_seq)):
            found.apply(entry)
        return found

    def step(self) -> int:
        """Fold what is new, keep what is due; 0 when there was nothing to do."""
        folded = 0
        for entry in islice(self.reader.entries(after_seq=self.position.seq), BATCH_MAX):
            self.check(entry)
            self.shadows.apply(entry)
            self.engine.apply(entry)
            self.standing.apply(entry)
            self.headroom.apply(entry)
            self.monitors.apply(entry)
            for experiment, found in fold(self.tallies, entry):
                self.tell(f"GUARDRAIL {experiment.id}, arm {found.arm}: {why_of(found)}")
            self.position, self.at_us = entry.position, entry.ingest_us
            folded += 1
            if entry.kind == "control":
                self.reader.refresh()
                self.notifier.apply(entry)
        self.alarm()
        if self.reader.features != self.engine.features:
            self.tell("the features changed: folding the journal again")
            self.engine.close()
            self.begin()
        if folded < BATCH_MAX:  # it has caught up
            self.pause()
            self.reprice()
            if time.monotonic() - self.saved_at >= self.reader.settings.snapshot_every_s:
                self.keep()
            folded += self.close_next_day()
        if not folded:
            self.tell_closed()
        return folded

    def pause(self) -> None:
        """Ask for each arm whose guardrail broke, until the journal says that it is paused. Not of the past: an arm may
        have been paused, and resumed, since."""
        for tally in self.tallies.of.values() if self.admin is not None else ():
            if tally.experiment.state != "running":
                continue
            first = {found.arm: found for found in reversed(tally.pauses)}
            for arm, found in first.items():
                if arm not in tally.experiment.paused_arms:
                    path = f"/v1/experiments/{tally.experiment.id}/pause"
                    self.submit({"why": why_of(found), "arm": arm}, path=path)

    def reprice(self) -> None:
        """Submit the prices that move; a price is in force from the epoch after."""
        epoch = epoch_of(self.at_us)
        if self.admin is None or epoch <= self.priced_epoch:
            return
        self.priced_epoch = epoch
        pressures = self.headroom.pressures(self.at_us)
        for price in repriced(pressures, self.standing.prices.submitted, pricing=Pricing()):
            self.submit(price.control)
        seasoned = [each for each in self.headroom.seasoned(self.at_us) if each[0] not in self.reader.book.merchants]
        if seasoned:
            self.reader.refresh()  # somebody may have configured one this moment
        for merchant_id, mcc, payments in seasoned:
            if merchant_id not in self.reader.book.merchants:
                why = quote(f"no longer new: {payments} payments have matured")
                body = {"mcc": mcc} if mcc else {}
                self.submit(body, method="PUT", path=f"/v1/merchants/{quote(merchant_id, safe='')}?why={why}")

    def alarm(self) -> None:
        """Tell what moved by now: by the clock, or by the last entry where time is simulated."""
        simulated = self.reader.settings.clock == "simulated"
        now_us = self.at_us if simulated else max(self.at_us, SystemClock().now_us())
        self.monitors.due(now_us)  # incidents gather alarms; proposals wait for somebody who may accept them
        self.notifier.hear(self.monitors.incidents.changed(), now_us)
        self.notifier.deliver(now_us, self.monitors.incidents.open)

    def tell_closed(self) -> None:
        """One line for all that was closed since the last time: after an import these are months."""
        if self.closed:
            days, rows = [name for name, _ in self.closed], sum(rows for _, rows in self.closed)
            named = f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
            self.tell(f"closed {named}: {rows:,} entries")
            self.closed.clear()

    def close(self) -> None:
        self.engine.close()
        self.reader.store.close()

    def keep(self) -> None:
        """A snapshot of where this fold stands."""
        self.saved_at = time.monotonic()
        if self.position.seq:
            self.reader.places.snapshots.mkdir(exist_ok=True)
            self.shadows.save(shadows_path(self.reader.places), self.position)
            save_snapshot(self.reader.places, self.engine, self.position, standing=self.standing)
            save_tallies(self.tallies, self.reader.places, self.position)
            self.monitors.save(monitors_path(self.reader.places), self.position)
            headroom = msgspec.msgpack.encode((self.position, self.headroom.dump()))
            write_whole(headroom_path(self.reader.places), headroom)
            write_whole(notices_path(self.reader.places), self.notifier.dump())

    def close_next_day(self) -> int:
        """The oldest closed day that has no file yet, if there is one; how many were closed."""
        if day_of(self.at_us) > self.today:
            self.today = day_of(self.at_us)
            days = closed_days(self.reader.store)
            self.ended = [day for day in days if not day_path(self.reader.places, day.name).exists()]
        if not self.ended:
            return 0
        self.close_day(self.ended.pop(0))
        return 1

    def check(self, entry: Entry) -> None:
        """Was the vector that was served the one this fold knows?"""
        if (served := self.served(entry)) is None or entry.facts is None:
            return
        record, vector = served
        again = self.engine.read(facts_asked(record, entry.facts), entry.ingest_us)
        seqs = np.array([entry.seq])
        found = compare(self.engine.features, (seqs, vector.reshape(1, -1)), (seqs, again.reshape(1, -1)))
        self.parity.vectors += 1
        self.note(found, f"entry {entry.seq}")

    def served(self, entry: Entry) -> tuple[DecisionRecord, Ints] | None:
        """Of a sampled decision that read a vector, under the features of this fold: it, and the vector."""
        if entry.kind != "decision" or not is_sampled(entry.seq, self.reader.settings.parity_sample):
            return None
        record, features = record_of(entry), self.engine.features
        if not record.known or record.vector_of:
            return None
        if self.reader.releases.versions(record.release).features != features.digest:
            return None
        return record, unpack(record.known, width_of(features))

    def close_day(self, day: Day) -> None:
        path = day_path(self.reader.places, day.name)
        path.parent.mkdir(exist_ok=True)
        sample: list[tuple[int, Ints]] = []
        with closing(day_table()) as table:
            entries = self.reader.store.read(after_seq=day.first_seq - 1, upto_seq=day.last_seq)
            file = table.write_day(path, self.sampling(entries, sample))
            self.closed.append((day.name, file.rows))
            if sample:
                self.check_day(day, table, sample)
        self.say("parity", day.name, {"vectors": self.parity.vectors, "mismatches": len(self.parity.mismatches)})

    def sampling(self, entries: Iterable[Entry], sample: list[tuple[int, Ints]]) -> Iterator[Entry]:
        """Passes entries on; the first vectors that were served come to `sample`, with their seqs."""
        for entry in entries:
            if len(sample) < SQL_ROWS_MAX and (served := self.served(entry)) is not None:
                sample.append((entry.seq, served[1]))
            yield entry

    def days_within_reach(self, day: Day) -> list[Path]:
        """The day files that a vector of this day can depend on."""
        reach_us = max((a.ttl_us for a in self.engine.features.aggregations), default=0)
        last = day_path(self.reader.places, day.name)
        return sorted(p for p in last.parent.glob("*.parquet") if p.name <= last.name)[-(2 + reach_us // DAY_US) :]

    def check_day(self, day: Day, table: Any, sample: list[tuple[int, Ints]]) -> None:
        """The day's sample once more, by the SQL engine, over the Parquet files."""
        table.load_days(self.days_within_reach(day))
        seqs = np.array([seq for seq, _ in sample], np.int64)
        vectors = np.stack([vector for _, vector in sample])
        answered = table.read_at(features_sql(self.engine.features, self.engine.first_complete_us), seqs)
        self.note(compare(self.engine.features, (seqs, vectors[:, len(INPUTS) :]), answered), day.name)

    def note(self, mismatches: list[Mismatch], where: str) -> None:
        """Any mismatch pages: it is told here, and to the server, whose metric an alarm watches."""
        if mismatches:
            self.parity.mismatches += mismatches
            self.tell(f"PARITY {where}: {report(mismatches)}")
            self.say("parity", where, {"vectors": self.parity.vectors, "mismatches": len(self.parity.mismatches)})

    def say(self, subject: str, name: str, after: dict[str, Any]) -> None:
        if self.admin is not None:
            self.submit({"subject": subject, "id": name, "why": "found by the follower", "after": after})

    def submit(self, body: dict[str, Any], *, method: str = "POST", path: str = "/v1/controls") -> None:
        assert self.admin is not None, "asked for only where there is a server"
        try:
            self.admin.call(method, path, body, dict[str, Any])
        except (Refused, Unreachable) as error:
            # a server that has stopped takes its file away: we are about to stop too, and need not complain
            if isinstance(error, Refused) or self.reader.places.server.exists():
                self.tell(f"the server did not take it: {error}")


def run_follower(directory: Path, *, once: bool, tell: Callable[[str], None]) -> Parity:
    """Follow until SIGTERM, or (once) until the journal's end. Raises JournalError where another follower runs."""
    reader = open_reader(directory)
    with lock_follower(reader.places):
        follower = Follower(reader, tell=tell, admin=admin_of(reader))
        stopped: list[int] = []
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, lambda number, _frame: stopped.append(number))
        server = int(os.environ.get(SERVER_PID, 0))
        while not stopped and server in (0, os.getppid()):
            busy = follower.step()
            if once and not busy:
                break
            if not busy:
                time.sleep(POLL_S)
        follower.keep()
        follower.close()
        return follower.parity


def headroom_path(places: Places) -> Path:
    return places.snapshots / "headroom"


def notices_path(places: Places) -> Path:
    return places.snapshots / "notices"


def admin_of(reader: Reader) -> Client | None:
    """The server's door, where one runs."""
    return server_client(reader.places, timeout_s=5.0) if reader.places.server.exists() else None
