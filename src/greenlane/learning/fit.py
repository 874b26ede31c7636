"""Fit a family within a stated budget: parameters are judged on held-out time, the best are fitted on all of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.calibrate import cross_calibrated, log_loss
from greenlane.learning.estimator import Estimator, Fitted, NewSearch, Record
from greenlane.learning.examples import Examples
from greenlane.learning.kept_trials import KeptTrials
from greenlane.learning.weighing import EQUAL, Weighing, drawn
from greenlane.models.calibration import Identity
from greenlane.ports.clock import Clock, SystemClock


class Budget(NamedTuple):
    """What tuning may spend, whichever ends first. No trials: the family's defaults. Only trials are reproducible."""

    trials: int = 0
    seconds: float = float("inf")


DEFAULTS_ONLY: Final = Budget()
BLOCKS: Final = 5


class Trial(NamedTuple):
    parameters: dict[str, float]
    log_loss: float
    """On held-out time."""


class Fold(NamedTuple):
    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]


class HeldOut(NamedTuple):
    """What a model said about rows it was not fitted on, in time order."""

    rows: NDArray[np.int64]
    margins: NDArray[np.float64]


class Recipe(NamedTuple):
    """How rows are weighed and which signs are held, whatever the family and its parameters."""

    weighing: Weighing = EQUAL
    signs: Mapping[str, int] = MappingProxyType({})

    def fit(self, estimator: Estimator, examples: Examples, parameters: Mapping[str, float], *, seed: int) -> Fitted:
        weighed = self.weighing.for_fit(drawn(examples, seed=seed), negative=estimator.takes_negative_weights)
        return estimator.fit(weighed, parameters, seed=seed, signs=self.signs)

    def record(self) -> Record:
        """As plain JSON: only what is out of the ordinary."""
        found: Record = {}
        if self.weighing != EQUAL:
            found["weighing"] = asdict(self.weighing)
        if self.signs:
            found["signs"] = dict(self.signs)
        return found


PLAIN: Final = Recipe()


@dataclass(frozen=True, eq=False)
class Fit:
    """The model fitted on all examples with the best parameters, and what the same parameters gave on held-out time."""

    fitted: Fitted
    parameters: dict[str, float]
    held_out: HeldOut
    trials: list[Trial]
    recipe: Recipe = PLAIN


def time_blocks(at_us: NDArray[np.int64], *, gap_us: int, blocks: int = BLOCKS) -> Iterator[Fold]:
    """Equally many rows are held out in turn, in time order; what lies within the gap of them is not learned from.

    So every row is spoken about by a model of nearly all of the time, as the last one will be. Blocks at the end only,
    each judged by what came before it, would ask models that know less; and one wave of fraud that none of them had
    met would teach the calibrator to doubt everybody.

    >>> [(f.train.sum(), f.valid.sum()) for f in time_blocks(np.arange(10), gap_us=1, blocks=2)]
    [(np.int64(4), np.int64(5)), (np.int64(4), np.int64(5))]
    """
    for rows in np.array_split(np.arange(len(at_us)), min(blocks, len(at_us))):
        first, last = int(at_us[rows[0]]), int(at_us[rows[-1]])
        valid = np.zeros(len(at_us), bool)
        valid[rows] = True
        yield Fold((at_us < first - gap_us) | (at_us > last + gap_us), valid)


def usable_blocks(examples: Examples, *, gap_us: int, blocks: int) -> list[Fold]:
    found = [
        fold
        for fold in time_blocks(examples.at_us, gap_us=gap_us, blocks=blocks)
        if all(0 < examples.y[part].sum() < part.sum() for part in fold)
    ]
    if not found:
        raise TrainingError(
            "no block of held-out time has events both in it and a gap away from it",
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
    recipe: Recipe = PLAIN,
    kept: KeptTrials | None = None,
    blocks: int = BLOCKS,
    seed: int = 0,
    clock: Clock | None = None,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> Fit:
    """Trials need a `new_search`. The first trial is `parameters`, else the family's defaults.

    What `kept` remembers of the same search is not fitted again, so that an interrupted search ends as it would have.
    """
    examples.check_learnable()
    held = usable_blocks(examples, gap_us=gap_us, blocks=blocks)
    trials: list[Trial] = []
    best: tuple[Trial, HeldOut | None] | None = None
    if kept:
        kept.open(search_record(estimator, examples, recipe, blocks=blocks, gap_us=gap_us, seed=seed))
    for proposed, tell in proposals(
        estimator, budget, first=parameters or estimator.default, new_search=new_search, seed=seed, clock=clock
    ):
        held_out, loss = None, kept.loss_of(proposed, number=len(trials)) if kept else None
        if loss is None:
            held_out = held_out_margins(estimator, examples, proposed, blocks=held, recipe=recipe, seed=seed)
            loss = held_out_loss(examples, held_out, recipe)
            if kept:
                kept.keep(proposed, loss)
        trials.append(Trial(proposed, loss))
        if best is None or trials[-1].log_loss < best[0].log_loss:
            best = trials[-1], held_out
        tell(trials[-1].log_loss)
        if on_trial:
            on_trial(len(trials), trials[-1])
    assert best is not None, "there is a first trial"
    (parameters, _), held_out = best
    if held_out is None:
        held_out = held_out_margins(estimator, examples, parameters, blocks=held, recipe=recipe, seed=seed)
    fitted = recipe.fit(estimator, examples, parameters, seed=seed)
    return Fit(fitted, parameters, held_out, trials, recipe)


def search_record(
    estimator: Estimator, examples: Examples, recipe: Recipe, *, blocks: int, gap_us: int, seed: int
) -> Record:
    """What a search's losses depend on."""
    data = sha256()
    for column in (examples.X, examples.y, examples.weight, examples.at_us):
        data.update(np.ascontiguousarray(column).data)
    space = {name: list(within) for name, within in estimator.space.items()}
    return {
        "family": estimator.family,
        "trainer": estimator.trainer,
        "space": space,
        "columns": list(examples.names),
        "examples": data.hexdigest(),
        "blocks": blocks,
        "gap_us": gap_us,
        "seed": seed,
        **recipe.record(),
    }


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
    estimator: Estimator,
    examples: Examples,
    parameters: Mapping[str, float],
    *,
    blocks: list[Fold],
    recipe: Recipe,
    seed: int,
) -> HeldOut:
    rows, margins = [], []
    for fold in blocks:
        fitted = recipe.fit(estimator, examples.take(fold.train), parameters, seed=seed)
        rows.append(np.flatnonzero(fold.valid))
        margins.append(fitted.margins(examples.X[fold.valid]))
    return HeldOut(np.concatenate(rows), np.concatenate(margins))


def held_out_loss(examples: Examples, held_out: HeldOut, recipe: Recipe = PLAIN) -> float:
    labels, weight = examples.y[held_out.rows].astype(np.float64), examples.weight[held_out.rows]
    believed = Identity(negatives_kept=recipe.weighing.negatives_kept)
    return log_loss(believed.probabilities(held_out.margins), labels, weight)


def informed(estimator: Estimator, final: Examples, *, parts: int = 5, seed: int = 0) -> NDArray[np.float64]:
    """P(event), float64[rows], of who knows the final labels of all time, though none of the same card's."""
    margins, part = np.empty(len(final)), final.card % parts
    for number in range(parts):
        fitted = estimator.fit(final.take(part != number), estimator.default, seed=seed)
        margins[part == number] = fitted.margins(final.X[part == number])
    return cross_calibrated(margins, final.y.astype(np.float64), final.weight, half=part % 2 == 0)
