"""TabM (Gorishniy, Kotelnikov, Babenko, ICLR 2025) behind the `Estimator` protocol, exported as an ONNX graph.

1. A number becomes BINS positions within the quantile bins of the training rows (piecewise-linear encoding, Gorishniy
   et al. 2022), each 0 before its bin and 1 beyond, and one that says whether it is missing: nothing far away can rule.
2. A code (CODED) becomes a vector learned for it, if it was seen CODE_ROWS_MIN times; else the vector of unseen codes,
   which rare ones have trained; or that of missing ones.
3. `members` networks that share most of their weights are trained side by side, each with a loss of its own.
   The margin is the mean of their log-odds.
4. Trained until later time has got worse for PATIENCE epochs; the best state is kept.

It is trained in float32 and exported in float64; see `onnx_net.py`.
"""

import io
import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenlane.adapters.onnx_net import Edges, OnnxNet
from greenlane.learning.estimator import Estimator, Range
from greenlane.learning.examples import Examples

CODED: Final = frozenset(
    (
        *("mcc", "channel", "initiator", "method", "network", "funding", "credential", "issuer_country", "ip_country"),
        *("billing_country", "asn", "weekday", "route", "acquirer", "mode", "last_decline"),
    )
)
"""Columns whose values are names: their order means nothing."""
BINS: Final = 8
CODES_MAX: Final = 256
CODE_ROWS_MIN: Final = 20
LATER_SHARE: Final = 0.15
"""Of the training rows, the latest: training ends when they get worse. They are not learned from."""
PATIENCE: Final = 6
BATCH: Final = 512


class Encoded(NamedTuple):
    """What each column is to the net: edges float32[numbers, BINS + 1] and the known codes of each coded column."""

    numbers: list[int]
    edges: NDArray[np.float32]
    coded: list[int]
    codes: list[NDArray[np.float32]]

    @classmethod
    def of(cls, names: tuple[str, ...], X: NDArray[np.float32]) -> "Encoded":
        coded = [at for at, name in enumerate(names) if name in CODED]
        numbers = [at for at in range(len(names)) if at not in coded and varies(X[:, at])]
        edges = [bin_edges(X[:, at]) for at in numbers]
        return cls(
            numbers, np.array(edges, np.float32).reshape(-1, BINS + 1), coded, [frequent(X[:, at]) for at in coded]
        )

    def bends(self) -> Edges:
        """Where a wrong evaluation would show."""
        known = (np.full(len(codes), at) for at, codes in zip(self.coded, self.codes, strict=True))
        features = [np.repeat(self.numbers, BINS + 1), *known]
        return np.concatenate(features).astype(np.int64), np.concatenate([self.edges.ravel(), *self.codes])


def varies(column: NDArray[np.float32]) -> bool:
    """What is always absent, or always one value, has nothing to say and would cost time in every answer."""
    missing = np.isnan(column)
    return bool(0 < missing.sum() < len(column) or (not missing.all() and np.ptp(column) > 0.0))


def bin_edges(column: NDArray[np.float32]) -> NDArray[np.float32]:
    """Quantiles; where many rows share a value, bins beside it are of no width and jump at it."""
    finite = column[np.isfinite(column)]
    if not len(finite):
        return np.zeros(BINS + 1, np.float32)
    # one half at equal counts, the other towards the upper end, where fraud is
    at = np.concatenate([np.linspace(0.0, 1.0, BINS - 3), 1.0 - np.array([0.03, 0.01, 0.003, 0.001])])
    return np.asarray(np.quantile(finite, np.sort(at)), np.float32)


def frequent(column: NDArray[np.float32]) -> NDArray[np.float32]:
    codes, rows = np.unique(column[np.isfinite(column)], return_counts=True)
    often = np.argsort(-rows, kind="stable")[:CODES_MAX]
    return np.sort(codes[often[rows[often] >= CODE_ROWS_MIN]]).astype(np.float32)


class TabM(Estimator):
    """The deep model. Its training takes minutes where trees take seconds."""

    family = "tabm"
    libraries = ("tabm", "torch")
    also = ("onnx", "onnxruntime", "onnxscript")
    default: ClassVar[Mapping[str, float]] = {
        "members": 8,
        "width": 96,
        "layers": 2,
        "dropout": 0.15,
        "learning_rate": 0.002,
        "weight_decay": 0.001,
        "embedding": 6,
        "epochs": 60,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "width": Range(32, 192, log=True, whole=True),
        "layers": Range(1, 3, whole=True),
        "dropout": Range(0.0, 0.4),
        "learning_rate": Range(0.0005, 0.005, log=True),
        "weight_decay": Range(0.0001, 0.1, log=True),
    }

    def fit(
        self, examples: Examples, parameters: Mapping[str, float], *, seed: int, signs: Mapping[str, int] | None = None
    ) -> "TabMFitted":
        """Deterministic for equal examples, parameters, seed, torch version and threads; `signs` are not held."""
        import torch

        del signs
        torch.set_num_threads(self.threads)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoded = Encoded.of(examples.names, examples.X)
            net = network(encoded, parameters)
            train(net, examples, parameters)
        return TabMFitted(net.double().eval(), encoded, len(examples.names))


