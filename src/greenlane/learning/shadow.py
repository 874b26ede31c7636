"""A shadow scores what the champion decided, after the answer is out: what would it have done, and what is that worth?

    decision entry -> the champion's own inputs -> the shadow's belief -> the same policy -> its action
                   -> one cell of the 5x5 matrix (champion's intervention x shadow's), priced in money

It reads durable entries, writes none, and is one fold: constant memory, whatever the traffic. Both sides are asked for
their best action: what exploration took instead is nobody's opinion.
"""

import time
from bisect import insort
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import exp, log
from statistics import fmean
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from greenlane.decisions.record import DecisionRecord
from greenlane.learning.labels import GOOD, REPORTED
from greenlane.learning.maturity import SHARE_MIN, Maturity
from greenlane.learning.resampling import Figure
from greenlane.merchants.economics import Economics
from greenlane.policy.choose import Chosen, choose
from greenlane.policy.given import Given
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry

KEPT_MAX: Final = 400
"""Flips of one cell that are kept whole, those of lowest hash: a random sample that any restart continues."""
LATE_US: Final = 50_000
"""A belief that takes longer is a time-out: on the hot path it would have been one."""
STEP: Final = log(1.15)
"""Latencies are counted in classes that are 15 % wide."""
CLASSES: Final = 120
CERTAIN_E9: Final = 1, 999_999_999
"""What a label says of the fraud probability: good, reported."""
Z: Final = 1.96


class Flip(Struct, frozen=True, array_like=True, order=True):
    """A decision in which the shadow would have done otherwise. Money: its action less the champion's, micro-minor."""

    rank: int
    """Hash of the decision: the order in which flips are kept."""
    seq: int
    payment_id: str
    card: int
    at_us: int
    amount_minor: int
    by_champion_micro: int
    """As the champion believes; never above 0, or it would have done the same."""
    by_shadow_micro: int
    if_good_micro: int
    if_fraud_micro: int


class Cell(Struct):
    """One pair of interventions. `moved` counts those whose actions differ: in intervention, way or exemption."""

    decisions: int = 0
    moved: int = 0
    amount_minor: int = 0
    by_champion_micro: int = 0
    by_shadow_micro: int = 0
    kept: list[Flip] = []


class Watched(Struct, kw_only=True):
    """All that is known of one shadow beside one champion."""

    kind: str
    champion: str
    shadow: str
    from_us: int = 0
    upto_us: int = 0
    upto_seq: int = 0
    decisions: int = 0
    """Live ones that this champion decided."""
    scored: int = 0
    errors: int = 0
    late: int = 0
    """Scored, but slower than LATE_US."""
    dropped: int = 0
    """Not scored, because the follower had no time left for it."""
    value_micro: int = 0
    """Of the champion's best actions, as it believes."""
    latency_us: list[int] = field(default_factory=lambda: [0] * CLASSES)
    cells: dict[str, Cell] = {}
    """By "allow>block": the champion's intervention, the shadow's."""


Believe = Callable[[Entry, DecisionRecord], Given]
"""The champion's inputs as the shadow sees them: all as it was, but its own belief."""


def score(
    watched: Watched, entry: Entry, record: DecisionRecord, *, believe: Believe, economics: Economics, policy: Policy
) -> None:
    """One decision more. A shadow that fails is counted, and harms nobody."""
    started_ns = time.perf_counter_ns()
    try:
        given = believe(entry, record)
        took_us = (time.perf_counter_ns() - started_ns) // 1_000
        theirs = choose(record.attempt, given, economics=economics, policy=policy, may=record.chosen.may)
    except Exception:  # noqa: BLE001 - a shadow has no side effects: its failure is a figure of the report
        watched.errors += 1
        return
    watched.scored += 1
    watched.late += took_us > LATE_US
    watched.latency_us[min(CLASSES - 1, int(log(max(1, took_us)) / STEP))] += 1
    worth = record.chosen.values_micro
    ours, at = unexplored(record.chosen), theirs.explored.place
    watched.value_micro += worth[ours]
    champion, shadow = record.chosen.may.action(ours), theirs.action
    cell = watched.cells.setdefault(f"{champion.intervention}>{shadow.intervention}", Cell())
    cell.decisions += 1
    cell.amount_minor += record.given.amount_minor
    if champion == shadow:
        return
    by_champion, by_shadow = worth[at] - worth[ours], theirs.values_micro[at] - theirs.values_micro[ours]
    cell.moved += 1
    cell.by_champion_micro += by_champion
    cell.by_shadow_micro += by_shadow
    rank = int.from_bytes(blake2b(b"%d" % entry.seq, digest_size=7).digest(), "big")
    if len(cell.kept) == KEPT_MAX and rank >= cell.kept[-1].rank:
        return
    good, fraud = (
        values[at] - values[ours]
        for values in (certain(record, given, e9, economics=economics, policy=policy) for e9 in CERTAIN_E9)
    )
    assert entry.facts is not None, "a decision always has facts"
    flip = Flip(
        rank=rank,
        seq=entry.seq,
        payment_id=entry.facts.payment_id,
        card=entry.facts.card,
        at_us=entry.ingest_us,
        amount_minor=record.given.amount_minor,
        by_champion_micro=by_champion,
        by_shadow_micro=by_shadow,
        if_good_micro=good,
        if_fraud_micro=fraud,
    )
    insort(cell.kept, flip)
    del cell.kept[KEPT_MAX:]


