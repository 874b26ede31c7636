"""What a declined payment is still worth: how likely each further try is approved, by what the decline said.

V is a table by (decline group, tries made, age of the wait), per initiator, of the share of good payers' tries that are
approved. It starts from stated priors (51: .18 .13 .10 .08 for merchant-initiated tries days later; 05: .12 .07 .05;
91 and 96 after an hour .60, over another route at once .45; 51 over another route at once .01) and is shrunk towards
what the journal shows. From it follow the worth of a decline before anybody knows its code, and the approval of a try
where no model says one.

sigma(t), P(the payer is still there after t), falls exponentially; a payer who is gone is worth V_stop.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numba import njit
from numpy.typing import NDArray

from greenlane.merchants.stakes import Stakes
from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.policy.actions import Way
from greenlane.policy.given import Worth
from greenlane.policy.limits import ANSWER_DECODER, APPROVED, DECLINED
from greenlane.policy.limits import ANSWERS as STATES
from greenlane.policy.remedy import Group, remedy_of
from greenlane.ports.journal import Entry

PPM: Final = 1_000_000
TRIES: Final = 4
"""Tries a row tells apart; each further one is believed to be worth `LATER` of the one before."""
LATER: Final = 0.8

AGES: Final = ("now", "hours", "days", "week")
AGE_FROM_US: Final = (0, 10 * MINUTE_US, 20 * HOUR_US, 4 * DAY_US)
AGE_TYPICAL_US: Final = (0, HOUR_US, 2 * DAY_US, 6 * DAY_US)

WEIGHT: Final = 40
"""A prior share counts like this many tries that were seen."""
MIX_WEIGHT: Final = 200
"""Likewise for the mix of declines: of an initiator against the prior, of an issuer against its initiator."""


class Prior(NamedTuple):
    """Shares (ppm) approved at tries 1 to 4, what ages make of them (ppm of these), and how declines are mixed."""

    cit: tuple[int, int, int, int]
    mit: tuple[int, int, int, int]
    ages: tuple[int, int, int, int]
    cit_mix: int
    mit_mix: int
    fraud_ratio: int
    """How much more often a fraudster's decline is of this group."""


def _pct(*shares: int) -> tuple[int, int, int, int]:
    one, two, three, four = (share * 10_000 for share in shares)
    return one, two, three, four


PRIORS: Final[Mapping[Group, Prior]] = {
    "insufficient_funds": Prior(_pct(18, 13, 10, 8), _pct(18, 13, 10, 8), _pct(6, 40, 100, 110), 30, 48, 1),
    "do_not_honor": Prior(_pct(12, 7, 5, 4), _pct(12, 7, 5, 4), _pct(100, 70, 100, 100), 24, 18, 2),
    "technical": Prior(_pct(60, 45, 30, 20), _pct(60, 45, 30, 20), _pct(75, 100, 100, 100), 3, 3, 1),
    "limit": Prior(_pct(15, 10, 7, 5), _pct(15, 10, 7, 5), _pct(10, 40, 100, 100), 6, 5, 2),
    "suspected_fraud": Prior(_pct(10, 4, 2, 2), _pct(5, 3, 2, 2), _pct(100, 100, 100, 100), 9, 5, 10),
    "sca": Prior(_pct(70, 30, 10, 10), _pct(5, 5, 5, 5), _pct(100, 100, 100, 100), 6, 1, 1),
    "fix_data": Prior(_pct(50, 25, 5, 5), _pct(5, 5, 5, 5), _pct(100, 100, 100, 100), 7, 1, 4),
    "update": Prior(_pct(25, 10, 5, 5), _pct(30, 10, 5, 5), _pct(100, 100, 100, 100), 9, 10, 3),
    "restricted": Prior(_pct(8, 5, 4, 4), _pct(8, 5, 4, 4), _pct(100, 80, 100, 100), 3, 2, 2),
    "config": Prior(_pct(50, 20, 10, 10), _pct(50, 20, 10, 10), _pct(100, 100, 100, 100), 1, 1, 1),
    "final": Prior(_pct(0, 0, 0, 0), _pct(0, 0, 0, 0), _pct(100, 100, 100, 100), 2, 6, 6),
}
"""Domain page sections 4.2 and 6 for funds, do-not-honour and technical; the rest, and fraudsters' ratios, assumed."""

