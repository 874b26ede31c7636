"""A world's history into a data directory, and a world's figures beside what they should be.

The logging policy knows nothing: every lawful action over every way has a fixed chance, so that what it leaves behind
identifies approval over each route, credential, authentication and retry.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from greenlane.decisions.control import ControlRecord
from greenlane.errors import SettingsError
from greenlane.features.catalogue import CATALOGUE
from greenlane.jobs.ahead import made_ahead
from greenlane.jobs.simulated_truth import TrueRow, mode_of, write_truth
from greenlane.jobs.uncollected import uncollected
from greenlane.payments.codes import decline_of
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.policy.exemptions import exemption_over
from greenlane.policy.mandate import sca_required
from greenlane.settings import Settings, make_directory, write_settings
from greenlane.simulation.answers import Answer, Sending, Sent
from greenlane.simulation.consequences import bringing
from greenlane.simulation.due import Due
from greenlane.simulation.living import START_US, Living
from greenlane.simulation.randomness import uniforms, word
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import Importer, Places, Progress

TRIES_MAX: Final = 4
"""House limit of a day; the rules of the networks allow more."""
WAITS_US: Final = (10 * MINUTE_US, HOUR_US, DAY_US, 3 * DAY_US, 7 * DAY_US)
BATCH: Final = 200
GIVES_UP: Final = 0.3
LABELS: Final = ("fraud_report", "dispute")
CHOICES: Final = np.concatenate([word(f"logging {what}") for what in ("route", "how", "token", "tries", "waits")])
T = TypeVar("T")


class Simulated(NamedTuple):
    payments: int
    attempts: int
    outcomes: int
    until_us: int
    """The last payment's time: what becomes known later is not in the journal."""


class Logging:
    """Randomises everything that the law leaves open; draws are of the payment and the attempt."""

    def __init__(self, world: World):
        self._world, self._u = world, np.empty(len(CHOICES))

    def first(self, arrival: Arrival) -> Sent:
        return self._sent(arrival, arrival.at_us, 1, self._interventions(arrival))

    def again(self, arrival: Arrival, sent: Sent, answer: Answer) -> Sent | None:
        """A soft decline is answered by a challenge at once; what may be tried again mostly is, some time later."""
        number = sent.attempt_no + 1
        meaning = decline_of(_network(arrival), answer.code).decline_class if answer.code else "unknown"
        if answer.result == "declined" and meaning == "sca" and sent.attempt_no < TRIES_MAX:
            return self._sent(arrival, answer.at_us + MINUTE_US, number, ("challenge",))
        may = answer.result == "not_sent" or (answer.result == "declined" and meaning in ("soft", "config"))
        *_, tries, waits = self._draws(arrival, number)
        if not may or sent.attempt_no >= TRIES_MAX or tries < GIVES_UP:
            return None
        present = arrival.attempt.payment.initiator == "cit"
        wait_us = _nth(WAITS_US[:2] if present else WAITS_US[1:], waits)
        return self._sent(arrival, answer.at_us + wait_us, number, self._interventions(arrival))

    def _interventions(self, arrival: Arrival) -> tuple[Sending, ...]:
        attempt = arrival.attempt
        if attempt.payment.initiator == "mit":
            return ("allow",)
        economics = self._world.economics[attempt.payment.merchant_id]
        if economics.sca_mandated and sca_required(attempt, economics.country):
            return ("challenge", "exempt")
        return ("allow", "allow", "challenge")

    def _sent(self, arrival: Arrival, at_us: int, number: int, interventions: Sequence[Sending]) -> Sent:
        attempt = arrival.attempt
        economics = self._world.economics[attempt.payment.merchant_id]
        which, intervenes, tokens, _, _ = self._draws(arrival, number)
        route, intervention, exemption = _nth(attempt.eligible_routes, which), _nth(interventions, intervenes), ""
        if intervention == "exempt":
            terms = economics.route_terms[route.id]
            exemption = exemption_over(terms, attempt, economics, amount_minor=attempt.payment.amount)
            intervention = "exempt" if exemption else "challenge"
        card = attempt.payment.payment_method.card
        has_token = card is not None and card.token is not None and card.token.state == "active"
        token = has_token and "network_token" in route.credentials and tokens < 0.5
        return Sent(route.id, "network_token" if token else "pan", intervention, exemption, at_us, number)

    def _draws(self, arrival: Arrival, number: int) -> list[float]:
        uniforms(np.uint64(arrival.truth.case.luck), number, 0, CHOICES, self._u)
        drawn: list[float] = self._u.tolist()
        return drawn


