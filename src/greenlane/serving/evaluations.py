"""The door of off-policy evaluations: what a candidate would have earned on the decisions of a window."""

import hashlib
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from greenlane.errors import InputError, NotFound
from greenlane.jobs.valuing.value import Valued
from greenlane.payments.times import parse_rfc3339
from greenlane.serving.access import Grant, StoredKey
from greenlane.serving.bodies import read
from greenlane.serving.elsewhere import elsewhere
from greenlane.serving.http import Reply, Request, Slow, json_reply
from greenlane.serving.openapi import Operation, op
from greenlane.settings import write_whole
from greenlane.wiring import System

Candidate = Annotated[str, Meta(min_length=1, max_length=80)]


class EvaluationRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`effect` is what was to be shown, minor units per 1,000 payments: state it before the log is opened."""

    question: Literal["route", "challenge", "release", "threshold", "retry"]
    candidates: Annotated[tuple[Candidate, ...], Meta(min_length=1, max_length=8)]
    first: str = field(name="from")
    """RFC 3339; decisions made from then on, until `to`."""
    to: str
    effect: float | None = None


class Evaluation(Struct, frozen=True):
    id: str
    asked: EvaluationRequest
    journal_position: int
    """Everything up to this entry was read; of later ones what was durable by then."""
    evaluations: list[Valued]


class EvaluationList(Struct, frozen=True):
    data: list[str]


BODY: Final = msgspec.json.Decoder(EvaluationRequest)
FIELDS: Final = ("question", "candidates", "from", "to", "effect")
ID: Final = re.compile(r"evl_[0-9a-f]{16}")


class EvaluationDoors:
    """Kept under `reports/evaluations`; the same question on the same journal is the same evaluation."""

    def __init__(self, system: System, allow: Callable[[Request, Grant], StoredKey]):
        self.system, self.allow = system, allow

    @property
    def kept(self) -> Path:
        return self.system.places.root / "reports" / "evaluations"

    def found(self, request: Request) -> tuple[Path, bytes]:
        name = request.segments[3]
        path = self.kept / f"{name}.json"
        with suppress(FileNotFoundError):
            if ID.fullmatch(name):
                return path, path.read_bytes()
        raise NotFound(f"there is no evaluation {name}", param="id", hint="GET /v1/evaluations")

    def run(self, request: Request) -> Reply:
        """In another process, over what is durable."""
        self.allow(request, "admin")
        asked = read(request.body, BODY, fields=FIELDS)
        for name, text in (("from", asked.first), ("to", asked.to)):
            parse_rfc3339(text, param=f"$.{name}")
        journal = self.system.journal
        position = journal.position
        journal.writer.wait(position.seq, timeout_s=5)
        name = "evl_" + hashlib.blake2b(msgspec.json.encode((asked, position)), digest_size=8).hexdigest()
        path = self.kept / f"{name}.json"
        if not path.exists():
            found = msgspec.json.encode(Evaluation(name, asked, position.seq, self.valued(asked)))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, found)
        return Reply(200, path.read_bytes())

    def valued(self, asked: EvaluationRequest) -> list[Valued]:
        with tempfile.TemporaryDirectory() as room:
            told = Path(room) / "told.json"
            words = ["evaluations", "run", f"--data={self.system.places.root}", f"--question={asked.question}",
                     f"--from={asked.first}", f"--to={asked.to}", f"--json={told}",
                     *(f"--candidate={each}" for each in asked.candidates)]  # fmt: skip
            _, complaint = elsewhere(*words, *([] if asked.effect is None else [f"--effect={asked.effect}"]))
            if not told.exists():
                raise InputError(f"nothing was valued: {complaint}", code="nothing_to_value", hint="see the message")
            return msgspec.json.decode(told.read_bytes(), type=dict[str, list[Valued]])["evaluations"]

    def listed(self, request: Request) -> Reply:
        self.allow(request, "read")
        return json_reply(EvaluationList(sorted(path.stem for path in self.kept.glob("evl_*.json"))))

    def one(self, request: Request) -> Reply:
        self.allow(request, "read")
        return Reply(200, self.found(request)[1])

    def delete(self, request: Request) -> Reply:
        self.allow(request, "admin")
        path, answer = self.found(request)
        path.unlink(missing_ok=True)
        return Reply(200, answer)

    def table(self) -> list[tuple[Operation, Slow]]:
        one = "/v1/evaluations/{id}"
        return [
            (op("GET", "/v1/evaluations", "Evaluations that were made", "read", EvaluationList),
             Slow(self.listed)),
            (op("POST", "/v1/evaluations", "What candidates would have earned, valued on logged decisions", "admin",
                Evaluation, body=EvaluationRequest, errors=(400, 413, 422, 503)), Slow(self.run)),
            (op("GET", one, "One evaluation", "read", Evaluation, errors=(404,)), Slow(self.one)),
            (op("DELETE", one, "Forget an evaluation", "admin", Evaluation, errors=(404,)), Slow(self.delete)),
        ]  # fmt: skip
