"""Effects of names: the sparse search, held against the dense one and against the truth they were drawn from."""

import numpy as np

from greenlane.learning.approval_set import Named
from greenlane.learning.calibrate import logistic_fit
from greenlane.learning.effects import crossed_effects
from greenlane.models.approval_rows import SPREAD, names_of
from greenlane.payments.facts import Facts

ISSUERS, ROUTES, START = 12, 4, 1.5
FACTS = Facts(payment_id="p", payment_us=0, amount_minor=9, currency="EUR", amount_reporting_minor=9, issuer_id="iss")


def drawn(rows: int, *, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(names of each row: all, issuer, route, both; answers; the effects they were drawn with)."""
    rng = np.random.default_rng(seed)
    issuer, route = rng.integers(ISSUERS, size=rows), rng.integers(ROUTES, size=rows)
    names = np.stack([
        np.zeros(rows, int), 1 + issuer, 1 + ISSUERS + route, 1 + ISSUERS + ROUTES + issuer * ROUTES + route
    ], axis=1).astype(np.int32)  # fmt: skip
    effects = 0.4 * rng.standard_normal(1 + ISSUERS + ROUTES + ISSUERS * ROUTES)
    p = 1.0 / (1.0 + np.exp(-START - effects[names].sum(axis=1)))
    return names, (rng.random(rows) < p).astype(float), effects


def test_the_sparse_search_finds_what_the_dense_one_does() -> None:
    names, y, effects = drawn(4_000)
    weight = np.random.default_rng(1).random(len(y))
    spread = np.full(len(effects), 0.4)
    dense = np.zeros((len(y), len(effects) + 1))
    np.add.at(dense, (np.arange(len(y))[:, None], names), 1.0)
    dense[:, -1] = 1.0
    penalty = np.diag([*spread**-2.0, 1e12])  # the start stands still: its column is moved to by the answers alone
    shifted = crossed_effects(names, y, weight, spread=spread, start=0.0)
    assert np.allclose(shifted, logistic_fit(dense, y, weight, penalty=penalty).coefficients[:-1], atol=1e-3)


def test_where_answers_are_few_sums_of_effects_are_nearer_to_the_truth_than_shares() -> None:
    ours, plain = 0.0, 0.0
    for seed in range(10):
        names, y, effects = drawn(1_000, seed=seed)
        found = crossed_effects(names, y, np.ones(len(y)), spread=np.full(len(effects), 0.4), start=START)
        cell, place = np.unique(names, axis=0, return_inverse=True)
        share = (np.bincount(place.ravel(), y) + 8.0) / (np.bincount(place.ravel()) + 10.0)
        truth = START + effects[cell].sum(axis=1)
        ours += float(np.mean((START + found[cell].sum(axis=1) - truth) ** 2))
        plain += float(np.mean((np.log(share / (1.0 - share)) - truth) ** 2))
    assert ours < 0.8 * plain


def test_a_name_without_answers_has_no_effect() -> None:
    names = np.array([[0, 1], [0, 2]], np.int32)
    found = crossed_effects(names, np.array([1.0, 0.0]), np.array([1.0, 0.0]), spread=np.ones(3), start=0.0)
    assert found[2] == 0.0 and found[1] > 0.0
    assert not crossed_effects(names[:0], np.zeros(0), np.zeros(0), spread=np.ones(3), start=0.0).any()


def test_an_attempt_has_one_name_of_each_kind() -> None:
    names = names_of(FACTS, route="acq", credential="pan", mode=0)
    assert [name.partition(" ")[0] for name in names] == list(SPREAD)
    assert Named.of([]).effects() == {}