def network(encoded: Encoded, parameters: Mapping[str, float]) -> Any:
    """A module from float32[rows, features], as served, to log-odds [rows, members]."""
    import tabm
    import torch
    from torch import nn

    def fixed(values: Any, kind: Any = np.float32) -> Any:
        return nn.Parameter(torch.from_numpy(np.asarray(values, kind)), requires_grad=False)

    width = int(parameters["embedding"])

    class Net(nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.numbers, self.coded = encoded.numbers, encoded.coded
            left, right = encoded.edges[:, :-1], encoded.edges[:, 1:]
            self.left = fixed(left)
            self.slope = fixed(1.0 / np.where(right > left, right - left, 1.0))
            self.low, self.high = fixed(encoded.edges[:, 0]), fixed(encoded.edges[:, -1])
            self.codes = nn.ParameterList([fixed(codes) for codes in encoded.codes])
            self.vectors = nn.ParameterList(
                [nn.Parameter(torch.randn(len(codes) + 2, width) / width**0.5) for codes in encoded.codes]
            )
            inputs = len(self.numbers) * (BINS + 1) + len(self.coded) * width
            self.body = tabm.TabM.make(
                n_num_features=inputs,
                d_out=1,
                k=int(parameters["members"]),
                n_blocks=int(parameters["layers"]),
                d_block=int(parameters["width"]),
                dropout=float(parameters["dropout"]),
            )

        def forward(self, x: Any) -> Any:
            x = x.to(self.low.dtype)
            missing = torch.isnan(x)
            parts = []
            if self.numbers:
                absent = missing[:, self.numbers].to(x.dtype)
                value = torch.where(missing[:, self.numbers], self.low, x[:, self.numbers])
                value = torch.minimum(torch.maximum(value, self.low), self.high)
                places = torch.clamp((value[:, :, None] - self.left) * self.slope, 0.0, 1.0)
                places = places * (1.0 - absent)[:, :, None]
                parts += [places.flatten(1), absent]
            for at, codes, vectors in zip(self.coded, self.codes, self.vectors, strict=True):
                known = (x[:, at, None] == codes).to(x.dtype)
                absent = missing[:, at, None].to(x.dtype)
                which = torch.cat([known, 1.0 - absent - known.sum(1, keepdim=True), absent], 1)
                parts.append(which @ vectors)
            members = self.body.ensemble_view(torch.cat(parts, 1))  # `body(...)` would fix the number of rows
            return self.body.output(self.body.backbone(members))[:, :, 0]

    return Net()


def train(net: Any, examples: Examples, parameters: Mapping[str, float]) -> None:
    """AdamW on shuffled rows of the earlier time, until the later time has got worse; the best state stays."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as losses

    x, y, weight = (
        torch.from_numpy(np.ascontiguousarray(column, np.float32))
        for column in (examples.X, examples.y, examples.weight / examples.weight.mean())
    )
    split = int(len(y) * (1.0 - LATER_SHARE))
    rate, decay = float(parameters["learning_rate"]), float(parameters["weight_decay"])
    with torch.no_grad():  # begin at the base rate: a rare event would else take epochs to be found rare
        share = float((y * weight).sum() / weight.sum())
        net.body.output.bias.fill_(float(np.log(share / (1.0 - share))))
    learned = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
    best, since = (np.inf, net.state_dict()), 0
    for _ in range(int(parameters["epochs"])):
        net.train()
        for rows in torch.randperm(split).split(BATCH):
            said = net(x[rows])
            each = losses(said, y[rows, None].expand_as(said), reduction="none").mean(1)
            optimiser.zero_grad()
            (each * weight[rows]).mean().backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
        net.eval()
        with torch.no_grad():
            said = torch.cat([net(part).mean(1) for part in x[split:].split(4096)])
            loss = float((losses(said, y[split:], reduction="none") * weight[split:]).mean())
        since = 0 if loss < best[0] else since + 1
        if not since:
            best = loss, {name: value.clone() for name, value in net.state_dict().items()}
        if since >= PATIENCE:
            break
    net.load_state_dict(best[1])


@dataclass(frozen=True, eq=False)
class TabMFitted:
    net: Any
    encoded: Encoded
    features: int

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        import torch

        with torch.no_grad():
            said = [self.net(part).mean(1) for part in torch.from_numpy(np.ascontiguousarray(X)).split(4096)]
        return np.asarray(torch.cat(said).numpy(), np.float64)

    def predictor(self) -> OnnxNet:
        return OnnxNet(self.graph, self.features, edges=self.encoded.bends())

    @cached_property
    def graph(self) -> bytes:
        return graph_of(self.net, self.features)


def graph_of(net: Any, features: int) -> bytes:
    """The net and the mean over its members as one ONNX graph, weights inside; equal nets give equal bytes."""
    import torch

    class Margin(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net(x).mean(1)

    page = io.BytesIO()
    rows = torch.export.Dim("rows", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # the exporter misses packages that nobody asked for
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # and warns of its own parts
        program = torch.onnx.export(
            Margin().eval(),
            (torch.zeros(2, features),),
            dynamo=True,
            input_names=["x"],
            output_names=["margin"],
            dynamic_shapes=({0: rows},),
            verbose=False,
        )
    program.save(page)
    return page.getvalue()
