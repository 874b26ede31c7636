"""Moves of aliases: judged by the gates where a champion is made, one control entry each, undone in one step."""

from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from greenlane.decisions.control import ControlRecord
from greenlane.decisions.live import GATES, rollback_change
from greenlane.errors import Conflict, InputError, ModelRefused
from greenlane.jobs.asking import server_client
from greenlane.jobs.canary import canary_readout, move_alias
from greenlane.jobs.registering import measured, register, registered_card, unserved
from greenlane.jobs.shadowing import shadow_reports
from greenlane.learning.gates import Evidence, Verdict, failed, judge
from greenlane.learning.registry import ROLES
from greenlane.learning.shadow import ShadowReport
from greenlane.wiring import Places, Reader, is_running, open_reader, open_system

REFUSED: Final = "gates_not_passed"
ASKED_S_MAX: Final = 180.0
"""So long may the server take: longer than it lets the gates, so that nothing moves after we gave up."""


def check_alias(alias: str) -> str:
    """Its kind.

    >>> check_alias("fraud/shadow")
    'fraud'
    >>> check_alias("fraud/prod")
    Traceback (most recent call last):
    greenlane.errors.InputError: 'fraud/prod' is no alias (at $.alias)
      hint: KIND/champion, KIND/challenger or KIND/shadow, KIND as its artefact says
    """
    kind, _, role = alias.partition("/")
    if not kind or role not in ROLES:
        hint = "KIND/champion, KIND/challenger or KIND/shadow, KIND as its artefact says"
        raise InputError(f"{alias!r} is no alias", param="$.alias", hint=hint)
    return kind


def evidence_of(reader: Reader, model_id: str, *, kind: str) -> Evidence:
    """All that the gates look at. NotFound where there is no such model; one that cannot be loaded is a verdict."""
    card, refused = registered_card(reader, model_id), ""
    try:
        fresh = measured(reader, model_id)
        card = card or fresh
    except ModelRefused as error:
        if card is None:
            raise
        refused = error.message
    champion = reader.live.aliases.get(f"{kind}/champion", "")
    champion = "" if champion == model_id else champion
    return Evidence(
        candidate=card,
        refused=refused,
        unserved=unserved(reader, card),
        champion=(registered_card(reader, champion) or measured(reader, champion)) if champion else None,
        shadow=shadow_of(reader, model_id, champion),
        canary=canary_readout(reader, model_id),
    )


def shadow_of(reader: Reader, model_id: str, champion: str) -> ShadowReport | None:
    """The report of this model beside the champion of today."""
    found = [one for one in shadow_reports(reader) if (one.shadow, one.champion) == (model_id, champion)]
    return found[-1] if found else None


def verdicts_of(reader: Reader, model_id: str, alias: str) -> tuple[Verdict, ...]:
    """What the gates say of making a model champion; () of any other alias, which takes no traffic."""
    kind = check_alias(alias)
    if alias != f"{kind}/champion":
        return ()
    return judge(evidence_of(reader, model_id, kind=kind))


def refuse_unless_passed(verdicts: tuple[Verdict, ...], model_id: str) -> None:
    standing = [verdict for verdict in verdicts if verdict.gate in failed(verdicts)]
    if standing:
        names = ", ".join(verdict.gate for verdict in standing)
        raise ModelRefused(
            f"{model_id} is not promoted: {len(standing)} of {len(verdicts)} gates failed: {names}",
            code=REFUSED,
            param="model_id",
            hint=f"{standing[0].gate}: {standing[0].reason}; see `greenlane models gates {model_id}`, or force it",
        )


def gates_change(
    verdicts: tuple[Verdict, ...], *, model_id: str, alias: str, champion: str, who: str, why: str, forced: bool
) -> ControlRecord:
    """What the gates said of a promotion that goes ahead, or that they were not asked, for the audit."""
    after = {"alias": alias, "forced": forced, "verdicts": msgspec.to_builtins(verdicts)}
    return ControlRecord(
        GATES, model_id, who, f"{'forced' if forced else 'gates passed'}: {why}", champion or None, after
    )


def promote(
    directory: Path,
    model_id: str,
    *,
    alias: str,
    why: str,
    force: bool = False,
    verdicts: tuple[Verdict, ...] | None = None,
) -> None:
    """The alias names this model from the next decision on: through the server where one runs, else at its next start.

    A champion is made past the gates only by force. `verdicts`: what they said of evidence that the caller has; a
    server asks them itself. ModelRefused, NotFound.
    """
    check_alias(alias)
    if is_running(Places(directory)):
        ask(directory, f"/v1/models/{model_id}/promote", {"why": why, "alias": alias, "force": force})
        return
    if force or verdicts is None:
        verdicts = () if force else verdicts_of(open_reader(directory), model_id, alias)
    refuse_unless_passed(verdicts, model_id)
    with closing(open_system(directory)) as system:
        at = f"{alias}/{system.journal.position}"
        system.ready(alias, model_id)
        if verdicts or force:
            change = gates_change(
                verdicts, model_id=model_id, alias=alias, champion=system.live.aliases.get(alias, ""), who="cli",
                why=why, forced=force,
            )  # fmt: skip
            system.control(change, event_id=f"gates/{at}", who="cli")
        move_alias(system, alias, model_id, why=why, who="cli", event_id=at)


def introduce(directory: Path, model_id: str, *, kind: str, why: str) -> str:
    """Register a model just made; then it is champion if there is none yet, else in the shadow of the one there is.

    The first has nothing to be compared with, and any probability is better than none: gates are told, not asked.
    """
    register(directory, model_id, why=why)
    first = not open_reader(directory).live.aliases.get(f"{kind}/champion")
    alias = f"{kind}/{'champion' if first else 'shadow'}"
    promote(directory, model_id, alias=alias, why=why, force=first)
    return alias


def challenge(directory: Path, model_id: str, *, kind: str, share_ppm: int, unit: str, why: str) -> dict[str, Any]:
    """The next stage of the model's canary, on the server that runs; a share of 0 ends it."""
    if not is_running(Places(directory)):
        raise Conflict(f"no server runs on {directory}", hint="a canary needs traffic: greenlane serve")
    body = {"why": why, "share_ppm": share_ppm, "kind": kind, "unit": unit}
    return ask(directory, f"/v1/models/{model_id}/challenge", body)


def rollback(directory: Path, *, alias: str, why: str) -> str:
    """Back to the model that the alias named before its last move; its id."""
    check_alias(alias)
    reader = open_reader(directory)
    previous = str(rollback_change(reader.live, alias, who="cli", why=why).after)
    if is_running(reader.places):
        return str(ask(directory, "/v1/models/rollback", {"why": why, "alias": alias})["model"])
    with closing(open_system(directory)) as system:
        at = f"{alias}/{system.journal.position}"
        move_alias(system, alias, previous, why=why, who="cli", event_id=at)
    return previous


def ask(directory: Path, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return server_client(Places(directory), timeout_s=ASKED_S_MAX).call("POST", path, body, dict[str, Any])
