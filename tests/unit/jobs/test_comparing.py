"""The frontier on a small imported history: every family on the same rows, the absent told, the pages whole."""

from pathlib import Path

import numpy as np
import pytest

from greenlane.adapters import families
from greenlane.adapters.history_mapping import read_mapping
from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.adapters.xgboost_trainer import XgBoost
from greenlane.errors import NotFound, TrainingError
from greenlane.features.finalise import Finaliser
from greenlane.jobs import comparing
from greenlane.jobs.comparing import ABLATION_COLUMNS, COLUMNS, ablation_lines, compare, lines, write_comparison
from greenlane.jobs.comparing_against import AGAINST_COLUMNS, against_lines
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


def test_a_family_is_fitted_on_a_table_of_other_features_over_the_same_rows(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(LightGbm, "default", LightGbm.default | {"rounds": 40, "max_bin": 63})
    names = list(read_mapping(MAPPING).expected.columns)
    rows = [f"{at}," + ",".join("7" for _ in names) for at in range(0, PAYMENTS, 2)]
    table = tmp_path / "constant.csv"
    table.write_text("\n".join([",".join(["TRANSACTION_ID", *names]), *rows]) + "\n")
    found = compare(shop, Plan(), families=("lightgbm",), against=table, progress=lambda *_: None)
    assert found.payments < PAYMENTS * 0.6 * 0.2, "only payments that the table has are judged"
    (beside,) = found.against
    base_rate = found.candidates[0].evaluation.base_rate
    assert beside.ours == found.candidates[0].evaluation.average_precision.value > 0.3
    assert beside.theirs == pytest.approx(base_rate, rel=1e-6), "columns that are all alike tell nothing apart"
    assert len(against_lines(found.against)[0]) == len(AGAINST_COLUMNS) and beside.met


def test_a_table_of_other_payments_is_refused(shop, tmp_path):
    names = list(read_mapping(MAPPING).expected.columns)
    table = tmp_path / "others.csv"
    table.write_text(f"TRANSACTION_ID,{','.join(names)}\nelsewhere{',1' * len(names)}\n")
    with pytest.raises(NotFound, match=r"no payment of others\.csv"):
        compare(shop, Plan(), families=("lightgbm",), against=table, progress=lambda *_: None)


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
