"""Who takes part: the policies by name, each made new for one start."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

from greenlane.jobs.evaluating.contest import Contestant
from greenlane.jobs.evaluating.contestants import Clairvoyant, Joint, OddsBelief, Oracle, Sequential, Staged
from greenlane.jobs.evaluating.hands import Belief, Hands, Memo, ModelBelief, Tables
from greenlane.jobs.evaluating.models import Kept
from greenlane.models.approval_model import ApprovalModel
from greenlane.policy.baselines import (
    DEFAULT_KEY,
    Cheapest,
    RoundRobin,
    Router,
    StaticPriority,
    SuccessRateWindow,
    Thompson,
)
from greenlane.policy.limits import Limits
from greenlane.policy.recovery import RecoveryTable
from greenlane.simulation.living import Living


class Start(NamedTuple):
    """What a contestant is made for."""

    living: Living
    kept: Kept
    limits: Limits
    model: ApprovalModel
    memo: Memo
    tables: Tables | None = None

    @property
    def belief(self) -> Belief:
        return ModelBelief(self.model, self.memo)

    @property
    def recovery(self) -> RecoveryTable:
        return RecoveryTable.load(self.kept.recovery)


Maker = Callable[[Start], Contestant]


def routed(router: Callable[[Start], Router]) -> Maker:
    return lambda start: Staged(Hands(start.belief, online=False, tables=start.tables), router(start), start.kept.warm)


def window(*, best: bool, by_money: bool | None = None, genuine_weighted: bool = False) -> Maker:
    """`best`: at its best-keyed setting; `by_money` None: as that setting has it."""

    def router(start: Start) -> Router:
        key = start.kept.best_key if best else DEFAULT_KEY
        money = start.kept.best_by_money if by_money is None else by_money
        return SuccessRateWindow(key, by_money=money, genuine_weighted=genuine_weighted)

    return routed(router)


def joint(start: Start, *, pooled: bool = True, retry_value: bool = True, exploring: bool = True) -> Joint:
    hands = Hands(start.belief, pooled=pooled)
    return Joint(hands, start.limits, start.recovery, retry_value=retry_value, exploring=exploring)


DEFAULT: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "joint": joint,
        "sequential": lambda start: Sequential(Hands(start.belief), start.limits, start.recovery),
        "success_rate": window(best=False, by_money=False),
        "success_rate_best_key": window(best=True),
        "cheapest": routed(lambda _: Cheapest()),
        "informed_oracle": lambda start: Oracle(
            Hands(OddsBelief(start.living), online=False), start.limits, start.recovery, exploring=False
        ),
    }
)
"""Those of `greenlane evaluate policies`."""

FULL: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        **DEFAULT,
        "static_priority": routed(lambda _: StaticPriority([])),
        "round_robin": routed(lambda _: RoundRobin()),
        "success_rate_by_money": window(best=False, by_money=True),
        "success_rate_genuine": window(best=False, by_money=False, genuine_weighted=True),
        "success_rate_best_key_rates_only": window(best=True, by_money=False),
        "success_rate_best_key_by_money": window(best=True, by_money=True),
        "success_rate_best_key_genuine": window(best=True, genuine_weighted=True),
        "thompson": routed(lambda _: Thompson()),
        "joint_without_retry_value": partial(joint, retry_value=False),
        "joint_without_pooling": partial(joint, pooled=False),
        "joint_without_exploration": partial(joint, exploring=False),
        "clairvoyant": lambda start: Clairvoyant(start.living),
    }
)
"""With every other baseline, the ablations, and the clairvoyant."""
