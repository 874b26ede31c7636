"""The door of experiments: create, start, ramp, pause and stop them, and read what they show."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from greenlane.errors import Conflict, InputError, NotFound
from greenlane.jobs.experimenting import Experiment, Readout, page, readout_of
from greenlane.ports.journal import Entry
from greenlane.serving.access import Grant, StoredKey
from greenlane.serving.bodies import idempotency_key, read
from greenlane.serving.http import Reply, Request, Slow
from greenlane.serving.openapi import IDEMPOTENT, Operation, op
from greenlane.wiring import System


class ExperimentList(Struct, frozen=True):
    data: list[Experiment]
    holdout_ppm: int
    """Of all units: in no experiment. Set by the control `holdout`."""


class StateRequest(Struct, frozen=True, forbid_unknown_fields=True):
    why: Annotated[str, Meta(min_length=1, max_length=300)]
    arm: str | None = None
    """Of `pause` and `resume`: only this one; its units do what whoever is in no experiment does."""


class Changed(Struct, frozen=True):
    experiment: Experiment
    seq: int


class Allow(Protocol):
    def __call__(self, request: Request, scope: Grant) -> StoredKey: ...


BODY: Final = msgspec.json.Decoder(Experiment)
STATE: Final = msgspec.json.Decoder(StateRequest)
FIELDS: Final = Experiment.__struct_fields__
Operations = list[tuple[Operation, Callable[[Request], Reply] | Slow]]


class ExperimentDoors:
    def __init__(self, system: System, allow: Allow):
        self.system, self.allow = system, allow

    def known(self, request: Request) -> Experiment:
        found = self.system.experiments.known.get(request.segments[3])
        if found is None:
            known = ", ".join(self.system.experiments.known) or "none yet"
            raise NotFound(f"there is no experiment {request.segments[3]}", param="id", hint=f"known: {known}")
        return found

    def listed(self, request: Request) -> Reply:
        self.allow(request, "read")
        running = self.system.experiments
        return Reply(200, msgspec.json.encode(ExperimentList(list(running.known.values()), running.holdout_ppm)))

    def one(self, request: Request) -> Reply:
        self.allow(request, "read")
        return Reply(200, msgspec.json.encode(self.known(request)))

    def prepare(self, request: Request) -> None:
        """The slow half, on another thread: what the arms need is loaded, verified and warmed."""
        self.allow(request, "admin")
        self.system.prepare(
            read(request.body, BODY, fields=FIELDS) if len(request.segments) < 5 else self.known(request)
        )

    def create(self, request: Request) -> Reply:
        told = read(request.body, BODY, fields=FIELDS)
        if told.id in self.system.experiments.known and self.stored(request) is None:
            raise Conflict(f"there is an experiment {told.id}", param="$.id", hint="PUT changes it")
        return self.change(request, replace(told, state="draft", paused_arms=()), "created over the API")

    def put(self, request: Request) -> Reply:
        """A draft may change altogether; one that started only grows or shrinks, and keeps its state."""
        told, before = read(request.body, BODY, fields=FIELDS), self.known(request)
        if told.id != before.id:
            raise InputError("the id in the body is another one", param="$.id", hint=before.id)
        after = replace(told, state=before.state, paused_arms=before.paused_arms)
        if before.state != "draft" and after != replace(before, slot_ppm=told.slot_ppm):
            raise Conflict("what has started keeps its arms", param="$", hint="change slot_ppm only, or stop it")
        return self.change(request, after, request.parameters.get("why", "changed over the API"))

    def delete(self, request: Request) -> Reply:
        before = self.known(request)
        if before.state != "draft":
            raise Conflict(f"{before.id} has started", param="id", hint="stop it: what it showed stays")
        key = self.allow(request, "admin")
        entry = self.system.change_experiment(
            None, why="taken back", who=key.id, event_id=self.event_id(request), name=before.id
        )
        return self.answered(before, entry.seq)

    def start(self, request: Request) -> Reply:
        return self.moved(request, "running", ("draft", "paused", "running"))

    def stop(self, request: Request) -> Reply:
        return self.moved(request, "stopped", ("running", "paused", "stopped"))

    def pause(self, request: Request) -> Reply:
        """All of it, or one arm."""
        told, before = read(request.body, STATE, fields=StateRequest.__struct_fields__), self.known(request)
        if told.arm is None:
            return self.moved(request, "paused", ("running", "paused"))
        self.check_arm(before, told.arm)
        self.check_state(before, ("running", "paused"))
        arms = dict.fromkeys((*before.paused_arms, told.arm))
        return self.change(request, replace(before, paused_arms=tuple(arms)), told.why)

    def resume(self, request: Request) -> Reply:
        told, before = read(request.body, STATE, fields=StateRequest.__struct_fields__), self.known(request)
        if told.arm is None:
            return self.moved(request, "running", ("paused", "running"))
        self.check_arm(before, told.arm)
        arms = tuple(arm for arm in before.paused_arms if arm != told.arm)
        return self.change(request, replace(before, paused_arms=arms), told.why)

    def check_arm(self, experiment: Experiment, arm: str) -> None:
        if experiment.named(arm) is None:
            names = ", ".join(each.name for each in experiment.arms)
            raise InputError(f"{experiment.id} has no arm {arm}", param="$.arm", hint=f"one of {names}")

    def moved(self, request: Request, state: str, allowed: tuple[str, ...]) -> Reply:
        told, before = read(request.body, STATE, fields=StateRequest.__struct_fields__), self.known(request)
        if self.stored(request) is None:
            self.check_state(before, allowed)
        return self.change(request, replace(before, state=msgspec.convert(state, STATES)), told.why)

    def check_state(self, experiment: Experiment, allowed: tuple[str, ...]) -> None:
        if experiment.state not in allowed:
            hint = f"it has to be {' or '.join(allowed)}"
            raise Conflict(f"{experiment.id} is {experiment.state}", param="id", hint=hint)

    def change(self, request: Request, after: Experiment, why: str) -> Reply:
        """What is so already is not written again: every change ends the policy epoch."""
        key = self.allow(request, "admin")
        if after == self.system.experiments.known.get(after.id) and self.stored(request) is None:
            return self.answered(after, self.system.journal.position.seq)
        entry = self.system.change_experiment(after, why=why, who=key.id, event_id=self.event_id(request))
        return self.answered(after, entry.seq)

    def stored(self, request: Request) -> Entry | None:
        """The entry that this key made before."""
        key, given = self.allow(request, "admin"), request.header(b"idempotency-key")
        return self.system.journal.stored(key.id, self.event_id(request)) if given else None

    def event_id(self, request: Request) -> str:
        return idempotency_key(request.header(b"idempotency-key"), secrets.token_hex(8))

    def answered(self, experiment: Experiment, seq: int) -> Reply:
        return Reply(200, msgspec.json.encode(Changed(experiment, seq)), durable_seq=seq)

    def readout(self, request: Request) -> Reply:
        self.allow(request, "read")
        return Reply(200, msgspec.json.encode(self.shown(request.segments[3])))

    def page(self, request: Request) -> Reply:
        self.allow(request, "read")
        return Reply(200, page(self.shown(request.segments[2])).encode(), b"text/html; charset=utf-8")

    def shown(self, name: str) -> Readout:
        journal = self.system.journal
        journal.writer.wait(journal.position.seq, timeout_s=5)  # a readout reads what is durable
        return readout_of(self.system.places.root, name)

    def table(self) -> Operations:
        key: dict[str, Any] = {"headers": IDEMPOTENT}
        wrong: dict[str, Any] = key | {"errors": (400, 404, 409, 413, 422)}
        one = "/v1/experiments/{id}"
        return [
            (op("GET", "/v1/experiments", "All experiments", "read", ExperimentList), self.listed),
            (op("POST", "/v1/experiments", "Create an experiment, as a draft", "admin", Changed, body=Experiment,
                **wrong), Slow(self.prepare, then=self.create)),
            (op("GET", one, "One experiment", "read", Experiment, errors=(404,)), self.one),
            (op("PUT", one, "Change a draft, or ramp what runs", "admin", Changed, body=Experiment,
                query={"why": "for the audit"}, **wrong), Slow(self.prepare, then=self.put)),
            (op("DELETE", one, "Take a draft back", "admin", Changed, errors=(404, 409)), self.delete),
            (op("POST", f"{one}/start", "Start, or go on", "admin", Changed, body=StateRequest, **wrong),
             Slow(self.prepare, then=self.start)),
            (op("POST", f"{one}/stop", "Stop for good", "admin", Changed, body=StateRequest, **wrong), self.stop),
            (op("POST", f"{one}/pause", "Pause all of it, or one arm", "admin", Changed, body=StateRequest, **wrong),
             self.pause),
            (op("POST", f"{one}/resume", "Take a pause back", "admin", Changed, body=StateRequest, **wrong),
             Slow(self.prepare, then=self.resume)),
            (op("GET", f"{one}/readout", "What it shows by now", "read", Readout, errors=(404, 503)),
             Slow(self.readout)),
            (op("GET", "/experiments/{id}", "The same as a page", "read", str, content_type="text/html",
                errors=(404, 503)), Slow(self.page)),
        ]  # fmt: skip


STATES: Final = Experiment.__annotations__["state"]
