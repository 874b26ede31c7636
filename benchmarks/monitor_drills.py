"""Drills: known faults in a made stream; are they found, how soon, attributed to whom, and what is told on calm days.

    python benchmarks/monitor_drills.py [--seed 1] [--quick] [--json FILE]

A made stream is decisions with their recorded probabilities, their answers and reports, as entries of a journal that is
never written. Approval in it wanders from hour to hour beyond what the decisions expect, as it does in the world.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from math import exp
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from greenlane.cli.shown import out, print_table, progress, write_json
from greenlane.decisions.kept import certain
from greenlane.decisions.packing import pack
from greenlane.decisions.record import DecisionRecord, payload_of
from greenlane.features.definition import FeatureSet
from greenlane.features.inputs import inputs
from greenlane.merchants.economics import Economics
from greenlane.monitoring.monitors import ANSWERS, REPORTS, Monitors
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, Route
from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, MINUTE_US, SECOND_US
from greenlane.policy.actions import Action, Way
from greenlane.policy.believe import probabilities_over
from greenlane.policy.choose import choose
from greenlane.policy.given import Given
from greenlane.policy.parameters import Policy
from greenlane.policy.priors import Approval
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.wiring import Progress

START_US: Final = 1_767_225_600_000_000
"""2026-01-01."""
ROUTES: Final = ("acq_a", "acq_b", "acq_c")
ISSUERS: Final = tuple(f"iss_{n}" for n in range(8))
MERCHANTS: Final = tuple(f"shop_{n}" for n in range(5))
WANDERS: Final = 0.05
"""Standard deviation of an issuer's hour, in log-odds."""
MODEL: Final = "mdl_drill"
CALM_DAYS: Final = 2.0
FAULT_US: Final = 4 * 3_600_000_000


class Trial(Struct):
    """One payment before it is answered; faults change it."""

    at_us: int
    issuer: str
    route: str
    network: str
    merchant: str
    bin8: str
    card: int
    device: int
    amount_minor: int
    fraud: float
    """What the model says."""
    approval: float
    """What the decision expects."""
    truly: float
    """What it is."""
    technical: float = 0.003
    age_us: int = 0
    reported: float = 1.0
    """Times its probability."""
    report_later_us: int = 0


Fault = Callable[[Trial, np.random.Generator], Trial]


