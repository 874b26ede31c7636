"""A small run of what `greenlane experiments validate` runs in full."""

import msgspec
import pytest
from typer.testing import CliRunner

from greenlane.cli import app
from greenlane.errors import InputError
from greenlane.experiments.validate import STUDIES, Log, true_difference, validate


@pytest.fixture(scope="module")
def small():
    return list(validate(200, seed=5))


@pytest.mark.parametrize("place", range(len(STUDIES)), ids=[study.name for study in STUDIES])
def test_a_case_is_near_its_target_even_in_a_small_run(small, place):
    study, case = small[place]
    assert study.passes(case, slack=0.035), case
    assert case.replications == 200


def test_the_same_seed_is_the_same_study(small):
    again = next(validate(200, seed=5))
    assert again[1] == small[0][1]


def test_a_study_without_replications_is_refused():
    with pytest.raises(InputError):
        next(validate(1))


def test_the_truth_of_a_log_is_that_of_its_formula():
    assert true_difference(Log(10, 0.0, 0.0)) > 0.0 > true_difference(Log(10, 0.02, 0.5))


@pytest.mark.prove
def test_every_interval_keeps_its_promise(tmp_path):
    ran = CliRunner().invoke(app, ["experiments", "validate", "--json", str(tmp_path / "cases.json")])
    assert ran.exit_code == 0, ran.output
    cases = msgspec.json.decode((tmp_path / "cases.json").read_bytes())["cases"]
    assert {frozenset(case) for case in cases} == {
        frozenset({"name", "coverage", "replications", "always_valid", "width_ratio"})
    }
    assert all(case["replications"] >= 2_000 for case in cases)
