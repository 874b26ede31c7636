"""The pipeline on a small past: killed after the work of any step and resumed, it ends with the same hashes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from small_history import small_history

from greenlane.errors import Conflict, NotFound
from greenlane.jobs.pipeline import PASSED, STEPS, Recipe, Result, Run, begin, run_steps
from greenlane.learning.quality import Breach
from greenlane.wiring import open_reader

pytest.importorskip("lightgbm", reason="fitting needs the train extra")

RECIPE = Recipe(parameters={"rounds": 60})
KILLED = """
import os, signal, sys
from pathlib import Path
from greenlane.jobs import pipeline
keep = pipeline.keep_result
def run_until_killed(last):
    def kept(run, result):
        if result.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        keep(run, result)
    pipeline.keep_result = kept
    recipe = pipeline.Recipe(parameters={"rounds": 60})
    run = pipeline.begin(Path(sys.argv[1]), recipe, name="night", progress=lambda *_: None)
    for result in pipeline.run_steps(run):
        assert result.verdict == pipeline.PASSED, result
for step in pipeline.STEPS:
    if not (child := os.fork()):
        run_until_killed(step)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, step
"""
"""A process per step, ended by SIGKILL at its worst moment: the work is done, the result is not written."""


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_history(tmp_path_factory.mktemp("past"))


@pytest.fixture(scope="module")
def whole(past: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """A run from beginning to end, on a copy."""
    directory = copied(past, tmp_path_factory.mktemp("whole"))
    return directory, list(run_steps(begun(directory)))


def copied(past: Path, folder: Path) -> Path:
    shutil.copytree(past, folder / "data")
    return folder / "data"


def begun(directory: Path, recipe: Recipe = RECIPE, name: str = "night") -> Run:
    return begin(directory, recipe, name=name, progress=lambda _done, _all: None)


def hashes(results: list[Result]) -> list[tuple[str, str, str]]:
    return [(r.step, r.inputs, r.digest) for r in results]


def test_it_ends_with_a_champion_that_every_step_led_to(whole: tuple[Path, list[Result]]) -> None:
    directory, results = whole
    assert [(r.step, r.verdict) for r in results] == [(step, PASSED) for step in STEPS]
    aliases = open_reader(directory).live.aliases
    assert aliases["fraud/champion"] == results[-1].outputs["champion"] == results[5].outputs["model"]
    assert (directory / "pipelines" / "night" / "report.html").stat().st_size > 10_000


def test_killed_after_each_steps_work_and_resumed_it_ends_with_the_same_hashes(
    past: Path, whole: tuple[Path, list[Result]], tmp_path: Path
) -> None:
    directory = copied(past, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert hashes(list(run_steps(begun(directory)))) == hashes(whole[1])


def test_a_second_run_of_the_same_plan_gives_the_same_model_and_moves_nothing(whole: tuple[Path, list[Result]]) -> None:
    directory, results = whole
    entries = open_reader(directory).store.span()
    again = list(run_steps(begun(directory, name="another")))
    assert hashes(again)[:6] == hashes(results)[:6]
    assert again[-1].outputs == results[-1].outputs
    assert open_reader(directory).store.span() == entries


def test_a_step_asks_for_those_before_it(past: Path, tmp_path: Path) -> None:
    run = begun(copied(past, tmp_path))
    with pytest.raises(NotFound, match="has no step set yet"):
        list(run_steps(run, ["fit"]))


def test_a_run_is_not_planned_anew(whole: tuple[Path, list[Result]]) -> None:
    begun(whole[0], msgspec.structs.replace(RECIPE, cut_us=begun(whole[0]).recipe.cut_us))
    for other, told in (({"seed": 7}, "seed 0, not 7"), ({"cut_us": 9}, "cut_us [0-9]+, not 9")):
        with pytest.raises(Conflict, match=f"night was planned otherwise: {told}"):
            begun(whole[0], msgspec.structs.replace(RECIPE, **other))


def test_a_file_that_changed_since_is_not_used(past: Path, whole: tuple[Path, list[Result]], tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(whole[0], directory)
    run = begun(directory)
    (run.path / "04_calibrate.json").unlink()
    (run.path / "margins.npz").write_bytes(b"other")
    with pytest.raises(Conflict, match=r"margins\.npz is not what step fit wrote"):
        list(run_steps(run))


def test_a_breach_of_the_data_stops_it(past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from greenlane.jobs import pipeline

    quality, breach = pipeline.quality_of, Breach("nulls", "amount_minor", 1.0, 0.2, "ask the source")
    monkeypatch.setattr(
        pipeline, "quality_of", lambda *a, **k: msgspec.structs.replace(quality(*a, **k), breaches=[breach])
    )
    results = list(run_steps(begun(copied(past, tmp_path))))
    assert [r.step for r in results] == ["set", "report"]
    assert results[-1].verdict == "nulls: amount_minor is 1, allowed 0.2 (ask the source)"
