"""Degrading with dignity: a decision always comes back in time, from the highest rung that can be reached.

    rung              uses                                                    answers
    full              fresh features, the model, every formula                the action of highest expected value
    stale_features    features that lag, or were read incompletely; else all  the same, marked degraded
    static            hard stops, the merchant's caps, static route order     allow up to the cap, else challenge
    merchant_default  hard stops, the declared default and its cap             that default

Hard stops (lists, blocking rules, mandated SCA, amount limits, a rejected authentication) are decided by
`eligible.eligible`, which every rung goes through. How each control fails stands in `FAILS`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.actions import BLOCK, Action, Eligible, Way

Rung = Literal["full", "stale_features", "static", "merchant_default"]
Features = Literal["fresh", "stale", "missing"]

NEEDS_US: Final[Mapping[Rung, int]] = MappingProxyType(
    {"full": 1_000, "stale_features": 1_000, "static": 100, "merchant_default": 0}
)
"""Time that must be left to start on a rung: several times what it takes, so that it ends in time."""

FAILS: Final[Mapping[str, Literal["open", "closed"]]] = MappingProxyType(
    {
        "lists_and_blocking_rules": "closed",
        "amount_limit": "closed",
        "sca_mandate": "closed",
        "route_eligibility": "closed",
        "review_capacity": "closed",
        "retry_limits": "closed",
        "kill_switch": "closed",
        "exemption_conditions": "closed",
        "breaker": "open",
        "approval_model": "open",
        "exploration": "open",
        "fraud_model": "open",
        "features": "open",
        "deadline": "open",
    }
)
"""closed: when in doubt the action is not admissible. open: the payment may pass unseen, up to the merchant's caps."""


def rung_of(*, features: Features, model: bool, remaining_us: int) -> Rung:
    """The highest rung within reach, given what is available and how much of the deadline is left.

    >>> rung_of(features="stale", model=True, remaining_us=50_000)
    'stale_features'
    >>> rung_of(features="fresh", model=False, remaining_us=50_000)
    'static'
    """
    if model and features != "missing" and remaining_us >= NEEDS_US["full"]:
        return "full" if features == "fresh" else "stale_features"
    return "static" if remaining_us >= NEEDS_US["static"] else "merchant_default"


def without_model(may: Eligible, attempt: Attempt, economics: Economics, *, amount_minor: int, rung: Rung) -> Action:
    """The action on the two lower rungs.

    `static` fails open up to the merchant's cap for unscored payments; the declared default is held to the same cap.
    No exemption is asked for: the law wants a risk analysis for that, and there is none.
    """
    wanted = economics.default_intervention if rung == "merchant_default" else "allow"
    capped = wanted == "allow" and amount_minor > economics.unscored_amount_max_minor
    intervention = _safest(may) if capped or wanted not in may.interventions else wanted
    if intervention == "block":
        return BLOCK
    return Action(intervention, "", *_first_way(may, attempt, economics))


def _safest(may: Eligible) -> str:
    """Where the wanted answer is not to be had: authenticate, else look, else block."""
    return next(intervention for intervention in ("challenge", "review", "block") if intervention in may.interventions)


def _first_way(may: Eligible, attempt: Attempt, economics: Economics) -> Way:
    """Static priority: the merchant's order of routes, then the caller's."""
    order = [terms.id for terms in economics.routes] + [route.id for route in attempt.eligible_routes]
    by_route = {way.route: way for way in may.ways}
    return next((by_route[route] for route in order if route in by_route), may.ways[0])
