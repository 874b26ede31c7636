"""What is known of each stored model: its card, its stage, and every move of an alias.

The journal's control entries are the truth (`registration`, `model`, `gates`), the artefacts the other half of it. The
table behind `ports.registry` is an index over both: delete it, and it is made again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from greenlane.decisions.control import ControlRecord, control_of
from greenlane.decisions.live import GATES, MODEL, REGISTRATION
from greenlane.models.artefact import Manifest
from greenlane.ports.journal import Entry
from greenlane.ports.registry import NOWHERE, Move, Registered, Registry

ROLES: Final = ("champion", "challenger", "shadow")
"""In the order in which a stage is named where a model has several."""


class Lineage(Struct, frozen=True, kw_only=True):
    """Where a model comes from; a part that its artefact does not say is empty."""

    journal_first_seq: int = 0
    journal_last_seq: int = 0
    label_cut_us: int = 0
    training_set: str = ""
    """Hash of every row of it."""
    feature_set: str = ""
    feature_versions: dict[str, str] = {}
    code: str = ""
    """The engine that registered it: the release, and a hash of the code that serves."""
    parent: str = ""


class Cost(Struct, frozen=True, kw_only=True):
    """What serving it costs, measured where it was registered."""

    bytes_on_disk: int
    memory_bytes: int = 0
    """Its arrays, or by how much the process grew when the net was opened."""
    load_ms: float
    """CPU time to load, verify, prove and warm."""
    p50_us: float
    """CPU time of one prediction, as the hot path asks for it."""
    p99_us: float
    predictions: int


class Card(Struct, frozen=True, kw_only=True):
    """A model's card, as far as promotion looks at it."""

    id: str
    kind: str
    family: str
    trainer: str
    names: tuple[str, ...]
    lineage: Lineage
    cost: Cost
    evaluation: dict[str, Any]
    """Of its manifest; the points of its curves are left there."""


CURVES: Final = frozenset({"precision_recall", "costs", "histogram_edges", "histogram_good", "histogram_fraud"})


def card_of(model_id: str, manifest: Manifest, cost: Cost, *, code: str, parent: str) -> Card:
    """The card of an artefact that was loaded just now."""
    made, journal = manifest.training_set, manifest.training_set.get("journal", {})
    return Card(
        id=model_id,
        kind=manifest.kind,
        family=manifest.family,
        trainer=manifest.trainer,
        names=manifest.names,
        lineage=Lineage(
            journal_first_seq=int(journal.get("first_seq", 0)),
            journal_last_seq=int(journal.get("last_seq", 0)),
            label_cut_us=int(made.get("label_cut_us", 0)),
            training_set=str(made.get("rows_hash", "")),
            feature_set=manifest.feature_set,
            feature_versions=manifest.feature_versions,
            code=code,
            parent=parent,
        ),
        cost=cost,
        evaluation={name: value for name, value in manifest.evaluation.items() if name not in CURVES},
    )


def registration_change(card: Card, *, who: str, why: str) -> ControlRecord:
    return ControlRecord(REGISTRATION, card.id, who, why, None, msgspec.to_builtins(card))


def bring_up_to_date(registry: Registry, controls: Sequence[Entry]) -> None:
    """Take in the control entries it does not have; an index of another journal, or of a tail that was lost, is made
    anew. Whoever is overtaken by another process that does the same looks again.

    `controls` are all of the journal's, in order.
    """
    while not _taken_in(registry, controls):
        """Another was quicker."""


def _taken_in(registry: Registry, controls: Sequence[Entry]) -> bool:
    seen, models, moves = registry.upto(), list[Registered](), list[Move]()
    anew = seen not in (NOWHERE, *(entry.position for entry in controls))
    new = [entry for entry in controls if anew or entry.seq > seen.seq]
    for entry in new:
        record = control_of(entry)
        if record.subject == REGISTRATION:
            models.append(registered(record, at_us=entry.ingest_us))
        elif record.subject in (MODEL, GATES):
            moves.append(move_of(record, entry))
    upto = controls[-1].position if controls else NOWHERE
    return upto == seen or registry.take(models, moves, seen=seen, upto=upto, anew=anew)


def registered(record: ControlRecord, *, at_us: int) -> Registered:
    card = msgspec.convert(record.after, Card)
    return Registered(
        id=card.id,
        kind=card.kind,
        family=card.family,
        registered_us=at_us,
        who=record.who,
        parent=card.lineage.parent,
        card=record.after,
    )


def move_of(record: ControlRecord, entry: Entry) -> Move:
    if record.subject == GATES:
        alias, model, verdicts = record.after["alias"], record.id, tuple(record.after["verdicts"])
    else:
        alias, model, verdicts = record.id, str(record.after or ""), ()
    return Move(
        seq=entry.seq,
        at_us=entry.ingest_us,
        subject=record.subject,
        alias=alias,
        model=model,
        before=str(record.before or ""),
        who=record.who,
        why=record.why,
        verdicts=verdicts,
    )


def stages(aliases: dict[str, str], moves: Iterable[Move]) -> dict[str, str]:
    """The stage of each model that an alias names or named: champion, challenger, shadow, retired.

    >>> went = Move(seq=1, at_us=1, subject="model", alias="fraud/champion", model="mdl_1", before="", who="", why="")
    >>> stages({"fraud/champion": "mdl_2", "fraud/shadow": "mdl_3"}, [went])
    {'mdl_1': 'retired', 'mdl_3': 'shadow', 'mdl_2': 'champion'}
    """
    found = {move.model: "retired" for move in moves if move.subject == MODEL and move.alias.endswith("/champion")}
    for role in reversed(ROLES):
        found.update((model, role) for alias, model in aliases.items() if model and alias.endswith(f"/{role}"))
    found.pop("", None)
    return found
