"""The outage drill: one route breaks in dense traffic; how fast is it left, what is lost, and when is it taken back?

    python benchmarks/outage_drill.py [--world europe] [--seed 1] [--cache DIR] [--report FILE] [--json FILE]

The same payments are made three times by each policy: in good weather, through an outage of its busiest route, and in
good weather under an enumeration attack. Differences are taken payment by payment. An attack looks like a broken route
to whoever counts declines; it must divert nothing but what lies between two ways that are worth the same.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.adapters.plots import BLUE, GREY
from greenlane.cli.shown import print_grid, tell, write_json
from greenlane.cli.worlds import CACHE
from greenlane.errors import GreenlaneError
from greenlane.jobs.evaluating import field
from greenlane.jobs.evaluating.contest import Case, Contest
from greenlane.jobs.evaluating.hands import Memo
from greenlane.jobs.evaluating.models import USUAL, Kept, Sizes, Tell, TreeScorer, models_of, place_of
from greenlane.jobs.evaluating.report import COLOURS, picture, whole
from greenlane.learning.pages import page as page_of
from greenlane.payments.times import MINUTE_US, SECOND_US
from greenlane.policy.limits import Limits
from greenlane.simulation.answers import Sent, Terms
from greenlane.simulation.living import START_US, Living
from greenlane.simulation.randomness import Reals
from greenlane.simulation.world import Arrival, World

Flags = NDArray[np.bool_]

POLICIES: Final = ("joint", "success_rate", "success_rate_best_key")
PER_SECOND: Final = 5
MINUTES: Final = 40
BREAKS_US: Final = 12 * MINUTE_US
MENDS_US: Final = 24 * MINUTE_US
ATTACK_PER_SECOND: Final = 2
ATTEMPTS_IN_ATTACK: Final = 600
WINDOW_S: Final = 20
"""Shares are taken over so long."""
DIVERTED: Final = 0.1
RETURNED: Final = 0.9
WITHOUT_ORACLE: Final = Sizes(uncensored=10_000)
"""Nobody asks it here."""
FOUND_IN: Final = 100_000
"""Payments of the world that are looked through for attacks."""


class Drilled(Struct, frozen=True, kw_only=True):
    """One policy in the drill. Times in seconds; None: not within the drill."""

    policy: str
    route: str
    """Its busiest one, which breaks."""
    usual_share: float
    """Of all payments, before."""
    divert_s: float | None
    """Until its share is below a tenth of the usual for a window."""
    probe_share: float
    """Of the usual traffic, kept from then on until the route mends."""
    return_s: float | None
    """From mending until its share is nine tenths of the usual for a window."""
    approvals_lost: float
    """Payments that ended approved in good weather and not through the outage, net."""
    approvals_lost_share: float
    """Of what the route would have approved during the outage."""
    attack_diverted: float
    """Share of honest payments in the twelve minutes from its first attempt that went another way than without it."""
    attack_lost: float
    """Honest payments that ended approved without the attack and not with it, net."""
    timeline: list[float]
    """The route's share, every 10 seconds."""


class Drill(Struct, frozen=True, kw_only=True):
    world: str
    per_second: int
    breaks_s: int
    mends_s: int
    policies: list[Drilled]


class Weathered:
    """Good weather, but for one acquirer for a while."""

    def __init__(self, acquirers: Sequence[str], broken: str = ""):
        self._broken = np.array([acquirer == broken for acquirer in acquirers])

    def at(self, at_us: int, issuer: int) -> Reals:  # noqa: ARG002 - as `Weather.at`
        down = START_US + BREAKS_US <= at_us < START_US + MENDS_US
        return np.where(self._broken & down, 0.0, 1.0)


class Scene(NamedTuple):
    """Where every policy is watched."""

    world: World
    seed: int
    kept: Kept
    crowd: list[Arrival]
    thieves: list[Arrival]


class Watched(NamedTuple):
    """First attempts of one run: when (seconds), over which route, and which payments ended approved."""

    at_s: NDArray[np.float64]
    route: NDArray[np.str_]
    honest: Flags
    approved: NDArray[np.float64]
    """Expected approvals of the payment over all its attempts, 0..1."""


