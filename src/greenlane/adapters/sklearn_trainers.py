"""Random forest and logistic regression of scikit-learn behind the `Estimator` protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from greenlane.learning.estimator import Estimator, Range, finite
from greenlane.learning.examples import Examples
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.linear import TERM, Linear
from greenlane.models.tree import Leaf, Split, Tree

ROWS_A_TREE: Final = 30_000


class RandomForest(Estimator):
    """Many deep trees, each on its own draw of at most ROWS_A_TREE rows, each split asking of few features
    (Breiman 2001); see `flat_trees.vote`."""

    family = "random_forest"
    libraries = ("sklearn",)
    default: ClassVar[Mapping[str, float]] = {"trees": 100, "min_samples_leaf": 3, "max_features": 0.1}
    space: ClassVar[Mapping[str, Range]] = {
        "trees": Range(100, 400, log=True, whole=True),
        "min_samples_leaf": Range(1, 50, log=True, whole=True),
        "max_features": Range(0.05, 0.6, log=True),
    }

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> "ForestFitted":
        """Deterministic for equal examples, parameters, seed and scikit-learn version, whatever the threads."""
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            int(parameters["trees"]),
            min_samples_leaf=int(parameters["min_samples_leaf"]),
            max_features=parameters["max_features"],
            max_samples=min(ROWS_A_TREE, len(examples)),
            monotonic_cst=[signs.get(name, 0) for name in examples.names] if signs else None,
            random_state=seed,
            n_jobs=self.threads,
        )
        forest.fit(finite(examples.X), examples.y, sample_weight=examples.weight)
        return ForestFitted(forest.set_params(n_jobs=1))


@dataclass(frozen=True)
class ForestFitted:
    forest: Any

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds of the trainer's own votes, float64[rows]; see `flat_trees.Sums`."""
        trees = len(self.forest.estimators_)
        with np.errstate(over="ignore", invalid="ignore"):  # it adds all values up, to see whether they are finite
            votes = self.forest.predict_proba(finite(X))[:, 1] * trees
        found: NDArray[np.float64] = np.log((votes + 0.5) / (trees - votes + 0.5))
        return found

    def predictor(self) -> FlatTrees:
        trees = [tree_from(one.tree_) for one in self.forest.estimators_]
        return FlatTrees.of(trees, features=int(self.forest.n_features_in_), form="votes")


def tree_from(tree: Any) -> Tree:
    """scikit-learn numbers a node before its children; a leaf's value is each class's share."""
    columns = (
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        tree.missing_go_to_left,
        tree.value[:, 0, 1],
        tree.weighted_n_node_samples,
    )
    nodes = list(zip(*(column.tolist() for column in columns), strict=True))
    done: dict[int, Tree] = {}
    for number in range(len(nodes) - 1, -1, -1):
        left, right, feature, threshold, missing_left, share, rows = nodes[number]
        if left < 0:
            done[number] = Leaf(min(max(share, 0.0), 1.0), rows)
        else:
            done[number] = Split(feature, threshold, bool(missing_left), done[left], done[right])
    return done[0]


class LogisticRegression(Estimator):
    """Log-odds linear in each standardised value, its logarithm, and its absence; drawn to zero by `ridge`."""

    family = "logistic"
    libraries = ("sklearn",)
    default: ClassVar[Mapping[str, float]] = {"ridge": 1.0}
    space: ClassVar[Mapping[str, Range]] = {"ridge": Range(0.01, 1000.0, log=True)}

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> "LogisticFitted":
        """Deterministic; `signs` are not held: scikit-learn knows no bounds for weights."""
        from sklearn.linear_model import LogisticRegression as Model

        del signs
        prepared = Standardised.of(examples.X)
        model = Model(C=1.0 / parameters["ridge"], solver="newton-cholesky", max_iter=200, random_state=seed)
        design = prepared.design(examples.X)
        varies = np.ptp(design, axis=0) > 0.0  # what is always absent, or never, has nothing to say
        model.fit(design[:, varies], examples.y, sample_weight=examples.weight)
        return LogisticFitted(prepared, varies, model)


@dataclass(frozen=True, eq=False)
class Standardised:
    """What the values of each feature look like among the training rows, float64[m] each."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    log_mean: NDArray[np.float64]
    log_scale: NDArray[np.float64]

    @classmethod
    def of(cls, X: NDArray[np.float32]) -> "Standardised":
        finite_only = np.where(np.isfinite(X), X, np.nan).astype(np.float64)
        finite_only[:, np.isnan(finite_only).all(axis=0)] = 0.0
        low, high = np.nanmin(finite_only, axis=0), np.nanmax(finite_only, axis=0)
        mean, scale = spread(finite_only)
        log_mean, log_scale = spread(signed_log(finite_only))
        return cls(low, high, mean, scale, log_mean, log_scale)

    def design(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[n, 3 m]: values, logarithms, absences; the first two 0 where a value is absent."""
        absent, held = np.isnan(X), np.clip(X.astype(np.float64), self.low, self.high)
        values, logs = (held - self.mean) / self.scale, (signed_log(held) - self.log_mean) / self.log_scale
        return np.hstack([np.where(absent, 0.0, values), np.where(absent, 0.0, logs), absent])


def signed_log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.copysign(np.log1p(np.abs(x)), x)
    return found


def spread(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation by column; a constant column has 1."""
    deviation = np.nanstd(x, axis=0)
    return np.nanmean(x, axis=0), np.where(deviation > 0.0, deviation, 1.0)


@dataclass(frozen=True)
class LogisticFitted:
    prepared: Standardised
    varies: NDArray[np.bool_]
    model: Any

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self.model.decision_function(self.prepared.design(X)[:, self.varies]), np.float64)

    def predictor(self) -> Linear:
        weights = np.zeros(len(self.varies))
        weights[self.varies] = self.model.coef_[0]
        values, logs, absences = weights.reshape(3, -1)
        terms = np.zeros(len(values), TERM)
        terms["low"], terms["high"] = self.prepared.low, self.prepared.high
        terms["mean"], terms["weight"] = self.prepared.mean, values / self.prepared.scale
        terms["log_mean"], terms["log_weight"] = self.prepared.log_mean, logs / self.prepared.log_scale
        terms["missing"] = absences
        return Linear(np.asarray(self.model.intercept_, np.float64), terms)
