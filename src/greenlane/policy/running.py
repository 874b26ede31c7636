"""The experiments that run, and who is in which arm: a fold of control entries, asked by every decision.

A change (start, stop, pause, ramp, hold-out) is one control entry and counts for the next decision; it ends the policy
epoch. What a payment was given stays with it: its later stages, retries and next actions keep the arms of its first
decision for as long as these run.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from greenlane.errors import InputError
from greenlane.payments.facts import Facts
from greenlane.policy.arms import PPM, Arm, Assignment, Experiment, Exposure, UnitKind, hashed, switchback_unit
from greenlane.policy.heard import issuer_of
from greenlane.ports.journal import CHANGE_DECODER, Entry

EXPERIMENT: Final = "experiment"
HOLDOUT: Final = "holdout"
SUBJECTS: Final = (EXPERIMENT, HOLDOUT)
MIXTURES_MAX: Final = 64
"""Ways to decide that run at once: each has its models loaded and its versions written down."""
EXPERIMENT_DECODER: Final = msgspec.msgpack.Decoder(Experiment | None)
SHARE_DECODER: Final = msgspec.msgpack.Decoder(int)

Mixture = tuple[tuple[str, str], ...]
"""(experiment, arm) of one way to decide."""


class Running:
    """The fold. `known` are all experiments that ever were, as they stand.

    >>> halves = (Arm("control", 500_000), Arm("treatment", 500_000))
    >>> fold = Running("2026")
    >>> fold.known["routes"] = Experiment(id="routes", unit="payment", arms=halves, state="running")
    >>> fold.settle()
    >>> facts = Facts(payment_id="p1", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5)
    >>> fold.assign(facts, (), at_us=0)[0].arm in ("control", "treatment")
    True
    """

    def __init__(self, salt: str = ""):
        self.salt = salt
        self.known: dict[str, Experiment] = {}
        self.holdout_ppm = 0
        self.settle()

    def __bool__(self) -> bool:
        return bool(self._now.experiments)

    def apply(self, entry: Entry) -> None:
        if entry.kind != "control":
            return
        change = CHANGE_DECODER.decode(entry.payload)
        if change.subject == EXPERIMENT:
            experiment = EXPERIMENT_DECODER.decode(change.after)
            if experiment is None:
                self.known.pop(change.id, None)
            else:
                self.known[change.id] = experiment  # a change keeps its place: mixtures go by the order of creation
        elif change.subject == HOLDOUT:
            self.holdout_ppm = SHARE_DECODER.decode(change.after)
        else:
            return
        self.settle()

    def settle(self) -> None:
        """What is asked from now on."""
        on = {name: each for name, each in self.known.items() if each.state == "running"}
        beside = {name: tuple(other for other in each.excludes if other in on) for name, each in on.items()}
        running = [replace(each, excludes=beside[name]) for name, each in on.items()]
        self._now = Assignment(self.salt, running, holdout_ppm=self.holdout_ppm)

    @property
    def running(self) -> tuple[Experiment, ...]:
        return tuple(self._now.experiments.values())

    def assign(self, facts: Facts, routes: Sequence[str], *, at_us: int) -> tuple[Exposure, ...]:
        """The arms of a payment that has none yet, in the order in which the experiments were declared."""
        found = []
        for experiment in self.running:
            unit = unit_of(experiment, facts, routes, at_us=at_us)
            arm = self._now.arm(experiment.id, unit) if unit else None
            if arm is not None and arm not in experiment.paused_arms:
                found.append(Exposure(experiment.id, arm, hashed(self.salt, experiment.unit, unit)))
        return tuple(found)

    def still(self, given: Iterable[Exposure]) -> tuple[Exposure, ...]:
        """Of the arms that a payment was given, those that run."""
        now = self._now.experiments
        return tuple(
            [each for each in given if each.experiment in now and each.arm not in now[each.experiment].paused_arms]
        )

    def arms(self, mixture: Mixture) -> list[Arm]:
        found = [self.known[experiment].named(arm) for experiment, arm in mixture]
        return [arm for arm in found if arm is not None]

    def mixtures(self) -> list[Mixture]:
        """Every way to decide that may be asked for: one arm, or none, of each experiment; at most one of a layer."""
        layers: dict[str, list[Mixture]] = {}
        for experiment in self.running:
            arms = [arm.name for arm in experiment.arms if arm.name not in experiment.paused_arms]
            layers.setdefault(experiment.layer, [()]).extend(((experiment.id, arm),) for arm in arms)
        order = {experiment.id: place for place, experiment in enumerate(self.running)}
        together = (sum(each, ()) for each in product(*layers.values()))
        return [tuple(sorted(each, key=lambda pair: order[pair[0]])) for each in together if each]

    def check(self, after: Experiment) -> "Running":
        """What would run from then on; InputError where it could not be, or could not stand beside those that run."""
        if after.id == HOLDOUT and HOLDOUT not in self.known:  # one that is older than this name can be stopped
            hint = "who is in no experiment is read under this name"
            raise InputError(f"no experiment is called {HOLDOUT}", param="$.id", hint=hint)
        if after.state in ("paused", "stopped"):
            return self._with(after)
        for unknown in set(after.excludes) - set(self.known):
            raise InputError(f"there is no experiment {unknown}", param="$.excludes", hint="create it first")
        later = self._with(replace(after, state="running"))
        if after.state != "running":
            return self._with(after)
        if len(later.mixtures()) > MIXTURES_MAX:
            hint = "stop an experiment, or put several into one layer"
            raise InputError(f"more than {MIXTURES_MAX} ways to decide would run at once", param="$.arms", hint=hint)
        for other in later.running:
            shared = other.touches & after.touches
            apart = other.layer == after.layer or other.id in after.excludes or after.id in other.excludes
            if shared and not apart:
                hint = "put both into one layer, with slots that do not overlap"
                raise InputError(f"{after.id} and {other.id} both change {min(shared)}", param="$.arms", hint=hint)
        return later

    def _with(self, after: Experiment) -> "Running":
        later = Running(self.salt)
        later.known = {**self.known, after.id: after}
        later.settle()
        return later


def mixture_of(arms: Iterable[Exposure]) -> Mixture:
    return tuple([(each.experiment, each.arm) for each in arms])


def overriding(arms: Iterable[Arm], what: str) -> Any:
    """What one of these arms has in place of the champion's; None where none has. No two change the same."""
    return next((found for arm in arms if (found := getattr(arm.otherwise, what)) is not None), None)


def unit_of(experiment: Experiment, facts: Facts, routes: Sequence[str], *, at_us: int) -> str:
    """What is randomised, of this payment; "" where it has no such thing."""
    if experiment.unit == "cell":
        cell = f"{issuer_of(facts)}|{','.join(sorted(routes))}"
        return switchback_unit(cell, at_us, block_us=experiment.block_us)
    return _subject(facts, experiment.unit)


def _subject(facts: Facts, unit: UnitKind) -> str:
    if unit == "payment":
        return facts.payment_id
    if unit == "merchant":
        return facts.merchant_id
    number = facts.card if unit == "card" else facts.customer
    return str(number) if number else ""


def checked_share(ppm: object) -> int:
    """Of the hold-out. Half of everything at most: else nothing is left to learn from."""
    if not isinstance(ppm, int) or not 0 <= ppm <= PPM // 2:
        raise InputError(f"{ppm} is no share", param="$.after", hint="0 to 500,000 ppm stay on the champion's policy")
    return ppm
