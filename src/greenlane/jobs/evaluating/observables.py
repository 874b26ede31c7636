"""What the fraud models of an evaluation look at: a payment's frozen facts, and how often its names came before.

A light set, the same for every policy: it reads attempts and never outcomes, so no policy makes its own features
better. (The product's features, outcomes included, are `features/`, and have their own proofs; here they would cost
more than all the policies together and favour none.)
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numba import njit
from numpy.typing import NDArray

from greenlane.payments.facts import Facts
from greenlane.payments.times import DAY_US, HOUR_US, SECOND_US

Ints = NDArray[np.int64]

WINDOWS_S: Final = np.array([3_600, 86_400, 7 * 86_400, 30 * 86_400], np.int64)
STEPS_MAX: Final = 64
"""Counts end here: more says nothing new."""
NEVER_S: Final = 10**8
PACED: Final = ("card", "customer", "device", "ip", "shipping", "merchant_bin")
PAIRS: Final = (
    ("device", "card"), ("ip", "card"), ("customer", "card"), ("card", "merchant"), ("card", "device"),
    ("customer", "device"), ("shipping", "card"), ("customer", "shipping"),
)  # fmt: skip
NAMED: Final = ("merchant", "mcc", "issuer_country", "funding", "network", "mail", "asn")
OWN: Final = (
    "amount", "amount_over_usual", "proxy", "mit", "token", "hour", "account_age_days", "ip_abroad", "billing_abroad",
    "ip_not_billing",
)  # fmt: skip
NAMES: Final = (
    *OWN,
    *NAMED,
    *(f"{many}s_of_{one}" for one, many in PAIRS),
    *(f"{name}_{window}" for name in PACED for window in ("1h", "24h", "7d", "30d", "since")),
)


class Vocabulary(Struct, frozen=True):
    """Numbers for names, fixed when the models are fitted: the rank of a name by frequency, -1 for a new one."""

    ranks: dict[str, dict[str, int]]
    usual: dict[str, float]
    """By merchant: mean of log(1 + amount)."""

    @classmethod
    def learned(cls, facts: Sequence[Facts]) -> "Vocabulary":
        ranks, usual = {}, {}
        for name in NAMED:
            values, counts = np.unique([str(named(each, name)) for each in facts], return_counts=True)
            ordered = values[np.argsort(-counts, kind="stable")].tolist()
            ranks[name] = {value: rank for rank, value in enumerate(ordered)}
        for merchant in ranks["merchant"]:
            amounts = [each.amount_minor for each in facts if each.merchant_id == merchant]
            usual[merchant] = float(np.mean(np.log1p(amounts)))
        return cls(ranks, usual)

    def rank(self, facts: Facts, name: str) -> int:
        return self.ranks[name].get(str(named(facts, name)), -1)


def named(facts: Facts, name: str) -> Hashable:
    """The value of one of the names above."""
    if name == "merchant":
        return facts.merchant_id
    if name == "merchant_bin":
        return facts.merchant_id, facts.bin8
    found: Hashable = getattr(facts, "email_domain" if name == "mail" else name)
    return found


class Observer:
    """Sees the attempts of one course in time order and tells their features.

    >>> one = Facts(payment_id="p", payment_us=0, amount_minor=100, currency="EUR", amount_reporting_minor=100, card=7)
    >>> observer = Observer(Vocabulary.learned([one]))
    >>> rows = observer.observe([one, one])
    >>> rows[:, NAMES.index("card_1h")].tolist()
    [0.0, 1.0]
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._codes: list[dict[Hashable, int]] = [{} for _ in PACED]
        self._pairs: list[set[tuple[Hashable, Hashable]]] = [set() for _ in PAIRS]
        self._distinct: list[dict[Hashable, int]] = [{} for _ in PAIRS]
        self._last = [np.full(1024, -1, np.int64) for _ in PACED]
        self._at_s: Ints = np.empty(0, np.int64)
        self._before: Ints = np.empty((len(PACED), 0), np.int64)

    def observe(self, facts: Sequence[Facts]) -> NDArray[np.float32]:
        """float32[rows, NAMES] of the next attempts; each sees those before it in the same call too."""
        plain = [[*self._own(each), *self._ranks(each), *self._novelty(each)] for each in facts]
        return np.column_stack([np.array(plain, np.float32), self._paces(facts)])

    def _own(self, facts: Facts) -> tuple[float, ...]:
        usual = self._vocabulary.usual.get(facts.merchant_id, 0.0)
        return (
            facts.amount_minor,
            float(np.log1p(facts.amount_minor)) - usual,
            facts.is_proxy,
            facts.initiator == "mit",
            facts.credential == "network_token",
            facts.payment_us % DAY_US / HOUR_US,
            facts.account_age_us / DAY_US if facts.account_age_us >= 0 else -1.0,
            facts.ip_country != facts.issuer_country,
            facts.billing_country != facts.issuer_country,
            facts.ip_country != facts.billing_country,
        )

    def _ranks(self, facts: Facts) -> list[int]:
        return [self._vocabulary.rank(facts, name) for name in NAMED]

    def _novelty(self, facts: Facts) -> list[int]:
        """How many different ones of the second name were seen with the first, this one included."""
        found = []
        for place, (first, second) in enumerate(PAIRS):
            one, many = named(facts, first), named(facts, second)
            if (one, many) not in self._pairs[place]:
                self._pairs[place].add((one, many))
                self._distinct[place][one] = self._distinct[place].get(one, 0) + 1
            found.append(self._distinct[place][one])
        return found

    def _paces(self, facts: Sequence[Facts]) -> NDArray[np.float32]:
        first = len(self._at_s)
        self._at_s = np.concatenate([self._at_s, [each.payment_us // SECOND_US for each in facts]]).astype(np.int64)
        grown = np.full((len(PACED), len(facts)), -1, np.int64)
        self._before = np.concatenate([self._before, grown], axis=1)
        counts = np.empty((len(facts), len(PACED), len(WINDOWS_S) + 1), np.float32)
        for kind, name in enumerate(PACED):
            known = self._codes[kind]
            codes = np.array([known.setdefault(named(each, name), len(known)) for each in facts], np.int64)
            self._last[kind] = roomy(self._last[kind], len(known))
            trail(codes, self._at_s, first, self._last[kind], self._before[kind], counts[:, kind])
        return counts.reshape(len(facts), -1)


def roomy(last: Ints, size: int) -> Ints:
    if size <= len(last):
        return last
    return np.concatenate([last, np.full(max(size, len(last)), -1, np.int64)])


@njit(cache=True)
def trail(codes: Any, at_s: Any, first: int, last: Any, before: Any, counts: Any) -> None:
    """Walks back along the earlier rows of each row's code: counts within windows, and seconds since the last one."""
    for i in range(len(codes)):
        row = first + i
        at = last[codes[i]]
        before[row] = at
        last[codes[i]] = row
        counts[i, len(WINDOWS_S)] = NEVER_S if at < 0 else at_s[row] - at_s[at]
        for w in range(len(WINDOWS_S)):
            counts[i, w] = 0
        steps = 0
        while at >= 0 and steps < STEPS_MAX and at_s[row] - at_s[at] <= WINDOWS_S[-1]:
            for w in range(len(WINDOWS_S)):
                if at_s[row] - at_s[at] <= WINDOWS_S[w]:
                    counts[i, w] += 1
            at = before[at]
            steps += 1
