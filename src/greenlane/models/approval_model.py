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
"""So many ways of issuers are kept worked out (12 kB each where there are 500 trees); then all are forgotten."""
ATTEMPT_NO, INITIATED = (COLUMNS.index(name) for name in ("attempt_no", "merchant_initiated"))


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
    """A predictor, calibrators and encoding; not for two threads at once.

    `predict` answers for every way (plain, exempt, 3ds), in the order of `approval_rows.MODES`, integers 1e-9. What the
    model makes of a way itself is kept from one attempt to the next.
    """

    def __init__(self, model_id: str, predictor: Predictor, calibrators: Calibrators, encoding: Encoding):
        self.id, self.predictor, self.calibrators, self.encoding = model_id, predictor, calibrators, encoding
        self._beside = predictor.beside(len(PAYMENT_COLUMNS), places=KEPT_MAX, each=len(MODES))
        self._places: dict[tuple[str, ...], int] = {}

    @property
    def memory_bytes(self) -> int:
        """Of the predictor, and of what is held of ways."""
        return self.predictor.memory_bytes + self._beside.memory_bytes

    def predict(self, situation: Situation, ways: Sequence[tuple[str, str]]) -> list[list[int]]:
        """[ways][modes]: P(approved) of a good payer, integers 1e-9, for each (route, credential)."""
        found: list[list[int]] = []
        for at in range(0, len(ways), KEPT_MAX):
            found += self._predicted(situation, ways[at : at + KEPT_MAX])
        return found

    def _predicted(self, situation: Situation, ways: Sequence[tuple[str, str]]) -> list[list[int]]:
        initiated = float(situation.facts.initiator == "mit")
        calibrator = self.calibrators.of(attempt_no=float(situation.attempt_no), merchant_initiated=initiated)
        own = np.array(payment_values(situation, self.encoding), np.float32)
        margins = self._beside.margins(own, self._places_of(situation.facts, ways, situation.last_route))
        found: list[list[int]] = calibrator.probabilities_e9(margins).reshape(-1, len(MODES)).tolist()
        return found

    def soft_decline_e9(self, issuer: str) -> int:
        """P(soft decline | exemption), integer 1e-9."""
        return round(1e9 * self.encoding.soft_decline(issuer))

    def _places_of(self, facts: Facts, ways: Sequence[tuple[str, str]], last_route: str) -> NDArray[np.int64]:
        """Where the rows of each way are held, for this issuer after this route; all are let go where room is short."""
        issuer = facts.issuer_id, facts.issuer_country, last_route
        keys = [(*issuer, *way) for way in ways]
        places = list(map(self._places.get, keys))
        if None in places:
            self._hold(facts, keys, last_route)
            places = [self._places[key] for key in keys]
        return np.array(places, np.int64)

    def _hold(self, facts: Facts, keys: Sequence[tuple[str, ...]], last_route: str) -> None:
        held = self._places
        missing = {key for key in keys if key not in held}
        if len(held) + len(missing) > KEPT_MAX:
            held.clear()
            missing = set(keys)
        for key in missing:
            *_, route, credential = key
            held[key] = place = len(held)
            values = [
                way_values(facts, self.encoding, route=route, credential=credential, mode=mode, last_route=last_route)
                for mode in range(len(MODES))
            ]
            self._beside.hold(place, np.array(values, np.float32))


def load_approval(path: Path, *, open_net: OpenNet = no_net) -> ApprovalModel:
    """The approval model in this directory, verified and proven as `artefact.load` does for fraud models.

    Raises ModelRefused with the check that failed in `code`.
    """
    manifest = read_manifest(path, kind=KIND)
    if manifest.names != COLUMNS:
        raise refused(path, "model_features_changed", "its columns are not those of this version")
    try:
        encoding = msgspec.json.decode(verified_bytes(path / ENCODING, manifest.files), type=Encoding)
    except msgspec.ValidationError as error:
        raise refused(path, "model_encoding", f"its names are not as this version has them: {error}") from error
    calibrators = Calibrators(manifest.calibrator, manifest.segments)
    model = ApprovalModel(path.name, predictor_in(path, manifest, open_net), calibrators, encoding)
    golden = golden_in(path, manifest)
    prove_margins(path, model.predictor, golden)
    found = calibrators.probabilities(golden.rows, golden.margins)
    agree(path, "probabilities", found, golden.probabilities)
    return model
