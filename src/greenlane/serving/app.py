"""The REST door over one system: each handler translates a request, calls the core, and translates back."""

import secrets
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from greenlane import __version__
from greenlane.decide import SOURCE, decide
from greenlane.decisions.answer import Decision, DecisionList, NextAction
from greenlane.decisions.control import ControlRecord, check_control, control_of
from greenlane.decisions.record import ANSWER_ENCODER, answer_of, next_of, record_of
from greenlane.decisions.tried import to_reverse
from greenlane.errors import Conflict, GreenlaneError, InputError, LimitExceeded, NotFound
from greenlane.features.inputs import INPUTS
from greenlane.jobs.replaying import replay_decisions
from greenlane.merchants.economics import Economics
from greenlane.merchants.read import OBJECT, moved, read_economics
from greenlane.outcomes.accept import APPROVED, check_outcome, draft_of
from greenlane.outcomes.happened import HAPPENED_DECODER, Happened, check_happened, outcome_of, same_event
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.payments.checks import check_attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.payments.outcome import OUTCOME_DECODER, OUTCOMES_DECODER, Outcome
from greenlane.payments.outcome import RECORD_DECODER as OUTCOME_RECORD_DECODER
from greenlane.payments.times import format_rfc3339, parse_rfc3339
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import Entry
from greenlane.proceed import proceed
from greenlane.serving.access import Grant, KeyFile, StoredKey
from greenlane.serving.bodies import all_field_names, idempotency_key, name_in_path, read
from greenlane.serving.evaluations import EvaluationDoors
from greenlane.serving.experiments import ExperimentDoors
from greenlane.serving.http import Door, ErrorBody, Reply, Request, Slow, error_body, error_reply, json_reply
from greenlane.serving.models import ModelDoors
from greenlane.serving.openapi import IDEMPOTENT, Operation, document, op, page
from greenlane.serving.rate import RateLimit
from greenlane.wiring import System

PAGE_MAX: Final = 100
SCANNED_MAX: Final = 1_000
"""Entries looked at for one page: decisions wait meanwhile, so a page may come back short, with a cursor to go on."""
REPLAYED_MAX: Final = 1000
ATTEMPT_FIELDS: Final = all_field_names(Attempt)
OUTCOME_FIELDS: Final = all_field_names(Outcome)
HAPPENED_FIELDS: Final = all_field_names(Happened)


class Taken(Struct, frozen=True, omit_defaults=True):
    """What became of one outcome: `waiting` while its payment is not known yet."""

    status: Literal["accepted", "waiting", "refused"]
    id: str | None = None
    error: ErrorBody | None = None
    reverse: tuple[str, ...] = ()
    """Attempts of this payment that were approved after another one was: reverse them."""


class TakenList(Struct, frozen=True):
    data: list[Taken]


class Event(Struct, frozen=True, omit_defaults=True):
    """One line of a payment's timeline. What an entry said stays for as long as its day does not retire."""

    id: str
    type: str
    occurred_at: str
    observed_at: str
    decision: Decision | None = None
    outcome: dict[str, Any] | None = None


class Timeline(Struct, frozen=True):
    """A payment, and everything that happened to it, in the order Greenlane learnt it."""

    id: str
    merchant_id: str
    amount: int
    currency: str
    created: str
    events: list[Event]


class ReplayRequest(Struct, frozen=True, forbid_unknown_fields=True):
    decision_ids: list[str]


class ReplayDifference(Struct, frozen=True):
    decision_id: str
    what: str
    logged: str
    recomputed: str


class ReplayAnswer(Struct, frozen=True):
    """`different` is expected to be 0; `runtime_differs` counts decisions made by another engine or runtime."""

    decisions: int
    different: int
    runtime_differs: int
    differences: list[ReplayDifference]


class MerchantAnswer(Struct, frozen=True, omit_defaults=True):
    id: str
    configured: bool
    """False: nobody configured it, these are inherited priors."""
    economics: Economics
    changed: dict[str, tuple[Any, Any]] | None = None
    """Of a change: each field that moved, from and to; the caps of a merchant that nobody configured among them."""


