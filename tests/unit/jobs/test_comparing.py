"""The frontier on a small imported history: every family on the same rows, the absent told, the pages whole."""

from pathlib import Path

import numpy as np
import pytest

from greenlane.adapters import families
from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.adapters.xgboost_trainer import XgBoost
from greenlane.errors import TrainingError
from greenlane.features.finalise import Finaliser
from greenlane.jobs import comparing
from greenlane.jobs.comparing import ABLATION_COLUMNS, COLUMNS, ablation_lines, compare, lines, write_comparison
from greenlane.jobs.importing import import_history
from greenlane.jobs.training import Plan

pytest.importorskip("lightgbm", reason="needs the [train] extra")

MAPPING = Path(__file__).parents[3] / "examples" / "handbook" / "mapping.toml"
PAYMENTS, DAYS = 4_000, 70
DAY_US = 86_400_000_000


def history(path: Path) -> Path:
    """Payments of 200 customers; large ones are fraud more often than not."""
    rng = np.random.default_rng(5)
    seconds = np.sort(rng.integers(0, DAYS * 86_400, PAYMENTS))
    amount = np.round(rng.gamma(2.0, 30.0, PAYMENTS), 2)
    fraud = rng.random(PAYMENTS) < np.where(amount > 150, 0.9, 0.002)
    rows = ["TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"]
    for at, second in enumerate(seconds.tolist()):
        when = np.datetime64("2026-01-01T00:00:00") + np.timedelta64(second, "s")
        who, where = rng.integers(0, 200), rng.integers(0, 50)
        rows.append(f"{at},{str(when).replace('T', ' ')},{who},{where},{amount[at]},{int(fraud[at])}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    import_history(folder / "data", [history(folder / "raw.csv")], MAPPING, strict=True, progress=lambda *_: None)
    return folder / "data"


def test_families_are_compared_one_is_chosen_and_the_absent_is_told(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "absent", families.Family("absent_trainer", "Absent", "deep"))
    monkeypatch.setattr(families, "import_module", told_absent(families.import_module))
    for family in (LightGbm, XgBoost):
        monkeypatch.setattr(family, "default", family.default | {"rounds": 40, "max_bin": 63})
    monkeypatch.setattr(comparing, "groups_of", lambda features: coarse(Finaliser(features).names))
    found = compare(
        shop,
        Plan(gap_us=7 * DAY_US),
        families=("lightgbm", "xgboost", "absent"),
        budget_us=1e9,
        ablation=True,
        progress=lambda *_: None,
    )
    assert {c.family for c in found.candidates} == {"lightgbm", "xgboost"}
    assert "[deep]" in found.skipped["absent"]
    assert found.choice is not None and found.choice.family in ("lightgbm", "xgboost")
    for one in found.candidates:
        assert one.evaluation.average_precision.value > 0.3
        assert 0.0 < one.served.p50_us <= one.served.p99_us and one.served.disk_bytes > 1_000
    without = {a.group: a for a in found.ablation}
    assert sum(a.columns for a in found.ablation) > 10
    assert max(without.values(), key=lambda a: a.average_precision_lost).average_precision_lost > 0.1
    assert len(lines(found)[0]) == len(COLUMNS) and len(ablation_lines(found)[0]) == len(ABLATION_COLUMNS)
    write_comparison(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page and found.choice.why.split(",")[0] in page and "Skipped absent" in page


def coarse(names) -> dict[str, str]:
    """Three groups, as every one more takes fits of its own."""
    told = ("amount", "customer", "terminal")
    return {name: next((group for group in told if name.startswith(group)), "other") for name in names}


def told_absent(real):
    def imported(name: str):
        if name.endswith("absent_trainer"):
            raise ImportError("No module named 'torch'")
        return real(name)

    return imported


def test_an_unknown_family_is_refused_before_any_work(shop):
    with pytest.raises(TrainingError, match="no family 'forest'"):
        compare(shop, Plan(), families=("forest",), progress=lambda *_: None)
