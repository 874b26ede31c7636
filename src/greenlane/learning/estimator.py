"""What a family of models must be able to do to be trained here, and what a search over its parameters must."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from greenlane.learning.examples import Examples
from greenlane.models.predictor import Predictor


class Range(NamedTuple):
    """Where a parameter may lie, ends included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Fitted(Protocol):
    """A trained model that can be served."""

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """The library's own log-odds, float64[rows]."""
        ...

    def predictor(self) -> Predictor:
        """The same margins without the library, within 1e-9."""
        ...


class Estimator(Protocol):
    """One family: what offers these six can be tuned, calibrated, evaluated, compared and served like any other."""

    @property
    def family(self) -> str: ...

    @property
    def default(self) -> Mapping[str, float]:
        """Parameters that are good without tuning."""
        ...

    @property
    def space(self) -> Mapping[str, Range]: ...

    @property
    def takes_negative_weights(self) -> bool:
        """Whether an event and its opposite may stand side by side with weights of opposite sign (`maturity.py`)."""
        ...

    @property
    def trainer(self) -> str:
        """Name and version of the library, for the manifest."""
        ...

    def fit(
        self,
        examples: Examples,
        parameters: Mapping[str, float],
        *,
        seed: int,
        signs: Mapping[str, int] | None = None,
        on_round: Callable[[int, int], None] | None = None,
    ) -> Fitted:
        """`signs` name the features along which the event may only become likelier (1) or less likely (-1)."""
        ...


class Search(Protocol):
    """Proposes parameters and learns from their loss."""

    def ask(self) -> dict[str, float]: ...

    def tell(self, loss: float) -> None:
        """The loss of what `ask` proposed last."""
        ...


NewSearch = Callable[[Mapping[str, Range], int], Search]
"""(space, seed) -> a search."""

Record = dict[str, Any]
"""What goes into a manifest or a report: plain JSON."""
