"""Who gets which arm: a salted hash of the unit, so that no list of assignments has to be kept.

A unit's point in a layer is uniform in [0, 2^32) and depends on the salt, the layer and the unit alone. Experiments of
one layer take disjoint slots of it, so nobody is in two of them; different layers are independent. Within an experiment
the arm comes from a second hash, so a slot that grows moves nobody between arms. The hold-out is taken from every
experiment alike.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from greenlane.errors import InputError
from greenlane.payments.attempt import Frozen
from greenlane.payments.times import HOUR_US
from greenlane.policy.parameters import Multipliers

PPM: Final = 1_000_000
ARMS_MAX: Final = 8
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
UnitKind = Literal["card", "customer", "merchant", "payment", "cell"]
Metric = Literal[
    "payment_approval", "attempt_approval", "challenge_rate", "block_rate", "latency_us", "expected_loss",
    "early_reports", "forbidden_retries",
]  # fmt: skip
"""What exists in time, so that a guardrail can act on it."""


class Otherwise(Frozen, frozen=True, gc=True):
    """What an arm does otherwise than whoever is in no experiment; nothing: a control."""

    fraud_model: Name | None = None
    approval_model: Name | None = None
    policy: Mapping[str, Any] = {}
    """Parameters of the policy, by name: what is left out is as it is (`greenlane.policy.parameters.Policy`)."""
    multipliers: Multipliers | None = None
    """In place of what shared budgets cost just now."""

    @property
    def touches(self) -> frozenset[str]:
        """What it changes: two experiments whose units overlap must not change the same."""
        models = {name for name in ("fraud_model", "approval_model", "multipliers") if getattr(self, name) is not None}
        return frozenset(models | {f"policy.{name}" for name in self.policy})


class Arm(Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    share_ppm: int
    otherwise: Otherwise = Otherwise()


class Rail(Frozen, frozen=True, omit_defaults=False):
    """A guardrail that pauses the arm: `budget` is the probability that it ever does so without harm."""

    metric: Metric
    tolerated: float = 0.0
    """A change for the worse that is still accepted, in the metric's units."""
    budget: Annotated[float, Meta(gt=0.0, le=0.2)] = 0.01


class Experiment(Frozen, frozen=True, omit_defaults=False, gc=True):
    """A slot of a layer, split into arms; the first arm is the control.

    The whole of it is the body of an `experiment` control entry: every change writes it anew.
    """

    id: Name
    unit: UnitKind
    """What is randomised. A cell (issuer and offered routes) is switched back and forth in time (`switchback_unit`)."""
    arms: tuple[Arm, ...]
    layer: Name = "default"
    slot_ppm: tuple[int, int] = (0, PPM)
    """From, to: the part of the layer that takes part."""
    excludes: tuple[str, ...] = ()
    """Experiments of other layers whose units do not take part in this one."""
    block_us: Annotated[int, Meta(ge=60_000_000)] = HOUR_US
    """Of a cell: how long it stays in one arm."""
    learner: Literal["own", "shared"] = "own"
    """Of approval as it stands now: whether each arm learns from its own attempts only."""
    planned: Annotated[int, Meta(ge=100)] = 20_000
    """Units of all arms together, fixed before the start: what sequences are tuned to."""
    guardrails: Annotated[tuple[Rail, ...], Meta(max_length=8)] = ()
    state: Literal["draft", "running", "paused", "stopped"] = "draft"
    paused_arms: tuple[str, ...] = ()
    """Their units do what whoever is in no experiment does, and are not exposed any more."""

    def named(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def touches(self) -> frozenset[str]:
        return frozenset().union(*(arm.otherwise.touches for arm in self.arms))


class Exposure(Struct, frozen=True, array_like=True, gc=False):
    """What is logged, and all that is analysed: the arm was able to matter for this unit."""

    experiment: str
    arm: str
    unit: int
    """A hash of the unit: whose rows move together."""


class Assignment:
    """The experiments that run at one time.

    >>> halves = (Arm("control", 500_000), Arm("treatment", 500_000))
    >>> running = Assignment("2026", [Experiment(id="routes", unit="card", arms=halves)], holdout_ppm=50_000)
    >>> running.arm("routes", "card_7"), running.arm("routes", "card_9"), running.arm("routes", "card_7")
    ('treatment', 'control', 'treatment')
    """

    def __init__(self, salt: str, experiments: Sequence[Experiment], *, holdout_ppm: int = 0):
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
        named = len({arm.name for arm in experiment.arms})
        if not 2 <= len(shares) <= ARMS_MAX or named < len(shares) or min(shares) < 1 or sum(shares) != PPM:
            hint = f"two to {ARMS_MAX} arms, each with a name and a share; shares sum to 1,000,000 ppm"
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
        return Exposure(experiment_id, arm, hashed(self.salt, "unit", unit))


def check_layers(experiments: Sequence[Experiment]) -> None:
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
    return hashed(salt, purpose, unit) * PPM >> 64


def hashed(salt: str, purpose: str, unit: str) -> int:
    """64 bits that nobody without the salt can guess."""
    digest = hashlib.blake2b(f"{purpose}\x1f{unit}".encode(), digest_size=8, key=_key(salt)).digest()
    return int.from_bytes(digest, "big")


@cache
def _key(salt: str) -> bytes:
    return hashlib.blake2b(salt.encode()).digest()


def switchback_unit(cell: str, at_us: int, *, block_us: int) -> str:
    """The unit of a switchback: a cell, such as issuer and route, in one block of time.

    Where arms share something (an issuer's goodwill, a learner) they cannot run side by side; they take turns.

    >>> switchback_unit("issuer_9|route_a", 7_200_000_000, block_us=3_600_000_000)
    'issuer_9|route_a@2'
    """
    return f"{cell}@{at_us // block_us}"
