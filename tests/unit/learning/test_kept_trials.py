from typing import ClassVar

import pytest
from unit.learning.synthetic_examples import DAY_US, payments

from greenlane.errors import TrainingError
from greenlane.learning.estimator import Range
from greenlane.learning.fit import Budget, Fit, fit
from greenlane.learning.kept_trials import KeptTrials

pytest.importorskip("lightgbm", reason="needs the [train] extra")

from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.adapters.optuna_search import TpeSearch

EXAMPLES, _ = payments(4_000, seed=1)


class Quick(LightGbm):
    default: ClassVar = LightGbm.default | {"rounds": 8}
    space: ClassVar = {"learning_rate": Range(0.02, 0.2, log=True), "num_leaves": Range(4, 15, whole=True)}


class Interrupted(Exception):
    pass


def searched(path, *, trials: int = 10, stop_after: int = 99, seed: int = 4) -> Fit:
    def told(number: int, _: object) -> None:
        if number > stop_after:
            raise Interrupted

    return fit(
        Quick(),
        EXAMPLES,
        gap_us=DAY_US,
        budget=Budget(trials),
        new_search=TpeSearch,
        kept=KeptTrials(path),
        blocks=2,
        seed=seed,
        on_trial=told,
    )


def test_an_interrupted_search_ends_as_it_would_have(tmp_path):
    whole = searched(tmp_path / "whole")
    for stop_after in (3, 9):
        with pytest.raises(Interrupted):
            searched(tmp_path / "broken", stop_after=stop_after)
        with (tmp_path / "broken").open("ab") as file:
            file.write(b'{"parameters": {"half')  # killed while it wrote
    resumed = searched(tmp_path / "broken")
    assert resumed.trials == whole.trials
    assert resumed.parameters == whole.parameters
    assert resumed.fitted.margins(EXAMPLES.X).tolist() == whole.fitted.margins(EXAMPLES.X).tolist()
    assert (tmp_path / "broken").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_search_over_other_data_or_with_another_seed_is_refused(tmp_path):
    searched(tmp_path / "search", trials=1)
    with pytest.raises(TrainingError, match="another search"):
        searched(tmp_path / "search", trials=1, seed=5)
