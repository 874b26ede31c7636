"""What remembering costs: the request path against encoding alone, time to durable, bytes on disk.

python benchmarks/journal.py [--json OUT] [--seconds N]
"""

import argparse
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from table import Bar, bar, report

from greenlane.adapters.sqlite_journal import SqliteJournal
from greenlane.adapters.sqlite_subjects import SqliteSubjects
from greenlane.decisions.redact import redacted
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.freeze import Reporting, freeze
from greenlane.journal.sequencer import Sequencer
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.payments.facts import Facts
from greenlane.ports.clock import SystemClock
from greenlane.ports.subjects import MemorySubjects

ENCODER = msgspec.msgpack.Encoder()


CUSTOMERS, MERCHANTS = 2000, 500


def body(n: int) -> bytes:
    """A full request of about 1.5 KB. Payers come back, as they do; one payment in ten is somebody's first."""
    chance = random.Random(n)
    one, who = f"{chance.getrandbits(128):032x}", chance.randint(1, CUSTOMERS) if chance.random() < 0.9 else -n
    payer = random.Random(who)
    card = {
        "fingerprint": f"fp_{payer.getrandbits(128):032x}", "par": f"par_{payer.getrandbits(99):025x}",
        "bin": "40000012",
        "last4": f"{payer.randint(0, 9999):04d}", "network": "visa", "funding": "credit", "issuer_country": "DE",
        "issuer_id": f"iss_{payer.randint(1, 300)}", "credential": "network_token",
    }  # fmt: skip
    payment = {
        "id": f"pay_{one}", "amount": chance.randint(100, 50_000), "currency": "EUR", "mcc": "5732",
        "merchant_id": f"mrc_{chance.randint(1, MERCHANTS)}", "channel": "ecommerce", "billing_country": "DE",
        "payment_method": {"type": "card", "card": card},
        "customer": {
            "id": f"cus_{who}", "email_hash": f"{payer.getrandbits(256):064x}", "email_domain": "example.com",
            "phone_hash": f"{payer.getrandbits(256):064x}", "account_created": "2025-03-04T05:06:07Z",
        },
        "device": {
            "id": f"dev_{payer.getrandbits(128):032x}", "asn": 3320, "ip_country": "DE", "is_proxy": False,
            "ip": f"203.0.{payer.randint(0, 255)}.{payer.randint(0, 255)}",
        },
        "metadata": {"order": f"A-{n}", "cart_items": "3"},
    }  # fmt: skip
    return json.dumps(
        {
            "attempt_id": f"att_{one}_1",
            "stage": "pre_authorization",
            "payment": payment,
            "signals": {"session_seconds": chance.random() * 600, "external_score": chance.random()},
            "eligible_routes": [{"id": f"route_{r}", "acquirer": f"acq_{r}", "network": "visa"} for r in range(8)],
        }
    ).encode()


def record(attempt: Attempt, n: int) -> tuple[Any, ...]:
    """What a decision keeps beside the attempt: values, probabilities by route, a packed vector of 100 features."""
    chance = random.Random(-n)
    return (
        attempt,
        {f"route_{r}": [chance.randint(0, 10**9), chance.randint(-(10**9), 10**9)] for r in range(8)},
        chance.randbytes(220),
        [["card_velocity", chance.randint(-(10**6), 10**6)] for _ in range(4)],
        ["route_0", "allow", chance.randint(0, 2**32), 4711, "greenlane-0.1.0", "fraud@9f3c", "policy@77aa"],
    )


def percentiles(values: list[float]) -> tuple[float, float]:
    return float(np.percentile(values, 50)), float(np.percentile(values, 99))


def paced(count: int, rate: int, one: Callable[[int], None]) -> list[float]:
    """Microseconds each call took, called at a steady rate."""
    taken = []
    start = time.perf_counter()
    for n in range(count):
        ahead = start + n / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        before = time.perf_counter_ns()
        one(n)
        taken.append((time.perf_counter_ns() - before) / 1000)
    return taken


def draft_of(attempt: Attempt, facts: Facts, payload: bytes) -> Draft:
    return Draft(
        kind="decision", source="decision", event_id=attempt.attempt_id, payload=payload,
        body_hash=blake2b(payload, digest_size=16).digest(), facts=facts, decision_id=f"dec_{attempt.attempt_id}",
    )  # fmt: skip


class Durable:
    """Notes when entries become durable, as a caller under sync would see it."""

    def __init__(self, journal: Sequencer):
        self.taken_ms: list[float] = []
        self.journal, self.sent, self.more = journal, [], threading.Semaphore(0)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        done = 0
        while True:
            self.more.acquire()
            seq, sent_ns = self.sent[done]
            self.journal.writer.wait(seq)
            self.taken_ms.append((time.perf_counter_ns() - sent_ns) / 1e6)
            done += 1

    def expect(self, seq: int) -> None:
        self.sent.append((seq, time.perf_counter_ns()))
        self.more.release()


