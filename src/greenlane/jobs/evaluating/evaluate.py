"""All policies over all seeds of one world, on as many processes as there are cores."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import structs

from greenlane.adapters.huge_pages import hold_in_huge_pages
from greenlane.errors import InputError
from greenlane.jobs.evaluating import field
from greenlane.jobs.evaluating.contest import Contest
from greenlane.jobs.evaluating.hands import Memo, Tables
from greenlane.jobs.evaluating.models import USUAL, Kept, Sizes, Tell, TreeScorer, models_of
from greenlane.jobs.evaluating.results import Course, Evaluated, evaluated
from greenlane.jobs.uncollected import uncollected
from greenlane.policy.limits import Limits
from greenlane.simulation.living import Living
from greenlane.simulation.world import World

ORACLES: Final = frozenset({"informed_oracle"})
Named = tuple[str, float | None]
"""A world's name or path, and its interaction where that is not its own."""
SEED_MAX: Final = 100_000
"""Seeds beyond are the warm-up logs'."""


def evaluate(
    world: str,
    *,
    seeds: int,
    payments: int,
    cache: Path,
    full: bool = False,
    interaction: float | None = None,
    processes: int | None = None,
    sizes: Sizes = USUAL,
    tell: Tell = lambda _: None,
) -> Evaluated:
    """The whole comparison; `world` is a name or the path of a file, `cache` a directory for the fitted models.

    `interaction` replaces the world's own strength of what route, intervention, credential and retry do to each other
    (0: nothing). `tell` hears in words what has been done.
    """
    if not 1 <= seeds < SEED_MAX or payments < 1:
        raise InputError(
            "an evaluation needs seeds and payments", param="seeds", hint="such as --seeds 20 --payments 20000"
        )
    loaded = world_of(world, interaction)
    models_of(loaded, cache, tell, sizes=sizes)
    names = tuple(field.FULL if full else field.DEFAULT)
    work = Work((world, interaction), payments, names, cache, sizes)
    courses = list[Course]()
    for done, found in enumerate(all_courses(work, seeds, processes or multiprocessing.cpu_count()), start=1):
        courses += found
        tell(f"{loaded.parameters.name}: {done} of {seeds} seeds")
    return evaluated(
        courses,
        world=loaded.parameters.name,
        world_hash=loaded.digest,
        currency=loaded.parameters.currency,
        payments=payments,
    )


def world_of(world: str, interaction: float | None) -> World:
    """The world, or a variant of it under a hash of its own."""
    loaded = World.load(world)
    if interaction is None:
        return loaded
    varied = structs.replace(loaded.parameters, interaction=interaction)
    return World(varied, sha256(f"{loaded.digest} {interaction}".encode()).hexdigest())


class Work(NamedTuple):
    """All that a process has to know."""

    world: Named
    payments: int
    names: tuple[str, ...]
    cache: Path
    sizes: Sizes


def all_courses(work: Work, seeds: int, processes: int) -> Iterator[list[Course]]:
    """Seed by seed, as they are finished."""
    if processes == 1 or seeds == 1:
        yield from (courses_of(work, seed) for seed in range(1, seeds + 1))
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = [pool.submit(courses_of, work, seed) for seed in range(1, seeds + 1)]
        for future in as_completed(pending):
            yield future.result()


def courses_of(work: Work, seed: int) -> list[Course]:
    """Every policy through one seed: the same people and the same luck."""
    world, kept = prepared(work)
    found, model, memo, tables = [], kept.approval.model, Memo(), Tables()
    for name in work.names:
        living, limits = Living(world, seed), Limits()
        contestant = field.FULL[name](field.Start(living, kept, limits, model, memo, tables))
        trees = kept.oracle_fraud if name in ORACLES else kept.fraud
        contest = Contest(living, contestant, TreeScorer(trees, kept.vocabulary), limits)
        hold_in_huge_pages()
        with uncollected():
            found.append(contest.run(name, work.payments))
    return found


@lru_cache(maxsize=2)
def prepared(work: Work) -> tuple[World, Kept]:
    world = world_of(*work.world)
    return world, models_of(world, work.cache, lambda _: None, sizes=work.sizes)
