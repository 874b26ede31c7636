"""Features of an outside source, made with pandas alone, come out of the journal exactly, from both engines."""

from pathlib import Path

import numpy as np
import pytest

from greenlane.jobs.importing import import_history
from greenlane.jobs.proving import verify_against, verify_features

HERE = Path(__file__).parents[2]
MAPPING = HERE / "examples" / "handbook" / "mapping.toml"
PUBLISHED = HERE.parent / "shared" / "data" / "handbook"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data directory with 60 days of a small world, and the published features of all of it."""
    pytest.importorskip("pandas", reason="the look-alike data needs the bench extra")
    import handbook_like as like

    folder = tmp_path_factory.mktemp("handbook")
    rows = like.simulate(customers=100, terminals=40, days=60, seed=5)
    rows.to_csv(folder / "rows.csv", index=False)
    like.with_features(rows, last_days=60).to_parquet(folder / "expected.parquet", index=False)
    report = import_history(
        folder / "data", [folder / "rows.csv"], MAPPING, strict=True, progress=lambda _done, _all: None
    )
    assert report.payments == len(rows)
    assert report.labels == np.count_nonzero(rows.TX_FRAUD) > 0
    return folder / "data", folder / "expected.parquet"


def test_the_published_features_come_out_with_no_mismatch_from_both_engines(data: tuple[Path, Path]):
    found = verify_against(*data)
    assert found.mismatches == 0, "\n".join(found.first)
    assert found.values == 2 * 15 * found.rows > 100_000


def test_stream_and_sql_agree_on_every_column_of_the_mapping(data: tuple[Path, Path]):
    found = verify_features(data[0], sample=1000)
    assert found.mismatches == 0, "\n".join(found.first)
    assert found.rows > 500


@pytest.mark.prove
def test_the_published_data_comes_out_with_no_mismatch(tmp_path: Path):
    if not PUBLISHED.exists():
        pytest.skip(f"the published data is not on this machine ({PUBLISHED})")
    import_history(tmp_path, [PUBLISHED / "dev.parquet"], MAPPING, strict=True, progress=lambda _done, _all: None)
    found = verify_against(tmp_path, PUBLISHED / "dev_features.parquet")
    assert found.mismatches == 0, "\n".join(found.first)
