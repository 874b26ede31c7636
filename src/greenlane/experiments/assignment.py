"""Who gets which arm: a salted hash of the unit, so that no list of assignments has to be kept.

A unit's point in a layer is uniform in [0, 2^32) and depends on the salt, the layer and the unit alone. Experiments of
one layer take disjoint slots of it, so nobody is in two of them; different layers are independent. Within an experiment
the arm comes from a second hash, so a slot that grows moves nobody between arms. The hold-out is taken from every
experiment alike.
"""

import hashlib
from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Final, Literal

from msgspec import Struct

from greenlane.errors import InputError

PPM: Final = 1_000_000
UnitKind = Literal["card", "customer", "merchant", "payment", "cell"]


class Arm(Struct, frozen=True):
    name: str
    share_ppm: int


class Experiment(Struct, frozen=True, kw_only=True):
    """A slot of a layer, split into arms; the first arm is the control."""

    id: str
    unit: UnitKind
    """What is randomised. A cell is switched back and forth in time (`switchback_unit`)."""
    arms: tuple[Arm, ...]
    layer: str = "default"
    slot_ppm: tuple[int, int] = (0, PPM)
    """From, to: the part of the layer that takes part."""
    excludes: tuple[str, ...] = ()
    """Experiments of other layers whose units do not take part in this one."""


class Exposure(Struct, frozen=True):
    """What is logged, and all that is analysed: the arm was able to matter for this unit."""

    experiment: str
    arm: str
    unit: str


class Assignment:
    """The experiments that run at one time.

    >>> halves = (Arm("control", 500_000), Arm("treatment", 500_000))
    >>> running = Assignment("2026", [Experiment(id="routes", unit="card", arms=halves)], holdout_ppm=50_000)
    >>> running.arm("routes", "card_7"), running.arm("routes", "card_9"), running.arm("routes", "card_7")
    ('treatment', 'control', 'treatment')
    """

    def __init__(self, salt: str, experiments: list[Experiment], *, holdout_ppm: int = 0):
        self.salt, self.holdout_ppm = salt, holdout_ppm
        self.experiments: dict[str, Experiment] = {}
        for experiment in experiments:
            self._check(experiment)
            self.experiments[experiment.id] = experiment
        check_layers(experiments)

    def _check(self, experiment: Experiment) -> None:
        if experiment.id in self.experiments:
            raise InputError(f"two experiments are called {experiment.id}", param="id")
        start, end = experiment.slot_ppm
        if not 0 <= start < end <= PPM:
            raise InputError(f"{experiment.id}: a slot lies within 0 to {PPM} ppm", param="slot_ppm")
        shares = [arm.share_ppm for arm in experiment.arms]
        if len(shares) < 2 or min(shares) < 1 or sum(shares) != PPM:
            hint = "two arms or more, each with a share; shares sum to 1,000,000 ppm"
            raise InputError(f"{experiment.id}: the arms are no split", param="arms", hint=hint)
        for other in experiment.excludes:
            if other not in self.experiments:
                hint = "an experiment excludes those listed before it"
                raise InputError(f"{experiment.id} cannot exclude {other}", param="excludes", hint=hint)

    def is_held_out(self, unit: str) -> bool:
        """Outside every experiment: what the sum of all changes is measured against."""
        return point_ppm(self.salt, "holdout", unit) < self.holdout_ppm

    def arm(self, experiment_id: str, unit: str) -> str | None:
        """The unit's arm; None where it does not take part."""
        experiment = self.experiments[experiment_id]
        start, end = experiment.slot_ppm
        if not start <= point_ppm(self.salt, f"layer:{experiment.layer}", unit) < end or self.is_held_out(unit):
            return None
        if any(self.arm(other, unit) is not None for other in experiment.excludes):
            return None
        point = point_ppm(self.salt, f"arm:{experiment.id}", unit)
        for arm in experiment.arms:
            point -= arm.share_ppm
            if point < 0:
                return arm.name
        return None

    def exposure(self, experiment_id: str, unit: str, *, actions: Mapping[str, Hashable]) -> Exposure | None:
        """The entry to log, given what each arm would do now; None where all would do the same.

        Who could not be treated differently only adds noise. Asking every arm, and not only the unit's own, keeps the
        choice of who is analysed the same in all arms.
        """
        arm = self.arm(experiment_id, unit)
        if arm is None or len(set(actions.values())) < 2:
            return None
        return Exposure(experiment_id, arm, unit)


def check_layers(experiments: list[Experiment]) -> None:
    """Experiments of one layer overlap nowhere and randomise the same kind of unit."""
    ordered = sorted(experiments, key=lambda experiment: (experiment.layer, experiment.slot_ppm))
    for one, following in pairwise(ordered):
        if one.layer != following.layer:
            continue
        if one.unit != following.unit:
            hint = "a layer hashes one kind of unit: give one of them another layer"
            raise InputError(f"{one.id} and {following.id} share a layer and not a unit", param="unit", hint=hint)
        if following.slot_ppm[0] < one.slot_ppm[1]:
            hint = f"slots of one layer do not overlap: {one.slot_ppm}, {following.slot_ppm}"
            raise InputError(f"{one.id} and {following.id} take the same units", param="slot_ppm", hint=hint)


def point_ppm(salt: str, purpose: str, unit: str) -> int:
    """Where a unit falls, in millionths: uniform, independent between purposes, the same on every machine.

    >>> point_ppm("2026", "layer:default", "card_7")
    415921
    """
    text = "\x1f".join((purpose, unit)).encode()
    digest = hashlib.blake2b(text, digest_size=8, key=hashlib.blake2b(salt.encode()).digest()).digest()
    return int.from_bytes(digest, "big") * PPM >> 64


def switchback_unit(cell: str, at_us: int, *, block_us: int) -> str:
    """The unit of a switchback: a cell, such as issuer and route, in one block of time.

    Where arms share something (an issuer's goodwill, a learner) they cannot run side by side; they take turns.

    >>> switchback_unit("issuer_9|route_a", 7_200_000_000, block_us=3_600_000_000)
    'issuer_9|route_a@2'
    """
    return f"{cell}@{at_us // block_us}"
