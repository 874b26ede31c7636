"""What an artefact weighs and how fast it answers, on this machine."""

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.models.predictor import Predictor

CALLS: Final = 2_000
BURST: Final = 20
"""Calls of one model before the next one's turn: as warm as in a busy server, and no model has a quiet hour."""


class Served(Struct, frozen=True):
    """Measured, so different on every machine."""

    disk_bytes: int
    memory_bytes: int
    """Its arrays, or by how much the process grew when the net was opened."""
    load_ms: float
    """Read, verified, proven on the golden rows and warm; the compiled kernels were cached."""
    p50_us: float
    """One payment: margin, reasons and probability. Time of the processor: what else the machine does is left out."""
    p99_us: float

    @property
    def disk_mb(self) -> float:
        return self.disk_bytes / 1e6


Predict = Callable[[NDArray[np.float32]], object]
"""One prediction of one row, as the hot path asks for it."""


def timed(models: Mapping[str, Predict], rows: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Processor microseconds of each of CALLS single predictions by each model on its rows, taking turns."""
    spent: dict[str, list[int]] = {name: [] for name in models}
    collecting = gc.isenabled()
    gc.disable()  # as in serving
    try:
        for first in range(0, CALLS, BURST):
            for name, predict in models.items():
                x = rows[name]
                for at in range(first, first + BURST):
                    row = x[at % len(x)]
                    start = time.thread_time_ns()
                    predict(row)
                    spent[name].append(time.thread_time_ns() - start)
    finally:
        if collecting:
            gc.enable()
    return {name: np.array(each) / 1e3 for name, each in spent.items()}


def served(path: Path, predictor: Predictor, us: NDArray[np.float64], *, load_ms: float) -> Served:
    p50, p99 = np.quantile(us, [0.5, 0.99]).tolist()
    disk = sum(file.stat().st_size for file in path.iterdir())
    return Served(disk, predictor.memory_bytes, load_ms, p50, p99)
