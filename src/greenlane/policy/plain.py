"""What others decide by, as a policy of its own: thresholds for everybody, and the first route. An arm to compare with.

Hard stops hold as ever: a plain policy takes one of the eligible actions.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from greenlane.payments.attempt import Frozen
from greenlane.policy.actions import Eligible
from greenlane.policy.explore import places

E9 = Annotated[int, Meta(ge=0, le=10**9)]


class Plain(Frozen, frozen=True, omit_defaults=False):
    """Probabilities of fraud, given what happened to the payment so far, integers 1e-9."""

    block_from_e9: E9 | None = None
    challenge_from_e9: E9 | None = None
    router: Literal["value", "first"] = "value"
    """Over which way: the one worth most, or the first of those that are open."""


def plainly(may: Eligible, worth: Sequence[int], *, fraud_e9: int, plain: Plain) -> int:
    """The place of the action, of a payment that is to pass as `plain` says.

    >>> from greenlane.policy.actions import Row, Way
    >>> may = Eligible((Row("allow", "", 0b11), Row("challenge", "", 0b11)), (Way("a", ""), Way("b", "")), ())
    >>> careful = Plain(challenge_from_e9=10_000_000, block_from_e9=500_000_000)
    >>> [plainly(may, [5, 7, 1, 2, 0], fraud_e9=p, plain=careful) for p in (1, 20_000_000, 600_000_000)]
    [1, 3, 4]
    """
    if plain.block_from_e9 is not None and fraud_e9 >= plain.block_from_e9:
        return len(worth) - 1
    asked = plain.challenge_from_e9 is not None and fraud_e9 >= plain.challenge_from_e9
    for interventions in (("challenge",), ("allow", "exempt")) if asked else (("allow", "exempt"), ("challenge",)):
        among = list(places(may, interventions))
        if among and plain.router == "first":
            first = min(way for _, way in among)
            among = [(place, way) for place, way in among if way == first]
        if among:
            return max(among, key=lambda each: worth[each[0]])[0]
    return len(worth) - 1
