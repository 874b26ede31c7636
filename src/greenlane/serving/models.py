"""The models' doors: list, register, promote, roll back. What is slow happens before; a swap is between two requests.

Slow   load, verify, prove, warm (another thread); judge by the gates, measure (another process)
then   one control entry and one assignment, on the hot thread: no decision sees half of a change
"""

import secrets
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from greenlane.decisions.control import control_of
from greenlane.decisions.live import CHAMPION, rollback_change
from greenlane.errors import Conflict, ModelRefused
from greenlane.jobs.canary import end, move_alias, next_stage, stem_of
from greenlane.jobs.promoting import check_alias, gates_change, refuse_unless_passed
from greenlane.learning.gates import Verdict
from greenlane.learning.registry import Card, registration_change
from greenlane.ports.journal import Entry
from greenlane.serving.access import Grant, StoredKey
from greenlane.serving.bodies import idempotency_key, read
from greenlane.serving.elsewhere import elsewhere
from greenlane.serving.http import Reply, Request, Slow, json_reply
from greenlane.serving.openapi import IDEMPOTENT, Operation, op
from greenlane.wiring import System, model_path

MOVES_MAX: Final = 100


class ModelMove(Struct, frozen=True):
    alias: str
    model: str
    before: str | None
    who: str
    why: str
    seq: int


class ModelList(Struct, frozen=True):
    aliases: dict[str, str]
    stored: list[str]
    moves: list[ModelMove]


class MoveRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """`force` makes a champion past the gates; who did it, and why, is in the audit for good."""

    why: str
    alias: str = CHAMPION
    force: bool = False


class RegisterRequest(Struct, frozen=True, forbid_unknown_fields=True):
    why: str


class ChallengeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The next stage of a model's canary; `share_ppm` 0 ends it."""

    why: str
    share_ppm: int
    kind: str = "fraud"
    unit: Literal["card", "customer", "merchant", "payment"] = "card"


class Challenged(Struct, frozen=True):
    """The stage that runs now, "" where none does, and those that ended."""

    stage: str
    ended: list[str]
    seq: int


class Judged(NamedTuple):
    """What the gates said of a model beside this champion; () where they were not asked."""

    beside: str
    verdicts: tuple[Verdict, ...]


CHALLENGE_DECODER: Final = msgspec.json.Decoder(ChallengeRequest)
CHALLENGE_FIELDS: Final = ChallengeRequest.__struct_fields__
MOVE_DECODER: Final = msgspec.json.Decoder(MoveRequest)
MOVE_FIELDS: Final = ("why", "alias", "force")
REGISTER_DECODER: Final = msgspec.json.Decoder(RegisterRequest)
ERRORS: Final = (400, 404, 409, 413, 422, 503)


