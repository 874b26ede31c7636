"""Approval by issuer, route, credential and mode, learned from the warm-up log: crossed effects, drawn to zero.

    logit P(approved | good payer) = sum of the effects of the attempt's cells

A cell of a level (an issuer, an issuer over a route in a mode, an amount at an issuer ...) has an effect with a prior
deviation, so that a cell with few attempts says what its parents say (Gelman and Hill 2007, ch. 12). Fitted by
iterated reweighting over the ridge of `policy.health`. Technical failures are left out: they are the online layer's.
"""

from collections.abc import Hashable, Iterable, Sequence
from math import log1p
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US
from greenlane.policy.actions import Way
from greenlane.policy.health import ridge
from greenlane.policy.history import Tried
from greenlane.policy.remedy import remedy_of

ROUNDS: Final = 8
PLAIN, AUTHENTICATED, EXEMPT = range(3)
MODES: Final = (PLAIN, AUTHENTICATED, EXEMPT)
WAITED_HOURS: Final = (0.1, 2.0, 12.0, 36.0, 84.0, 180.0)


class Seen(NamedTuple):
    """An attempt as the approval model sees it, but for its way and mode."""

    facts: Facts
    hour: int
    amount: int
    """Half octaves."""
    after: str
    """Group of the last decline, "" at first."""
    waited: int
    tries: int
    last_route: str


class Sample(NamedTuple):
    seen: Seen
    way: Way
    mode: int
    approved: bool
    genuine: float


OWN: Final[dict[str, float]] = {
    "": 3.0,
    "merchant": 0.3,
    "range": 0.25,
    "network funding": 0.3,
    "amount": 0.3,
    "hour": 0.15,
    "issuer amount": 0.3,
    "issuer hour": 0.15,
    "after tries": 0.5,
    "after waited": 0.7,
}
OVER: Final[dict[str, float]] = {
    "initiator mode": 1.0,
    "country": 0.3,
    "issuer": 0.4,
    "route": 0.3,
    "credential": 0.3,
    "country route": 0.3,
    "issuer route": 0.25,
    "issuer mode": 0.4,
    "issuer credential": 0.25,
    "route mode": 0.25,
    "issuer route mode": 0.25,
    "issuer route credential": 0.25,
    "after elsewhere": 0.7,
    "after mode": 0.7,
    "after credential": 0.7,
}
"""The words that make a level's cells, and its prior deviation in log-odds: assumed, not tuned. OWN levels are the same
over every way and in every mode."""
DEVIATIONS: Final = (*OWN.values(), *OVER.values())


def own_words(seen: Seen) -> dict[str, Hashable]:
    facts = seen.facts
    return {
        "merchant": facts.merchant_id,
        "issuer": facts.issuer_id,
        "range": facts.bin8,
        "network": facts.network,
        "funding": facts.funding,
        "amount": seen.amount,
        "hour": seen.hour,
        "after": seen.after,
        "tries": seen.tries,
        "waited": seen.waited,
    }


def over_words(seen: Seen, way: Way, mode: int) -> dict[str, Hashable]:
    facts = seen.facts
    return {
        "initiator": facts.initiator,
        "country": facts.issuer_country,
        "issuer": facts.issuer_id,
        "route": way.route,
        "credential": way.credential,
        "mode": mode,
        "after": seen.after,
        "elsewhere": way.route == seen.last_route,
    }


def cells(levels: Iterable[str], words: dict[str, Hashable]) -> list[str]:
    """The name of the cell on each level.

    >>> cells(["", "issuer mode"], {"issuer": "i", "mode": 1})
    ['', 'i 1']
    """
    return [" ".join([str(words[word]) for word in level.split()]) for level in levels]


class Effects(Struct, frozen=True):
    """What is kept of a fit."""

    values: list[dict[str, float]]
    """By level: effect of a cell, by the text of its key."""
    soft: dict[str, float]
    """P(soft decline | exemption) by issuer, "" for all."""