def _nth(choices: Sequence[T], draw: float) -> T:
    return choices[int(draw * len(choices))]


class Batch(NamedTuple):
    """What became known while some attempts were made."""

    attempts: int
    at_us: int
    """Of the last of them."""
    known: list[tuple[int, Outcome, TrueRow]]
    """(when, what, and what is so about the attempt), in time order."""


@uncollected()
def simulate(
    world: World, seed: int, payments: int, directory: Path, progress: Progress, *, ahead: bool = False
) -> Simulated:
    """Writes the history of `payments` payments into `directory`: payments whole, each attempt's answer, labels when
    they became known. What is known only after the last payment stays out, and lies in `truth.parquet` beside it.

    `ahead`: a process of its own makes the world while this one writes. SettingsError where the directory holds a
    journal already; else what `Importer` raises.
    """
    if Places(directory).journal.exists():
        raise SettingsError(f"{directory} holds a history already", hint="take a fresh directory")
    make_directory(directory)
    name, currency = world.parameters.name, world.parameters.currency
    write_settings(directory, Settings(tenant=name, clock="simulated", reporting_currency=currency))
    made = made_ahead(batches, world, seed, payments, of=Batch) if ahead else batches(world, seed, payments)
    journal, attempts, told, until_us = Importer(directory), 0, 0, START_US
    truth: dict[int, TrueRow] = {}
    try:
        _configure(journal, world)
        for count, until_us, known in made:  # noqa: B007 - the last one is told
            for known_us, outcome, of_it in known:
                entry = journal.take(outcome, known_us)
                told += 1
                if outcome.type not in LABELS:
                    truth[entry.seq] = of_it
            attempts += count
            progress(min(attempts, payments), payments)
    finally:
        journal.close()
    write_truth(directory, list(truth), list(truth.values()))
    return Simulated(payments, attempts, told, until_us)


def batches(world: World, seed: int, payments: int) -> Iterator[Batch]:
    """Everything that becomes known before the last attempt is made."""
    due, known, made, at_us = Due[tuple[Outcome, TrueRow]](), list[tuple[int, Outcome, TrueRow]](), 0, START_US
    for at_us, arrival, answer, so in run(world, seed, payments):
        known += [(known_us, *told) for known_us, told in due.until(at_us)]
        first = arrival.at_us == at_us
        for known_us, outcome in bringing(arrival, answer.outcomes) if first else answer.outcomes:
            due.put(known_us, (outcome, so))
        made += 1
        if made == BATCH:
            yield Batch(made, at_us, known)
            known, made = [], 0
    if made:
        yield Batch(made, at_us, known)


def run(world: World, seed: int, payments: int) -> Iterator[tuple[int, Arrival, Answer, TrueRow]]:
    """Every attempt of the logging policy in time order: (when it was made, of whom, what came of it, what is so)."""
    living, logging = Living(world, seed), Logging(world)
    due = Due[tuple[Arrival, Sent]]()

    def made(arrival: Arrival, sent: Sent) -> tuple[int, Arrival, Answer, TrueRow]:
        odds = living.odds_over(arrival, sent, living.past(arrival))
        answer = living.send(arrival, sent)
        again = logging.again(arrival, sent, answer)
        if again is not None and living.stays(arrival, again.at_us):
            due.put(again.at_us, (arrival, again))
        so = arrival.truth
        reported = so.would_be_reported and so.brings != "dispute"
        approval = odds[mode_of(sent, passed=living.authenticated(arrival))]
        report_us = sent.at_us + so.report_delay_us if reported else 0
        return sent.at_us, arrival, answer, TrueRow(not so.fraud, approval, report_us)

    for arrival in living.arrivals(payments):
        for _, (earlier, sent) in due.until(arrival.at_us):
            yield made(earlier, sent)
        yield made(arrival, logging.first(arrival))


def _configure(journal: Importer, world: World) -> None:
    journal.declare(CATALOGUE, at_us=START_US)
    for name, economics in world.economics.items():
        change = ControlRecord("merchant", name, "simulate", "the world's file", None, msgspec.to_builtins(economics))
        journal.control(change, source="simulate", event_id=f"merchant/{name}", ingest_us=START_US)


def _network(arrival: Arrival) -> str:
    card = arrival.attempt.payment.payment_method.card
    return card.network if card else ""