class ModelDoors:
    """Handlers over one system; `allow` says who may."""

    def __init__(self, system: System, allow: Callable[[Request, Grant], StoredKey]):
        self.system, self.allow = system, allow

    def list_models(self, request: Request) -> Reply:
        self.allow(request, "read")
        live = self.system.live
        moves = [
            ModelMove(record.id, str(record.after), record.before, record.who, record.why, seq)
            for seq, record in live.moves[-MOVES_MAX:]
        ]
        stored = sorted(path.name for path in self.system.places.models.glob("mdl_*"))
        return json_reply(ModelList(live.aliases, stored, moves))

    def measure(self, request: Request) -> Card:
        self.allow(request, "admin")
        read(request.body, REGISTER_DECODER, fields=("why",))
        model_path(self.system.places, request.segments[3])
        card: Card = self.elsewhere("card", request.segments[3], kind=Card)
        return card

    def register(self, request: Request) -> Reply:
        key, model_id = self.allow(request, "admin"), request.segments[3]
        event_id = idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))
        entry = self.system.journal.stored(key.id, event_id)
        if entry is None or control_of(entry).id != model_id:
            why = read(request.body, REGISTER_DECODER).why
            change = registration_change(request.prepared, who=key.id, why=why)
            entry = self.system.control(change, event_id=event_id, who=key.id)
        return json_reply(control_of(entry).after, durable_seq=entry.seq)

    def prepare(self, request: Request) -> Judged:
        """Load, verify and warm; judge, unless it is forced or takes no traffic."""
        self.allow(request, "admin")
        move, model_id = read(request.body, MOVE_DECODER, fields=MOVE_FIELDS), request.segments[3]
        kind = check_alias(move.alias)
        self.system.ready(move.alias, model_id)
        beside = self.system.live.aliases.get(move.alias, "")
        if move.force or move.alias != f"{kind}/champion" or beside == model_id:
            return Judged(beside, ())
        verdicts: tuple[Verdict, ...] = self.elsewhere(
            "gates", model_id, "--alias", move.alias, kind=tuple[Verdict, ...]
        )
        refuse_unless_passed(verdicts, model_id)
        return Judged(beside, verdicts)

    def promote(self, request: Request) -> Reply:
        key = self.allow(request, "admin")
        move, model_id = read(request.body, MOVE_DECODER, fields=MOVE_FIELDS), request.segments[3]
        event_id = idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))
        before = self.system.live.aliases.get(move.alias, "")
        beside, verdicts = request.prepared
        if verdicts and before not in (beside, model_id):
            raise Conflict("another champion was made meanwhile", param="model_id", hint="ask again: it is judged anew")
        if (verdicts or move.force) and self.system.journal.stored(key.id, event_id) is None:
            change = gates_change(
                verdicts, model_id=model_id, alias=move.alias, champion=before, who=key.id, why=move.why,
                forced=move.force,
            )  # fmt: skip
            self.system.control(change, event_id=f"gates/{event_id}", who=key.id)
        entry = move_alias(self.system, move.alias, model_id, why=move.why, who=key.id, event_id=event_id)
        return json_reply(moved(entry), durable_seq=entry.seq)

    def prepare_rollback(self, request: Request) -> None:
        """After a restart the model before is not loaded: no decision waits for that either."""
        self.allow(request, "admin")
        move = read(request.body, MOVE_DECODER, fields=MOVE_FIELDS)
        check_alias(move.alias)
        self.system.ready(move.alias, str(rollback_change(self.system.live, move.alias, who="", why="").after))

    def rollback(self, request: Request) -> Reply:
        key = self.allow(request, "admin")
        move = read(request.body, MOVE_DECODER, fields=MOVE_FIELDS)
        event_id = idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))
        stored = self.system.journal.stored(key.id, event_id)
        if stored is not None and (control_of(stored).id, control_of(stored).why) == (move.alias, move.why):
            return json_reply(moved(stored), durable_seq=stored.seq)
        change = rollback_change(self.system.live, move.alias, who=key.id, why=move.why)
        entry = move_alias(self.system, move.alias, str(change.after), why=move.why, who=key.id, event_id=event_id)
        return json_reply(moved(entry), durable_seq=entry.seq)

    def prepare_challenge(self, request: Request) -> None:
        self.allow(request, "admin")
        asked = read(request.body, CHALLENGE_DECODER, fields=CHALLENGE_FIELDS)
        check_alias(f"{asked.kind}/challenger")
        self.system.ready(f"{asked.kind}/challenger", request.segments[3])

    def challenge(self, request: Request) -> Reply:
        """Another stage begins in the moment in which the one before ends."""
        key, model_id = self.allow(request, "admin"), request.segments[3]
        asked, system = read(request.body, CHALLENGE_DECODER), self.system
        event_id = idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))
        told = self.challenged(asked, model_id, who=key.id, event_id=event_id)
        if told is not None:
            return json_reply(told, durable_seq=told.seq)
        stage = None
        if asked.share_ppm:
            stage = next_stage(system, model_id, kind=asked.kind, share_ppm=asked.share_ppm, unit=asked.unit)
        end(system, asked.kind, why=asked.why, who=key.id, event_id=event_id)
        if stage is not None:
            alias = f"{asked.kind}/challenger"
            if system.live.aliases.get(alias) != model_id:
                system.promote(model_id, event_id=f"{event_id}/alias", who=key.id, why=asked.why, alias=alias)
            system.change_experiment(stage, why=asked.why, who=key.id, event_id=event_id)
        seq = system.journal.position.seq
        told = self.challenged(asked, model_id, who=key.id, event_id=event_id) or Challenged("", [], seq)
        return json_reply(told, durable_seq=seq)

    def challenged(self, asked: ChallengeRequest, model_id: str, *, who: str, event_id: str) -> Challenged | None:
        """What was done under this key; None where nothing was yet. Asked again, no stage ends and none begins."""
        stored, known = self.system.journal.stored, self.system.experiments.known
        began = stored(who, event_id)
        ends = {name: entry.seq for name in known if (entry := stored(who, f"{event_id}/{name}")) is not None}
        if began is None:
            return Challenged("", list(ends), max(ends.values())) if ends and not asked.share_ppm else None
        record = control_of(began)
        same = record.id.startswith(stem_of(model_id)) and record.why == asked.why
        if not same or record.after["slot_ppm"][1] != 2 * asked.share_ppm:
            raise Conflict("this key was used for something else", param="idempotency-key", hint="choose another key")
        return Challenged(record.id, list(ends), began.seq)

    def elsewhere(self, verb: str, *words: str, kind: Any) -> Any:
        """What `greenlane models VERB --json` says."""
        told, complaint = elsewhere("models", verb, *words, "--data", str(self.system.places.root), "--json")
        try:
            return msgspec.convert(msgspec.json.decode(told, type=dict[str, Any])[verb], kind)
        except (msgspec.MsgspecError, KeyError) as error:
            raise ModelRefused(f"models {verb} failed: {complaint}", code="model_refused", param="model_id") from error

    def table(self) -> list[tuple[Operation, Callable[[Request], Reply] | Slow]]:
        return [
            (op("GET", "/v1/models", "Models, aliases and their moves", "read", ModelList), self.list_models),
            (op("POST", "/v1/models/{id}/register", "Measure a stored model, and write its card down", "admin", Card,
                body=RegisterRequest, headers=IDEMPOTENT, errors=ERRORS), Slow(self.measure, then=self.register)),
            (op("POST", "/v1/models/{id}/promote", "Let an alias name a model; a champion has to pass the gates",
                "admin", ModelMove, body=MoveRequest, headers=IDEMPOTENT, errors=ERRORS),
             Slow(self.prepare, then=self.promote)),
            (op("POST", "/v1/models/{id}/challenge", "Let a model decide a share of all: its canary's next stage",
                "admin", Challenged, body=ChallengeRequest, headers=IDEMPOTENT, errors=ERRORS),
             Slow(self.prepare_challenge, then=self.challenge)),
            (op("POST", "/v1/models/rollback", "Back to the model before the last move", "admin", ModelMove,
                body=MoveRequest, headers=IDEMPOTENT, errors=ERRORS), Slow(self.prepare_rollback, then=self.rollback)),
        ]  # fmt: skip


def moved(entry: Entry) -> ModelMove:
    record = control_of(entry)
    return ModelMove(record.id, str(record.after), record.before, record.who, record.why, entry.seq)
