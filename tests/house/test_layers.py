"""Imports point down one list, vendors live in adapters: pyproject.toml says so, and this holds it."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_contracts_hold() -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_benchmarks_and_examples_import_what_there_is() -> None:
    for path in sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("greenlane"):
                module = importlib.import_module(node.module or "")
                absent = [name.name for name in node.names if not hasattr(module, name.name)]
                assert not absent, f"{path.name} imports {absent} from {node.module}"


def test_the_decision_record_shows_the_list_that_is_held() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    held = next(c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    record = (ROOT / "docs" / "decisions" / "0001-one-house.md").read_text()
    assert " > ".join(held) in " ".join(record.split())


def test_every_dependency_but_the_four_plain_ones_is_a_vendor_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    vendors = next(c["forbidden_modules"] for c in contracts if c["name"].startswith("Vendors"))
    plain = {"msgspec", "numpy", "numba", "sqlglot"}
    names = {requirement_name(text) for text in project["project"]["dependencies"]}
    for extra in ("train", "deep", "mlflow", "spark"):
        names |= {requirement_name(text) for text in project["project"]["optional-dependencies"][extra]}
    imported_as = {
        "mlflow-skinny": "mlflow",
        "prometheus-client": "prometheus_client",
        "scikit-learn": "sklearn",
        "xgboost-cpu": "xgboost",
    }
    assert {imported_as.get(name, name) for name in names - plain} <= set(vendors)


def requirement_name(text: str) -> str:
    return text.split(";")[0].split(">")[0].split("[")[0].strip()


def test_importing_the_door_is_quick_and_takes_no_training_library() -> None:
    heavy = ["lightgbm", "matplotlib", "optuna", "pandas", "pyarrow", "sklearn", "torch", "xgboost"]
    needed = "import duckdb, msgspec, numba, numpy, prometheus_client, sqlglot, uvicorn"
    door = f"import greenlane.wiring, greenlane.serving; print([name for name in {heavy} if name in sys.modules])"
    assert measured_s(door)[1] == "[]"
    assert min(measured_s(door)[0] for _ in range(3)) < 2.5 * min(measured_s(needed)[0] for _ in range(3))


def measured_s(program: str) -> tuple[float, str]:
    """The CPU time that a fresh interpreter takes for a line, and what it prints."""
    timed = f"import sys, time; began = time.process_time(); {program}; print(time.process_time() - began)"
    told = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout.split("\n")
    return float(told[-2]), told[0]