class ApprovalEffects:
    """The fitted model: log-odds of any attempt, by summing its cells."""

    def __init__(self, kept: Effects):
        self._values, self._soft = kept.values, kept.soft
        self._over: dict[Hashable, float] = {}

    def log_odds(self, seen: Seen, ways: Sequence[Way]) -> list[list[float]]:
        """[ways][modes]."""
        own = total(self._values, cells(OWN, own_words(seen)))
        return [[own + self._cell(seen, way, mode) for mode in MODES] for way in ways]

    def soft_decline(self, issuer: str) -> float:
        return self._soft.get(issuer, self._soft.get("", 0.08))

    def _cell(self, seen: Seen, way: Way, mode: int) -> float:
        facts = seen.facts
        cell = facts.issuer_id, facts.initiator, seen.after, way.route == seen.last_route, way, mode
        known = self._over.get(cell)
        if known is None:
            known = total(self._values[len(OWN) :], cells(OVER, over_words(seen, way, mode)))
            self._over[cell] = known
        return known


def total(values: Sequence[dict[str, float]], names: Sequence[str]) -> float:
    return sum([level.get(name, 0.0) for level, name in zip(values, names, strict=False)])


def seen_of(facts: Facts, at_us: int, tried: Sequence[Tried]) -> Seen:
    last = next((each for each in reversed(tried) if each.answer not in ("not_sent", "approved")), None)
    after = "" if last is None else remedy_of(last.network, last.code, last.advice).group if last.code else "technical"
    hours = 0.0 if last is None else (at_us - last.at_us) / HOUR_US
    return Seen(
        facts,
        hour=at_us % DAY_US // HOUR_US // 3,
        amount=int(2.885 * log1p(facts.amount_minor)),
        after=after,
        waited=sum(hours > edge for edge in WAITED_HOURS),
        tries=min(len(tried), 4),
        last_route="" if last is None else last.route,
    )


def effects_of(samples: Sequence[Sample], exempted: Iterable[tuple[str, bool]]) -> Effects:
    """Fit; `exempted` are (issuer, softly declined) of attempts with an exemption."""
    names: dict[tuple[int, str], int] = {}
    codes = np.empty((len(DEVIATIONS), len(samples)), np.int32)
    for row, sample in enumerate(samples):
        for level, cell in enumerate(all_cells(sample)):
            codes[level, row] = names.setdefault((level, cell), len(names))
    approved = np.array([sample.approved for sample in samples], np.float64)
    genuine = np.array([sample.genuine for sample in samples])
    effects = fitted(approved, genuine, codes, size=len(names))
    values: list[dict[str, float]] = [{} for _ in DEVIATIONS]
    for (level, text), code in names.items():
        values[level][text] = float(effects[code])
    return Effects(values, soft_shares(exempted))


def all_cells(sample: Sample) -> list[str]:
    seen = sample.seen
    return cells(OWN, own_words(seen)) + cells(OVER, over_words(seen, sample.way, sample.mode))


def fitted(
    approved: NDArray[np.float64], weight: NDArray[np.float64], codes: NDArray[np.int32], *, size: int
) -> NDArray[np.float64]:
    """Iterated reweighting: each round a ridge on the working responses."""
    effects = np.zeros(size)
    for _ in range(ROUNDS):
        margin = effects[codes].sum(axis=0)
        p = 1.0 / (1.0 + np.exp(-margin))
        information = weight * np.maximum(p * (1.0 - p), 1e-4)
        response = information * margin + weight * (approved - p)
        effects = ridge(response, information, codes, deviations=DEVIATIONS, effects=size)
    return effects


def soft_shares(exempted: Iterable[tuple[str, bool]]) -> dict[str, float]:
    """By issuer, drawn towards all issuers' share as if that had been seen 50 times."""
    counts: dict[str, list[int]] = {}
    for issuer, soft in exempted:
        for name in ("", issuer):
            seen = counts.setdefault(name, [0, 0])
            seen[0] += soft
            seen[1] += 1
    overall = (counts.get("", [0, 0])[0] + 4.0) / (counts.get("", [0, 0])[1] + 50.0)
    return {name: (soft + 50.0 * overall) / (seen + 50.0) for name, (soft, seen) in counts.items()}
