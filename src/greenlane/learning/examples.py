"""Labelled rows in time order: what fitting, calibrating and evaluating all work on."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError
from greenlane.payments.times import DAY_US


@dataclass(frozen=True, eq=False)
class Examples:
    """One row per label, oldest first. All arrays have the length of `y`.

    X float32[n, m], NaN where a feature is missing; y int8[n], 1 where the event happened; weight float64[n];
    at_us int64[n], the decision's time; amount_minor int64[n] in the reporting currency; card int64[n], any code that
    is equal for equal cards.
    """

    names: tuple[str, ...]
    X: NDArray[np.float32]
    y: NDArray[np.int8]
    weight: NDArray[np.float64]
    at_us: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    card: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.X.shape != (len(self.y), len(self.names)) or self.X.dtype != np.float32:
            raise TrainingError(f"X is {self.X.dtype}{self.X.shape}, not float32 ({len(self.y)}, {len(self.names)})")
        if any(len(getattr(self, f.name)) != len(self.y) for f in fields(self) if f.name not in ("names", "X")):
            raise TrainingError("the columns of the examples differ in length")
        if np.any(np.diff(self.at_us) < 0):
            raise TrainingError("examples are not in time order", hint="sort them by decision time")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def day(self) -> NDArray[np.int64]:
        """Days since the first row."""
        return (self.at_us - self.at_us[:1]) // DAY_US

    def take(self, rows: NDArray[Any]) -> "Examples":
        """The rows of an index or a mask, in its order."""
        parts = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "names"}
        return Examples(self.names, **parts)

    def check_learnable(self) -> "Examples":
        """Raises TrainingError where there is nothing to tell apart."""
        if not 0 < int(self.y.sum()) < len(self):
            raise TrainingError(
                f"{int(self.y.sum())} events in {len(self)} rows: nothing to learn from",
                hint="take a longer period, or an earlier cut so that labels have matured",
            )
        return self
