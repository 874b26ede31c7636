from pathlib import Path

from greenlane.ports.clock import FakeClock
from greenlane.serving.server import slowly
from greenlane.wiring import open_system
from greenlane.wiring.kept import TOLD_EVERY


def test_a_long_fold_at_the_start_says_how_far_it_is() -> None:
    lines: list[str] = []
    progress = slowly(lines.append, every_s=0.0)
    progress("features", 1_000, 20_000)
    assert lines == ["folding the journal into features: 1,000 of 20,000 entries"]
    quiet = slowly(lines.append, every_s=60.0)
    quiet("features", 2_000, 20_000)
    assert len(lines) == 1


def test_a_system_that_opens_tells_of_both_folds(tmp_path: Path) -> None:
    open_system(tmp_path, clock=FakeClock(1)).close()
    for path in (tmp_path / "snapshots").iterdir():
        path.unlink()
    told: list[tuple[str, int, int]] = []
    open_system(tmp_path, clock=FakeClock(2), progress=lambda *one: told.append(one)).close()
    last = told[0][2]
    assert told == [("features", last, last), ("limits and health", last, last)] and 0 < last < TOLD_EVERY
