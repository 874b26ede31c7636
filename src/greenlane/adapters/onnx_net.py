"""A net as a `Predictor`: its ONNX graph, run by ONNX Runtime on one thread.

The graph takes float32[rows, features] as they are served, NaN, infinities, unseen codes and all, and gives log-odds,
float64[rows]. It computes in float64, so that machines with other vector units agree to 1e-9, and one row with many.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import ModelRefused
from greenlane.models.artefact import GRAPH, NET
from greenlane.models.predictor import Beside, Explainer, RowsBeside
from greenlane.models.reasons import Reasons

Edges = tuple[NDArray[np.int64], NDArray[np.float32]]


class OnnxNet:
    """`edges` are known to the trainer only: where the graph bends, and codes it knows."""

    form = NET
    missing = "missing is NaN, never zero: a number that is missing says so beside its bins, a code that is has its own"

    def __init__(self, graph: bytes, features: int, *, edges: Edges | None = None):
        self.features = features
        self._graph, self._edges = graph, edges
        before = resident_bytes()
        self._session = session_of(graph, features)
        self._input = self._session.get_inputs()[0].name
        self.memory_bytes = max(resident_bytes() - before, len(graph))

    def files(self) -> dict[str, NDArray[Any] | bytes]:
        return {GRAPH: self._graph}

    def edges(self) -> Edges:
        return self._edges or (np.zeros(0, np.int64), np.zeros(0, np.float32))

    def slots(self, places: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        return np.ascontiguousarray(places, np.int64)

    def margin(self, x: NDArray[np.float32], slots: NDArray[np.int64]) -> float:
        return float(self._session.run(None, {self._input: x[None, slots]})[0][0])

    def beside(self, own: int, *, places: int, each: int) -> Beside:
        return RowsBeside(self, own, places=places, each=each)

    def margins(self, x: NDArray[np.float32], slots: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        if not len(x):
            return np.zeros(0)
        rows = x if slots is None else x[:, slots]
        chunks = [self._session.run(None, {self._input: rows[at : at + 4096]})[0] for at in range(0, len(rows), 4096)]
        found: NDArray[np.float64] = np.concatenate(chunks)
        return found

    def explainer(self, groups: Sequence[str]) -> Explainer:
        """A net has no paths to follow: its margin stands alone, and no group is blamed."""
        del groups
        none = np.zeros(0)

        def explain(x: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[float, Reasons]:
            margin = self.margin(x, slots)
            return margin, Reasons(margin, (), none)

        return explain


def open_net(graph: bytes, features: int) -> OnnxNet:
    """ModelRefused where ONNX Runtime is not installed, or does not take the graph for what it should be."""
    return OnnxNet(graph, features)


def session_of(graph: bytes, features: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelRefused(
            "it is a net, which needs ONNX Runtime", code="model_extra_missing", hint="pip install 'greenlane[deep]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelRefused(f"its graph cannot be read: {error}", code="model_malformed") from error
    (taken, *more), given = session.get_inputs(), session.get_outputs()
    shape = (taken.type, taken.shape[1:], given[0].type, len(given[0].shape))
    if more or shape != ("tensor(float)", [features], "tensor(double)", 1):
        raise ModelRefused(f"its graph is not from {features} float32 to one float64", code="model_malformed")
    return session


def resident_bytes() -> int:
    """What this process holds in memory; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
