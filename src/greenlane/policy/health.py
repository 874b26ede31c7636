"""Health: how much better or worse approval is now than was expected, by issuer, card range, acquirer and route.

What was expected is what the decision recorded, so that everything a model knows already is no news. What is left is a
ridge regression over the cells (issuer, card range, route) with crossed and nested effects,

    logit P(approved) = expected + acquirer + route + issuer + range + issuer x route,

each effect drawn towards zero by the prior deviation of its level: a cell with few answers has its parents' offset
(Gelman and Hill 2007, ch. 12). Every answer adds its score and its information at the log-odds it was decided with:

    approved   score 1 - e            information of both kinds: e (1 - e) / s
    refused    score - e / s          s: share of declines that count (not the payer's fault), by initiator
    neutral    nothing

(the likelihood of an answer given that it is not neutral; both scores have mean zero where e is true). Sums fade with
two half-lives: three days for what drifts, one hour for what breaks; the fast effects are measured from the slow ones.
Offsets are solved anew when a policy epoch begins, and stand still until the next.
"""

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from greenlane.payments.times import HOUR_US
from greenlane.policy.heard import Heard

SLOW_US: Final = 72 * HOUR_US
"""Half-life of what drifts."""
FAST_US: Final = HOUR_US
"""Half-life of what breaks."""
LONG_US: Final = 30 * 24 * HOUR_US
"""Half-life of the long-run rates, which are expected where nobody decided here."""

LEVELS: Final = ("acquirer", "route", "issuer", "range", "issuer x route")
SLOW_DEVIATIONS: Final = (0.06, 0.08, 0.08, 0.05, 0.08)
FAST_DEVIATIONS: Final = (0.04, 0.05, 0.04, 0.02, 0.04)
"""Prior standard deviations of the effects, in log-odds, by level: what is new since the model was fitted. Assumed: an
issuer over a route that drifts by .20 within three weeks drifts by .08 within three days. Wider ones follow the noise
of a few hundred answers from one route to the next, and cost more than they find."""
MODEL_DEVIATION: Final = 0.1
"""Of what was expected over one way, against its neighbours: a calibrated model's error of a segment. Assumed."""
PARTS: Final = (0, 1, 4)
"""Levels in which ways differ: acquirer, route, issuer x route."""
SWEEPS: Final = 12
"""Of block coordinate descent: it converges geometrically, and what is left is below a thousandth."""
UNHEARD: Final = tuple(slow**2 + fast**2 for slow, fast in zip(SLOW_DEVIATIONS, FAST_DEVIATIONS, strict=True))
"""Prior variances of the effects, by level."""
OFFSET_MAX: Final = 4_000
"""Thousandths of log-odds."""
CELLS_MAX: Final = 8_192
"""Beyond it the half with the most information stays."""

SLOW, SLOW_WEIGHT, FAST, FAST_WEIGHT, APPROVED, ANSWERS, SUMS = range(7)
COUNTED: Final = {"cit": (7.0, 10.0), "mit": (8.0, 10.0)}
"""Declines that count, of all, before any was seen: the shares of section 2.6 of the domain reference."""
RATE_PRIOR: Final = (17.6, 20.0)
"""Approvals among answers that a rate starts with."""
KNOWN_MIN: Final = 50
"""Answers over a route before its own long-run rate may be expected."""
EVIDENCE_E9: Final = (20_000_000, 980_000_000)
"""An expectation counts as at least, and at most, this."""

Floats = NDArray[np.float64]
Cell = tuple[str, str, str]


class Effects(NamedTuple):
    """What is frozen for an epoch: millilogits by name of an effect, long-run rates by issuer and route."""

    offsets: dict[str, int]
    rates: dict[str, float]
    variances: dict[str, float]
    """Of the effects in which ways differ; the prior one where nothing was heard."""


