"""XGBoost behind the `Estimator` protocol, and its JSON format translated into trees."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from greenlane.adapters.parquet_columns import write_columns
from greenlane.errors import TrainingError
from greenlane.learning.estimator import Estimator, Range, finite
from greenlane.learning.examples import Examples
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split, Tree

LABEL: Final = "label of the row"
WEIGHT: Final = "weight of the row"
CALLED: Final = {"rounds": "n_estimators", "eta": "learning_rate", "lambda": "reg_lambda"}
"""Spark's side has other names for some parameters."""
WHOLE: Final = ("n_estimators", "max_leaves", "max_bin")
COLUMNS: Final = ("left_children", "right_children", "split_indices", "split_conditions", "default_left", "sum_hessian")


class XgBoost(Estimator):
    """Gradient boosted trees (Chen, Guestrin, KDD 2016), grown by the best leaf to at most 64, as LightGBM's are."""

    family = "xgboost"
    libraries = ("xgboost",)
    default: ClassVar[Mapping[str, float]] = {
        "rounds": 300,
        "eta": 0.03,
        "max_leaves": 15,
        "min_child_weight": 0.5,
        "colsample_bytree": 0.5,
        "lambda": 5.0,
        "max_bin": 1023,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "rounds": Range(100, 800, log=True, whole=True),
        "eta": Range(0.01, 0.1, log=True),
        "max_leaves": Range(4, 64, log=True, whole=True),
        "min_child_weight": Range(0.01, 20.0, log=True),
        "colsample_bytree": Range(0.2, 1.0),
        "lambda": Range(0.1, 100.0, log=True),
    }

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> "XgBoostFitted":
        """Deterministic for equal examples, parameters, seed, XGBoost version and number of threads."""
        import xgboost

        settings: dict[str, Any] = {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "verbosity": 0,
            "seed": seed,
            "nthread": self.threads,
            **{name: value for name, value in parameters.items() if name != "rounds"},
        }
        if signs:
            settings["monotone_constraints"] = tuple(signs.get(name, 0) for name in examples.names)
        bins = int(parameters.get("max_bin", 256))
        data = xgboost.QuantileDMatrix(finite(examples.X), examples.y, weight=examples.weight, max_bin=bins)
        return XgBoostFitted(xgboost.train(settings, data, int(parameters["rounds"])))


@dataclass(frozen=True)
class XgBoostFitted:
    booster: Any

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """The trainer's own raw margins, float64[rows]: what the flat trees must reproduce."""
        self.booster.set_param({"nthread": 1})
        return np.asarray(self.booster.inplace_predict(finite(X), predict_type="margin"), np.float64)

    def predictor(self) -> FlatTrees:
        return flat_trees_from(self.booster)


class SparkXgBoost(XgBoost):
    """XGBoost fitted by the workers of a Spark session, each on its part of the rows; served as if fitted here.

    Rows lie in Parquet files, so that what is fitted need not fit into this process. Equal results need equal numbers
    of workers and equal parts of the rows.
    """

    def __init__(self, session: Any, scratch: Path, *, workers: int = 2):
        super().__init__()
        self._session, self._scratch, self._workers = session, scratch, workers

    @property
    def trainer(self) -> str:
        return f"{super().trainer} on spark {self._session.version}"

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
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

        logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
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
            random_state=seed, verbose=False, **settings,
        ).fit(rows)  # fmt: skip
        booster = fitted.get_booster()
        booster.feature_names = None  # rows come by place from here on
        return XgBoostFitted(booster)


def flat_trees_from(booster: Any) -> FlatTrees:
    """Flatten a booster: its base score is a tree of one leaf, before the others, as XGBoost adds it up."""
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    facts, model = learner["learner_model_param"], learner["gradient_booster"]["model"]
    objective, booster_kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective != "binary:logistic" or booster_kind != "gbtree" or int(facts["num_target"]) != 1:
        raise TrainingError(
            f"a {booster_kind} model of {objective} cannot be served", hint="objective=binary:logistic, booster=gbtree"
        )
    base = Leaf(base_margin(booster), 0.0)
    trees = [base, *(tree_from(tree) for tree in model["trees"])]
    return FlatTrees.of(trees, features=int(facts["num_feature"]), form="trees32")


def base_margin(booster: Any) -> float:
    """Where the sum begins, as XGBoost itself says when all leaves are 0: its logarithm has last bits of its own."""
    import xgboost

    told = msgspec.json.decode(bytes(booster.save_raw("json")))
    for tree in told["learner"]["gradient_booster"]["model"]["trees"]:
        leaf = [left < 0 for left in tree["left_children"]]
        tree["split_conditions"] = [
            0.0 if ends else at for ends, at in zip(leaf, tree["split_conditions"], strict=True)
        ]
    bare = xgboost.Booster({"nthread": 1}, model_file=bytearray(msgspec.json.encode(told)))
    row = np.zeros((1, booster.num_features()), np.float32)
    return float(bare.inplace_predict(row, predict_type="margin")[0])


def tree_from(facts: Mapping[str, Any]) -> Tree:
    """Left where x < condition, which for float32 is x <= the float32 before it. Parents come before their children."""
    if any(facts["split_type"]):
        raise TrainingError("categorical splits cannot be served", hint="encode categories as numbers")
    done: dict[int, Tree] = {}
    nodes = list(zip(*(facts[name] for name in COLUMNS), strict=True))
    for number in range(len(nodes) - 1, -1, -1):
        left, right, feature, condition, default_left, weight = nodes[number]
        if left < 0:
            done[number] = Leaf(float(np.float32(condition)), weight)
        else:
            threshold = float(np.nextafter(np.float32(condition), np.float32(-np.inf)))
            done[number] = Split(feature, threshold, bool(default_left), done[left], done[right])
    return done[0]
