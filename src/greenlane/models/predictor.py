"""What every form of a served model can do, whatever trained it: trees, a linear model, a net."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.reasons import Reasons

Floats32 = NDArray[np.float32]
Slots = NDArray[np.int64]

Explainer = Callable[[Floats32, Slots], tuple[float, Reasons]]
"""(one row, slots) -> its margin, and the same margin taken apart by group."""


class Beside(Protocol):
    """Margins of one payment's columns beside others that are held ready: those of the ways it may go."""

    @property
    def memory_bytes(self) -> int:
        """What is held."""
        ...

    def hold(self, place: int, columns: Floats32) -> None:
        """float32[each, m - own]: the rows at a place, instead of those held there before."""
        ...

    def margins(self, columns: Floats32, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[places x each] of the payment's columns, float32[own], beside what is held at these places."""
        ...


class RowsBeside:
    """Holds the columns as they are, and lays the payment's before them."""

    def __init__(self, predictor: "Predictor", own: int, *, places: int, each: int):
        self._predictor, self._own = predictor, own
        self._rows = np.zeros((places, each, predictor.features), np.float32)
        self._slots = predictor.slots(np.arange(predictor.features))
        self.memory_bytes = self._rows.nbytes

    def hold(self, place: int, columns: Floats32) -> None:
        self._rows[place, :, self._own :] = columns

    def margins(self, columns: Floats32, at: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = self._rows[at]
        rows[..., : self._own] = columns
        return self._predictor.margins(rows.reshape(-1, rows.shape[-1]), self._slots)


class Predictor(Protocol):
    """Log-odds of rows float32[n, m], C-contiguous, NaN where a value is missing.

    `slots` say where in a row the model finds what it reads.
    """

    @property
    def form(self) -> str:
        """The word in the manifest by which it is read back."""
        ...

    @property
    def missing(self) -> str:
        """What a missing value does."""
        ...

    @property
    def features(self) -> int: ...

    @property
    def memory_bytes(self) -> int:
        """What it holds while it serves."""
        ...

    def slots(self, places: NDArray[np.integer[Any]]) -> Slots:
        """For rows in which feature f stands at places[f]."""
        ...

    def margin(self, x: Floats32, slots: Slots) -> float:
        """Of one row, float32[m]."""
        ...

    def margins(self, x: Floats32, slots: Slots | None = None) -> NDArray[np.float64]:
        """float64[n], the same as one by one."""
        ...

    def beside(self, own: int, *, places: int, each: int) -> Beside:
        """For rows whose first `own` columns are of one thing and the others of what stands beside it."""
        ...

    def explainer(self, groups: Sequence[str]) -> Explainer:
        """For the group of each feature, in order."""
        ...

    def edges(self) -> tuple[NDArray[np.int64], Floats32]:
        """(feature, value) pairs where what it says bends or jumps: there a wrong evaluation shows."""
        ...

    def files(self) -> Mapping[str, NDArray[Any] | bytes]:
        """All that has to be kept of it, by the name of the file."""
        ...


OpenNet = Callable[[bytes, int], Predictor]
"""(an ONNX graph, its number of features) -> what serves it."""


def no_net(_graph: bytes, _features: int) -> Predictor:
    """Where nets are not served."""
    raise ModelRefused(
        "it is a net, which needs ONNX Runtime", code="model_extra_missing", hint="pip install 'greenlane[deep]'"
    )