class Stream:
    """A made stream of entries, `per_minute` payments; the same seed gives the same world, with or without a fault."""

    def __init__(self, *, seed: int, per_minute: float, reports: bool = False):
        self.rng, self.per_minute, self.reports = np.random.default_rng(seed), per_minute, reports
        self.seq = 0
        self.template = template()
        self.decisions: dict[str, Entry] = {}
        self.coming: list[tuple[int, Facts]] = []
        """Reports that are still to come."""

    def entries(self, from_us: int, to_us: int, fault: Fault | None = None) -> Iterator[Entry]:
        at_us = float(from_us)
        wander = dict[tuple[str, int], float]()
        while True:
            at_us += self.rng.exponential(MINUTE_US / self.per_minute)
            if at_us >= to_us:
                return
            trial = self._trial(int(at_us))
            hour = (trial.issuer, trial.at_us // (60 * MINUTE_US))
            if hour not in wander:
                wander = {hour: each for hour, each in wander.items() if hour[1] >= trial.at_us // (60 * MINUTE_US)}
                wander[hour] = float(self.rng.normal(0.0, WANDERS))
            trial.truly = shifted(trial.approval, wander[hour])
            for each in [trial] if fault is None else [fault(trial, self.rng)]:
                yield from self._told(each)

    def _trial(self, at_us: int) -> Trial:
        rng = self.rng
        issuer = int(rng.integers(len(ISSUERS)))
        fraud = float(min(np.exp(rng.normal(-6.5, 1.2)), 0.5))
        return Trial(
            at_us=at_us,
            issuer=ISSUERS[issuer],
            route=ROUTES[int(rng.integers(len(ROUTES)))],
            network=("visa", "mastercard")[issuer % 2],
            merchant=MERCHANTS[int(rng.integers(len(MERCHANTS)))],
            bin8=f"4000{issuer:04}",
            card=int(rng.integers(1, 2**62)),
            device=int(rng.integers(1, 2**62)),
            amount_minor=int(np.exp(rng.normal(8.3, 0.7))),
            fraud=fraud,
            approval=shifted(0.88, float(rng.normal(0.0, 0.4))),
            truly=0.0,
            age_us=int(rng.exponential(200) * DAY_US),
        )

    def _told(self, trial: Trial) -> Iterator[Entry]:
        self.seq += 2
        rng, number = self.rng, self.seq
        facts = Facts(
            payment_id=f"p{number}", payment_us=trial.at_us, amount_minor=trial.amount_minor, currency="EUR",
            amount_reporting_minor=trial.amount_minor, attempt_id=f"a{number}", merchant_id=trial.merchant,
            card=trial.card, device=trial.device, bin8=trial.bin8, network=trial.network, issuer_id=trial.issuer,
            account_age_us=trial.age_us, intervention="allow", route_id=trial.route,
        )  # fmt: skip
        decision = self._entry(
            "decision", trial.at_us, facts, emits=SOURCE_BIT["attempts"], payload=self._record(trial, facts)
        )
        yield decision
        technical = rng.random() < trial.technical
        approved = not technical and rng.random() < trial.truly
        code = "91" if technical else "00" if approved else "05" if rng.random() < 0.3 else "51"
        known = replace(facts, code=code, decline_class="approved" if approved else "soft")
        yield self._entry("authorization", trial.at_us + SECOND_US, known, emits=ANSWERS)
        if self.reports:
            if approved and rng.random() < trial.fraud * trial.reported:
                self._will_report(trial, decision, facts)
            yield from self._reports(trial.at_us)

    def _will_report(self, trial: Trial, decision: Entry, facts: Facts) -> None:
        delay_us = int(np.exp(self.rng.normal(np.log(8.0), 0.7)) * DAY_US) + trial.report_later_us
        self.coming.append((trial.at_us + delay_us, facts))
        self.decisions[facts.attempt_id] = decision

    def _reports(self, now_us: int) -> Iterator[Entry]:
        due = [each for each in self.coming if each[0] <= now_us]
        if due:
            self.coming = [each for each in self.coming if each[0] > now_us]
            for _, facts in due:
                yield self._entry("fraud_report", now_us, facts, emits=REPORTS)

    def _entry(self, kind: str, at_us: int, facts: Facts, *, emits: int, payload: bytes = b"") -> Entry:
        return Entry(self.seq, 1, at_us, kind, "drill", f"{kind}{self.seq}", at_us, emits, 1, b"", facts, payload)

    def _record(self, trial: Trial, facts: Facts) -> bytes:
        record, way = self.template, Way(trial.route, "pan")
        may, seen = record.chosen.may, record.chosen.probabilities
        assert seen is not None, "the template believes"
        fraud_e9, approval_e9 = round(trial.fraud * 1e9), round(trial.approval * 1e9)
        approvals = (Approval(*(approval_e9,) * 6, seen.soft_decline_e9),) * len(may.ways)
        action = Action("allow", "", *way)
        chosen = replace(
            record.chosen,
            action=action,
            explored=certain(may.size, may.place(action)),
            probabilities=probabilities_over(
                approvals,
                may.ways.index(way),
                fraud_e9=fraud_e9,
                fraud_given_history_e9=fraud_e9,
                dispute_e9=seen.dispute_e9,
                challenge_success_e9=seen.challenge_success_e9,
            ),
        )
        given = replace(record.given, fraud_probability_e9=fraud_e9, approvals=approvals)
        known = pack(np.array(inputs(facts, trial.at_us), np.int64))
        return payload_of(replace(record, known=known, given=given, chosen=chosen), facts)


def template() -> DecisionRecord:
    """A real record, of which each payment's is a variation."""
    card = Card(fingerprint="drill", network="visa", issuer_country="DE")
    payment = Payment(
        id="drill", amount=5_000, currency="EUR", merchant_id="shop", payment_method=PaymentMethod(card=card)
    )
    routes = tuple(Route(id=route, credentials=("pan",)) for route in ROUTES)
    attempt = Attempt(attempt_id="drill", payment=payment, eligible_routes=routes)
    given = Given(amount_minor=5_000, fraud_probability_e9=1_000_000)
    chosen = choose(attempt, given, economics=Economics(), policy=Policy(perspective="merchant"))
    return DecisionRecord(attempt, 1, b"", "", MODEL, (), given, chosen, "drill", 0, ())


def shifted(probability: float, by: float) -> float:
    """Moved in log-odds.

    >>> round(shifted(0.88, -0.258), 3)
    0.85
    """
    odds = probability / (1.0 - probability) * exp(by)
    return odds / (1.0 + odds)


def attack(trial: Trial, rng: np.random.Generator) -> Trial:
    """A third of what comes tries cards of one range at one merchant."""
    if rng.random() > 0.33:
        return trial
    return replace(
        trial, merchant="shop_2", bin8="41111100", issuer="iss_5", amount_minor=int(rng.integers(50, 300)), truly=0.08
    )


class Drilled(Struct, frozen=True):
    """One fault: what was told of it. `delay_s` and `cause` are None where it was not found."""

    fault: str
    due: str
    detected: bool
    attributed: bool
    delay_s: float | None
    cause: str | None
    others: int
    """Further incidents meanwhile."""


class Calm(Struct, frozen=True):
    """What days without a fault told."""

    days: float
    pages_per_day: float
    tickets_per_day: float


class Drills(Struct, frozen=True):
    calm: Calm
    drills: list[Drilled]


class Drill(NamedTuple):
    name: str
    fault: Fault
    due: str
    """The cause that should be named."""


FAST: Final = (
    Drill("route outage", lambda t, _: replace(t, technical=0.6) if t.route == "acq_b" else t, "route acq_b"),
    Drill(
        "route degradation",
        lambda t, _: replace(t, truly=max(t.truly - 0.10, 0.01)) if t.route == "acq_c" else t,
        "route acq_c",
    ),
    Drill("issuer outage", lambda t, _: replace(t, truly=t.truly * 0.3) if t.issuer == "iss_3" else t, "issuer iss_3"),
    Drill("feature stuck", lambda t, _: replace(t, age_us=7 * DAY_US), "feature account_age_hours"),
    Drill("attack", attack, "merchant shop_2"),
)
"""Found within hours, from a day or two of usual traffic on."""
SLOW: Final = (
    Drill("concept drift", lambda t, _: replace(t, reported=2.0), f"model {MODEL}"),
    Drill("label delay", lambda t, _: replace(t, report_later_us=30 * DAY_US), "log labels"),
)
"""Found as reports come, over weeks."""


def run(*, seed: int, slow: bool, per_minute: float = 60.0, progress: Progress) -> Drills:
    """All drills. Each starts from the state that the monitors had after the calm days, as after a restart."""
    stream, monitors = Stream(seed=seed, per_minute=per_minute), Monitors(FeatureSet(()))
    begins_us = START_US + int(CALM_DAYS * DAY_US)
    for entry in stream.entries(START_US, begins_us):
        monitors.apply(entry)
    monitors.due(begins_us)
    told = [*monitors.incidents.closed, *monitors.incidents.open]
    pages, tickets = (sum(one.severity == kind for one in told) for kind in ("page", "ticket"))
    calm, state = Calm(CALM_DAYS, pages / CALM_DAYS, tickets / CALM_DAYS), monitors.dump()
    found, slow_ones = [], SLOW if slow else ()
    for number, drill in enumerate(FAST):
        progress(number + 1, len(FAST) + len(slow_ones))
        again = Monitors(FeatureSet(()))
        again.load(state)
        after = Stream(seed=seed + 1 + number, per_minute=per_minute)
        after.seq = stream.seq
        found.append(watch(drill, again, after.entries(begins_us, begins_us + FAULT_US, drill.fault), begins_us))
    for number, drill in enumerate(slow_ones):
        progress(len(FAST) + number + 1, len(FAST) + len(SLOW))
        found.append(slowly(drill, seed=seed + 10 + number))
    return Drills(calm, found)


def slowly(drill: Drill, *, seed: int, per_minute: float = 1.5, before_days: int = 60, after_days: int = 40) -> Drilled:
    """Weeks of fewer payments, since only reports matter."""
    stream = Stream(seed=seed, per_minute=per_minute, reports=True)
    monitors = Monitors(decision_of=partial(report_of, stream))
    begins_us = START_US + before_days * DAY_US
    for entry in stream.entries(START_US, begins_us):
        monitors.apply(entry)
    return watch(drill, monitors, stream.entries(begins_us, begins_us + after_days * DAY_US, drill.fault), begins_us)


def report_of(stream: Stream, report: Entry) -> Entry | None:
    assert report.facts is not None, "a report has its payment's facts"
    return stream.decisions.pop(report.facts.attempt_id, None)


def watch(drill: Drill, monitors: Monitors, entries: Iterator[Entry], begins_us: int) -> Drilled:
    monitors.due(begins_us)
    before, last_us = {one.id for one in (*monitors.incidents.closed, *monitors.incidents.open)}, begins_us
    for entry in entries:
        monitors.apply(entry)
        last_us = entry.ingest_us
    monitors.due(last_us)
    told = [one for one in (*monitors.incidents.closed, *monitors.incidents.open) if one.id not in before]
    right = [one for one in told if str(one.cause) == drill.due]
    first = min(right or told, key=lambda one: one.detected_us, default=None)
    return Drilled(
        fault=drill.name,
        due=drill.due,
        detected=first is not None,
        attributed=bool(right),
        delay_s=None if first is None else (first.detected_us - begins_us) / SECOND_US,
        cause=None if first is None else str(first.cause),
        others=len(told) - (first is not None),
    )


def lasting(seconds: float) -> str:
    """
    >>> lasting(28.3), lasting(1_279.0), lasting(1_728_040.0)
    ('28 s', '21 min', '20 days')
    """
    units = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))
    return next((f"{seconds / size:.0f} {unit}" for size, unit in units if seconds >= 2 * size), f"{seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the made streams")
    parser.add_argument("--quick", action="store_true", help="leave out the drills that last for weeks")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args()
    with progress("drilling") as tell:
        found = run(seed=given.seed, slow=not given.quick, progress=tell)
    write_json(found, given.json)
    rows = [
        (
            one.fault,
            "yes" if one.detected else "NO",
            "yes" if one.attributed else "NO",
            "" if one.delay_s is None else lasting(one.delay_s),
            one.cause or "",
            str(one.others),
        )
        for one in found.drills
    ]
    print_table("Drills", ["fault", "found", "its cause named", "after", "cause", "other incidents"], rows)
    calm = found.calm
    false = f"{calm.pages_per_day:g} pages and {calm.tickets_per_day:g} tickets a day"
    out.print(f"false alarms on {calm.days:g} calm days: {false}")


if __name__ == "__main__":
    main()
