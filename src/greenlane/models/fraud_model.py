"""A fraud model that is loaded and may be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.calibration import AnyCalibrator
from greenlane.models.predictor import Explainer, Predictor
from greenlane.models.reasons import Reasons


class FraudBelief(Struct, frozen=True, eq=False, gc=False):
    """What the model says about one payment."""

    fraud_probability_e9: int
    """P(a fraud report about this payment, if it is let through), in units of 1e-9."""
    margin: float
    """The raw log-odds before calibration."""
    reasons: Reasons


@dataclass(frozen=True, eq=False, slots=True)
class FraudModel:
    """A predictor, its calibrator and its reasons, reading `names` from a feature vector.

    `slots` says where in the vector each feature that the predictor reads stands; `bind` computes it once.

    >>> from greenlane.models.calibration import Identity
    >>> from greenlane.models.flat_trees import FlatTrees
    >>> from greenlane.models.tree import Leaf, Split
    >>> trees = FlatTrees.of([Split(0, 0.5, True, Leaf(-1.0), Leaf(0.0))], features=1)
    >>> model = FraudModel.of("mdl_1", ["amount"], trees, calibrator=Identity(), groups=["amount"])
    >>> model.bind(["age", "amount"]).predict(np.array([9.0, 0.6], np.float32)).fraud_probability_e9
    500000000
    """

    id: str
    names: tuple[str, ...]
    predictor: Predictor
    calibrator: AnyCalibrator
    explain: Explainer
    slots: NDArray[np.int64]
    width: int
    """How many features the vector has that `slots` point into."""

    versions: Mapping[str, str]
    """Digest of each aggregation and derived feature it was trained on."""

    @classmethod
    def of(
        cls,
        model_id: str,
        names: Sequence[str],
        predictor: Predictor,
        *,
        calibrator: AnyCalibrator,
        groups: Sequence[str],
        versions: Mapping[str, str] = MappingProxyType({}),
    ) -> "FraudModel":
        slots, explain = predictor.slots(np.arange(len(names))), predictor.explainer(groups)
        return cls(model_id, tuple(names), predictor, calibrator, explain, slots, len(names), versions)

    def bind(self, names: Sequence[str], *, versions: Mapping[str, str] | None = None) -> "FraudModel":
        """The same model reading its features out of a vector with these names.

        Raises ModelRefused if a feature is not served or, where the `versions` of what is served are given, if one
        has another definition than it was trained on.
        """
        place = {name: i for i, name in enumerate(names)}
        missing = [name for name in self.names if name not in place]
        changed = [name for name, digest in self.versions.items() if versions and versions.get(name) != digest]
        if missing or changed:
            what, which = ("are not served", missing) if missing else ("are defined differently now", changed)
            raise ModelRefused(
                f"{len(which)} features of {self.id} {what}: {', '.join(which[:5])}",
                code="model_features_missing" if missing else "model_features_changed",
                hint="serve the feature set that the model was trained on",
            )
        places = np.array([place[name] for name in self.names], np.int64)
        return replace(self, slots=self.predictor.slots(places), width=len(names))

    def predict(self, x: NDArray[np.float32]) -> FraudBelief:
        """The belief about one row, float32[width], contiguous; NaN where a feature is missing."""
        assert x.shape == (self.width,) and x.dtype == np.float32
        margin, reasons = self.explain(x, self.slots)
        return FraudBelief(self.calibrator.probability_e9(margin), margin, reasons)

    def predict_many(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Fraud probabilities float64[rows] of float32[rows, width], C-contiguous."""
        assert x.shape[1] == self.width and x.dtype == np.float32
        return self.calibrator.probabilities(self.predictor.margins(x, self.slots))
