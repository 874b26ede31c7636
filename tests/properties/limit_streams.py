"""Traffic for the limit engine: attempts that ask first, attempts of others, answers that come late or never."""

from typing import NamedTuple

import msgspec

from greenlane.payments.facts import Facts
from greenlane.policy.limits import Asked, Limits
from greenlane.ports.journal import Entry

START_US = 1_790_000_000_000_000
ENCODE = msgspec.msgpack.encode


class Instrument(NamedTuple):
    fingerprint: int
    par: int
    network: str


PLASTIC = (
    Instrument(11, 1, "visa"),
    Instrument(12, 1, "visa"),  # the token of the same account
    Instrument(13, 0, "visa"),
    Instrument(21, 2, "mastercard"),
    Instrument(22, 2, "mastercard"),
    Instrument(31, 3, "amex"),
    Instrument(41, 4, "elo"),
    Instrument(51, 5, "diners"),
)

ANSWERS = (
    ("approved", "00", ""),
    ("declined", "51", ""),
    ("declined", "05", ""),
    ("declined", "91", ""),
    ("declined", "51", "25"),
    ("declined", "05", "03"),
    ("declined", "82", "21"),
    ("declined", "41", ""),
    ("declined", "14", ""),
    ("declined", "46", ""),
    ("declined", "54", ""),
    ("unknown", "", ""),
    ("not_sent", "", ""),
    ("silence", "", ""),
)


class Step(NamedTuple):
    gap_us: int
    instrument: int
    merchant: int
    amount_minor: int
    initiator: str
    answer: int
    answered_after_us: int
    granted: bool = True
    restart: bool = False
    ahead_us: int = 0
    """Granted now, for later."""


class Traffic:
    """Plays steps against a `Limits`; `entries` is the journal it made. `obey=False` grants whatever is asked."""

    def __init__(self, *, obey=True):
        self.limits, self.entries, self.obey = Limits(), [], obey
        self.now_us, self.number, self.late = START_US, 0, []
        self.verdicts = []

    def play(self, steps):
        for step in steps:
            self.take(step)
        self.answer(upto_us=self.now_us + 10**15)
        return self

    def take(self, step):
        self.answer(upto_us=self.now_us + step.gap_us)
        self.now_us += step.gap_us
        if step.restart:
            self.limits = Limits.load(self.limits.dump())
        facts, at_us = self.facts(step), self.now_us + (step.ahead_us if step.granted else 0)
        if step.granted:
            verdict = self.limits.verdict(asked_of(facts, at_us))
            self.verdicts.append(verdict)
            if self.obey and not verdict.allowed:
                return
            self.append("decision", facts, b"", self.now_us, occurred_us=at_us)
        self.late.append((at_us + step.answered_after_us, facts, ANSWERS[step.answer], at_us))

    def facts(self, step):
        self.number += 1
        plastic = PLASTIC[step.instrument]
        return Facts(
            payment_id=f"pay_{self.number}",
            payment_us=self.now_us,
            amount_minor=step.amount_minor,
            currency="EUR",
            amount_reporting_minor=step.amount_minor,
            attempt_id=f"att_{self.number}",
            merchant_id=f"m_{step.merchant}",
            initiator=step.initiator,
            card=plastic.fingerprint,
            par=plastic.par,
            network=plastic.network,
            route_id=f"r_{self.number % 3}",
            intervention="allow",
        )

    def answer(self, *, upto_us):
        """Everything due by then, in the order it arrives."""
        due = sorted((each for each in self.late if each[0] <= upto_us), key=lambda each: each[0])
        self.late = [each for each in self.late if each[0] > upto_us]
        for at_us, facts, (result, code, mac), sent_us in due:
            if result == "not_sent":
                self.append("not_sent", facts, ENCODE(["not_sent"]), at_us)
            elif result != "silence":
                told = ENCODE(["authorization", result, facts.network, code or None, mac or None])
                self.append("authorization", facts, told, at_us, occurred_us=sent_us)

    def append(self, kind, facts, payload, ingest_us, *, occurred_us=None):
        occurred_us = ingest_us if occurred_us is None else occurred_us
        seq = len(self.entries) + 1
        entry = Entry(seq, 1, ingest_us, kind, "t", str(seq), occurred_us, 0, 1, b"", facts, payload)
        self.entries.append(entry)
        self.limits.apply(entry)


def asked_of(facts, at_us):
    return Asked(
        cards=(facts.card, facts.par),
        merchant_id=facts.merchant_id,
        amount_minor=facts.amount_minor,
        currency=facts.currency,
        initiator=facts.initiator,
        network=facts.network,
        at_us=at_us,
        attempt_id=facts.attempt_id,
        channel=facts.channel,
    )


def random_step(rng):
    """Mostly one person trying again soon; now and then a week passes."""
    gap_us = rng.choice((10**6, 10**8, 10**9, 3 * 10**9, 10**10, 4 * 10**10, 6 * 10**11))
    return Step(
        gap_us=rng.randrange(1, gap_us + 1),
        instrument=rng.randrange(len(PLASTIC)),
        merchant=rng.randrange(2),
        amount_minor=rng.choice((500, 1999)),
        initiator=rng.choice(("cit", "mit")),
        answer=rng.choices(range(len(ANSWERS)), weights=(30, 20, 20, 10, 3, 1, 1, 1, 1, 1, 2, 3, 5, 5))[0],
        answered_after_us=rng.choice((10**6, 10**6, 10**9, 2 * 10**11)),
        granted=rng.random() < 0.9,
        restart=rng.random() < 0.02,
        ahead_us=rng.choice((0, 0, 0, 0, 10**10, 6 * 10**11)),
    )
