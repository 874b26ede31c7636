"""The tree-structured Parzen estimator of Optuna (Bergstra et al. 2011) as a `Search`, seeded and in this process."""

from collections.abc import Mapping
from typing import Any

from greenlane.learning.estimator import Range


class TpeSearch:
    """Ask, then tell; nothing is stored outside of this object."""

    def __init__(self, space: Mapping[str, Range], seed: int):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
        self.study = optuna.create_study(direction="minimize", sampler=sampler)
        self.space = space
        self.trial: Any = None

    def ask(self) -> dict[str, float]:
        self.trial = self.study.ask()
        return {name: self.suggested(name, within) for name, within in self.space.items()}

    def suggested(self, name: str, within: Range) -> float:
        if within.whole:
            return int(self.trial.suggest_int(name, int(within.low), int(within.high), log=within.log))
        return float(self.trial.suggest_float(name, within.low, within.high, log=within.log))

    def tell(self, loss: float) -> None:
        self.study.tell(self.trial, loss)
