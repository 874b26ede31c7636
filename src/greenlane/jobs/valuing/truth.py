"""Is off-policy evaluation right? Worlds are decided live with exploration, valued from their journals, and compared
with what is true of every action that was open.

Each world gives one log. It is cut into stretches of time, each valued as if it were all there is; the truth of a
candidate is the mean over the whole log of the true expected money of what it would have done less that of what was
done, with the error that so many payments leave. Besides, cases are built in which nothing can be known: they have to
be refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.decisions.record import DecisionRecord
from greenlane.experiments.clusters import Groups
from greenlane.experiments.impact import PER, STEPS
from greenlane.jobs.deciding import decide_world, sent_of
from greenlane.jobs.valuing.questions import ROUTERS, greedy
from greenlane.jobs.valuing.traffic import Traffic
from greenlane.jobs.valuing.value import case_of, judged, read
from greenlane.policy.explore import Exploring, Kind, Routing
from greenlane.ports.journal import Entry
from greenlane.simulation.answers import Terms
from greenlane.simulation.living import Living
from greenlane.simulation.world import Arrival, World
from greenlane.wiring import open_reader

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

WORLDS: Final = ("europe", "us", "subscriptions", "calm")
FLAT: Final = Exploring(
    route=Routing(epsilon_ppm=1_000_000, temperature_ppm=500_000, floor_ppm=15_000, amount_max_minor=10**9)
)
"""Nearly any way, so that candidates differ from the log by more than its noise."""
STRETCH: Final = 4_000
"""Decisions valued at a time."""
SHARES: Final = (1.0, 0.5)
"""Of payments that follow the candidate; the rest goes as it was logged."""
EFFECT_SHARE: Final = 0.03
"""What is to be shown, stated beforehand: of the gross that a payment brings on average."""
ERRORS_CLEAR: Final = 2.0
COVERAGE_MIN: Final = 0.93
WRONG_MAX: Final = 0.025
CHANCE: Final = 0.05
"""A share below its limit is a breach where chance alone would seldom bring it there."""
BUILT: Final = 400
"""Payments of a case that is built to be refused."""


class Trial(Struct, frozen=True, kw_only=True):
    """One candidate on one stretch; money per 1,000 payments, of the claimed steps."""

    world: str
    candidate: str
    stretch: int
    accepted: bool
    value: float | None
    low: float
    high: float
    truth: float
    """Over the whole log."""
    truth_se: float
    here: float
    """The truth of this very stretch."""
    claimed: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """So large a difference that this stretch should show its sign: beyond the error of truth and estimate."""
        se = (self.high - self.low) / 2.0 / 1.96
        return bool(abs(self.truth) > ERRORS_CLEAR * (self.truth_se**2 + se**2) ** 0.5)

    @property
    def known(self) -> bool:
        """The truth itself is surely not zero."""
        return abs(self.truth) > ERRORS_CLEAR * self.truth_se

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high

    @property
    def agrees(self) -> bool:
        return self.value is not None and self.value * self.truth > 0.0

    @property
    def wrong(self) -> bool:
        """An interval beyond zero on the other side than the truth."""
        return self.known and ((self.low > 0.0 and self.truth < 0.0) or (self.high < 0.0 and self.truth > 0.0))


class Built(Struct, frozen=True, kw_only=True):
    """A case in which nothing can be known."""

    world: str
    name: str
    refused: bool
    reasons: tuple[str, ...]


class Truth(Struct, frozen=True, kw_only=True):
    """The JSON of `greenlane experiments truth`."""

    trials: tuple[Trial, ...]
    built: tuple[Built, ...]
    payments: int

    def summary(self, world: str = "") -> dict[str, float]:
        """Of one world, or of all."""
        ours = [t for t in self.trials if world in ("", t.world)]
        told = [t for t in ours if t.accepted]
        clear = [t for t in told if t.clear]
        built = [b for b in self.built if world in ("", b.world)]
        return {
            "trials": len(ours),
            "accepted": len(told),
            "coverage": share([t.covered for t in told]),
            "clear": len(clear),
            "sign_agreement": share([t.agrees for t in clear]),
            "wrong_sign_claims": share([t.wrong for t in told], nothing=0.0),
            "coverage_of_all": share([t.covered for t in ours if t.value is not None]),
            "refused_as_built": share([b.refused for b in built]),
        }

    @property
    def breaches(self) -> tuple[str, ...]:
        found = self.summary()
        told = [t for t in self.trials if t.accepted]
        clear = [t for t in told if t.clear]
        breached = {
            "nothing was accepted": not told,
            "no difference was clear enough for its sign to be judged": not clear,
            "accepted intervals missed the truth too often": too_few([t.covered for t in told], COVERAGE_MIN),
            "too many claims have the wrong sign": too_few([not t.wrong for t in told], 1.0 - WRONG_MAX),
            "clear differences were given the wrong sign": too_few([t.agrees for t in clear], 1.0 - WRONG_MAX),
            "a case that nobody can know was not refused": found["refused_as_built"] < 1.0,
        }
        return tuple(why for why, is_so in breached.items() if is_so)


def too_few(flags: Sequence[bool], least: float) -> bool:
    """Fewer than chance leaves where each is true with probability `least`: in less than one case in twenty.

    >>> too_few([True] * 5 + [False], 0.93), too_few([True] * 12 + [False] * 4, 0.93)
    (False, True)
    """
    n, hits = len(flags), sum(flags)
    return n > 0 and sum(comb(n, k) * least**k * (1.0 - least) ** (n - k) for k in range(hits + 1)) < CHANCE


def share(flags: Sequence[bool], *, nothing: float = float("nan")) -> float:
    """
    >>> share([True, False]), share([], nothing=0.0)
    (0.5, 0.0)
    """
    return sum(flags) / len(flags) if flags else nothing


Known = dict[str, dict[str, Floats]]
"""By payment: option -> float64[STEPS], true expected money."""


def steps_of(terms: Terms) -> Floats:
    """A declined payer is charged V_stop: nothing is tried again in these logs."""
    stopped = terms.friction + terms.declined * terms.stop
    return np.array(
        [terms.margin, terms.fees + terms.authentication, terms.fraud_loss, terms.dispute, terms.review, stopped]
    )


@dataclass
class Watcher:
    """Writes down what is true of the ways that were open to each decision's intervention."""

    known: Known

    def __call__(self, arrival: Arrival, _: Entry, record: DecisionRecord, living: Living) -> None:
        chosen = record.chosen
        economics = living.world.economics[arrival.attempt.payment.merchant_id]
        wanted = (chosen.action.intervention, chosen.action.exemption)
        self.known[arrival.attempt.payment.id] = {
            f"{action.route}/{action.credential}": steps_of(
                living.true_terms(arrival, sent_of(action, arrival.at_us, 1), economics)
            )
            for action in chosen.actions
            if (action.intervention, action.exemption) == wanted
        }


