"""Who takes part: the policies by name, each made new for one start."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from greenlane.jobs.evaluating.contest import Contestant
from greenlane.jobs.evaluating.contestants import Clairvoyant, Joint, OddsBelief, Staged
from greenlane.jobs.evaluating.hands import Belief, Hands
from greenlane.jobs.evaluating.models import Kept, ModelBelief
from greenlane.policy.baselines import (
    DEFAULT_KEY,
    ByApprovalValue,
    Cheapest,
    RoundRobin,
    Router,
    StaticPriority,
    SuccessRateWindow,
    Thompson,
)
from greenlane.simulation.living import Living


class Start(NamedTuple):
    """What a contestant is made for."""

    living: Living
    kept: Kept

    @property
    def belief(self) -> Belief:
        return ModelBelief(self.kept.approval)

    @property
    def hands(self) -> Hands:
        return Hands(self.belief)


Maker = Callable[[Start], Contestant]


def routed(router: Callable[[Start], Router]) -> Maker:
    return lambda start: Staged(start.hands, router(start))


def window(*, best: bool, by_money: bool = False, genuine_weighted: bool = False) -> Maker:
    def router(start: Start) -> Router:
        key = start.kept.best_key if best else DEFAULT_KEY
        return SuccessRateWindow(key, by_money=by_money, genuine_weighted=genuine_weighted)

    return routed(router)


DEFAULT: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "joint": lambda start: Joint(start.hands),
        "sequential": routed(lambda _: ByApprovalValue()),
        "success_rate": window(best=False),
        "success_rate_best_key": window(best=True, by_money=True),
        "cheapest": routed(lambda _: Cheapest()),
        "informed_oracle": lambda start: Joint(Hands(OddsBelief(start.living))),
    }
)
"""Those of `greenlane evaluate policies`."""

FULL: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        **DEFAULT,
        "static_priority": routed(lambda _: StaticPriority([])),
        "round_robin": routed(lambda _: RoundRobin()),
        "success_rate_by_money": window(best=False, by_money=True),
        "success_rate_genuine": window(best=False, genuine_weighted=True),
        "success_rate_best_key_no_fees": window(best=True),
        "success_rate_best_key_genuine": window(best=True, by_money=True, genuine_weighted=True),
        "thompson": routed(lambda _: Thompson()),
        "clairvoyant": lambda start: Clairvoyant(start.living),
    }
)
"""With every other baseline, the ablations, and the clairvoyant."""
