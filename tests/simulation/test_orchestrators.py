"""The pipeline under an orchestrator: Airflow's file names the steps in order; Metaflow runs them to a champion."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from small_history import small_history

from greenlane.jobs.pipeline import STEPS
from greenlane.wiring import open_reader

EXAMPLES = Path(__file__).parents[2] / "examples"


class StandIn:
    """Airflow's DAG and BashOperator, as far as the file uses them."""

    made: ClassVar[list["StandIn"]] = []

    def __init__(self, **given: Any):
        self.given, self.then = given, list[StandIn]()
        StandIn.made.append(self)

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __rshift__(self, other: "StandIn") -> "StandIn":
        self.then.append(other)
        return other


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, member in (("airflow", "DAG"), ("airflow.operators", ""), ("airflow.operators.bash", "BashOperator")):
        module = ModuleType(name)
        if member:
            setattr(module, member, StandIn)
        monkeypatch.setitem(sys.modules, name, module)
    StandIn.made.clear()
    yield
    StandIn.made.clear()


def test_airflows_tasks_are_the_steps_in_order_each_after_the_one_before(airflow: None) -> None:
    exec(compile((EXAMPLES / "airflow_dag.py").read_text(), "airflow_dag.py", "exec"), {})
    _, *tasks = StandIn.made
    assert [task.given["task_id"] for task in tasks] == list(STEPS)
    assert [[then.given["task_id"] for then in task.then] for task in tasks] == [[s] for s in list(STEPS)[1:]] + [[]]
    for task in tasks:
        assert f"greenlane pipeline step {task.given['task_id']} " in task.given["bash_command"]
        assert "--run-id fraud_{{ ts_nodash }}" in task.given["bash_command"]


def test_a_metaflow_run_ends_with_a_champion(tmp_path: Path) -> None:
    pytest.importorskip("metaflow", reason="metaflow comes with the dev extra")
    pytest.importorskip("lightgbm", reason="fitting needs the train extra")
    data = small_history(tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "USER": "tester",
        "METAFLOW_HOME": str(tmp_path / "metaflow"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path),
        "METAFLOW_DEFAULT_EVENT_LOGGER": "nullSidecarLogger",
        "METAFLOW_DEFAULT_MONITOR": "nullSidecarMonitor",
    }
    command = [sys.executable, str(EXAMPLES / "metaflow_flow.py"), "--no-pylint", "run", "--data", str(data)]
    command += ["--run-name", "night"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert open_reader(data).live.aliases["fraud/champion"] in done.stdout + done.stderr
