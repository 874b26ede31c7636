"""What others do: routers to be beaten, each ranking the ways of one payment and learning from what came of it.

Same hands for all: a router sees the ways that are eligible, what each costs and earns, and the same approval model's
belief; it returns an order, best first. It neither sees who the payer is nor chooses interventions and retries: those
come from the same fraud step and the same limits for every baseline (`jobs.evaluating`).

The success-rate window is the rule of today's open routers: the last 125 outcomes per key and way, full of ones at
first; one payment in twenty goes elsewhere to look; an elimination score per way is multiplied by .95 at a failure and
by 1.0526 (its inverse) at a success, up to 1, and a way whose score lies below the threshold has its rate divided by 5.
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import numpy as np

HEDGED: Final = 2**32 // 20
"""Draws below this one go elsewhere to look."""
WINDOW: Final = 125
ELIMINATED_BELOW: Final = 0.35
"""Ours, no standard: twenty failures in a row without a success."""


class Occasion(NamedTuple):
    """One choice of a way, as a router sees it. Money in minor units; one entry for each way, in their order."""

    merchant_id: str
    network: str
    issuer_id: str
    issuer_country: str
    bin8: str
    earned_minor: tuple[float, ...]
    """Margin less f_r: what an approval earns."""
    fees_minor: tuple[float, ...]
    """f_r, all costs of an approved attempt."""
    declined_minor: tuple[float, ...]
    """c_r, and what a lost payment costs beyond it."""
    approvals: tuple[float, ...]
    """q of the approval model, 0..1."""
    draw: int = 0
    """In [0, 2^32): the only randomness a router has."""


class Router(Protocol):
    """Ranks ways; what a way is does not matter, as long as it can be a key."""

    def rank(self, ways: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        """Places in `ways`, best first; equal ones keep their order."""
        ...

    def learn(self, way: Hashable, occasion: Occasion, *, approved: bool, genuine: float = 1.0) -> None:
        """One authorisation was answered; `genuine` is P(good payer), which only some routers weigh by."""
        ...


class Unlearning:
    """Takes no notice of outcomes."""

    def learn(self, way: Hashable, occasion: Occasion, *, approved: bool, genuine: float = 1.0) -> None:
        pass


class StaticPriority(Unlearning):
    """The order in which the merchant wrote the ways down; unnamed ones come last.

    >>> anybody = Occasion("m", "visa", "i", "DE", "40000000", (), (), (), ())
    >>> StaticPriority(("b", "a")).rank(["a", "b", "c"], anybody)
    [1, 0, 2]
    """

    def __init__(self, order: Sequence[Hashable]):
        self._place = {way: place for place, way in enumerate(order)}

    def rank(self, ways: Sequence[Hashable], _: Occasion, /) -> list[int]:
        return _ascending([self._place.get(way, len(self._place)) for way in ways])


class RoundRobin(Unlearning):
    """Each merchant's payments go round.

    >>> turns, anybody = RoundRobin(), Occasion("m", "visa", "i", "DE", "40000000", (), (), (), ())
    >>> [turns.rank(["a", "b"], anybody) for _ in range(3)]
    [[0, 1], [1, 0], [0, 1]]
    """

    def __init__(self) -> None:
        self._turn: dict[str, int] = {}

    def rank(self, ways: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        turn = self._turn.get(occasion.merchant_id, 0)
        self._turn[occasion.merchant_id] = turn + 1
        first = turn % len(ways)
        return [*range(first, len(ways)), *range(first)]


class Cheapest(Unlearning):
    """Least f_r, whatever the issuer thinks.

    >>> Cheapest().rank(["a", "b"], Occasion("m", "visa", "i", "DE", "40000000", (), (9.0, 5.0), (), ()))
    [1, 0]
    """

    def rank(self, _: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        return _ascending(occasion.fees_minor)


class ByApprovalValue(Unlearning):
    """q (m A - f_r) - (1 - q) c_r by the approval model: the second step of the sequential best of each.

    >>> seen = Occasion("m", "visa", "i", "DE", "40000000", (10.0, 9.0), (), (1.0, 1.0), (0.5, 0.9))
    >>> ByApprovalValue().rank(["a", "b"], seen)
    [1, 0]
    """

    def rank(self, _: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        columns = zip(occasion.approvals, occasion.earned_minor, occasion.declined_minor, strict=True)
        return _descending([q * earned - (1.0 - q) * declined for q, earned, declined in columns])


KEYS: Final[Mapping[str, Callable[[Occasion], Hashable]]] = MappingProxyType(
    {
        "all": lambda _: "",
        "merchant": lambda o: o.merchant_id,
        "merchant_network": lambda o: (o.merchant_id, o.network),
        "network": lambda o: o.network,
        "country": lambda o: o.issuer_country,
        "issuer": lambda o: o.issuer_id,
        "issuer_merchant": lambda o: (o.issuer_id, o.merchant_id),
        "bin": lambda o: o.bin8,
    }
)
"""What a success rate is kept by, beside the way. `merchant_network` is what routers ship with."""
DEFAULT_KEY: Final = "merchant_network"


class SuccessRateWindow:
    """The last outcomes per key and way; see the module. Deterministic in the occasion's draw.

    >>> window, seen = SuccessRateWindow(), Occasion("m", "visa", "i", "DE", "40000000", (), (), (), (), draw=2**31)
    >>> window.learn("a", seen, approved=False)
    >>> window.rank(["a", "b"], seen), window.rank(["a", "b"], seen._replace(draw=0))  # the second one looks elsewhere
    ([1, 0], [0, 1])
    """

    def __init__(self, key: str = DEFAULT_KEY, *, by_money: bool = False, genuine_weighted: bool = False):
        """`by_money` ranks by rate times earnings; `genuine_weighted` counts outcomes by P(good payer)."""
        self._key, self._by_money, self._weighted = KEYS[key], by_money, genuine_weighted
        self._seen: dict[Hashable, Window] = {}
        self._elimination: dict[Hashable, float] = {}

    def rank(self, ways: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        key = self._key(occasion)
        scores = [self._score(key, way, occasion.merchant_id) for way in ways]
        if self._by_money:
            scores = [score * earned for score, earned in zip(scores, occasion.earned_minor, strict=True)]
        order = _descending(scores)
        if occasion.draw >= HEDGED or len(order) < 2:
            return order
        other = 1 + occasion.draw % (len(order) - 1)
        return [order[other], *order[:other], *order[other + 1 :]]

    def learn(self, way: Hashable, occasion: Occasion, *, approved: bool, genuine: float = 1.0) -> None:
        key = (self._key(occasion), way)
        window = self._seen.get(key)
        if window is None:
            window = self._seen[key] = Window(WINDOW)
        window.add(approved, genuine if self._weighted else 1.0)
        scope = (occasion.merchant_id, way)
        score = self._elimination.get(scope, 1.0)
        self._elimination[scope] = min(1.0, score * 1.0526) if approved else score * 0.95

    def eliminated(self, way: Hashable, merchant_id: str) -> bool:
        return self._elimination.get((merchant_id, way), 1.0) < ELIMINATED_BELOW

    def _score(self, key: Hashable, way: Hashable, merchant_id: str) -> float:
        window = self._seen.get((key, way))
        rate = 1.0 if window is None else window.rate
        return rate / 5.0 if self.eliminated(way, merchant_id) else rate


class Window:
    """The last `size` outcomes, ones before there were any; an outcome may count for less than one.

    >>> window = Window(2)
    >>> window.add(False, 1.0)
    >>> window.rate
    0.5
    """

    def __init__(self, size: int):
        self._size = size
        self._outcomes: deque[tuple[bool, float]] = deque()
        self._good = self._total = float(size)

    def add(self, approved: bool, weight: float) -> None:
        self._outcomes.append((approved, weight))
        full = len(self._outcomes) > self._size
        gone, less = self._outcomes.popleft() if full else (True, 1.0)
        self._good += weight * approved - less * gone
        self._total += weight - less

    @property
    def rate(self) -> float:
        return self._good / self._total if self._total > 1e-9 else 1.0


class Thompson:
    """Thompson sampling (1933) of approval per issuer and way, from a flat prior; ranks by draw times earnings.

    A baseline only: its propensities have no closed form, so nothing that it logs could be evaluated exactly.

    >>> seen = Occasion("m", "visa", "i", "DE", "40000000", (9.0, 9.0), (), (), (), draw=7)
    >>> bandit = Thompson()
    >>> for _ in range(50):
    ...     bandit.learn("a", seen, approved=False)
    ...     bandit.learn("b", seen, approved=True)
    >>> bandit.rank(["a", "b"], seen)
    [1, 0]
    """

    def __init__(self) -> None:
        self._counts: dict[Hashable, list[int]] = {}

    def rank(self, ways: Sequence[Hashable], occasion: Occasion, /) -> list[int]:
        rng = np.random.Generator(np.random.Philox(key=occasion.draw))
        counts = [self._counts.get((occasion.issuer_id, way), (0, 0)) for way in ways]
        rates = [rng.beta(1 + good, 1 + bad) for bad, good in counts]
        return _descending([rate * earned for rate, earned in zip(rates, occasion.earned_minor, strict=True)])

    def learn(self, way: Hashable, occasion: Occasion, *, approved: bool, **_: float) -> None:
        self._counts.setdefault((occasion.issuer_id, way), [0, 0])[approved] += 1


def _ascending(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=scores.__getitem__)


def _descending(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: -scores[place])
