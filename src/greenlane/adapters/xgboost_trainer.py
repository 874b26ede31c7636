"""XGBoost behind the `Estimator` protocol, and its JSON format translated into trees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.estimator import Range
from greenlane.learning.examples import Examples
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split, Tree

COLUMNS: Final = ("left_children", "right_children", "split_indices", "split_conditions", "default_left", "sum_hessian")


class XgBoost:
    """Gradient boosted trees (Chen, Guestrin, KDD 2016), grown by the best leaf to at most 64, as LightGBM's are."""

    family = "xgboost"
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
    takes_negative_weights = False

    def __init__(self, *, threads: int = 1):
        import xgboost  # noqa: F401 - a missing [train] extra is told before the work, not after

        self.threads = threads

    @property
    def trainer(self) -> str:
        import xgboost

        return f"xgboost {xgboost.__version__}"

    def fit(
        self,
        examples: Examples,
        parameters: Mapping[str, float],
        *,
        seed: int,
        signs: Mapping[str, int] | None = None,
        on_round: Callable[[int, int], None] | None = None,
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
        booster, rounds = xgboost.Booster(settings, [data]), int(parameters["rounds"])
        for number in range(rounds):
            booster.update(data, number)
            if on_round:
                on_round(number + 1, rounds)
        return XgBoostFitted(booster)


@dataclass(frozen=True)
class XgBoostFitted:
    booster: Any

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """The trainer's own raw margins, float64[rows]: what the flat trees must reproduce."""
        self.booster.set_param({"nthread": 1})
        return np.asarray(self.booster.inplace_predict(finite(X), predict_type="margin"), np.float64)

    def predictor(self) -> FlatTrees:
        return flat_trees_from(self.booster)


def finite(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """XGBoost refuses infinities; no threshold lies beyond the largest float32, so that goes the same ways."""
    largest = np.finfo(np.float32).max
    return np.clip(X, -largest, largest)  # NaN stays NaN


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
