"""The families of models by name, each with the extra it needs."""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple, cast

from greenlane.errors import TrainingError
from greenlane.learning.estimator import Estimator


class Family(NamedTuple):
    module: str
    name: str
    extra: str


FAMILIES: Final = {
    "lightgbm": Family("lightgbm_trainer", "LightGbm", "train"),
    "xgboost": Family("xgboost_trainer", "XgBoost", "train"),
    "random_forest": Family("sklearn_trainers", "RandomForest", "train"),
    "logistic": Family("sklearn_trainers", "LogisticRegression", "train"),
    "tabm": Family("tabm_trainer", "TabM", "deep"),
}


def estimator_of(family: str, *, threads: int = 1) -> Estimator:
    """TrainingError where there is no such family, or where the extra that it needs is not installed."""
    found = FAMILIES.get(family)
    if found is None:
        raise TrainingError(f"there is no family {family!r}", hint=f"one of {', '.join(FAMILIES)}")
    try:
        module = import_module(f"greenlane.adapters.{found.module}")
        return cast(Callable[..., Estimator], getattr(module, found.name))(threads=threads)
    except ImportError as error:
        raise TrainingError(
            f"{family} needs the [{found.extra}] extra: {error}", hint=f"pip install 'greenlane[{found.extra}]'"
        ) from error
