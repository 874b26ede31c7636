"""How well scores put events first. Ties count half (area under ROC) or enter together (average precision)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import TrainingError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows sorted once by falling score, so that resampled weights cost no new sort.

    >>> ranking = Ranking.of(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 0, 1, 0]))
    >>> ranking.auc(), round(ranking.average_precision(), 4)
    (0.875, 0.8333)
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Last place, in that order, of each run of equal scores."""
    events: Floats
    """1 where the event happened, in that order."""
    weight: Floats
    score: Floats

    @classmethod
    def of(cls, score: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None) -> "Ranking":
        if not 0 < y.sum() < len(y):
            raise TrainingError("a ranking needs events and non-events", hint="take a longer test period")
        order = np.argsort(-score, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
        weights = np.ones(len(y)) if weight is None else weight
        return cls(order, ends, y[order].astype(np.float64), weights[order].astype(np.float64), score[order][ends])

    def cumulated(self, again: NDArray[Any] | None = None) -> tuple[Floats, Floats]:
        """Weight of events and of non-events down to each distinct score; `again` counts rows, in their first order."""
        weight = self.weight if again is None else self.weight * again[self.order]
        hits, total = np.cumsum(weight * self.events)[self.ends], np.cumsum(weight)[self.ends]
        return hits, total - hits

    def auc(self, again: NDArray[Any] | None = None) -> float:
        """P(an event scores above a non-event)."""
        hits, misses = self.cumulated(again)
        steps = np.diff(misses, prepend=0.0)
        return float(steps @ (hits - np.diff(hits, prepend=0.0) / 2.0) / (hits[-1] * misses[-1]))

    def average_precision(self, again: NDArray[Any] | None = None) -> float:
        """Sum over thresholds of the gain in recall times the precision."""
        hits, misses = self.cumulated(again)
        seen = hits + misses
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen != 0)
        return float(np.diff(hits, prepend=0.0) @ precision / hits[-1])

    def precision_recall(self) -> tuple[Floats, Floats, Floats]:
        """Precision, recall and score at each distinct score, falling."""
        hits, misses = self.cumulated()
        return hits / (hits + misses), hits / hits[-1], self.score


def card_precision(score: NDArray[Any], y: NDArray[Any], *, card: NDArray[Any], day: NDArray[Any], k: int) -> float:
    """Mean over days of the share of frauds among the k cards with the highest daily score.

    The protocol of the Fraud Detection Handbook (Le Borgne et al. 2022, chapter 4): a card's score of a day is its
    highest, a card once detected is gone on later days, and a day with fewer cards still divides by k.

    >>> score, y = np.array([0.9, 0.1, 0.9, 0.8]), np.array([1, 0, 1, 1])
    >>> card_precision(score, y, card=np.array([1, 2, 1, 3]), day=np.array([0, 0, 1, 1]), k=1)
    1.0
    """
    detected = np.zeros(0, card.dtype)
    found = []
    for today in np.unique(day):
        rows = np.flatnonzero((day == today) & ~np.isin(card, detected))
        cards, place = np.unique(card[rows], return_inverse=True)
        highest, fraud = np.full(len(cards), -np.inf), np.zeros(len(cards), bool)
        np.maximum.at(highest, place, score[rows])
        np.logical_or.at(fraud, place, y[rows] == 1)
        first = np.argsort(-highest, kind="stable")[:k]
        hits = cards[first[fraud[first]]]
        detected = np.concatenate([detected, hits])
        found.append(len(hits) / k)
    return float(np.mean(found))