AT_ONCE: Final = frozenset({"technical", "sca", "fix_data", "update", "suspected_fraud", "config"})
"""Groups whose first further try is made at once; do-not-honour too, where there is another route."""


class RecoveryTable(Struct, frozen=True, kw_only=True, dict=True):
    """V, learned or stated.

    >>> stated = RecoveryTable()
    >>> [round(stated.share("mit", "insufficient_funds", tries=n, wait_us=2 * DAY_US), 2) for n in range(4)]
    [0.18, 0.13, 0.1, 0.08]
    >>> [stated.share("cit", group, tries=0, wait_us=0) for group in ("insufficient_funds", "technical")]
    [0.0108, 0.45]
    """

    shares: dict[str, tuple[int, int, int, int]] = {}
    """`initiator:group:age` -> ppm at tries 1 to 4; what is not there is the prior."""
    mixes: dict[str, dict[str, int]] = {}
    """`initiator`, or `initiator:issuer`, -> group -> ppm of the declines of good payers."""
    cit_patience_us: int = 20 * MINUTE_US
    """After how long 1/e of payers are still there. Assumed."""
    mit_patience_us: int = 60 * DAY_US
    """The same of contracts. Assumed."""

    def share(self, initiator: str, group: str, *, tries: int, wait_us: int) -> float:
        """P(approved | good payer, who was declined for `group` and tried `tries` times since), waiting this long."""
        age = max(at for at in range(len(AGES)) if wait_us >= AGE_FROM_US[at])
        found = self.shares.get(f"{initiator}:{group}:{AGES[age]}") or prior_shares(initiator, group, age)
        return found[min(tries, TRIES - 1)] / PPM * LATER ** max(0, tries - TRIES + 1)

    def persistence(self, initiator: str, wait_us: int) -> float:
        """sigma(t)."""
        return math.exp(-wait_us / (self.cit_patience_us if initiator == "cit" else self.mit_patience_us))

    def mix(self, initiator: str, issuer_id: str = "") -> Mapping[str, int]:
        """Group -> ppm of first declines of good payers."""
        return self.mixes.get(f"{initiator}:{issuer_id}") or self.mixes.get(initiator) or prior_mix(initiator)

    def chances(
        self, initiator: str, issuer_id: str, *, left: int, tries: int, fraud_approval_ppm: int, other_route: bool
    ) -> NDArray[np.float64]:
        """float64 [groups, fields of Chances]: worked out once, so that a decision only multiplies by its money.

        `left` further tries may be made after `tries`; at once over another route only where there is an `other_route`.
        """
        known = issuer_id if f"{initiator}:{issuer_id}" in self.mixes else ""
        key = (initiator, known, min(left, TRIES), min(tries, TRIES), fraud_approval_ppm, other_route)
        if key not in self._worked_out:
            self._worked_out[key] = np.array(_chances(self, *key), dtype=np.float64)
        return self._worked_out[key]

    @cached_property
    def _worked_out(self) -> dict[tuple[str, str, int, int, int, bool], NDArray[np.float64]]:
        return {}

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self, order="deterministic")

    @staticmethod
    def load(dumped: bytes) -> "RecoveryTable":
        """
        >>> RecoveryTable.load(RecoveryTable().dump()) == RecoveryTable()
        True
        """
        return msgspec.msgpack.decode(dumped, type=RecoveryTable)


STATED: Final = RecoveryTable()


@lru_cache(maxsize=256)
def prior_shares(initiator: str, group: str, age: int) -> tuple[int, int, int, int]:
    """ppm at tries 1 to 4.

    >>> prior_shares("mit", "do_not_honor", 0)
    (120000, 70000, 50000, 40000)
    """
    prior = PRIORS[group]  # type: ignore[index] # groups come from remedy_of and from tables it made
    one, two, three, four = prior.cit if initiator == "cit" else prior.mit
    factor = prior.ages[age]
    return one * factor // PPM, two * factor // PPM, three * factor // PPM, four * factor // PPM


