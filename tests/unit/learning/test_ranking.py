import numpy as np
import pytest

from greenlane.errors import TrainingError
from greenlane.learning.ranking import Ranking, card_precision

rng = np.random.default_rng(0)
SCORE = rng.normal(size=3000).round(1)
Y = (rng.random(3000) < 1 / (1 + np.exp(3 - SCORE))).astype(int)
WEIGHT = rng.random(3000) + 0.1


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_figures_are_scikit_learns_with_ties_and_weights(weight):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the [train] extra")
    ranking = Ranking.of(SCORE, Y, weight)
    assert np.isclose(ranking.auc(), metrics.roc_auc_score(Y, SCORE, sample_weight=weight))
    assert np.isclose(ranking.average_precision(), metrics.average_precision_score(Y, SCORE, sample_weight=weight))


def test_counting_rows_again_is_repeating_them():
    again = rng.integers(0, 3, 3000)
    repeated = Ranking.of(np.repeat(SCORE, again), np.repeat(Y, again))
    ranking = Ranking.of(SCORE, Y)
    assert np.isclose(ranking.auc(again), repeated.auc())
    assert np.isclose(ranking.average_precision(again), repeated.average_precision())


def test_one_class_cannot_be_ranked():
    with pytest.raises(TrainingError):
        Ranking.of(SCORE, np.zeros(3000, int))


def handbook_card_precision(score, y, card, day, k):
    """The published protocol in the publisher's own terms, as data frames."""
    pandas = pytest.importorskip("pandas", reason="needs the [bench] extra")
    table = pandas.DataFrame({"p": score, "y": y, "card": card, "day": day})
    caught, out = set(), []
    for _, today in table.groupby("day"):
        best = today.groupby("card")[["p", "y"]].max().sort_values("p", ascending=False)
        best = best[~best.index.isin(caught)].head(k)
        hit = set(best.index[best.y == 1])
        caught |= hit
        out.append(len(hit) / k)
    return float(np.mean(out))


@pytest.mark.parametrize("k", [5, 50])
def test_card_precision_is_the_handbooks(k):
    score, day, card = rng.permutation(4000) / 4000, rng.integers(0, 7, 4000), rng.integers(0, 400, 4000)
    y = (rng.random(4000) < score * 0.1).astype(int)
    expected = handbook_card_precision(score, y, card, day, k)
    assert card_precision(score, y, card=card, day=day, k=k) == pytest.approx(expected, abs=1e-15)
