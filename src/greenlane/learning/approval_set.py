"""The training set of the approval model: every authorization in the journal, whoever decided it, as it was asked for.

Each row is one attempt: what was known when it was sent (facts, and what had happened to the payment before), the way
and the mode it went, and whether it was approved. Rows teach about good payers, so each weighs P(genuine): what the
decision believed given the answer, and nothing where fraud was reported. Left out are attacked cells, known outages,
answers that never came, and soft declines of exempted attempts, which are counted apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.learning.effects import crossed_effects
from greenlane.learning.estimator import Record
from greenlane.learning.examples import Examples
from greenlane.merchants.book import Book
from greenlane.models.approval_rows import (
    AUTHENTICATED,
    COLUMNS,
    EXEMPT,
    PLAIN,
    PRIOR_LOG_ODDS,
    SPREAD,
    Encoding,
    RouteCode,
    Situation,
    categories,
    names_of,
    payment_values,
    vocabulary,
    way_values,
)
from greenlane.payments.codes import decline_of
from greenlane.payments.facts import Facts
from greenlane.payments.outcome import RECORD_DECODER
from greenlane.policy.heard import kind_of
from greenlane.policy.online import ANSWERS, Online
from greenlane.ports.journal import CHANGE_DECODER, Entry

PAYMENTS_MAX: Final = 1_000_000
"""Payments whose past is remembered, the latest."""
PASSED: Final = ("Y", "A")
ONE_E9: Final = 1_000_000_000
BLOCKS: Final = 5
"""Of time, each encoded with what the others show."""
KEPT_NAMES: Final = ("currency", "merchant_id", "mcc", "channel", "initiator", "method", "bin8", "network", "funding",
                     "credential", "issuer_id", "issuer_country")  # fmt: skip


NO_FACTS: Final = Facts(payment_id="", payment_us=0, amount_minor=0, currency="", amount_reporting_minor=0)


class Sample(NamedTuple):
    """One attempt that was answered."""

    situation: Situation
    route: str
    credential: str
    mode: int
    approved: bool
    genuine: float
    """P(the payer is genuine | the answer)."""
    seq: int = 0
    """The answer's place in the journal."""


@dataclass(slots=True)
class Past:
    """What happened to a payment so far."""

    attempts: list[str] = field(default_factory=list)
    category: str = ""
    declined_us: int = 0
    route: str = ""
    status: str = ""
    """trans_status of the last authentication."""
    decision: DecisionRecord | None = None
    answers: dict[str, str] = field(default_factory=dict)
    """Decline class by attempt: an answer that is told again is no other."""
    rows: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Samples:
    """A fold of the journal from its beginning: rows in the order of the journal, and what is counted beside them."""

    rows: list[Sample] = field(default_factory=list)
    routes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """(acquirer, its country) by route, as far as told."""
    exempted: list[tuple[str, bool, int]] = field(default_factory=list)
    """(issuer, soft decline, time) of each attempt with an exemption."""
    left_out: dict[str, int] = field(default_factory=dict)
    _payments: dict[str, Past] = field(default_factory=dict)
    _book: Book = field(default_factory=Book)
    _online: Online = field(default_factory=lambda: Online(lambda _: None))

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        self._online.apply(entry)
        facts = entry.facts
        if entry.kind == "control":
            self._configured(entry)
        elif facts is None or entry.sign < 0:
            return
        elif entry.kind == "decision":
            self._decided(entry, facts)
        elif entry.kind == "authentication":
            self._past(facts).status = facts.code
        elif entry.kind == "fraud_report":
            for row in self._past(facts).rows:
                self.rows[row] = self.rows[row]._replace(genuine=0.0)
        elif entry.kind == "authorization" or (entry.kind == "link" and entry.emits & ANSWERS):
            self._answered(entry, facts)

    def keep(self, *, from_us: int, to_us: int | None = None) -> None:
        """Only the rows from a time on, until before another; call it once, after the last entry."""
        until_us = 2**62 if to_us is None else to_us
        self.rows = [row for row in self.rows if from_us <= row.situation.at_us < until_us]
        self.exempted = [each for each in self.exempted if from_us <= each[2] < until_us]

    def manifest(self) -> Record:
        """Plain JSON: what the set is made of."""
        return {
            "rows": len(self.rows),
            "from_us": self.rows[0].situation.at_us if self.rows else 0,
            "to_us": self.rows[-1].situation.at_us + 1 if self.rows else 0,
            "approved": sum(row.approved for row in self.rows),
            "exempted": len(self.exempted),
            "left_out": dict(sorted(self.left_out.items())),
        }

    def _past(self, facts: Facts) -> Past:
        past = self._payments.get(facts.payment_id)
        if past is None:
            if len(self._payments) >= PAYMENTS_MAX:
                del self._payments[next(iter(self._payments))]
            past = self._payments[facts.payment_id] = Past()
        return past

    def _decided(self, entry: Entry, facts: Facts) -> None:
        record = record_of(entry)
        if record.attempt.mode == "shadow":
            return
        self._past(facts).decision = record
        for route in record.attempt.eligible_routes:
            self._told(route.id, route.acquirer, None)

    def _configured(self, entry: Entry) -> None:
        self._book.apply(entry)
        changed = self._book.merchants.get(CHANGE_DECODER.decode(entry.payload).id)
        for terms in changed.routes if changed is not None else ():
            self._told(terms.id, terms.acquirer, terms.acquirer_country)

    def _told(self, route: str, acquirer: str | None, country: str | None) -> None:
        known = self.routes.get(route, ("", ""))
        self.routes[route] = (acquirer or known[0], country or known[1])

    def _answered(self, entry: Entry, facts: Facts) -> None:
        past, said = self._past(facts), RECORD_DECODER.decode(entry.payload)
        decision = past.decision
        if decision is not None and facts.attempt_id and decision.attempt.attempt_id != facts.attempt_id:
            decision = None
        if not facts.attempt_id or facts.attempt_id not in past.attempts:
            past.attempts.append(facts.attempt_id)
        elif past.answers.get(facts.attempt_id) == facts.decline_class:
            return
        past.answers[facts.attempt_id] = facts.decline_class
        sample = Sample(
            situation_of(facts, entry.ingest_us, past=past, decision=decision),
            facts.route_id,
            said.executed_credential or (decision.chosen.action.credential if decision else "") or facts.credential,
            mode_of(facts, past.status),
            facts.decline_class == "approved",
            genuine_of(decision, approved=facts.decline_class == "approved"),
            entry.seq,
        )
        why = self._excluded(sample, entry.ingest_us)
        if sample.mode == EXEMPT and why in ("", "soft decline"):
            self.exempted.append((facts.issuer_id, why == "soft decline", entry.ingest_us))
        if why:
            self.left_out[why] = self.left_out.get(why, 0) + 1
        else:
            past.rows.append(len(self.rows))
            self.rows.append(sample._replace(situation=sample.situation._replace(facts=kept(facts))))
        if sample.approved or facts.decline_class == "unknown":
            past.category, past.declined_us, past.route = "", 0, ""
        else:
            past.category = decline_of(facts.network or "*", facts.code).category
            past.declined_us, past.route = entry.ingest_us, facts.route_id

    def _excluded(self, sample: Sample, at_us: int) -> str:
        """Why this answer teaches nothing, or ""."""
        facts = sample.situation.facts
        if not facts.route_id:
            return "no route"
        if facts.decline_class == "unknown":
            return "no answer"
        if self._online.attacked.covers(facts, at_us):
            return "attacked"
        technical = kind_of(facts.decline_class, facts.network, facts.code) == "technical"
        if technical and self._online.breaker.is_known_outage(facts.issuer_id or facts.issuer_country, facts.route_id):
            return "outage"
        return "soft decline" if sample.mode == EXEMPT and facts.decline_class == "sca" else ""