class Health:
    """A fold of answers. `turn` begins an epoch.

    >>> health = Health()
    >>> for n in range(200):
    ...     health.hear(Heard(n, "refused" if n % 2 else "approved", "iss", "40000000", "acq_a", approval_e9=9 * 10**8))
    >>> health.offsets("iss", "40000000", ["acq_a", "acq_b"])
    (0, 0)
    >>> health.turn(1)
    >>> [offset < 0 for offset in health.offsets("iss", "40000000", ["acq_a", "acq_b"])]
    [True, True]
    """

    def __init__(self) -> None:
        self._rows: dict[Cell, int] = {}
        self._sums: Floats = np.zeros((64, SUMS))
        self._names: dict[str, int] = {}
        self._codes: NDArray[np.int32] = np.zeros((64, len(LEVELS)), np.int32)
        self._acquirers: dict[str, str] = {}
        self._counted = {initiator: list(prior) for initiator, prior in COUNTED.items()}
        self._turned_us = 0
        self._frozen = Effects({}, {}, {})
        self._of_epoch: dict[Hashable, tuple[int, ...]] = {}
        """Offsets by (issuer, card range, routes), deviations by (issuer, routes)."""

    def offsets(self, issuer: str, bin8: str, routes: Sequence[str]) -> tuple[int, ...]:
        """What to add to the log-odds of approval over each route, in thousandths; 0 where nothing is known."""
        asked = (issuer, bin8, tuple(routes))
        return self._of_epoch.get(asked) or self._keep(asked, self._offsets(*asked))

    def _offsets(self, issuer: str, bin8: str, routes: tuple[str, ...]) -> tuple[int, ...]:
        of, acquirers = self._frozen.offsets.get, self._acquirers.get
        common = of(f"i {issuer}", 0) + of(f"b {issuer} {bin8}", 0)
        return tuple([
            max(-OFFSET_MAX, min(OFFSET_MAX, common + of(f"a {acquirers(route, route)}", 0) + of(f"r {route}", 0)
                + of(f"x {issuer} {route}", 0)))
            for route in routes
        ])  # fmt: skip

    def deviations(self, issuer: str, routes: Sequence[str]) -> tuple[int, ...]:
        """How unsure approval over each route still is, in thousandths of log-odds: one standard deviation.

        Effects are taken as independent given the answers, so it errs on the small side where two of them are only seen
        together, by less than the model's own part.

        >>> Health().deviations("iss", ["acq_a"])
        (179,)
        """
        asked = (issuer, tuple(routes))
        return self._of_epoch.get(asked) or self._keep(asked, self._deviations(*asked))

    def _deviations(self, issuer: str, routes: tuple[str, ...]) -> tuple[int, ...]:
        of, acquirers = self._frozen.variances.get, self._acquirers.get
        return tuple([
            round(1e3 * sqrt(MODEL_DEVIATION**2 + of(f"a {acquirers(route, route)}", UNHEARD[0])
                + of(f"r {route}", UNHEARD[1]) + of(f"x {issuer} {route}", UNHEARD[4])))
            for route in routes
        ])  # fmt: skip

    def _keep(self, asked: Hashable, found: tuple[int, ...]) -> tuple[int, ...]:
        if len(self._of_epoch) >= CELLS_MAX:
            self._of_epoch.clear()
        self._of_epoch[asked] = found
        return found

    def acquires(self, told: Sequence[tuple[str, str]]) -> None:
        """Whose each route is; one that was never told is its own acquirer's only one."""
        known = [pair for pair in told if pair[1]]
        if set(known) - self._acquirers.items():
            self._acquirers.update(known)
            self._of_epoch.clear()
            self._code_anew()

    def hear(self, heard: Heard) -> None:
        """One answer. Keep attacked cells (weight 0) and known outages out."""
        weight = heard.genuine_ppm / 1e6
        counted = self._counted.setdefault(heard.initiator, list(COUNTED["cit"]))
        if heard.kind != "approved":
            counted[0] += weight * (heard.kind != "neutral")
            counted[1] += weight
        row = self._row(heard)
        approved = heard.kind == "approved"
        self._sums[row, APPROVED] += weight * approved
        self._sums[row, ANSWERS] += weight
        expected = self._expected(heard)
        if heard.kind == "neutral" or not expected:
            return
        share = counted[0] / counted[1]
        score = weight * (1.0 - expected if approved else -expected / share)
        information = weight * expected * (1.0 - expected) / share
        response = information * heard.offset_millilogit / 1e3 + score
        self._sums[row, :APPROVED] += (response, information, response, information)

    def forget(self) -> None:
        """What was learned against one model is no news against another; the long-run rates stay."""
        self._sums[:, :APPROVED] = 0.0

    def turn(self, at_us: int) -> None:
        """A new epoch: sums fade to `at_us`, offsets are solved and frozen."""
        elapsed = max(0, at_us - self._turned_us) if self._turned_us else 0
        self._turned_us = max(at_us, self._turned_us)
        slow, fast, long = (0.5 ** (elapsed / half_life) for half_life in (SLOW_US, FAST_US, LONG_US))
        self._sums *= (slow, slow, fast, fast, long, long)
        for initiator, counted in self._counted.items():
            prior = COUNTED.get(initiator, COUNTED["cit"])
            counted[:] = [start + (now - start) * long for start, now in zip(prior, counted, strict=True)]
        if len(self._rows) > CELLS_MAX:
            self._keep_the_best()
        self._frozen = self._solved()
        self._of_epoch.clear()

    def dump(self) -> bytes:
        count = len(self._rows)
        return msgspec.msgpack.encode((
            list(self._rows), self._sums[:count].tobytes(), self._acquirers, self._counted, self._turned_us,
            self._frozen,
        ))  # fmt: skip

    @classmethod
    def load(cls, dumped: bytes) -> "Health":
        kinds = tuple[list[Cell], bytes, dict[str, str], dict[str, list[float]], int, Effects]
        cells, sums, acquirers, counted, turned_us, frozen = msgspec.msgpack.decode(dumped, type=kinds)
        found = cls()
        found._acquirers, found._counted, found._turned_us = acquirers, counted, turned_us
        found._fill(cells, np.frombuffer(sums).reshape(-1, SUMS))
        found._frozen = frozen
        return found

    def _expected(self, heard: Heard) -> float:
        """What the decision said, else the long-run rate of this issuer over this route; 0 where that is not known."""
        if heard.approval_e9:
            return min(max(heard.approval_e9, EVIDENCE_E9[0]), EVIDENCE_E9[1]) / 1e9
        rates = self._frozen.rates
        return rates.get(f"x {heard.issuer} {heard.route}") or rates.get(f"r {heard.route}", 0.0)

    def _row(self, heard: Heard) -> int:
        cell = (heard.issuer, heard.bin8, heard.route)
        row = self._rows.get(cell)
        if row is None:
            row = self._rows[cell] = len(self._rows)
            if row == len(self._sums):
                self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)])
                self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
            self._codes[row] = self._code(cell)
        return row

    def _code(self, cell: Cell) -> list[int]:
        """The number of the cell's effect on each level."""
        issuer, bin8, route = cell
        acquirer = self._acquirers.get(route, route)
        names = (f"a {acquirer}", f"r {route}", f"i {issuer}", f"b {issuer} {bin8}", f"x {issuer} {route}")
        return [self._names.setdefault(name, len(self._names)) for name in names]

    def _code_anew(self) -> None:
        self._names.clear()
        for cell, row in self._rows.items():
            self._codes[row] = self._code(cell)

    def _fill(self, cells: Sequence[Cell], sums: Floats) -> None:
        """Hold just these cells."""
        self._rows = {cell: row for row, cell in enumerate(cells)}
        self._sums = np.concatenate([sums, np.zeros((max(64, len(cells)), SUMS))])
        self._codes = np.zeros((len(self._sums), len(LEVELS)), np.int32)
        self._code_anew()

    def _keep_the_best(self) -> None:
        cells = list(self._rows)
        best = np.sort(np.argsort(-self._sums[: len(cells), SLOW_WEIGHT], kind="stable")[: CELLS_MAX // 2])
        self._fill([cells[row] for row in best.tolist()], self._sums[best])

    def _solved(self) -> Effects:
        count = len(self._rows)
        sums, codes = self._sums[:count].T.copy(), self._codes[:count].T.copy()
        slow = ridge(sums[SLOW], sums[SLOW_WEIGHT], codes, deviations=SLOW_DEVIATIONS, effects=len(self._names))
        news = sums[FAST] - sums[FAST_WEIGHT] * slow[codes].sum(axis=0)
        fast = ridge(news, sums[FAST_WEIGHT], codes, deviations=FAST_DEVIATIONS, effects=len(self._names))
        millilogits = np.rint(1e3 * (slow + fast)).astype(np.int64).tolist()
        offsets = {name: offset for name, offset in zip(self._names, millilogits, strict=True) if offset}
        rates = self._rates(sums[APPROVED], sums[ANSWERS], codes)
        return Effects(offsets, rates, self._variances((sums[SLOW_WEIGHT], sums[FAST_WEIGHT]), codes))

    def _variances(self, information: tuple[Floats, Floats], codes: NDArray[np.int32]) -> dict[str, float]:
        """1 / (information + prior precision), slow and fast together, of the effects in which ways differ."""
        size, found = len(self._names), np.zeros(len(self._names))
        for weights, deviations in zip(information, (SLOW_DEVIATIONS, FAST_DEVIATIONS), strict=True):
            for level in PARTS:
                seen = np.unique(codes[level])
                found[seen] += 1.0 / (np.bincount(codes[level], weights, size)[seen] + deviations[level] ** -2)
        return {name: variance for name, variance in zip(self._names, found.tolist(), strict=True) if variance}

    def _rates(self, approved: Floats, answers: Floats, codes: NDArray[np.int32]) -> dict[str, float]:
        """Long-run rates of routes that are known, and of issuers on them, each drawn towards its parent."""
        size, names = len(self._names), list(self._names)
        overall = (RATE_PRIOR[0] + float(approved.sum())) / (RATE_PRIOR[1] + float(answers.sum()))
        found, route_of = dict[str, float](), dict(zip(codes[4].tolist(), codes[1].tolist(), strict=True))
        hits, all_answers = (np.bincount(codes[1], each, size).tolist() for each in (approved, answers))
        for route in dict.fromkeys(codes[1].tolist()):
            if all_answers[route] >= KNOWN_MIN:
                found[names[route]] = drawn(hits[route], all_answers[route], overall)
        hits, all_answers = (np.bincount(codes[4], each, size).tolist() for each in (approved, answers))
        for pair, route in route_of.items():
            if names[route] in found:
                found[names[pair]] = drawn(hits[pair], all_answers[pair], found[names[route]])
        return found


def drawn(hits: float, answers: float, parent: float) -> float:
    """A rate drawn towards its parent's as if that had been seen in as many answers as a rate starts with."""
    return min(0.98, max(0.02, (hits + RATE_PRIOR[1] * parent) / (answers + RATE_PRIOR[1])))


def ridge(
    responses: Floats, weights: Floats, codes: NDArray[np.int32], *, deviations: Sequence[float], effects: int
) -> Floats:
    """Posterior means of all effects, float64[effects]: `responses` are sums of weight x response, float64[cells].

    codes int32[levels, cells] name each cell's effects, numbered over all levels. Level after level is set to its best
    given the others (Gauss-Seidel), always in the same order and arithmetic.

    >>> codes = np.array([[0, 0], [1, 2]], np.int32)
    >>> ridge(np.array([50.0, 0.0]), np.array([100.0, 0.1]), codes, deviations=(0.2, 0.2), effects=3).round(2).tolist()
    [0.22, 0.22, -0.0]
    """
    precisions = np.array(deviations, np.float64) ** -2
    found: Floats = sweep(responses, weights, codes, precisions, effects)
    return found


@njit(cache=True)
def sweep(responses, weights, codes, precisions, effects):  # type: ignore[no-untyped-def]  # a kernel
    found, moved, fitted = np.zeros(effects), np.zeros(effects), np.zeros(responses.shape[0])
    due, mass, total = np.zeros(effects), np.zeros(effects), np.zeros(effects)
    members, ends, count = np.zeros(effects, np.int64), np.zeros(codes.shape[0], np.int64), 0
    for level in range(codes.shape[0]):
        for cell in range(codes.shape[1]):
            effect = codes[level, cell]
            if total[effect] == 0.0:
                total[effect], members[count] = precisions[level], effect
                count += 1
            mass[effect] += weights[cell]
        ends[level] = count
    for effect in members[:count]:
        total[effect] += mass[effect]
    for _ in range(SWEEPS):
        for level in range(codes.shape[0]):
            own, of_level = codes[level], members[ends[level - 1] if level else 0 : ends[level]]
            for effect in of_level:
                due[effect] = 0.0
            for cell in range(own.shape[0]):
                due[own[cell]] += responses[cell] - weights[cell] * (fitted[cell] - found[own[cell]])
            for effect in of_level:
                best = due[effect] / total[effect]
                moved[effect], found[effect] = best - found[effect], best
            for cell in range(own.shape[0]):
                fitted[cell] += moved[own[cell]]
    return found
