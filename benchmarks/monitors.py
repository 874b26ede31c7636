"""What watching costs: the CPU that the follower's monitors take for a payment, beside decoding its entries.

    python benchmarks/monitors.py [--minutes 1] [--json FILE]

The bar, for all monitors together: less than 1 % of a core at 1,000 payments a second, that is 10 microseconds a
payment, a decision and its answer. Below it what each monitor takes of that, told again what it was told; what decoding
the entries takes, which the follower does once for all its folds; and reading whole decision records, which monitors do
not. Two thousand series of approval and outages alone are shown first.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
from monitor_drills import START_US, Stream
from table import Bar, bar, report

from greenlane.decisions.record import record_of
from greenlane.features.definition import FeatureSet
from greenlane.monitoring.expected import Expected, expected_of, glance
from greenlane.monitoring.monitors import TOGETHER_MAX, Monitors
from greenlane.monitoring.traffic import Answer, Traffic
from greenlane.payments.times import MINUTE_US
from greenlane.ports.journal import Entry

PER_MINUTE = 60_000.0
STRETCH = 2_048
PARTS = 9
BUDGET_US = 10.0
SERIES = 2_000
ALL: Final = "all monitors"
PARTS_NAMED: Final = ("attacks", "traffic", "calibration", "drift", "logs", "incidents")
DECODE = msgspec.msgpack.Decoder(Entry).decode


class Heard:
    """Stands before one of the monitors, and remembers what it was told."""

    def __init__(self, part: Any):
        self._part = part
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        said = getattr(self._part, name)

        def told(*args: Any, **more: Any) -> Any:
            self.calls.append((name, args, more))
            return said(*args, **more)

        return told if callable(said) else said


def watching_us(minutes: int) -> dict[str, float]:
    """Microseconds of CPU per payment, a decision and its answer: all monitors beside decoding the entries, what each
    takes of it, and reading the whole records, which they do not. Medians over stretches, the first left out."""
    stream = Stream(seed=1, per_minute=PER_MINUTE).entries(START_US, START_US + minutes * MINUTE_US)
    monitors, apart, heard = Monitors(FeatureSet(())), Monitors(FeatureSet(())), Monitors(FeatureSet(()))
    for name in PARTS_NAMED:
        setattr(heard, name, Heard(getattr(heard, name)))
    found = list[dict[str, float]]()
    while len(stretch := list(islice(stream, STRETCH))) == STRETCH:
        kept = [msgspec.msgpack.encode(entry) for entry in stretch]
        each(heard.apply, kept)
        decisions = [entry for entry in map(DECODE, kept) if entry.kind == "decision"]
        decoding = us_of(partial(each, bool, kept))
        found.append(
            {
                ALL: us_of(partial(each, monitors.apply, kept)) - decoding,
                "reading decisions": us_of(partial(deque, map(read, decisions), 0)),
                **{name: part_us(getattr(apart, name), getattr(heard, name).calls) for name in PARTS_NAMED},
                "decoding the entries": decoding,
                "reading whole records": us_of(partial(deque, map(record_of, decisions), 0)),
            }
        )
    return {name: median([each[name] for each in found[1:]]) for name in found[0]}


def read(entry: Entry) -> Expected:
    return expected_of(entry, glance(entry.payload))


def part_us(part: Any, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> float:
    """The same calls again, of a monitor that has had those before."""
    told = [(getattr(part, name), args, more) for name, args, more in calls]
    calls.clear()

    def tell() -> None:
        for say, args, more in told:
            say(*args, **more)

    return us_of(tell)


def each(work: Callable[[Entry], object], kept: list[bytes]) -> None:
    for entry in kept:
        work(DECODE(entry))


def us_of(work: Callable[[], object], payments: int = STRETCH // 2) -> float:
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
    traffic, taken = traffic_us(20_000), watching_us(minutes)
    total = taken.pop(ALL)
    rest = total - sum(taken[name] for name in ("reading decisions", *PARTS_NAMED))
    return [
        bar("approval and outages, 2,000 series", traffic, "us", value_max=BUDGET_US),
        bar("all monitors", total, "us", value_max=BUDGET_US, reference=taken["reading whole records"]),
        *(bar(f"  {name}", us, "us") for name, us in taken.items()),
        bar("  joining answers to decisions, and the rest", rest, "us"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    return report(measured(given.minutes), given.json)


if __name__ == "__main__":
    sys.exit(main())
