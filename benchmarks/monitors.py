"""What watching costs: the CPU that the follower's monitors add to a payment, beside the folds that it has anyway.

    python benchmarks/monitors.py [--minutes 1] [--json FILE]

The bar, of two thousand series of approval and outages: less than 1 % of a core at 1,000 payments a second, that is 10
microseconds a payment. All monitors together, with attacks, drift, calibration and logs, are shown beside it.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from table import Bar, bar, report

from greenlane.decisions.record import record_of
from greenlane.features.definition import FeatureSet
from greenlane.jobs.drills import START_US, Stream
from greenlane.monitoring.monitors import Monitors
from greenlane.monitoring.traffic import Answer, Traffic
from greenlane.payments.times import MINUTE_US
from greenlane.ports.journal import Entry

PER_MINUTE = 60_000.0
STRETCH = 1_024
PARTS = 9
BUDGET_US = 10.0
SERIES = 2_000


def watching_us(minutes: int) -> tuple[float, float]:
    """(all monitors, reading the record), microseconds of CPU per payment: the medians over short stretches.

    The follower's other folds read the record of a decision before the monitors do, which find it read. Entries are
    made as they are needed: a follower has read them a moment before.
    """
    stream = Stream(seed=1, per_minute=PER_MINUTE).entries(START_US, START_US + minutes * MINUTE_US)
    monitors, reading, both = Monitors(FeatureSet(())), list[float](), list[float]()
    while stretch := list(islice(stream, STRETCH)):
        decisions = [entry for entry in stretch if entry.kind == "decision"]
        reading.append(us_of(partial(each, record_of, decisions), len(decisions)))
        both.append(us_of(partial(each, monitors.apply, stretch), len(decisions)))
    return median(both) - median(reading), median(reading)


def each(work: Callable[[Entry], object], entries: list[Entry]) -> None:
    for entry in entries:
        work(entry)


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
        for n in range(part * answers, (part + 1) * answers):
            traffic.hear(told[n % len(told)], n * 1_000)
            if n % 4_000 == 0:
                traffic.turn(n * 1_000)
        traffic.turn((part + 1) * answers * 1_000)

    return median([us_of(partial(hear, part), answers) for part in range(PARTS)][1:])


def measured(minutes: int) -> list[Bar]:
    traffic = traffic_us(20_000)
    watching, reading = watching_us(minutes)
    return [
        bar("approval and outages, 2,000 series", traffic, "us", value_max=BUDGET_US),
        bar("all monitors, against reading the record", watching, "us", reference=reading),
        bar("all monitors at 1,000 payments/s", watching / BUDGET_US, "% of core"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    return report(measured(given.minutes), given.json)


if __name__ == "__main__":
    sys.exit(main())
