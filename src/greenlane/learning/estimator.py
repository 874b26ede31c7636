"""What a family of models must be able to do to be trained here, and what a search over its parameters must."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Protocol

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


class Estimator(ABC):
    """One family: it can be tuned, calibrated, evaluated, compared and served like any other."""

    family: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]
    """What trains it; the manifest names them with their versions."""
    also: ClassVar[tuple[str, ...]] = ()
    """What else has to be installed."""
    default: ClassVar[Mapping[str, float]]
    """Parameters that are good without tuning."""
    space: ClassVar[Mapping[str, Range]]
    takes_negative_weights: ClassVar[bool] = False
    """Whether an event and its opposite may stand side by side with weights of opposite sign (`maturity.py`)."""

    def __init__(self, *, threads: int = 1):
        self.threads = threads
        self._loaded = [import_module(name) for name in (*self.libraries, *self.also)]  # what is missing is told here

    @property
    def trainer(self) -> str:
        named = zip(self.libraries, self._loaded, strict=False)
        return ", ".join(f"{name.replace('sklearn', 'scikit-learn')} {module.__version__}" for name, module in named)

    @abstractmethod
    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> Fitted:
        """`signs` name the features along which the event may only become likelier (1) or less likely (-1)."""


def finite(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """For libraries that refuse infinities: no threshold lies beyond float32, so that goes the same ways."""
    largest = np.finfo(np.float32).max
    return np.clip(X, -largest, largest)  # NaN stays NaN


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
