"""Fit a family within a stated budget: parameters are judged on later time, then the best are fitted on all of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import log_loss
from greenlane.learning.estimator import Estimator, Fitted, NewSearch
from greenlane.learning.examples import Examples
from greenlane.models.calibration import Identity
from greenlane.ports.clock import Clock, SystemClock


class Budget(NamedTuple):
    """What tuning may spend, whichever ends first. No trials: the family's defaults. Only trials are reproducible."""

    trials: int = 0
    seconds: float = float("inf")


DEFAULTS_ONLY: Final = Budget()


class Trial(NamedTuple):
    parameters: dict[str, float]
    log_loss: float
    """Mean over the folds, on held-out time."""


class Fold(NamedTuple):
    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]


class HeldOut(NamedTuple):
    """What a model said about rows it was not fitted on, in time order."""

    rows: NDArray[np.int64]
    margins: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """The model fitted on all examples with the best parameters, and what the same parameters gave on held-out time."""

    fitted: Fitted
    parameters: dict[str, float]
    held_out: HeldOut
    trials: list[Trial]


def time_folds(at_us: NDArray[np.int64], *, gap_us: int, folds: int = 3, share: float = 0.4) -> Iterator[Fold]:
    """Train on what is old enough, validate on what comes next; the last `share` of the time makes the blocks.

    The gap is the label's delay: when the first payment of a block was decided, no younger label was known.

    >>> [(f.train.sum(), f.valid.sum()) for f in time_folds(np.arange(10), gap_us=1, folds=2, share=0.4)]
    [(np.int64(5), np.int64(2)), (np.int64(7), np.int64(2))]
    """
    first, end = int(at_us[0]), int(at_us[-1]) + 1
    width = int((end - first) * share / folds)
    for block in range(folds):
        start = end - (folds - block) * width
        stop = end if block == folds - 1 else start + width
        yield Fold(at_us < start - gap_us, (at_us >= start) & (at_us < stop))


def usable_folds(examples: Examples, *, gap_us: int, folds: int) -> list[Fold]:
    found = [
        fold
        for fold in time_folds(examples.at_us, gap_us=gap_us, folds=folds)
        if all(0 < examples.y[part].sum() < part.sum() for part in fold)
    ]
    if not found:
        raise TrainingError(
            "no block of held-out time has events both in it and a gap before it",
            hint="take a longer training period, or a shorter gap",
        )
    return found


def fit(
    estimator: Estimator,
    examples: Examples,
    *,
    gap_us: int = 0,
    parameters: Mapping[str, float] | None = None,
    budget: Budget = DEFAULTS_ONLY,
    new_search: NewSearch | None = None,
    folds: int = 3,
    seed: int = 0,
    clock: Clock | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> Fit:
    """Trials need a `new_search`. The first trial is `parameters`, else the family's defaults."""
    examples.check_learnable()
    blocks = usable_folds(examples, gap_us=gap_us, folds=folds)
    trials: list[Trial] = []
    best: tuple[Trial, HeldOut] | None = None
    for proposed, tell in proposals(
        estimator, budget, first=parameters or estimator.default, new_search=new_search, seed=seed, clock=clock
    ):
        held_out = held_out_margins(estimator, examples, proposed, blocks=blocks, seed=seed)
        trials.append(Trial(proposed, held_out_loss(examples, held_out)))
        if best is None or trials[-1].log_loss < best[0].log_loss:
            best = trials[-1], held_out
        tell(trials[-1].log_loss)
        if on_trial:
            on_trial(len(trials), trials[-1])
    assert best is not None, "there is a first trial"
    (parameters, _), held_out = best
    return Fit(estimator.fit(examples, parameters, seed=seed), parameters, held_out, trials)


def proposals(
    estimator: Estimator,
    budget: Budget,
    *,
    first: Mapping[str, float],
    new_search: NewSearch | None,
    seed: int,
    clock: Clock | None,
) -> Iterator[tuple[dict[str, float], Callable[[float], None]]]:
    """The first, then what the search asks for until the budget is spent."""
    clock = clock or SystemClock()
    stop_us = clock.now_us() + min(budget.seconds * 1e6, 1e17)
    yield dict(first), lambda _: None
    if budget.trials and new_search is None:
        raise TrainingError("a budget of trials needs a search", hint="pass new_search, or Budget(trials=0)")
    search = new_search(estimator.space, seed) if new_search else None
    for _ in range(budget.trials if search else 0):
        if search is None or clock.now_us() >= stop_us:
            return
        yield {**estimator.default, **search.ask()}, search.tell


def held_out_margins(
    estimator: Estimator, examples: Examples, parameters: Mapping[str, float], *, blocks: list[Fold], seed: int
) -> HeldOut:
    rows, margins = [], []
    for fold in blocks:
        fitted = estimator.fit(examples.take(fold.train), parameters, seed=seed)
        rows.append(np.flatnonzero(fold.valid))
        margins.append(fitted.margins(examples.X[fold.valid]))
    return HeldOut(np.concatenate(rows), np.concatenate(margins))


def held_out_loss(examples: Examples, held_out: HeldOut) -> float:
    labels, weight = examples.y[held_out.rows].astype(np.float64), examples.weight[held_out.rows]
    return log_loss(Identity().probabilities(held_out.margins), labels, weight)