def drill(
    world: str,
    *,
    cache: Path,
    policies: Sequence[str] = POLICIES,
    sizes: Sizes | None = None,
    seed: int = 1,
    tell: Tell = lambda _: None,
) -> Drill:
    """Every policy through the outage and through the attack; one seed is one crowd."""
    loaded = World.load(world)
    at_hand = USUAL if place_of(loaded, cache, USUAL).exists() else WITHOUT_ORACLE
    kept = models_of(loaded, cache, tell, sizes=sizes or at_hand)
    crowd = list(dense(Living(loaded, seed).arrivals(PER_SECOND * 60 * MINUTES), PER_SECOND, START_US))
    scene, found = Scene(loaded, seed, kept, crowd, attack(loaded)), []
    for policy in policies:
        found.append(drilled(policy, scene))
        tell(f"{policy}: diverted in {found[-1].divert_s} s")
    breaks_s, mends_s = BREAKS_US // SECOND_US, MENDS_US // SECOND_US
    return Drill(
        world=loaded.parameters.name, per_second=PER_SECOND, breaks_s=breaks_s, mends_s=mends_s, policies=found
    )


def drilled(policy: str, scene: Scene) -> Drilled:
    calm = watched(policy, scene, scene.crowd)
    before = calm.at_s < BREAKS_US / SECOND_US
    names, counts = np.unique(calm.route[before], return_counts=True)
    busiest = str(names[counts.argmax()])
    acquirer = next(route.acquirer for route in scene.world.parameters.routes if route.id == busiest)
    storm = watched(policy, scene, scene.crowd, broken=acquirer)
    attacked = watched(policy, scene, sorted([*scene.crowd, *scene.thieves], key=lambda arrival: arrival.at_us))
    return measured(policy, busiest, calm, storm, attacked)


def measured(policy: str, route: str, calm: Watched, storm: Watched, attacked: Watched) -> Drilled:
    breaks_s, mends_s = BREAKS_US / SECOND_US, MENDS_US / SECOND_US
    down = (calm.at_s >= breaks_s) & (calm.at_s < mends_s)
    usual = float((calm.route == route)[calm.at_s < breaks_s].mean())
    there = storm.route == route
    divert_s = first_window(there, storm.at_s, breaks_s, lambda share: share <= DIVERTED * usual)
    return_s = first_window(there, storm.at_s, mends_s, lambda share: share >= RETURNED * usual)
    kept = down & (storm.at_s >= breaks_s + (divert_s or 0.0))
    lost = float((calm.approved - storm.approved).sum())
    at_stake = float(calm.approved[down & (calm.route == route)].sum())
    same = attacked.route[attacked.honest] == calm.route[calm.honest]
    lost_to_thieves = calm.approved[calm.honest] - attacked.approved[attacked.honest]
    seconds = np.arange(0, 60 * MINUTES, 10)
    return Drilled(
        policy=policy,
        route=route,
        usual_share=round(usual, 4),
        divert_s=divert_s,
        probe_share=round(float(there[kept].mean()) / usual, 4) if kept.any() else 0.0,
        return_s=return_s,
        approvals_lost=round(lost, 1),
        approvals_lost_share=round(lost / at_stake, 4) if at_stake else 0.0,
        attack_diverted=round(float((~same[down[calm.honest]]).mean()), 4),
        attack_lost=round(float(lost_to_thieves.sum()), 1),
        timeline=[round(float(there[(storm.at_s >= s) & (storm.at_s < s + 10)].mean()), 3) for s in seconds],
    )


def first_window(there: Flags, at_s: NDArray[np.float64], from_s: float, done: Callable[[float], bool]) -> float | None:
    """Seconds from `from_s` to the beginning of the first whole window whose share is as wanted.

    >>> there, at_s = np.array([True] * 50 + [False] * 50), np.arange(100.0)
    >>> first_window(there, at_s, 40.0, lambda share: share == 0.0)
    10.0
    """
    for start in np.arange(from_s, float(at_s[-1]) - WINDOW_S, 1.0):
        window = (at_s >= start) & (at_s < start + WINDOW_S)
        if window.any() and done(float(there[window].mean())):
            return float(start - from_s)
    return None


