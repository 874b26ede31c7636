"""The families of models by name, each with the extra it needs, and on which engine they are fitted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple, cast

from greenlane.errors import TrainingError
from greenlane.learning.estimator import Estimator

Engine = Literal["local", "spark"]


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


@contextmanager
def estimator_on(engine: Engine, family: str) -> Iterator[Estimator]:
    """In this process, or for as long as the session lasts on Spark's workers, which fit xgboost only."""
    if engine == "local":
        yield estimator_of(family)
        return
    if family != "xgboost":
        raise TrainingError(f"{family} is not fitted on Spark", hint="--family xgboost, or without --engine spark")
    from greenlane.adapters.spark_engine import spark_session
    from greenlane.adapters.xgboost_trainer import SparkXgBoost

    with TemporaryDirectory(prefix="greenlane-spark-") as scratch, spark_session(scratch=Path(scratch)) as session:
        yield SparkXgBoost(session, Path(scratch) / "examples")
