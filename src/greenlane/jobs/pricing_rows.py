"""The policy's own valuation of held-out rows: each attempt as it was asked for, at its merchant's economics then."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greenlane.decisions.kept import KeptAttempt, attempt_of
from greenlane.decisions.record import record_of
from greenlane.learning.evaluate import Priced
from greenlane.learning.policy_money import Case, policy_values
from greenlane.merchants.book import Book
from greenlane.payments.attempt import Attempt
from greenlane.payments.facts import Facts
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry
from greenlane.settings import read_settings
from greenlane.wiring import Reader

ROWS_MAX: Final = 3_000
"""Rows that are valued; events first, the others drawn, each standing for its share."""


def priced(reader: Reader, seqs: NDArray[np.int64], y: NDArray[np.int8], *, seed: int) -> Priced | None:
    """Of rows in the order of the journal; None where there are none."""
    rows, weight = sampled(y, seed=seed)
    wanted = dict.fromkeys(seqs[rows].tolist())
    if not wanted:
        return None
    policy = Policy(perspective=read_settings(reader.places.root).perspective)
    cases = dict(cases_of(reader, wanted))
    return Priced(rows, policy_values([cases[seq] for seq in seqs[rows].tolist()], policy), weight)


def sampled(y: NDArray[np.int8], *, seed: int, most: int = ROWS_MAX) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(rows, how many each stands for).

    >>> rows, weight = sampled(np.array([1] + [0] * 99, np.int8), seed=1, most=10)
    >>> len(rows), int(rows[0]), float(weight.sum())
    (10, 0, 100.0)
    """
    rng = np.random.default_rng(seed)
    events, others = (rng.permutation(np.flatnonzero(y == label)) for label in (1, 0))
    some = events[: most // 2]
    rest = others[: most - len(some)]
    stands = [np.full(len(few), len(all_) / max(len(few), 1)) for few, all_ in ((some, events), (rest, others))]
    rows, shares = np.concatenate([some, rest]), np.concatenate(stands)
    order = np.argsort(rows)
    return rows[order], shares[order]


def cases_of(reader: Reader, wanted: dict[int, Any]) -> Any:
    """(seq, case) of the wanted entries."""
    book, last = Book(), max(wanted)
    for entry in reader.entries():
        book.apply(entry)
        if entry.seq in wanted:
            yield entry.seq, case_of(entry, book)
        if entry.seq >= last:
            return


def case_of(entry: Entry, book: Book) -> Case:
    facts = entry.facts
    assert facts is not None, "an attempt has facts"
    attempt = record_of(entry).attempt if entry.kind == "decision" else told(facts)
    economics = book.economics(facts.merchant_id, mcc=facts.mcc or None)
    return Case(attempt, economics, facts.amount_reporting_minor, entry.ingest_us)


def told(facts: Facts) -> Attempt:
    """What is frozen of an attempt that nobody here decided, as the attempt it would have been: no routes are told."""
    kept = KeptAttempt(
        stage="pre_authorization",
        attempt_id=None,
        payment=None,
        told=0,
        credential=facts.credential or "pan",
        token=None,
        exp_bucket=None,
        created=None,
        mit_reason=None,
        network_transaction_id=None,
        verification=None,
        signals={},
        routes=(),
        constraints=None,
        deadline_ms=None,
        mode="live",
        at=None,
    )
    return attempt_of(kept, facts)