def situation_of(facts: Facts, at_us: int, *, past: Past, decision: DecisionRecord | None) -> Situation:
    """As it was when the attempt was sent; only what came before."""
    attempt = decision.attempt if decision else None
    verification = attempt.verification if attempt else None
    return Situation(
        facts,
        at_us,
        attempt_no=past.attempts.index(facts.attempt_id) + 1 if facts.attempt_id else len(past.attempts),
        chained=None if attempt is None else attempt.payment.network_transaction_id is not None,
        cvv_present=None if attempt is None else verification is not None and verification.cvv_result is not None,
        last_category=past.category,
        last_us=past.declined_us,
        last_route=past.route,
    )


def mode_of(facts: Facts, status: str) -> int:
    """What the issuer saw: authentication passed, else an exemption flag, else neither."""
    if status in PASSED:
        return AUTHENTICATED
    return EXEMPT if facts.intervention == "exempt" else PLAIN


def genuine_of(decision: DecisionRecord | None, *, approved: bool) -> float:
    """1 - p_A or 1 - p_D as the decision believed; 1 where nobody did."""
    seen = decision.chosen.probabilities if decision else None
    if seen is None:
        return 1.0
    return 1.0 - (seen.fraud_given_approval_e9 if approved else seen.fraud_given_decline_e9) / ONE_E9


def kept(facts: Facts) -> Facts:
    """What the rows are made of, names held once: a fifth of the memory, for millions of rows."""
    names = {name: intern(getattr(facts, name)) for name in KEPT_NAMES}
    return replace(
        NO_FACTS,
        payment_us=facts.payment_us,
        amount_minor=facts.amount_minor,
        amount_reporting_minor=facts.amount_reporting_minor,
        card=facts.card,
        **names,
    )


class Encoded(NamedTuple):
    """Examples whose event is approval, with the encoding as it stood after the last of them."""

    examples: Examples
    encoding: Encoding