def at_rate(rate: int, seconds: float) -> dict[str, float]:
    directory = Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR")))
    subjects = SqliteSubjects(directory / "subjects.sqlite")
    journal = Sequencer(SqliteJournal(directory / "journal.sqlite"), SystemClock(), [], before_commit=subjects.flush)
    count = int(rate * seconds)
    bodies = [ATTEMPT_DECODER.decode(body(n)) for n in range(2 * count)]
    reporting, durable, frozen = Reporting("EUR"), Durable(journal), []
    appended: list[float] = []

    def encode(n: int) -> None:
        ENCODER.encode(records[n])

    def append(n: int) -> None:
        payload = ENCODER.encode(records[count + n])
        before = time.perf_counter_ns()
        moment = journal.now()
        payment_us = journal.payment_us(bodies[count + n].payment.id)
        facts = freeze(
            bodies[count + n], subjects=subjects, reporting=reporting, ingest_us=moment.ingest_us, payment_us=payment_us
        )
        middle = time.perf_counter_ns()
        entry = journal.append(draft_of(bodies[count + n], facts, payload), moment=moment)
        frozen.append((middle - before) / 1000)
        appended.append((time.perf_counter_ns() - middle) / 1000)
        durable.expect(entry.seq)

    records = []
    for n, attempt in enumerate(bodies):
        facts = freeze(attempt, subjects=MemorySubjects(), reporting=reporting, ingest_us=0)
        records.append(record(redacted(attempt, facts), n))
        if n < count:
            freeze(attempt, subjects=subjects, reporting=reporting, ingest_us=0)
    subjects.flush()
    gc.freeze()
    gc.disable()
    encoded = paced(count, rate, encode)
    paced(count, rate, append)
    journal.writer.wait(journal.position.seq)
    position, unsynced_us = journal.position.seq, journal.writer.unsynced_us()
    gc.enable()
    time.sleep(0.05)
    journal.close()
    subjects.close()
    size = sum((directory / name).stat().st_size for name in ("journal.sqlite", "journal.names"))
    shutil.rmtree(directory)
    assert unsynced_us == 0
    result = {"bytes": size / position, "payload": sum(len(ENCODER.encode(r)) for r in records[count:]) / count}
    for name, values in (("encode", encoded), ("freeze", frozen), ("append", appended), ("durable", durable.taken_ms)):
        result[f"{name}_p50"], result[f"{name}_p99"] = percentiles(values)
    return result


def imported(count: int) -> float:
    """Entries a second of the producer alone, the SQLite writer running: payments, and a label for every fiftieth."""
    directory = Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR")))
    journal = Sequencer(SqliteJournal(directory / "journal.sqlite"), SystemClock(), [], importing=True)
    drafts = [history(n) for n in range(count)]
    gc.freeze()
    before = time.perf_counter()
    for draft in drafts:
        journal.append(draft)
    journal.close()
    rate = count / (time.perf_counter() - before)
    shutil.rmtree(directory)
    return rate


def history(n: int) -> Draft:
    at_us = 10**15 + n * 1000
    if n % 50 == 49:
        return Draft(
            kind="fraud_report", source="import", event_id=f"label_{n}", body_hash=bytes(16), ingest_us=at_us,
            refers_to=Reference(payment_id=f"pay_{n - 40}"),
        )  # fmt: skip
    facts = Facts(
        payment_id=f"pay_{n}", payment_us=at_us, amount_minor=n, currency="EUR", amount_reporting_minor=n,
        attempt_id=f"pay_{n}/1", merchant_id=f"m_{n % 1000}", card=2**60 + n % 5000, customer=2**61 + n % 5000,
    )  # fmt: skip
    return Draft(
        kind="authorization", source="import", event_id=f"pay_{n}", body_hash=bytes(16), approved=True, facts=facts,
        ingest_us=at_us,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--import-entries", type=int, default=300_000)
    given = parser.parse_args()
    at_rate(500, 0.5)  # everything compiled and warm
    bars: list[Bar] = []
    for rate in (500, 2000):
        seen = at_rate(rate, given.seconds)
        name = f"journal append p50, over encode only, {rate}/s"
        bars += [
            bar(name, seen["append_p50"], "us", reference=seen["encode_p50"], value_max=15),
            bar(f"journal append p99, {rate}/s", seen["append_p99"], "us", reference=seen["encode_p99"]),
            bar(f"facts frozen p50, {rate}/s", seen["freeze_p50"], "us"),
            bar(f"durable p50, {rate}/s", seen["durable_p50"], "ms"),
            bar(f"durable p99, {rate}/s", seen["durable_p99"], "ms"),
            bar(f"bytes on disk per entry, {rate}/s", seen["bytes"], "B", reference=seen["payload"], value_max=1500),
        ]
    bars.append(bar("import, one thread and the writer", imported(given.import_entries), "entries/s"))
    return report(bars, given.json)


if __name__ == "__main__":
    sys.exit(main())
