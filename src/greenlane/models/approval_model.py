"""The approval model: P(approved | a good payer's attempt) over each way, plain, exempt and authenticated."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from greenlane.models.approval_rows import (
    COLUMNS,
    MODES,
    PAYMENT_COLUMNS,
    Encoding,
    Situation,
    payment_values,
    segment_of,
    way_values,
)
from greenlane.models.artefact import (
    agree,
    golden_in,
    predictor_in,
    prove_margins,
    read_manifest,
    refused,
    verified_bytes,
)
from greenlane.models.calibration import AnyCalibrator
from greenlane.models.predictor import OpenNet, Predictor, no_net
from greenlane.payments.facts import Facts

KIND: Final = "approval"
ENCODING: Final = "encoding.json"
KEPT_MAX: Final = 4_096
"""So many issuers with their ways are kept worked out (a kilobyte each); then all are forgotten."""
ATTEMPT_NO, INITIATED, SWITCHED = (COLUMNS.index(name) for name in ("attempt_no", "merchant_initiated", "switched"))

Ways = tuple[tuple[str, str], ...]
"""(route, credential) each."""


class Calibrators(NamedTuple):
    """One for each segment that has answers enough, and one for all others."""

    overall: AnyCalibrator
    segments: dict[str, AnyCalibrator]

    def of(self, *, attempt_no: float, merchant_initiated: float) -> AnyCalibrator:
        segment = segment_of(attempt_no=attempt_no, merchant_initiated=merchant_initiated)
        return self.segments.get(segment, self.overall)

    def probabilities(self, rows: NDArray[np.float32], margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n], each calibrated as its row's segment is."""
        found, retried, mit = np.empty(len(rows)), rows[:, ATTEMPT_NO] > 1.0, rows[:, INITIATED] != 0.0
        for attempt_no, initiated in product((1.0, 2.0), (0.0, 1.0)):
            own = (retried == (attempt_no > 1.0)) & (mit == bool(initiated))
            found[own] = self.of(attempt_no=attempt_no, merchant_initiated=initiated).probabilities(margins[own])
        return found


class ApprovalModel:
    """A predictor, calibrators and encoding; not for two threads at once, as rows are written into one buffer.

    `predict` answers for every way (plain, exempt, 3ds), in the order of `approval_rows.MODES`, integers 1e-9.
    """

    def __init__(self, model_id: str, predictor: Predictor, calibrators: Calibrators, encoding: Encoding):
        self.id, self.predictor, self.calibrators, self.encoding = model_id, predictor, calibrators, encoding
        self._slots = predictor.slots(np.arange(len(COLUMNS)))
        self._rows = np.zeros((0, len(COLUMNS)), np.float32)
        self._over: dict[tuple[str, str, Ways], NDArray[np.float32]] = {}

    def rows(self, situation: Situation, ways: Ways) -> NDArray[np.float32]:
        """float32[ways x modes, columns], ways first; valid until the next call."""
        count = len(ways) * len(MODES)
        if len(self._rows) < count:
            self._rows = np.zeros((count, len(COLUMNS)), np.float32)
        rows = self._rows[:count]
        rows[:, : len(PAYMENT_COLUMNS)] = payment_values(situation, self.encoding)
        rows[:, len(PAYMENT_COLUMNS) :] = self._over_ways(situation.facts, ways)
        if situation.last_route:
            switched = [float(route != situation.last_route) for route, _ in ways]
            rows[:, SWITCHED] = np.repeat(switched, len(MODES))
        return rows

    def predict(self, situation: Situation, ways: Sequence[tuple[str, str]]) -> list[list[int]]:
        """[ways][modes]: P(approved) of a good payer, integers 1e-9, for each (route, credential)."""
        if not ways:
            return []
        initiated = float(situation.facts.initiator == "mit")
        calibrator = self.calibrators.of(attempt_no=float(situation.attempt_no), merchant_initiated=initiated)
        margins = self.predictor.margins(self.rows(situation, tuple(ways)), self._slots, group=len(MODES))
        found: list[list[int]] = calibrator.probabilities_e9(margins).reshape(-1, len(MODES)).tolist()
        return found

    def soft_decline_e9(self, issuer: str) -> int:
        """P(soft decline | exemption), integer 1e-9."""
        return round(1e9 * self.encoding.soft_decline(issuer))

    def _over_ways(self, facts: Facts, ways: Ways) -> NDArray[np.float32]:
        """WAY_COLUMNS of each way and mode for this issuer, before any route was tried."""
        key = (facts.issuer_id, facts.issuer_country, ways)
        known = self._over.get(key)
        if known is None:
            if len(self._over) >= KEPT_MAX:
                self._over.clear()
            values = [
                way_values(facts, self.encoding, route=route, credential=credential, mode=mode)
                for route, credential in ways
                for mode in range(len(MODES))
            ]
            known = self._over[key] = np.array(values, np.float32)
        return known


def load_approval(path: Path, *, open_net: OpenNet = no_net) -> ApprovalModel:
    """The approval model in this directory, verified and proven as `artefact.load` does for fraud models.

    Raises ModelRefused with the check that failed in `code`.
    """
    manifest = read_manifest(path, kind=KIND)
    if manifest.names != COLUMNS:
        raise refused(path, "model_features_changed", "its columns are not those of this version")
    encoding = msgspec.json.decode(verified_bytes(path / ENCODING, manifest.files), type=Encoding)
    calibrators = Calibrators(manifest.calibrator, manifest.segments)
    model = ApprovalModel(path.name, predictor_in(path, manifest, open_net), calibrators, encoding)
    golden = golden_in(path, manifest)
    prove_margins(path, model.predictor, golden)
    found = calibrators.probabilities(golden.rows, golden.margins)
    agree(path, "probabilities", found, golden.probabilities)
    return model
