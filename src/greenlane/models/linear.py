"""A linear model over standardised inputs: a weight for the value, one for its logarithm, one for being absent.

margin = bias + sum over features of   missing                                         where it is NaN
                                       weight (v - mean) + log_weight (l - log_mean)   otherwise

v   the value, held within the range that was trained on, so that nothing far away can rule
l   sign(v) log(1 + |v|), as amounts and counts are heavy-tailed
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.predictor import Beside, Explainer, RowsBeside
from greenlane.models.reasons import Reasons
from greenlane.models.tree import packed

TERM: Final = np.dtype(
    [(name, "<f8") for name in ("low", "high", "mean", "weight", "log_mean", "log_weight", "missing")]
)
FORM: Final = "linear"


@njit(cache=True)
def linear_margin(x, slots, bias, terms, groups, contributions):  # type: ignore[no-untyped-def]  # a kernel
    """Margin of one row; each feature's part is added to its group's."""
    margin = bias
    for f in range(slots.shape[0]):
        value = np.float64(x[slots[f]])
        if value != value:
            part = terms[f, 6]
        else:
            value = min(max(value, terms[f, 0]), terms[f, 1])
            size = np.log1p(abs(value))
            part = terms[f, 3] * (value - terms[f, 2])
            part += terms[f, 5] * ((size if value >= 0.0 else -size) - terms[f, 4])
        contributions[groups[f]] += part
        margin += part
    return margin


class Linear:
    """A `Predictor` of one term per feature, TERM[m].

    >>> terms = np.array([(0.0, 9.0, 1.0, 0.5, 0.0, 0.0, -0.25)], TERM)
    >>> Linear(np.array([-1.0]), terms).margins(np.array([[3.0], [np.inf], [np.nan]], np.float32))
    array([ 0.  ,  3.  , -1.25])
    """

    form = FORM
    missing = "missing is NaN, never zero: it counts as the training mean and adds a weight of its own"

    def __init__(self, bias: NDArray[np.float64], terms: NDArray[Any]):
        if terms.dtype != TERM or terms.ndim != 1 or bias.shape != (1,) or bias.dtype != np.float64:
            raise ModelRefused("the terms are not in the layout of this version", code="model_malformed")
        self.bias, self.terms, self.features = bias, terms, len(terms)
        self._table = packed(np.column_stack([terms[name] for name in TERM.names or ()]), np.float64)
        if not (np.isfinite(self._table).all() and np.isfinite(bias).all()):
            raise ModelRefused("a term is not a finite number", code="model_malformed")
        self._alone = np.zeros(self.features, np.int64)

    def files(self) -> dict[str, NDArray[Any] | bytes]:
        return {"bias.npy": self.bias, "terms.npy": self.terms}

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        bounds = np.concatenate([self.terms["low"], self.terms["high"]])
        return np.tile(np.arange(self.features), 2), bounds.astype(np.float32)

    @property
    def memory_bytes(self) -> int:
        return self.terms.nbytes + self._table.nbytes

    def slots(self, places: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        return packed(places, np.int64)

    def margin(self, x: NDArray[np.float32], slots: NDArray[np.int64]) -> float:
        found: float = linear_margin(x, slots, self.bias[0], self._table, self._alone, np.zeros(1))
        return found

    def beside(self, own: int, *, places: int, each: int) -> Beside:
        return RowsBeside(self, own, places=places, each=each)

    def margins(self, x: NDArray[np.float32], slots: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        slots = self.slots(np.arange(self.features)) if slots is None else slots
        return np.array([self.margin(row, slots) for row in x], np.float64)

    def explainer(self, groups: Sequence[str]) -> Explainer:
        """Weight times distance from the mean row, by group; the base is what the mean row is given."""
        names = tuple(dict.fromkeys(groups))
        numbers = np.array([names.index(group) for group in groups], np.int64)

        def explain(x: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[float, Reasons]:
            contributions = np.zeros(len(names))
            margin = linear_margin(x, slots, self.bias[0], self._table, numbers, contributions)
            return margin, Reasons(float(self.bias[0]), names, contributions)

        return explain