@lru_cache(maxsize=2)
def prior_mix(initiator: str) -> Mapping[str, int]:
    weights = {group: prior.cit_mix if initiator == "cit" else prior.mit_mix for group, prior in PRIORS.items()}
    return {group: weight * PPM // sum(weights.values()) for group, weight in weights.items()}


class Chances(NamedTuple):
    """Of one group of declines: its share, and what becomes of a good and of a fraudulent payer's further tries."""

    good: float
    fraud: float
    recovered: float
    declined: float
    """Expected further tries that are declined."""
    fraud_recovered: float
    fraud_declined: float


def worths_of_decline(
    table: RecoveryTable,
    ways: tuple[Way, ...],
    money: Stakes,
    *,
    costs: Sequence[tuple[float, float, float, float]],
    initiator: str,
    fraud_e9: int,
    fraud_approval_ppm: int,
    issuer_id: str = "",
    attempts_left: int = TRIES,
    tries: int = 0,
) -> tuple[Worth, ...]:
    """V(h') after a decline over each way, its code not yet known: mixed over codes, and for each code the better of
    trying on and stopping. `costs` are those of `price.costs_of`; `fraud_e9` is P(fraud | declined); `attempts_left`
    are those the limits leave afterwards.

    >>> from greenlane.merchants.economics import Economics
    >>> from greenlane.merchants.stakes import stakes
    >>> ways, money = (Way("a", "pan"), Way("b", "pan")), stakes(Economics(), 10_000, "merchant")
    >>> worth = worths_of_decline(STATED, ways, money, costs=[(230.0, 230.0, 5.0, 5.0)] * 2, initiator="cit",
    ...                           fraud_e9=10_000_000, fraud_approval_ppm=700_000)[0]
    >>> round(worth.good_micro / 1e6) > round(money.stop), worth.fraud_micro < 0
    (True, True)
    """
    chances = table.chances(
        initiator,
        issuer_id,
        left=attempts_left,
        tries=tries,
        fraud_approval_ppm=fraud_approval_ppm,
        other_route=len({way.route for way in ways}) > 1,
    )
    known = np.array(costs, np.float64).reshape(-1, 4)
    found = _worths(
        chances, known, money.margin, money.dispute, money.loss, money.unrefunded, money.report_price, money.stop,
        fraud_e9 / 1e9,
    )  # fmt: skip
    return tuple([Worth(good, fraud) for good, fraud in found.tolist()])


@njit(cache=True, error_model="numpy")
def _worths(chances, costs, margin, dispute, own_loss, unrefunded, report_price, stop, p):  # type: ignore[no-untyped-def]  # a kernel
    """V_g and V_f of each way, int64[ways, 2] micro-minor units: of each group the better of trying on and stopping."""
    found = np.empty((costs.shape[0], 2), np.int64)
    for way in range(costs.shape[0]):
        approved, declined = costs[way, 0], costs[way, 2]
        good, loss = margin - approved - dispute, own_loss + unrefunded * approved + report_price
        of_good = of_fraud = 0.0
        for group in range(chances.shape[0]):
            good_share, fraud_share, recovered, tries, fraud_recovered, fraud_tries = chances[group]
            tried = recovered * good - tries * declined + (1.0 - recovered) * stop
            tried_fraud = -fraud_recovered * loss - fraud_tries * declined
            if (1.0 - p) * good_share * tried + p * fraud_share * tried_fraud < (1.0 - p) * good_share * stop:
                tried, tried_fraud = stop, 0.0
            of_good += good_share * tried
            of_fraud += fraud_share * tried_fraud
        found[way, 0], found[way, 1] = np.rint(of_good * 1e6), np.rint(of_fraud * 1e6)
    return found


def _chances(
    table: RecoveryTable, initiator: str, issuer_id: str, left: int, tries: int, fraud_ppm: int, other_route: bool
) -> tuple[Chances, ...]:
    mix = table.mix(initiator, issuer_id)
    ratios = {group: mix[group] * prior.fraud_ratio for group, prior in PRIORS.items()}
    found = []
    for group in PRIORS:
        planned = _planned(table, initiator, group, left=left, tries=tries, other_route=other_route)
        recovered = _chain(planned, 1.0), _chain(planned, fraud_ppm / PPM)
        shares = mix[group] / sum(mix.values()), ratios[group] / sum(ratios.values())
        found.append(Chances(*shares, *recovered[0], *recovered[1]))
    return tuple(found)


def _chain(tries: tuple[float, ...], ratio: float) -> tuple[float, float]:
    """(recovered, expected declined tries) of a chain that ends with the first approval."""
    left, declined = 1.0, 0.0
    for approved in tries:
        declined += left * (1.0 - approved * ratio)
        left *= 1.0 - approved * ratio
    return 1.0 - left, declined


def _planned(
    table: RecoveryTable, initiator: str, group: str, *, left: int, tries: int, other_route: bool
) -> tuple[float, ...]:
    """P(still there and approved) of each further try, made when tries of this group usually are."""
    planned, waited_us = [], 0
    for nth in range(left):
        at_once = nth == 0 and (group in AT_ONCE or (group == "do_not_honor" and other_route))
        wait_us = AGE_TYPICAL_US[0 if at_once else 1 if group == "technical" else 2]
        waited_us += wait_us
        share = table.share(initiator, group, tries=tries + nth, wait_us=wait_us)
        planned.append(share * table.persistence(initiator, waited_us))
    return tuple(planned)


class Unpaid(NamedTuple):
    """A payment that was declined so far."""

    initiator: str
    group: str
    at_us: int
    declines: int


def learned(entries: Iterable[Entry]) -> RecoveryTable:
    """The table that a journal shows, shrunk to the stated one. One pass; a payment is forgotten when it is approved.

    Tries are those that followed a decline of the same payment, whoever routed them; what was never tried again says
    nothing of what a try would have brought.
    """
    open_payments: dict[str, Unpaid] = {}
    heard: set[str] = set()
    tries: dict[tuple[str, str, int, int], list[int]] = {}
    mixes: dict[str, dict[str, int]] = {}
    for entry in entries:
        facts = entry.facts
        if facts is None or entry.kind not in ("authorization", "link"):
            continue
        answer = ANSWER_DECODER.decode(entry.payload)
        state = STATES.get(answer.result or "")
        if answer.type != "authorization" or state not in (APPROVED, DECLINED) or facts.attempt_id in heard:
            continue
        at_us = min(entry.ingest_us, entry.occurred_us)
        before = open_payments.get(facts.payment_id)
        if before is not None:
            age = max(at for at in range(len(AGES)) if max(0, at_us - before.at_us) >= AGE_FROM_US[at])
            seen = tries.setdefault((before.initiator, before.group, age, min(before.declines, TRIES) - 1), [0, 0])
            seen[0] += int(state == APPROVED)
            seen[1] += 1
        if state == APPROVED:
            open_payments.pop(facts.payment_id, None)
            continue
        heard.add(facts.attempt_id)
        network, code = answer.network or facts.network, answer.network_response_code or ""
        group = remedy_of(network, code, answer.merchant_advice_code or "", method=facts.method).group
        if before is None:
            for segment in {facts.initiator, f"{facts.initiator}:{facts.issuer_id}"}:
                mix = mixes.setdefault(segment, {})
                mix[group] = mix.get(group, 0) + 1
        declines = 1 if before is None else before.declines + 1
        open_payments[facts.payment_id] = Unpaid(facts.initiator, group, at_us, declines)
    return RecoveryTable(shares=_shrunk(tries), mixes=_shrunk_mixes(mixes))


def _shrunk(tries: dict[tuple[str, str, int, int], list[int]]) -> dict[str, tuple[int, int, int, int]]:
    shares: dict[str, list[int]] = {}
    for (initiator, group, age, nth), (approved, seen) in sorted(tries.items()):
        prior = prior_shares(initiator, group, age)
        row = shares.setdefault(f"{initiator}:{group}:{AGES[age]}", list(prior))
        row[nth] = (approved * PPM + WEIGHT * prior[nth]) // (seen + WEIGHT)
    return {key: (row[0], row[1], row[2], row[3]) for key, row in shares.items()}


def _shrunk_mixes(mixes: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Initiators first, then the issuers that were seen often enough to differ."""
    found: dict[str, dict[str, int]] = {}
    for segment, counts in sorted(mixes.items(), key=lambda item: (":" in item[0], item[0])):
        initiator, _, issuer = segment.partition(":")
        seen = sum(counts.values())
        if ":" in segment and (not issuer or seen < MIX_WEIGHT // 4):
            continue
        parent = found[initiator] if issuer else prior_mix(initiator)
        found[segment] = {
            group: (counts.get(group, 0) * PPM + MIX_WEIGHT * ppm) // (seen + MIX_WEIGHT)
            for group, ppm in parent.items()
        }
    return found
