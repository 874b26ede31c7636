"""Impacts out of the JSON files that other verbs write."""

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.errors import InputError
from greenlane.experiments.impact import STEPS, Arm, Impact, bridge_of_arms, bridge_of_summary, named_groups
from greenlane.jobs.valuing.value import Valued

ARM_ROWS_MAX: Final = 2_000_000


class ArmRows(Struct, frozen=True):
    """One arm of an experiment as JSON: a list per column, an entry per payment."""

    unit: list[int]
    attempts: list[int]
    attempts_approved: list[int]
    approved: list[int]
    money: dict[str, list[float]]
    """By step of the bridge, minor units; a step that is not given is nothing."""
    groups: dict[str, list[str]] = {}
    """By kind: route, issuer, segment."""

    def rows(self, which: Any = slice(None)) -> Arm:
        columns = [self.money.get(step, [0.0] * len(self.unit)) for step in STEPS]
        sizes = {len(self.unit), len(self.attempts), len(self.attempts_approved), len(self.approved)}
        sizes |= {len(column) for column in columns}
        if len(sizes) != 1 or len(self.unit) > ARM_ROWS_MAX:
            hint = "an entry per payment in each column"
            raise InputError("the columns of an arm differ in length", code="invalid_arm", param="$.arms", hint=hint)
        return Arm(
            money=np.array(columns, np.float64).T[which],
            attempt_approved=np.array([self.attempts_approved, self.attempts], np.float64).T[which],
            payment_approved=np.array(self.approved, np.float64)[which],
            unit=np.array(self.unit, np.int64)[which],
        )


class Arms(Struct, frozen=True):
    """`{"experiment", "currency", "arms": {"control": {...}, "treatment": {...}}}`: the first arm is the old one."""

    experiment: str
    currency: str
    arms: dict[str, ArmRows]


def impacts_in(file: Path, *, policy: str = "joint", baseline: str | None = None) -> list[Impact]:
    """Raises InputError where the file is none of the three kinds."""
    try:
        said = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}", param="FILE", hint="see --help") from error
    kind = next((key for key in ("evaluations", "policies", "arms") if isinstance(said, dict) and key in said), "")
    try:
        if kind == "evaluations":
            return [one.impact for one in msgspec.convert(said["evaluations"], list[Valued], strict=False)]
        if kind == "policies":
            return [bridge_of_summary(said, policy, baseline or said["best_baseline"])]
        if kind == "arms":
            return impacts_of_arms(msgspec.convert(said, Arms))
    except (msgspec.ValidationError, KeyError) as error:
        raise InputError(f"{file}: {error}", param="FILE", hint="written by another version?") from error
    hint = "the JSON of `evaluations run`, of `evaluate policies`, or arms of an experiment"
    raise InputError(f"{file} holds no impact", param="FILE", hint=hint)


def impacts_of_arms(said: Arms) -> list[Impact]:
    """Every arm against the first."""
    (old, control), *others = said.arms.items()
    found = []
    for name, treatment in others:
        groups = {kind: grouped(control, treatment, kind) for kind in control.groups if kind in treatment.groups}
        bridge = bridge_of_arms(control.rows(), treatment.rows())
        title = f"{said.experiment}: {name} instead of {old}"
        found.append(Impact(title=title, source="experiment", currency=said.currency, bridge=bridge, groups=groups))
    return found


def grouped(control: ArmRows, treatment: ArmRows, kind: str) -> dict[str, Any]:
    both = control.groups[kind] + treatment.groups[kind]
    found, cut = {}, len(control.unit)
    for name, rows in named_groups(both).items():
        sides = (control.rows(rows[:cut]), treatment.rows(rows[cut:]))
        if all(len(np.unique(side.unit)) > 1 for side in sides):
            found[name] = bridge_of_arms(*sides)
    return found
