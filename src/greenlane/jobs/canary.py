"""A canary: a model decides a small, stable share of the payments, beside as many that the champion decides.

Each stage is an experiment of its own (`canary.MODEL.STAGE`): another share is another stratum with a fresh split, and
nothing is pooled over them. Guardrails that break pause the model's arm, which sends its payments back to the champion.
"""

from typing import Final

from msgspec.structs import replace

from greenlane.errors import Conflict, InputError
from greenlane.experiments.readout import fold, readout
from greenlane.experiments.tally import Tally
from greenlane.jobs.experimenting import kept_tallies
from greenlane.journal.sequencer import folded
from greenlane.learning.canary import CanaryReadout, StageReadout
from greenlane.policy.arms import PPM, Arm, Experiment, Otherwise, Rail, UnitKind
from greenlane.policy.running import Running
from greenlane.ports.journal import Entry
from greenlane.wiring import Reader, System

MODEL_ARM: Final = "model"
RAILS: Final = (
    Rail(metric="payment_approval", tolerated=0.01),
    Rail(metric="challenge_rate", tolerated=0.02),
    Rail(metric="expected_loss"),
    Rail(metric="latency_us", tolerated=500.0),
    Rail(metric="early_reports"),
    Rail(metric="forbidden_retries"),
)
"""What ends a stage by itself. The expected loss is that of the champion at its start, for both arms."""


def stem_of(model_id: str) -> str:
    """
    >>> stem_of("mdl_0123456789abcdef")
    'canary.0123456789ab.'
    """
    return f"canary.{model_id.removeprefix('mdl_')[:12]}."


def stages_of(running: Running, model_id: str) -> list[Experiment]:
    """In the order in which they were started."""
    stem = stem_of(model_id)
    found = [experiment for name, experiment in running.known.items() if name.startswith(stem)]
    return sorted(found, key=lambda stage: int(stage.id.removeprefix(stem)))


def stage(model_id: str, *, kind: str, share_ppm: int, number: int, unit: UnitKind = "card") -> Experiment:
    """One stage: the model has this share of all units, and a control of the same size beside it.

    >>> found = stage("mdl_0123456789abcdef", kind="fraud", share_ppm=10_000, number=1)
    >>> found.id, found.slot_ppm, [arm.otherwise.fraud_model for arm in found.arms]
    ('canary.0123456789ab.1', (0, 20000), [None, 'mdl_0123456789abcdef'])
    """
    if not 0 < share_ppm <= PPM // 2:
        hint = "above 0 and up to 500,000 ppm: a control of the same size stands beside it"
        raise InputError(f"{share_ppm} ppm is no share of a canary", param="$.share_ppm", hint=hint)
    override = Otherwise(approval_model=model_id) if kind == "approval" else Otherwise(fraud_model=model_id)
    return Experiment(
        id=f"{stem_of(model_id)}{number}",
        unit=unit,
        arms=(Arm("champion", PPM // 2), Arm(MODEL_ARM, PPM // 2, override)),
        layer=f"canary.{kind}",
        slot_ppm=(0, 2 * share_ppm),
        guardrails=RAILS,
        state="running",
    )


def next_stage(system: System, model_id: str, *, kind: str, share_ppm: int, unit: UnitKind) -> Experiment:
    """Conflict where a guardrail ended the model's canary, or another model has one."""
    for other in under_way(system, kind):
        if not other.id.startswith(stem_of(model_id)):
            hint = f"end it first: greenlane models challenge {model_id} --share 0"
            raise Conflict(f"{other.id} is {other.state}", param="model_id", hint=hint)
    earlier = stages_of(system.experiments, model_id)
    if any(MODEL_ARM in found.paused_arms for found in earlier):
        raise Conflict(
            f"a guardrail ended {earlier[-1].id}", param="model_id", hint="make another model; what it showed stays"
        )
    return stage(model_id, kind=kind, share_ppm=share_ppm, number=len(earlier) + 1, unit=unit)


def under_way(system: System, kind: str) -> list[Experiment]:
    here = (one for one in system.experiments.known.values() if one.layer == f"canary.{kind}")
    return [one for one in here if one.state in ("running", "paused")]


def end(system: System, kind: str, *, why: str, who: str, event_id: str) -> list[str]:
    """Stop the canary of this kind, paused or not: its payments go back to the champion with the next decision."""
    ended = under_way(system, kind)
    for one in ended:
        stopped = replace(one, state="stopped")
        system.change_experiment(stopped, why=why, who=who, event_id=f"{event_id}/{one.id}")
    return [one.id for one in ended]


def move_alias(system: System, alias: str, model_id: str, *, why: str, who: str, event_id: str) -> Entry:
    """Promote or roll back. A champion that changes ends its canary first: what the stage compares is gone."""
    system.ready(alias, model_id)  # or nothing happens
    kind, _, role = alias.partition("/")
    if role == "champion" and system.live.aliases.get(alias) != model_id:
        end(system, kind, why=f"{alias} becomes {model_id}", who=who, event_id=event_id)
    return system.promote(model_id, event_id=event_id, who=who, why=why, alias=alias)


def canary_readout(reader: Reader, model_id: str) -> CanaryReadout | None:
    """Of all stages that the model went through, each by itself; None where there was none."""
    stages = stages_of(folded(Running(), reader.store.controls()), model_id)
    if not stages:
        return None
    tallies, after_seq = kept_tallies(reader)
    for entry in reader.entries(after_seq=after_seq):
        fold(tallies, entry)
    return CanaryReadout(model=model_id, stages=tuple(read_stage(one, tallies.of.get(one.id)) for one in stages))


def read_stage(found: Experiment, tally: Tally | None) -> StageReadout:
    """What the guardrails of one stage see; a stage that nobody was exposed to has no tally."""
    names = [arm.name for arm in found.arms]
    counts = [0 if tally is None else round(tally.arms[name].total("exposed")) for name in names]
    rails = readout(tally, now_us=tally.ended_us).guardrails if tally is not None and all(counts) else []
    broken = () if tally is None else tuple(pause.metric for pause in tally.pauses if pause.arm == MODEL_ARM)
    return StageReadout(
        experiment=found.id,
        share_ppm=found.slot_ppm[1] // 2,
        state=found.state,
        control=counts[0],
        treatment=counts[names.index(MODEL_ARM)],
        breached=broken or (("paused",) if MODEL_ARM in found.paused_arms else ()),
        harms={rail.metric: rail.harm for rail in rails if rail.arm == MODEL_ARM},
    )