def unexplored(chosen: Chosen) -> int:
    """The place of the action that would have been taken without chance."""
    values = chosen.values_micro
    return values.index(max(values)) if chosen.explored.explored else chosen.explored.place


def certain(
    record: DecisionRecord, given: Given, fraud_e9: int, *, economics: Economics, policy: Policy
) -> tuple[int, ...]:
    """The values of all actions, had one known what a label says."""
    known = replace(given, fraud_probability_e9=fraud_e9)
    return choose(record.attempt, known, economics=economics, policy=policy, may=record.chosen.may).values_micro


class CellReport(Struct, frozen=True, kw_only=True):
    """One cell of the matrix, money in minor units: the shadow's action less the champion's."""

    champion: str
    shadow: str
    decisions: int
    moved: int
    amount_minor: int
    by_champion_minor: float
    by_shadow_minor: float
    kept: int
    labelled: int
    """Of those kept: old enough, and let through, so that a report could have come."""
    reported: int
    at_labels_minor: float | None
    """Those with labels at what was reported, scaled up to the cell; None where there are none."""


class ShadowReport(Struct, frozen=True, kw_only=True):
    """What a shadow would have changed."""

    kind: str
    champion: str
    shadow: str
    from_us: int
    upto_us: int
    decisions: int
    scored: int
    coverage: float
    errors: int
    late: int
    dropped: int
    latency_us_p50: float
    latency_us_p99: float
    flips: int
    """Decisions with another intervention."""
    moved: int
    """Decisions with another action: intervention, route, credential or exemption."""
    difference: Figure
    """Minor units per 1,000: flips with a label at what was and will be reported, all others at both beliefs' mean."""
    champion_per_1000_minor: float
    """What the champion's actions were worth, as it believes."""
    resting_on_belief: float
    """Share of the money in flips, by absolute value, that no label speaks for."""
    mature: float
    """Share of the reports about flips that will come which have come by their age; 1 where none could."""
    cells: tuple[CellReport, ...]

    @property
    def error_rate(self) -> float:
        return (self.errors + self.late) / max(1, self.scored + self.errors)


LET_THROUGH: Final = ("allow", "exempt", "challenge")
"""After these a report can come; after a block or a review that was cancelled nobody learns anything."""


def report_of(watched: Watched, state_of: Callable[[Flip], int], *, now_us: int, reports: Maturity) -> ShadowReport:
    """The report as of now. `state_of` says what is known of a flip's payment, as `labels.STATES` counts; `reports` is
    the share of fraud reports that have come at an age.
    """
    by_cell = {
        name: priced_flips(name, cell, state_of, now_us=now_us, reports=reports)
        for name, cell in sorted(watched.cells.items())
    }
    cells = [cell_report(name, watched.cells[name], found) for name, found in by_cell.items()]
    priced = [one for found in by_cell.values() for one in found]
    could = [one for one in priced if one.could]
    money, believed = weighed(priced), weighed([one for one in priced if not one.labelled])
    counted = sum(one.weight for one in could)
    return ShadowReport(
        kind=watched.kind,
        champion=watched.champion,
        shadow=watched.shadow,
        from_us=watched.from_us,
        upto_us=watched.upto_us,
        decisions=watched.decisions,
        scored=watched.scored,
        coverage=watched.scored / max(1, watched.decisions),
        errors=watched.errors,
        late=watched.late,
        dropped=watched.dropped,
        latency_us_p50=quantile(watched.latency_us, 0.5),
        latency_us_p99=quantile(watched.latency_us, 0.99),
        flips=sum(cell.decisions for cell in cells if cell.champion != cell.shadow),
        moved=sum(cell.moved for cell in cells),
        difference=per_1000(priced, watched.scored),
        champion_per_1000_minor=watched.value_micro / 1e3 / max(1, watched.scored),
        resting_on_belief=believed / money if money else 0.0,
        mature=sum(one.weight * one.share for one in could) / counted if counted else 1.0,
        cells=tuple(cells),
    )