def watched(policy: str, scene: Scene, arrivals: list[Arrival], *, broken: str = "") -> Watched:
    living, limits, kept = Living(scene.world, scene.seed), Limits(), scene.kept
    routes_of = scene.world.parameters.routes
    living.weather = Weathered([route.acquirer for route in routes_of], broken)  # type: ignore[assignment] # the same question, another answer
    contestant = field.FULL[policy](field.Start(living, kept, limits, kept.approval.model, Memo()))
    contest = Contest(living, contestant, TreeScorer(kept.fraud, kept.vocabulary), limits)
    routes, left = [""] * len(arrivals), np.ones(len(arrivals))

    def watch(case: Case, sent: Sent, terms: Terms) -> None:
        routes[case.place] = routes[case.place] or sent.route or "none"
        left[case.place] *= 1.0 - terms.approved

    contest.watch = watch
    contest.run(policy, len(arrivals), arrivals)
    at_s = np.array([(arrival.at_us - START_US) / SECOND_US for arrival in arrivals])
    honest = np.array([arrival.truth.typology != "enumeration" for arrival in arrivals])
    return Watched(at_s, np.array(routes), honest, 1.0 - left)


def dense(arrivals: Iterable[Arrival], per_second: float, from_us: int) -> Iterable[Arrival]:
    """The same people, one after another at an even pace."""
    for place, arrival in enumerate(arrivals):
        yield arrival._replace(at_us=from_us + int(place * SECOND_US / per_second))


def attack(world: World) -> list[Arrival]:
    """The largest enumerations of a card range that the world has in some months, one after another."""
    cells: dict[tuple[str, str], list[Arrival]] = {}
    for arrival in Living(world, seed=2).arrivals(FOUND_IN):
        if arrival.truth.typology == "enumeration":
            payment = arrival.attempt.payment
            card = payment.payment_method.card
            cells.setdefault((payment.merchant_id, (card and card.bin) or ""), []).append(arrival)
    if not cells:
        raise GreenlaneError(f"nobody enumerates cards in {world.parameters.name}")
    largest = sorted(cells.values(), key=len, reverse=True)
    attempts = [arrival for cell in largest for arrival in cell][:ATTEMPTS_IN_ATTACK]
    return list(dense(attempts, ATTACK_PER_SECOND, START_US + BREAKS_US + 1))


def drill_page(drill: Drill) -> str:
    title = f"{drill.world}: a route breaks, {drill.per_second} payments a second"
    return page_of(title, whole(drill_table(drill)), picture(outage_timeline, drill))


def drill_table(drill: Drill) -> list[list[str]]:
    header = ["policy", "breaks", "diverted after", "probes kept", "back after", "approvals lost", "moved by attack",
              "approvals lost to it"]  # fmt: skip
    rows = [
        [p.policy, f"{p.route} ({p.usual_share:.0%})", seconds(p.divert_s), f"{p.probe_share:.1%}", seconds(p.return_s),
         f"{p.approvals_lost:.0f} ({p.approvals_lost_share:.1%})", f"{p.attack_diverted:.2%}", f"{p.attack_lost:.1f}"]
        for p in drill.policies
    ]  # fmt: skip
    return [header, *rows]


def seconds(found: float | None) -> str:
    """
    >>> seconds(7.0), seconds(None)
    ('7 s', 'not at all')
    """
    return "not at all" if found is None else f"{found:.0f} s"


def outage_timeline(axes: Any, drill: Drill) -> None:
    """Share of all payments over the route that breaks (shaded: broken), by policy."""
    axes.axvspan(drill.breaks_s / 60, drill.mends_s / 60, color=GREY, alpha=0.2)
    for one, colour in zip(drill.policies, (BLUE, *COLOURS), strict=False):
        axes.plot([place / 6 for place in range(len(one.timeline))], one.timeline, color=colour, label=one.policy)
    axes.set(xlabel="minutes", ylabel="share of payments", ylim=(0, 1))
    axes.legend(fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="europe", help="a world's name, or the path of a world file")
    parser.add_argument("--seed", type=int, default=1, help="one seed is one crowd")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where fitted models are kept, by the world's hash")
    parser.add_argument("--report", type=Path, help="an HTML page: the table and the timeline")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    found = drill(given.world, seed=given.seed, cache=given.cache, tell=tell)
    write_json(found, given.json)
    if given.report:
        given.report.write_text(drill_page(found), encoding="utf-8")
    print_grid(f"{found.world}: {found.per_second} payments a second", drill_table(found))


if __name__ == "__main__":
    main()