def logged(name: str, payments: int, directory: Path, *, kinds: Sequence[Kind], progress: Progress) -> tuple[Traffic, Floats]:  # fmt: skip # noqa: E501 - one line reads best
    """A world's log, and float64[n, options, STEPS] of what is true."""
    watcher = Watcher({})
    decide_world(
        World.load(name),
        1,
        payments,
        directory,
        exploring=FLAT,
        kinds=kinds,
        tries=False,
        progress=progress,
        watch=watcher,
    )
    traffic = read(open_reader(directory), "route", from_us=0, to_us=2**62, progress=lambda *_: None)
    worth = np.zeros((len(traffic), len(traffic.names), len(STEPS)))
    for i, row in enumerate(traffic.rows):
        for option, money in watcher.known[row.facts.payment_id].items():
            worth[i, traffic.names.index(option)] = money
    return traffic, worth


def taken(traffic: Traffic, rows: slice) -> Traffic:
    """A stretch of it."""
    n = len(traffic)
    columns: dict[str, Any] = {
        f.name: getattr(traffic, f.name)[rows]
        for f in fields(traffic)
        if f.name not in ("names", "left_out", "decisions") and len(getattr(traffic, f.name)) == n
    }
    return replace(traffic, **columns)


def targets(traffic: Traffic) -> Mapping[str, Floats]:
    """Routers, and the worst one, wholly and for half of the payments."""
    found = dict[str, Floats]()
    routed = {name: routes(traffic) for name, routes in ROUTERS.items()}
    routed["worst value"] = greedy(-traffic.value, traffic.open_to)
    for name, target in routed.items():
        for part in SHARES:
            mixed = part * target + (1.0 - part) * traffic.logging
            found[name if part == 1.0 else f"{name}, for {part:.0%}"] = mixed
    return found


