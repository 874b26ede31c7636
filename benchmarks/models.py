"""Model calls against the libraries' own, on one thread: one row, eight routes, reasons; every family.

    python benchmarks/models.py [--json OUT]

500 trees of 64 leaves over 100 features, trained on seeded synthetic payments. The two sides of every bar take turns
in one run; figures are medians. XGBoost has as many trees of as many leaves; the forest has 100 deep ones; the net is
what `train fraud --family tabm` makes, against torch.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # as in serving

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from table import Bar, bar, report

from greenlane.adapters.families import estimator_of
from greenlane.adapters.lightgbm_trainer import flat_trees_from
from greenlane.errors import TrainingError
from greenlane.learning.examples import Examples
from greenlane.models.calibration import Beta, Isotonic, Platt
from greenlane.models.fraud_model import FraudModel
from greenlane.models.reasons import ReasonTable

FEATURES, ROUTES, GROUPS, ROUTE_FEATURES = 100, 8, 10, 20


def synthetic_payments(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, integer-coded categories and heavy-tailed amounts; 2 % missing in 30 columns; about 3 % events."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    x[:, 60:80] = rng.integers(0, 40, (rows, 20))
    x[:, 80:] = np.abs(x[:, 80:]) ** 3
    effect = rng.standard_normal((20, 40)) * 0.3
    z = x[:, :60] @ (rng.standard_normal(60) * (rng.random(60) < 0.4)) * 0.35
    z += sum(effect[j][x[:, 60 + j].astype(int)] for j in range(20))
    z += 0.5 * x[:, 0] * x[:, 1] + 0.4 * (x[:, 80] > 2) * x[:, 2]
    y = rng.random(rows) < 0.6 / (1 + np.exp(np.quantile(z, 0.975) - z))
    x[:, 30:60][rng.random((rows, 30)) < 0.02] = np.nan
    return x, y.astype(np.int8)


def trained(x: np.ndarray, y: np.ndarray) -> Any:
    settings = {
        "objective": "binary",
        "num_leaves": 64,
        "learning_rate": 0.03,
        "min_data_in_leaf": 20,
        "max_bin": 63,
        "feature_fraction": 0.5,
        "verbose": -1,
        "num_threads": 1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y), 500)


def alternate(sides: dict[str, Callable[[int], object]], *, turns: int) -> dict[str, float]:
    """Median microseconds of each side, the sides taking turns."""
    spent: dict[str, list[int]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, call in sides.items():
            start = time.perf_counter_ns()
            call(turn)
            spent[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(times[turns // 10 :]) / 1000 for name, times in spent.items()}


def routes_of(rows: np.ndarray, turn: int) -> np.ndarray:
    """Eight routes of one payment: all features alike but the last ROUTE_FEATURES."""
    payment = np.repeat(rows[turn % 500][None], ROUTES, axis=0)
    payment[:, -ROUTE_FEATURES:] = rows[turn % 500 : turn % 500 + ROUTES, -ROUTE_FEATURES:]
    return payment


def measure(turns: int) -> list[Bar]:
    x, y = synthetic_payments(22_000, seed=7)
    booster = trained(x[:20_000], y[:20_000])
    rows = np.ascontiguousarray(x[20_000:])
    groups = [f"group_{f * GROUPS // FEATURES}" for f in range(FEATURES)]
    names = [f"feature_{f}" for f in range(FEATURES)]
    trees = flat_trees_from(booster.model_to_string())
    calibrator = Platt(slope=1.0, intercept=0.0)
    model = FraudModel.of("mdl_bench", names, trees, calibrator=calibrator, groups=groups)
    assert np.array_equal(trees.margins(rows), booster.predict(rows, raw_score=True)), "margins differ from LightGBM"
    exits = [trees.sums(row, model.slots)[1] for row in rows[:500]]
    table = ReasonTable(trees.nodes, trees.roots, groups)
    payments = [routes_of(rows, turn) for turn in range(500)]
    knots = tuple(np.linspace(-8.0, 2.0, 200).tolist())
    isotonic, beta = Isotonic(margins=knots, log_odds=knots), Beta(a=1.0, b=1.0, c=0.0)
    margins = np.linspace(-7.0, 1.0, 100).tolist()
    sides: dict[str, Callable[[int], object]] = {
        "library 1 row": lambda i: booster.predict(rows[i % 500 : i % 500 + 1], raw_score=True, num_threads=1),
        "1 row": lambda i: trees.sums(rows[i % 500], model.slots),
        "library 8 rows": lambda i: booster.predict(rows[i % 500 : i % 500 + ROUTES], raw_score=True, num_threads=1),
        "8 routes": lambda i: trees.margins(payments[i % 500], model.slots),
        "8 unrelated rows": lambda i: trees.margins(rows[i % 500 : i % 500 + ROUTES], model.slots),
        "whole belief": lambda i: model.predict(rows[i % 500]),
        "isotonic": lambda _: [isotonic.probability_e9(m) for m in margins],
        "beta": lambda _: [beta.probability_e9(m) for m in margins],
    }
    us = alternate(sides, turns=turns)
    decision = alternate(  # reasons follow the model call, as they do in a decision
        {
            "1 row": lambda i: trees.sums(rows[i % 500], model.slots),
            "reasons": lambda i: table.explain(exits[i % 500]),
        },
        turns=turns,
    )
    one, eight = us["library 1 row"], us["library 8 rows"]
    return [
        bar("model call, 1 row", us["1 row"], "us", reference=one, ratio_max=0.33),
        bar("model call, 8 routes of one payment", us["8 routes"], "us", reference=eight, ratio_max=0.2),
        bar("reasons of one decision", decision["reasons"], "us", reference=decision["1 row"], ratio_max=0.5),
        bar("calibration of one row, isotonic", us["isotonic"] / 100, "us", value_max=4.0),
        bar("calibration of one row, beta", us["beta"] / 100, "us", value_max=4.0),
        bar("whole belief: call, calibration, reasons", us["whole belief"], "us", reference=one),
        bar("model call, 8 unrelated rows", us["8 unrelated rows"], "us", reference=eight),
    ]


Call = Callable[[np.ndarray], object]


def library_calls() -> dict[str, tuple[dict[str, float], Callable[[Any], Call]]]:
    """Family -> parameters, and what its library does for some rows."""

    def xgboost_call(fitted: Any) -> Call:
        fitted.booster.set_param({"nthread": 1})
        return lambda x: fitted.booster.inplace_predict(x, predict_type="margin")

    return {
        "xgboost": ({"rounds": 500, "max_leaves": 64, "max_bin": 63}, xgboost_call),
        "random_forest": ({"trees": 100}, lambda fitted: fitted.forest.predict_proba),
        "logistic": ({}, lambda fitted: fitted.margins),
        "tabm": ({"epochs": 2}, lambda fitted: fitted.margins),
    }


def measure_family(family: str, examples: Examples, rows: np.ndarray, *, turns: int) -> list[Bar]:
    parameters, library_call = library_calls()[family]
    try:
        estimator = estimator_of(family)
    except TrainingError as error:
        print(f"{family} is left out: {error.message}")
        return []
    fitted = estimator.fit(examples, {**estimator.default, **parameters}, seed=0)
    library, served = library_call(fitted), fitted.predictor()
    slots = served.slots(np.arange(FEATURES))
    assert np.abs(served.margins(rows) - fitted.margins(rows)).max() <= 1e-9, f"margins differ from {family}'s own"
    payments = [routes_of(rows, turn) for turn in range(100)]
    us = alternate(
        {
            "library 1 row": lambda i: library(rows[i % 500 : i % 500 + 1]),
            "1 row": lambda i: served.margin(rows[i % 500], slots),
            "library 8 rows": lambda i: library(rows[i % 500 : i % 500 + ROUTES]),
            "8 routes": lambda i: served.margins(payments[i % 100], slots),
        },
        turns=turns,
    )
    one, eight = (None, None) if family == "tabm" else (0.33, 0.2)  # a net's own figure stands alone
    return [
        bar(f"{family}, 1 row", us["1 row"], "us", reference=us["library 1 row"], ratio_max=one),
        bar(
            f"{family}, 8 routes of one payment", us["8 routes"], "us", reference=us["library 8 rows"], ratio_max=eight
        ),
    ]


def measure_families(turns: int) -> list[Bar]:
    x, y = synthetic_payments(22_000, seed=7)
    names, count = tuple(f"feature_{f}" for f in range(FEATURES)), np.arange(20_000)
    examples = Examples(names, x[:20_000], y[:20_000], np.ones(20_000), count, count, count)
    rows = np.ascontiguousarray(x[20_000:])
    return [one for family in library_calls() for one in measure_family(family, examples, rows, turns=turns)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=3000)
    options = parser.parse_args()
    return report(measure(options.turns) + measure_families(options.turns // 4), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
