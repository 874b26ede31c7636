"""XGBoost fitted by the workers of a Spark session, each on its part of the rows; served as if fitted here.

The estimator's family is `xgboost`: the same parameters in, trees and so the same artefact format out. Rows lie in
Parquet files, so that what is fitted need not fit into this process.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from greenlane.adapters.parquet_columns import write_columns
from greenlane.adapters.xgboost_trainer import XgBoost, XgBoostFitted, finite
from greenlane.learning.estimator import Range
from greenlane.learning.examples import Examples

LABEL: Final = "label of the row"
WEIGHT: Final = "weight of the row"
CALLED: Final = {"rounds": "n_estimators", "eta": "learning_rate", "lambda": "reg_lambda"}
"""Spark's side has other names for some parameters."""
WHOLE: Final = ("n_estimators", "max_leaves", "max_bin")


class SparkXgBoost:
    """`Estimator` on a `spark_session`. Equal results need equal numbers of workers and equal parts of the rows."""

    family = XgBoost.family
    default: ClassVar[Mapping[str, float]] = XgBoost.default
    space: ClassVar[Mapping[str, Range]] = XgBoost.space
    takes_negative_weights = XgBoost.takes_negative_weights

    def __init__(self, session: Any, scratch: Path, *, workers: int = 2):
        self._session, self._scratch, self._workers = session, scratch, workers

    @property
    def trainer(self) -> str:
        import xgboost

        return f"xgboost {xgboost.__version__} on spark {self._session.version}"

    def fit(
        self,
        examples: Examples,
        parameters: Mapping[str, float],
        *,
        seed: int,
        signs: Mapping[str, int] | None = None,
        on_round: Callable[[int, int], None] | None = None,  # noqa: ARG002 - Spark's workers tell no rounds
    ) -> XgBoostFitted:
        columns = dict(zip(examples.names, finite(examples.X).T, strict=True))
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / "examples.parquet"
        columns |= {LABEL: examples.y.astype(np.int64), WEIGHT: examples.weight}
        write_columns(path, columns)
        return self.fit_files([path], examples.names, parameters, seed=seed, signs=signs)

    def fit_files(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        parameters: Mapping[str, float],
        *,
        seed: int,
        signs: Mapping[str, int] | None = None,
    ) -> XgBoostFitted:
        """Rows with a column per feature, missing where it is NULL or NaN, and `LABEL` and `WEIGHT`."""
        from xgboost.spark import SparkXGBClassifier

        given = {CALLED.get(name, name): value for name, value in parameters.items()}
        settings: dict[str, Any] = {name: int(value) if name in WHOLE else value for name, value in given.items()}
        if signs:
            settings["monotone_constraints"] = "(" + ",".join(str(signs.get(name, 0)) for name in names) + ")"
        numbered = [f"f{place}" for place in range(len(names))]  # a dot in a name would mean a field of a struct
        rows = self._session.read.parquet(*map(str, paths))
        picked = [f"CAST(`{name}` AS FLOAT) AS {place}" for name, place in zip(names, numbered, strict=True)]
        rows = rows.selectExpr(*picked, f"`{LABEL}` AS label", f"`{WEIGHT}` AS weight")
        fitted = SparkXGBClassifier(
            features_col=numbered, label_col="label", weight_col="weight", num_workers=self._workers,
            missing=float("nan"), tree_method="hist", grow_policy="lossguide", max_depth=0, verbosity=0,
            random_state=seed, **settings,
        ).fit(rows)  # fmt: skip
        booster = fitted.get_booster()
        booster.feature_names = None  # rows come by place from here on
        return XgBoostFitted(booster)