class FeatureList(Struct, frozen=True):
    digest: str
    versions: dict[str, str]
    columns: list[str]
    derived: dict[str, str]


class Welcome(Struct, frozen=True):
    """Where to look, for whoever comes to the door without a path."""

    greenlane: str = __version__
    openapi: str = "/openapi.json"
    docs: str = "/docs"
    health: str = "/healthz"


class Health(Struct, frozen=True):
    status: str


class Readiness(Struct, frozen=True):
    ready: bool
    journal_seq: int
    durable_seq: int
    model: str | None
    features: str


class ControlRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the follower, or an operator, writes into the journal: a finding, or a change of what the policy counts.

    Subjects: `parity`, `note` (findings); `outage` and `kill_switch` (id: the route), `price` (id: band/ACQUIRER,
    programme/MERCHANT/VAMP, review/hours), `budget` (id: release, challenge, route), `recovery`, `authentication`.
    """

    subject: str
    id: str
    why: str
    after: dict[str, Any] | int | bool | None


class Doors:
    """All handlers of one system."""

    def __init__(self, system: System, keys: KeyFile):
        self.system, self.keys = system, keys
        settings = system.settings
        self.simulated = settings.clock == "simulated"
        self.always_sync = settings.decision_durability == "sync"
        self.late_us = settings.loss_bound_ms * 1000
        rate = settings.requests_per_second_max
        self.rate = RateLimit(per_second=rate, burst=rate)
        self.models = ModelDoors(system, self.allow)
        self.openapi = document([operation for operation, _ in self.table()], ErrorBody)
        self.openapi_bytes, self.page_bytes = msgspec.json.encode(self.openapi), page(self.openapi)

    # ---- who asks

    def allow(self, request: Request, scope: Grant) -> StoredKey:
        key = self.keys.allow(request.header(b"authorization"), scope)
        self.rate.take(key.id, now_us=self.system.clock.now_us())
        return key

    def tell_time(self, at: str | None, *, param: str) -> None:
        """A simulated clock stands still until a request says what time it is; a live clock takes no advice."""
        clock = self.system.clock
        if isinstance(clock, FakeClock) and self.simulated and at is not None:
            clock.set(max(clock.now_us(), parse_rfc3339(at, param=param)))

    # ---- decisions

    def post_decision(self, request: Request) -> Reply:
        self.allow(request, "decide")
        attempt = read(request.body, ATTEMPT_DECODER, fields=ATTEMPT_FIELDS)
        check_attempt(attempt)
        if attempt.at is not None and not self.simulated:
            raise InputError("only a simulated clock is told the time", param="$.at", hint="leave `at` out")
        event_id = idempotency_key(request.header(b"idempotency-key"), f"{attempt.attempt_id}/{attempt.stage}")
        body_hash = self.system.subjects.fingerprint(request.body)
        stored = self.system.journal.stored(SOURCE, event_id)
        if stored is not None:
            return self.again(stored, body_hash, event_id)
        self.tell_time(attempt.at, param="$.at")
        entry, record = decide(attempt, lane=self.system.lane, event_id=event_id, body_hash=body_hash)
        self.system.metrics.decided(
            record.chosen.action.intervention, record.latency_us, degraded=bool(record.degraded)
        )
        answer = answer_of(entry, record, self.system.releases.versions(record.release))
        return Reply(200, ANSWER_ENCODER.encode(answer), durable_seq=self.durable_seq(entry))

    def durable_seq(self, entry: Entry) -> int:
        """Async answers at once, unless the disk is so late that the loss bound might not hold."""
        writer = self.system.journal.writer
        late = self.always_sync or writer.exposed or writer.unsynced_us() > self.late_us
        return entry.seq if late else 0

    def again(self, stored: Entry, body_hash: bytes, event_id: str) -> Reply:
        if stored.body_hash != body_hash:
            raise Conflict(
                f"the key {event_id} was used before with another body",
                param="Idempotency-Key",
                hint="send the same body again for the same answer, or a new key for a new request",
            )
        return Reply(200, ANSWER_ENCODER.encode(self.decision(stored)), durable_seq=stored.seq)

    def decision(self, entry: Entry, *, with_features: bool = False) -> Decision:
        if not entry.payload:
            entry = self.system.retired_entry(entry)
        record = record_of(entry)
        versions = self.system.releases.versions(record.release)
        if record.further is not None:
            return next_of(entry, record, versions)
        features = None
        if with_features and record.known:
            features = self.system.named_features(record.known, versions.features)
        return answer_of(entry, record, versions, features=features)

    def post_next_action(self, request: Request) -> Reply:
        """What happened becomes an outcome entry first; both are durable, in one commit, before this is answered."""
        self.allow(request, "decide")
        before = self.decision_entry(request.segments[3])
        if record_of(before).attempt.mode == "shadow":
            raise InputError("nothing follows a shadow decision", param="id", hint="decide in mode live first")
        happened = read(request.body, HAPPENED_DECODER, fields=HAPPENED_FIELDS)
        check_happened(happened)
        event_id = f"next/{happened.source}/{happened.event_id}"
        body_hash = self.system.subjects.fingerprint(f"{request.segments[3]} ".encode() + request.body)
        stored = self.system.journal.stored(SOURCE, event_id)
        if stored is not None:
            return self.again(stored, body_hash, event_id)
        outcome = outcome_of(happened, record_of(before).attempt, request.segments[3])
        with self.system.journal.together():
            if outcome is not None:
                self.append_outcome(outcome, body_hash)
            self.tell_time(happened.occurred_at, param="$.occurred_at")
            entry, record = proceed(happened, before, lane=self.system.lane, event_id=event_id, body_hash=body_hash)
        assert record.further is not None, "proceed says what it found"
        self.system.metrics.proceeded(record.further.found.next, record.latency_us)
        answer = next_of(entry, record, self.system.releases.versions(record.release))
        return Reply(200, ANSWER_ENCODER.encode(answer), durable_seq=entry.seq)

    def decision_entry(self, decision_id: str) -> Entry:
        """A decision, whole."""
        entries = self.system.journal.entries("decision", decision_id)
        if not entries or entries[0].kind != SOURCE:
            raise NotFound(f"there is no decision {decision_id}", param="id", hint="ids look like dec_1_42")
        return entries[0] if entries[0].payload else self.system.retired_entry(entries[0])

    def get_decision(self, request: Request) -> Reply:
        self.allow(request, "read")
        expand = request.parameters.get("expand") == "features"
        return json_reply(self.decision(self.decision_entry(request.segments[3]), with_features=expand))

    def list_decisions(self, request: Request) -> Reply:
        self.allow(request, "read")
        limit = whole(request.parameters.get("limit", "20"), param="limit", low=1, high=PAGE_MAX)
        first, last = self.system.store.span()
        cursor = whole(request.parameters.get("cursor", "0"), param="cursor", low=0, high=2**63 - 1)
        seq, found = max(cursor, first - 1), list[Decision]()
        for entry in self.system.store.read(after_seq=seq, upto_seq=min(last, seq + SCANNED_MAX)):
            if len(found) == limit:
                break
            seq = entry.seq
            if entry.kind == SOURCE:
                found.append(self.decision(entry))
        else:
            seq = min(last, max(seq, cursor + SCANNED_MAX))
        more = seq < last
        return json_reply(DecisionList(data=tuple(found), has_more=more, next_cursor=str(seq) if more else None))

    # ---- outcomes

    def post_outcomes(self, request: Request) -> Reply:
        self.allow(request, "report")
        if request.body[:64].lstrip()[:1] != b"[":
            taken, seq = self.take(request.body)
            return Reply(200, msgspec.json.encode(taken), durable_seq=seq)
        refuse_card_data(request.body)
        items = read(request.body, OUTCOMES_DECODER)
        answers, last = [], 0
        for item in items:
            try:
                taken, seq = self.take(bytes(item))
                last = max(last, seq)
            except GreenlaneError as error:
                if error.status >= 500:
                    raise
                self.system.metrics.refused_for(error)
                taken = Taken("refused", error=error_body(error))
            answers.append(taken)
        return Reply(200, msgspec.json.encode(TakenList(answers)), durable_seq=last)

    def take(self, body: bytes) -> tuple[Taken, int]:
        """One outcome, appended; always durable before it is answered."""
        outcome = read(body, OUTCOME_DECODER, fields=OUTCOME_FIELDS)
        entry = self.append_outcome(outcome, self.system.subjects.fingerprint(body))
        waits = entry.facts is None
        reverse = self.to_reverse(entry) if outcome.result in APPROVED else ()
        taken = Taken("waiting" if waits else "accepted", f"out_{entry.generation}_{entry.seq}", reverse=reverse)
        return taken, entry.seq

    def append_outcome(self, outcome: Outcome, body_hash: bytes) -> Entry:
        """The entry of this event, however it was told: by `/v1/outcomes` or with the question what to do next."""
        system = self.system
        check_outcome(outcome)
        stored = system.journal.stored(outcome.source, outcome.event_id)
        if stored is not None and stored.body_hash != body_hash:
            named = system.journal.entries("decision", outcome.decision_id) if outcome.decision_id else ()
            if same_event(outcome, stored, about=next(iter(named), None)):
                return stored
        self.tell_time(outcome.occurred_at, param="$.occurred_at")
        entry = system.journal.append(
            draft_of(
                outcome,
                body_hash=body_hash,
                subjects=system.subjects,
                reporting=system.reporting,
                now_us=system.journal.now().ingest_us,
            )
        )
        system.metrics.outcomes.labels(outcome.type).inc()
        return entry

    def to_reverse(self, entry: Entry) -> tuple[str, ...]:
        """Attempts whose approval must be taken back, because an earlier one of the payment stands."""
        if entry.facts is None:
            return ()
        return to_reverse(self.system.journal.entries("payment", entry.facts.payment_id))

    # ---- payments

    def get_payment(self, request: Request) -> Reply:
        self.allow(request, "read")
        payment_id = request.segments[3]
        entries = self.system.journal.entries("payment", payment_id)
        facts = next((e.facts for e in entries if e.facts is not None), None)
        if facts is None:
            raise NotFound(f"there is no payment {payment_id}", param="id", hint="it is known once decided or reported")
        return json_reply(
            Timeline(
                id=payment_id,
                merchant_id=facts.merchant_id,
                amount=facts.amount_minor,
                currency=facts.currency,
                created=format_rfc3339(facts.payment_us),
                events=[self.event(entry) for entry in entries],
            )
        )

    def event(self, entry: Entry) -> Event:
        prefix = "dec" if entry.kind == SOURCE else "out"
        outcome = None
        if entry.kind != SOURCE and entry.payload:
            plain = msgspec.to_builtins(OUTCOME_RECORD_DECODER.decode(entry.payload))
            names = OUTCOME_RECORD_DECODER.type.__struct_fields__
            outcome = {n: v for n, v in zip(names, plain, strict=False) if v is not None and v is not False}
        return Event(
            id=f"{prefix}_{entry.generation}_{entry.seq}",
            type=entry.kind,
            occurred_at=format_rfc3339(entry.occurred_us),
            observed_at=format_rfc3339(entry.ingest_us),
            decision=self.decision(entry) if entry.kind == SOURCE and entry.payload else None,
            outcome=outcome,
        )

    # ---- replay

    def post_replay(self, request: Request) -> Reply:
        self.allow(request, "read")
        asked = read(request.body, REPLAY_DECODER, fields=("decision_ids",))
        if not 1 <= len(asked.decision_ids) <= REPLAYED_MAX:
            raise LimitExceeded(f"1 to {REPLAYED_MAX} decisions at once", param="$.decision_ids", hint="split the list")
        journal = self.system.journal
        journal.writer.wait(journal.position.seq, timeout_s=5)  # replay reads what is durable
        found = replay_decisions(self.system.places, self.system.settings, asked.decision_ids)
        differences = [ReplayDifference(d.decision_id, d.what, d.logged, d.recomputed) for d in found.differences[:100]]
        return json_reply(ReplayAnswer(found.decisions, found.different, len(found.runtime_differs), differences))

    # ---- merchants

    def get_merchant(self, request: Request) -> Reply:
        self.allow(request, "read")
        return json_reply(self.merchant(request.segments[3]))

    def merchant(self, merchant_id: str) -> MerchantAnswer:
        book = self.system.book
        return MerchantAnswer(merchant_id, merchant_id in book.merchants, book.economics(merchant_id))

    def put_merchant(self, request: Request) -> Reply:
        key = self.allow(request, "admin")
        merchant_id, why = name_in_path(request.segments, 3), request.parameters.get("why", "changed over the API")
        refuse_card_data(why.encode())
        read(request.body, OBJECT)
        after = read_economics(request.body)
        before = self.system.book.merchants.get(merchant_id)
        record = ControlRecord(
            "merchant",
            merchant_id,
            key.id,
            why,
            msgspec.to_builtins(before),
            msgspec.to_builtins(after),
        )
        entry = self.control(record, request, who=key.id)
        kept = control_of(entry)
        answer = msgspec.structs.replace(self.merchant(merchant_id), changed=moved(kept.before, kept.after))
        return json_reply(answer, durable_seq=entry.seq)

    def control(self, record: ControlRecord, request: Request, *, who: str) -> Entry:
        event_id = idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))
        return self.system.control(record, event_id=event_id, who=who)

    def post_control(self, request: Request) -> Reply:
        key = self.allow(request, "admin")
        told = read(request.body, CONTROL_DECODER)
        check_control(told.subject, told.id, told.after)
        record = ControlRecord(told.subject, told.id, key.id, told.why, None, told.after)
        try:
            entry = self.control(record, request, who=key.id)
        except OverflowError as error:
            raise InputError("a number has more than 64 bits", param="$.after", hint="send it as a text") from error
        if told.subject == "parity" and isinstance(told.after, dict):
            self.system.metrics.mismatches.set(told.after.get("mismatches", 0))
        return json_reply(Taken("accepted", f"out_{entry.generation}_{entry.seq}"), durable_seq=entry.seq)

    # ---- features

    def get_features(self, request: Request) -> Reply:
        self.allow(request, "read")
        features = self.system.lane.features.features
        columns = [*INPUTS, *(c.name for c in features.columns)]
        derived = {d.name: d.expression for d in features.derived}
        return json_reply(FeatureList(features.digest, features.versions, columns, derived))

    # ---- health

    def welcome(self, _request: Request) -> Reply:
        return json_reply(Welcome())

    def healthz(self, _request: Request) -> Reply:
        return json_reply(Health("ok"))

    def readyz(self, _request: Request) -> Reply:
        system = self.system
        try:
            system.journal.now()
            ready = True
        except GreenlaneError:
            ready = False
        model = system.lane.model.id if system.lane.model is not None else None
        body = Readiness(
            ready,
            system.journal.position.seq,
            system.journal.writer.durable_seq,
            model,
            system.lane.features.features.digest,
        )
        return Reply(200 if ready else 503, msgspec.json.encode(body))

    def get_metrics(self, _request: Request) -> Reply:
        metrics, journal = self.system.metrics, self.system.journal
        metrics.seq.set(journal.position.seq)
        metrics.durable_seq.set(journal.writer.durable_seq)
        metrics.evicted.set(self.system.lane.features.evicted)
        return Reply(200, metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")

    def get_openapi(self, _request: Request) -> Reply:
        return Reply(200, self.openapi_bytes)

    def get_docs(self, _request: Request) -> Reply:
        return Reply(200, self.page_bytes, b"text/html; charset=utf-8")

    # ---- the table

    def table(self) -> list[tuple[Operation, Callable[[Request], Reply] | Slow]]:
        """Every operation once: what serves it is also what describes it."""
        found: list[tuple[Operation, Callable[[Request], Reply] | Slow]] = [
            (op("POST", "/v1/decisions", "Decide an attempt", "decide", Decision, body=Attempt, headers=IDEMPOTENT,
                errors=(400, 409, 413, 422, 503), example=EXAMPLE_ATTEMPT), self.post_decision),
            (op("POST", "/v1/decisions/{id}/next_action", "What to do after an answer", "decide", NextAction,
                body=Happened, errors=(400, 404, 409, 413, 422, 503), example=EXAMPLE_DECLINE), self.post_next_action),
            (op("GET", "/v1/decisions", "List decisions, oldest first", "read", DecisionList, errors=(422,),
                query={"limit": "1 to 100", "cursor": "`next_cursor` of the page before"}), self.list_decisions),
            (op("GET", "/v1/decisions/{id}", "One decision", "read", Decision, errors=(404,),
                query={"expand": "`features` adds the feature values"}), self.get_decision),
            (op("POST", "/v1/outcomes", "Report an outcome, or a list of up to 1,000", "report", (Taken, TakenList),
                body=(Outcome, OUTCOMES), errors=(400, 409, 413, 422, 503)), self.post_outcomes),
            (op("GET", "/v1/payments/{id}", "A payment's timeline", "read", Timeline, errors=(404,)), self.get_payment),
            (op("POST", "/v1/replay", "Recompute decisions", "read", ReplayAnswer, body=ReplayRequest,
                errors=(400, 404, 413, 422, 503)), Slow(self.post_replay)),
            (op("GET", "/v1/merchants/{id}", "A merchant's economics", "read", MerchantAnswer), self.get_merchant),
            (op("PUT", "/v1/merchants/{id}", "Configure a merchant", "admin", MerchantAnswer, body=Economics,
                headers=IDEMPOTENT, query={"why": "for the audit"}, errors=(400, 413, 422)), self.put_merchant),
            *self.models.table(),
            (op("GET", "/v1/features", "The live feature definitions", "read", FeatureList), self.get_features),
            (op("POST", "/v1/controls", "Write a finding into the journal", "admin", Taken, body=ControlRequest,
                headers=IDEMPOTENT, errors=(400, 413, 422)), self.post_control),
            *ExperimentDoors(self.system, self.allow).table(),
            *EvaluationDoors(self.system, self.allow).table(),
            (op("GET", "/", "Where to look", None, Welcome), self.welcome),
            (op("GET", "/healthz", "Is the process alive", None, Health), self.healthz),
            (op("GET", "/readyz", "Can it decide: model warm, journal writable, replay finished", None, Readiness,
                errors=(503,)), self.readyz),
            (op("GET", "/metrics", "Numbers for Prometheus", None, str, content_type="text/plain"), self.get_metrics),
            (op("GET", "/openapi.json", "This document", None, dict[str, Any]), self.get_openapi),
            (op("GET", "/docs", "This document, to read", None, str, content_type="text/html"), self.get_docs),
        ]  # fmt: skip
        return found


EXAMPLE_ATTEMPT: Final = {
    "attempt_id": "att_1",
    "payment": {
        "id": "pay_1",
        "amount": 12999,
        "currency": "EUR",
        "merchant_id": "shop_1",
        "payment_method": {"card": {"fingerprint": "fp_9c2b7a", "network": "visa", "issuer_country": "DE"}},
    },
}

EXAMPLE_DECLINE: Final = {"source": "acquirer", "event_id": "ans_1", "decline": {"network_response_code": "91"}}

OUTCOMES: Final = list[Outcome]

REPLAY_DECODER: Final = msgspec.json.Decoder(ReplayRequest)
CONTROL_DECODER: Final = msgspec.json.Decoder(ControlRequest)


def whole(text: str, *, param: str, low: int, high: int) -> int:
    """A whole number from a query, or an InputError."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not low <= int(text) <= high:
        raise InputError(f"{param} must be {low} to {high}", param=param, hint=f"?{param}={low}")
    return int(text)


def door(system: System, keys: KeyFile, *, on_failure: Callable[[Request, Exception], None]) -> Door:
    """The ASGI application of one system. It closes the system when the server has answered its last request."""
    doors = Doors(system, keys)

    async def durable(seq: int) -> None:
        await system.journal.writer.when_durable(seq)

    async def stop() -> None:
        system.close()

    return Door(
        {(operation.method, operation.path): handler for operation, handler in doors.table()},
        body_max=system.settings.body_bytes_max,
        durable=durable,
        on_stop=stop,
        on_error=on_failure,
        on_refusal=system.metrics.refused_for,
    )


__all__ = ["Doors", "door", "error_reply"]