class Named(NamedTuple):
    """Samples by the names that have an effect on them."""

    names: list[str]
    places: np.ndarray
    """int32[combinations of names, kinds] into `names`."""
    combination: np.ndarray
    """int64[samples]: which of them each has."""
    approved: np.ndarray
    weight: np.ndarray
    """P(genuine) of first attempts; 0 of retries, which say little of names."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Named":
        place: dict[str, int] = {}
        places = np.zeros((len(samples), len(SPREAD)), np.int32)
        for row, each in enumerate(samples):
            names = names_of(each.situation.facts, route=each.route, credential=each.credential, mode=each.mode)
            places[row] = [place.setdefault(name, len(place)) for name in names]
        distinct, combination = np.unique(places, axis=0, return_inverse=True)
        weight = [each.genuine if each.situation.attempt_no == 1 else 0.0 for each in samples]
        approved = [float(each.approved) for each in samples]
        return cls(list(place), distinct, combination.ravel(), np.array(approved), np.array(weight))

    def effects(self, *, without: np.ndarray | None = None) -> dict[str, float]:
        """Of every name, as all samples show it, or all but some."""
        weight = self.weight.copy()
        if without is not None:
            weight[without] = 0.0
        answered = np.bincount(self.combination, weight, minlength=len(self.places))
        approved = np.bincount(self.combination, weight * self.approved, minlength=len(self.places))
        spread = np.array([SPREAD[name.partition(" ")[0]] for name in self.names])
        share = approved / np.maximum(answered, 1e-300)
        found = crossed_effects(self.places, share, answered.astype(np.float64), spread=spread, start=PRIOR_LOG_ODDS)
        return {name: effect for name, effect in zip(self.names, found.tolist(), strict=True) if effect}


def encoded(
    samples: Iterable[Sample],
    *,
    routes: Mapping[str, tuple[str, str]],
    exempted: Iterable[tuple[str, bool, int]] = (),
    frozen_from_us: int | None = None,
) -> Encoded:
    """Rows of samples in time order, each with the effects of names as the other fifths of the time show them, so never
    with its own answer; from `frozen_from_us` on, as a model frozen at that time would see them.

    >>> facts = Facts(payment_id="p", payment_us=0, amount_minor=99, currency="EUR", amount_reporting_minor=99,
    ...               issuer_id="iss")
    >>> rows = [Sample(Situation(facts, at_us), "a", "pan", 0, True, 1.0) for at_us in range(50)]
    >>> found = encoded(rows, routes={"a": ("north", "NL")})
    >>> found.examples.X.shape[0], found.encoding.effects["issuer iss"] > 0.1
    (50, True)
    """
    listed = list(samples)
    known = [s for s in listed if frozen_from_us is None or s.situation.at_us < frozen_from_us]
    named = Named.of(known)
    encoding = empty_encoding(listed, routes=routes)
    values = np.empty((len(listed), len(COLUMNS)), np.float32)

    def fill(rows: Iterable[int], effects: dict[str, float]) -> None:
        told = replace(encoding, effects=effects)
        for row in rows:
            values[row] = row_of(listed[row], told)

    for block in np.array_split(np.arange(len(known)), BLOCKS):
        fill(block.tolist(), named.effects(without=block))
    encoding = replace(encoding, effects=named.effects())
    fill(range(len(known), len(listed)), encoding.effects)
    for issuer, soft, at_us in exempted:
        if frozen_from_us is None or at_us < frozen_from_us:
            for name in dict.fromkeys(("", issuer)):
                of_name = encoding.soft.get(name, (0, 0))
                encoding.soft[name] = (of_name[0] + soft, of_name[1] + 1)
    return Encoded(examples_of(listed, values), encoding)


def empty_encoding(samples: list[Sample], *, routes: Mapping[str, tuple[str, str]]) -> Encoding:
    seen = sorted({sample.route for sample in samples} | set(routes))
    told = {route: routes.get(route, ("", "")) for route in seen}
    acquirers = vocabulary([acquirer or route for route, (acquirer, _) in told.items()])
    return Encoding(
        effects={},
        routes={
            route: RouteCode(index, acquirers[told[route][0] or route], told[route][1])
            for index, route in enumerate(seen)
        },
        countries=vocabulary([sample.situation.facts.issuer_country for sample in samples]),
        categories=categories(),
        soft={},
    )


def row_of(sample: Sample, encoding: Encoding) -> list[float]:
    situation, route = sample.situation, sample.route
    over = way_values(
        situation.facts, encoding, route=route, credential=sample.credential, mode=sample.mode,
        last_route=situation.last_route,
    )  # fmt: skip
    return [*payment_values(situation, encoding), *over]


def examples_of(samples: list[Sample], values: np.ndarray) -> Examples:
    """Only rows with a weight; `card` keeps attempts of one card together where intervals are resampled."""
    kept = np.array([sample.genuine > 0.0 for sample in samples], bool)
    facts = [sample.situation.facts for sample in samples]
    whole = Examples(
        names=COLUMNS,
        X=values,
        y=np.array([sample.approved for sample in samples], np.int8),
        weight=np.array([sample.genuine for sample in samples], np.float64),
        at_us=np.array([sample.situation.at_us for sample in samples], np.int64),
        amount_minor=np.array([each.amount_reporting_minor for each in facts], np.int64),
        card=np.array([each.card for each in facts], np.int64),
    )
    return whole.take(kept)
