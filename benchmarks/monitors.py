"""What watching costs: the CPU that the follower's monitors add to a payment, beside the folds that it has anyway.

    python benchmarks/monitors.py [--minutes 1] [--json FILE]

The bar, for all monitors together: less than 1 % of a core at 1,000 payments a second, that is 10 microseconds a
payment. Two thousand series of approval and outages alone are shown beside it.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec
from monitor_drills import START_US, Stream
from table import Bar, bar, report

from greenlane.decisions.record import record_of
from greenlane.features.definition import FeatureSet
from greenlane.monitoring.monitors import TOGETHER_MAX, Monitors
from greenlane.monitoring.traffic import Answer, Traffic
from greenlane.payments.times import MINUTE_US
from greenlane.ports.journal import Entry

PER_MINUTE = 60_000.0
STRETCH = 8_192
PARTS = 9
BUDGET_US = 10.0
SERIES = 2_000
DECODE = msgspec.msgpack.Decoder(Entry).decode


def watching_us(minutes: int) -> tuple[float, float]:
    """(all monitors, reading the entries and records), microseconds of CPU per payment: medians over stretches.

    A stretch is read from its bytes as a follower reads it, once without the monitors and once with them; both read the
    record of each decision, as the follower's other folds do before.
    """
    stream = Stream(seed=1, per_minute=PER_MINUTE).entries(START_US, START_US + minutes * MINUTE_US)
    monitors, reading, both = Monitors(FeatureSet(())), list[float](), list[float]()
    while len(stretch := list(islice(stream, STRETCH))) == STRETCH:
        kept = [msgspec.msgpack.encode(entry) for entry in stretch]
        reading.append(us_of(partial(each, read, kept), STRETCH // 2))
        both.append(us_of(partial(each, monitors.apply, kept), STRETCH // 2))
    return median([b - r for b, r in zip(both, reading, strict=True)]), median(reading)


def each(work: Callable[[Entry], object], kept: list[bytes]) -> None:
    for entry in kept:
        work(DECODE(entry))


def read(entry: Entry) -> None:
    if entry.kind == "decision":
        record_of(entry)


def us_of(work: Callable[[], object], payments: int) -> float:
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) / payments / 1000


def traffic_us(answers: int) -> float:
    """Approval and outages alone, over `SERIES` series."""
    traffic = Traffic()
    told = [
        Answer(f"iss_{n % 331}", f"acq_{n % 5}", ("visa", "mastercard")[n % 2], 0.9, n % 10 > 0, False, 5_000)
        for n in range(SERIES * 5)
    ]

    def hear(part: int) -> None:
        for n in range(part * answers, (part + 1) * answers, TOGETHER_MAX):
            numbers = range(n, min(n + TOGETHER_MAX, (part + 1) * answers))
            traffic.hear([told[n % len(told)] for n in numbers], [n * 1_000 for n in numbers])
            traffic.turn(n * 1_000)

    return median([us_of(partial(hear, part), answers) for part in range(PARTS)][1:])


def measured(minutes: int) -> list[Bar]:
    traffic = traffic_us(20_000)
    watching, reading = watching_us(minutes)
    return [
        bar("approval and outages, 2,000 series", traffic, "us", value_max=BUDGET_US),
        bar("all monitors, against reading the entries", watching, "us", value_max=BUDGET_US, reference=reading),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    return report(measured(given.minutes), given.json)


if __name__ == "__main__":
    sys.exit(main())