class Priced(NamedTuple):
    """A flip in money, minor units, and how many it stands for."""

    minor: float
    weight: float
    card: int
    could: bool
    """It was let through, so that a report could come."""
    share: float
    """Of the reports that come at all, how many have come at its age."""
    labelled: bool
    reported: bool


def priced_flips(
    name: str, cell: Cell, state_of: Callable[[Flip], int], *, now_us: int, reports: Maturity
) -> list[Priced]:
    """Those that a cell kept, each standing for as many of the moved."""
    lets_through, weight = name.partition(">")[0] in LET_THROUGH, cell.moved / max(1, len(cell.kept))
    shares = reports.at(np.array([now_us - flip.at_us for flip in cell.kept], np.int64)).tolist()
    return [
        priced_flip(flip, state_of(flip) if lets_through else -1, weight, share=share)
        for flip, share in zip(cell.kept, shares, strict=True)
    ]


def cell_report(name: str, cell: Cell, found: list[Priced]) -> CellReport:
    champion, _, shadow = name.partition(">")
    labelled = [one for one in found if one.labelled]
    return CellReport(
        champion=champion,
        shadow=shadow,
        decisions=cell.decisions,
        moved=cell.moved,
        amount_minor=cell.amount_minor,
        by_champion_minor=cell.by_champion_micro / 1e6,
        by_shadow_minor=cell.by_shadow_micro / 1e6,
        kept=len(found),
        labelled=len(labelled),
        reported=sum(one.reported for one in labelled),
        at_labels_minor=fmean(one.minor for one in labelled) * cell.moved if labelled else None,
    )


def priced_flip(flip: Flip, state: int, weight: float, *, share: float) -> Priced:
    """A report that came at maturity F stands for 1 / F of them, which is what the unreported ones will still get.

    >>> flip = Flip(0, 1, "pay_1", 7, 0, 500, -10, 20, if_good_micro=-1_000_000, if_fraud_micro=9_000_000)
    >>> [priced_flip(flip, state, 1.0, share=0.5).minor for state in (GOOD, REPORTED)]
    [-1.0, 19.0]
    """
    could = state in (GOOD, REPORTED)
    labelled = could and share >= SHARE_MIN
    micro = (flip.by_champion_micro + flip.by_shadow_micro) / 2
    if labelled:
        fraud = 1.0 / share if state == REPORTED else 0.0
        micro = flip.if_good_micro + fraud * (flip.if_fraud_micro - flip.if_good_micro)
    return Priced(micro / 1e6, weight, flip.card, could, share, labelled, labelled and state == REPORTED)


def per_1000(priced: Sequence[Priced], decisions: int) -> Figure:
    """All decisions but the flips differ by nothing. The interval is by cards, and never narrower than one flip more.

    >>> per_1000([], 1000)
    Figure(value=0.0, low=0.0, high=0.0)
    >>> one = Priced(-500.0, 1.0, 7, True, 1.0, True, False)
    >>> per_1000([one], 1000)
    Figure(value=-500.0, low=-1480.0, high=480.0)
    """
    by_card: dict[int, float] = {}
    for one in priced:
        by_card[one.card] = by_card.get(one.card, 0.0) + one.minor * one.weight
    total, spread = sum(by_card.values()), sum(each * each for each in by_card.values()) ** 0.5
    scale = 1_000 / max(1, decisions)
    return Figure(total * scale, (total - Z * spread) * scale, (total + Z * spread) * scale)


def quantile(counts: Sequence[int], q: float) -> float:
    """The upper end of the class in which it lies, microseconds; 0 where nothing was counted."""
    left = q * sum(counts)
    for place, count in enumerate(counts):
        left -= count
        if count and left <= 0:
            return round(exp((place + 1) * STEP), 1)
    return 0.0


def weighed(priced: Sequence[Priced]) -> float:
    """Money at stake, by absolute value."""
    return sum(abs(one.minor) * one.weight for one in priced)