def trials_of(world: str, traffic: Traffic, worth: Floats, *, stretch: int) -> Iterator[Trial]:
    """Stretch by stretch, every candidate."""
    gross = float(traffic.money[:, 0].mean())
    whole = targets(traffic)
    ends = range(stretch, len(traffic) + 1, stretch)
    for number, end in enumerate(ends):
        rows = slice(end - stretch, end)
        part = taken(traffic, rows)
        case, everybody = case_of(part), np.ones(len(part), bool)
        for name, target in whole.items():
            found = judged(case, target[rows], everybody, effect=EFFECT_SHARE * gross)
            true = ((target - traffic.logging)[:, :, None] * worth).sum(axis=1)
            claimed = [STEPS.index(step) for step in found.claimed]
            each = true[:, claimed].sum(axis=1)
            variance, _ = Groups.of(traffic.card).variance(each / len(each))
            total = found.verdict.total
            yield Trial(
                world=world, candidate=name, stretch=number, accepted=found.verdict.accepted,
                value=None if total.value is None else PER * total.value, low=PER * total.low, high=PER * total.high,
                truth=PER * float(each.mean()), truth_se=PER * variance**0.5, here=PER * float(each[rows].mean()),
                claimed=found.claimed, reasons=found.verdict.reasons,
            )  # fmt: skip


def built_of(world: str, directory: Path, traffic: Traffic) -> Iterator[Built]:
    """A log that explored nothing, asked about each single route; and a log that is far too short."""
    greedy, _ = logged(world, BUILT, directory, kinds=(), progress=lambda *_: None)
    everybody = np.ones(len(greedy), bool)
    for at, name in enumerate(greedy.names):
        only = np.eye(len(greedy.names))[np.full(len(greedy), at)]
        target = np.where(greedy.open_to[:, [at]], only, greedy.logging)
        if (target != greedy.logging).any():
            found = judged(case_of(greedy), target, everybody, effect=None).verdict
            yield Built(world=world, name=f"no support: {name}", refused=not found.accepted, reasons=found.reasons)
    few = taken(traffic, slice(0, BUILT))
    for name, target in targets(few).items():
        found = judged(case_of(few), target, np.ones(len(few), bool), effect=None).verdict
        yield Built(world=world, name=f"too few: {name}", refused=not found.accepted, reasons=found.reasons)


def truth(
    worlds: Sequence[str] = WORLDS, *, payments: int = 12_000, stretch: int = STRETCH,
    progress: Progress = lambda _done, _of: None,
) -> Truth:  # fmt: skip
    """All worlds, one after the other; a log of `payments` each."""
    trials, built = list[Trial](), list[Built]()
    for place, world in enumerate(worlds):

        def tell(done: int, of: int, before: int = place) -> None:
            progress(before * of + done, of * len(worlds))

        with TemporaryDirectory() as room:
            traffic, worth = logged(world, payments, Path(room) / "log", kinds=("route",), progress=tell)
            trials += trials_of(world, traffic, worth, stretch=stretch)
            built += built_of(world, Path(room) / "greedy", traffic)
    return Truth(trials=tuple(trials), built=tuple(built), payments=payments)
