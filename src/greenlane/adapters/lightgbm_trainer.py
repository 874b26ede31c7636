"""LightGBM behind the `Estimator` protocol, and its text format translated into trees."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.learning.estimator import Estimator, Range
from greenlane.learning.examples import Examples
from greenlane.models.flat_trees import ZERO, FlatTrees
from greenlane.models.tree import Leaf, Split, Tree

DEFAULT_LEFT = 2
MISSING_ZERO, MISSING_NAN = 1, 2


class LightGbm(Estimator):
    """Gradient boosted trees (Ke et al., NeurIPS 2017) of at most 64 leaves, so that serving can use bit vectors.

    The defaults are careful ones for rare labels: small steps, small trees, half of the features per tree; and fine
    bins, because amounts are heavy-tailed and a rare fraud hides in a narrow range of them.
    """

    family = "lightgbm"
    libraries = ("lightgbm",)
    default: ClassVar[Mapping[str, float]] = {
        "rounds": 300,
        "learning_rate": 0.03,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.5,
        "lambda_l2": 5.0,
        "min_gain_to_split": 0.0,
        "max_bin": 1023,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "rounds": Range(100, 800, log=True, whole=True),
        "learning_rate": Range(0.01, 0.1, log=True),
        "num_leaves": Range(4, 64, log=True, whole=True),
        "min_data_in_leaf": Range(5, 400, log=True, whole=True),
        "feature_fraction": Range(0.2, 1.0),
        "lambda_l2": Range(0.1, 100.0, log=True),
        "min_gain_to_split": Range(0.0, 1.0),
    }

    takes_negative_weights = True

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> "LightGbmFitted":
        """Deterministic for equal examples, parameters, seed and LightGBM version, whatever the number of threads."""
        import lightgbm

        settings: dict[str, Any] = {
            "objective": "binary",
            "verbose": -1,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": self.threads,
            **{name: value for name, value in parameters.items() if name != "rounds"},
        }
        if signs:
            settings["monotone_constraints"] = [signs.get(name, 0) for name in examples.names]
        data = lightgbm.Dataset(examples.X, examples.y.astype(np.float32), weight=examples.weight, free_raw_data=True)
        return LightGbmFitted(lightgbm.train(settings, data, int(parameters["rounds"])))


@dataclass(frozen=True)
class LightGbmFitted:
    booster: Any

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """The trainer's own raw margins, float64[rows]: what the flat trees must reproduce."""
        return np.asarray(self.booster.predict(X, raw_score=True, num_threads=1), np.float64)

    def predictor(self) -> FlatTrees:
        return flat_trees_from(self.booster.model_to_string())


def flat_trees_from(text: str) -> FlatTrees:
    """Flatten a model in LightGBM's text format (`Booster.model_to_string()`), which keeps thresholds exactly."""
    header, *blocks = text.split("\nTree=")
    facts = dict(line.split("=", 1) for line in header.splitlines() if "=" in line)
    if facts["num_class"] != "1" or "average_output" in header.splitlines():
        raise TrainingError(
            "only a boosted model with one output can be served", hint="objective=binary, boosting=gbdt"
        )
    return FlatTrees.of([tree_from(block) for block in blocks], features=int(facts["max_feature_idx"]) + 1)


def tree_from(block: str) -> Tree:
    facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if facts.get("num_cat", "0") != "0" or facts.get("is_linear", "0") != "0":
        raise TrainingError(
            "categorical splits and linear leaves cannot be served", hint="encode categories as numbers"
        )
    values = [float(v) for v in facts["leaf_value"].split()]
    if facts["num_leaves"] == "1":
        return Leaf(values[0])
    leaves = [Leaf(*pair) for pair in zip(values, numbers(facts["leaf_count"]), strict=True)]
    return joined(list(splits_from(facts)), leaves)


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def splits_from(facts: Mapping[str, str]) -> Iterator[tuple[Split, int, int]]:
    """Each split without its children, and where those are: a split by its number, a leaf by ~number."""
    columns = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
    for feature, threshold, kind, left, right in zip(*(numbers(facts[c]) for c in columns), strict=True):
        yield split_from(int(feature), threshold, int(kind)), int(left), int(right)


def split_from(feature: int, threshold: float, kind: int) -> Split:
    """LightGBM's NumericalDecision: NaN is zero unless NaN is the missing type; zero is missing for the zero type.

    Values within 1e-35 of zero count as zero, so a threshold inside that range moves to its edge.
    """
    default_left, missing = bool(kind & DEFAULT_LEFT), (kind >> 2) & 3
    zero_is_left = default_left if missing == MISSING_ZERO else threshold >= 0
    nan_left = default_left if missing == MISSING_NAN else zero_is_left
    apart = missing == MISSING_ZERO and zero_is_left != (threshold >= 0)
    if -ZERO <= threshold <= ZERO:
        threshold = float(ZERO) if threshold >= 0 else float(np.nextafter(-ZERO, np.float32(-1)))
    return Split(feature, threshold, nan_left, Leaf(0.0), Leaf(0.0), zero_left=zero_is_left if apart else None)


def joined(splits: list[tuple[Split, int, int]], leaves: list[Leaf]) -> Tree:
    """LightGBM numbers a split after its parent, so children are finished when their parent's turn comes."""
    done: dict[int, Tree] = {~i: leaf for i, leaf in enumerate(leaves)}
    for number in range(len(splits) - 1, -1, -1):
        split, left, right = splits[number]
        done[number] = split._replace(left=done[left], right=done[right])
    return done[0]
