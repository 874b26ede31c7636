"""What a server holds may lie in large pages; where that cannot be, it serves all the same."""

import sys
from pathlib import Path

import numpy as np
import pytest

from greenlane.adapters import huge_pages
from greenlane.adapters.huge_pages import HUGE_BYTES, hold_in_huge_pages


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the calls")
def test_what_was_allocated_is_asked_for_and_stays_what_it_was() -> None:
    held = np.arange(8 * HUGE_BYTES // 8)
    assert hold_in_huge_pages() >= 6 * HUGE_BYTES
    assert (np.diff(held) == 1).all()


def test_a_system_that_does_not_tell_its_memory_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "MAPS", tmp_path / "none")
    assert hold_in_huge_pages() == 0
