"""The choice: value every eligible action, take the best, and say what was seen so that anybody can check it later."""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.believe import Beliefs, Probabilities, believe, probabilities
from greenlane.policy.degrade import Rung, without_model
from greenlane.policy.distribution import greedy, settled
from greenlane.policy.eligible import Eligible, eligible
from greenlane.policy.history import history_of
from greenlane.policy.parameters import Multipliers, Policy, epoch_of
from greenlane.policy.price import price, route_matrix
from greenlane.policy.value import INTERVENTIONS, TERMS, VALUE, values

FREE: Final = Multipliers()
ROW: Final = {intervention: row for row, intervention in enumerate(INTERVENTIONS)}
UNVALUED: Final = (0,) * len(TERMS)


class Action(Struct, frozen=True, array_like=True, gc=False):
    """`route` is "" for a block."""

    intervention: str
    route: str


class Chosen(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What was chosen, among what, and why. Money in micro-minor units of the reporting currency."""

    action: Action
    rung: Rung
    interventions: tuple[str, ...]
    """Admissible ones; "block" is always the last."""
    routes: tuple[str, ...]
    """Eligible ones, sorted."""
    values_micro: tuple[int, ...]
    """In the order of `actions`; () on the rungs that value nothing."""
    distribution: tuple[int, ...]
    """In the order of `actions`; sums to 2^32."""
    terms_micro: tuple[int, ...]
    """Of the action, in the order of `value.TERMS`; they sum to its value."""
    runner_up: Action | None
    value_gap_micro: int
    probabilities: Probabilities | None
    multipliers: Multipliers
    stops: tuple[str, ...]
    """Names of the hard constraints that took an action away."""
    policy_epoch: int
    policy_version: str
    economics_version: str
    degraded: tuple[str, ...]

    @property
    def actions(self) -> list[Action]:
        """Every eligible action, once: the order of `values_micro` and `distribution`."""
        return [*(Action(i, r) for i in self.interventions[:-1] for r in self.routes), Action("block", "")]

    @property
    def value_micro(self) -> int:
        return sum(self.terms_micro)

    @property
    def propensity(self) -> int:
        """Of 2^32: how probable the action was."""
        return self.distribution[self._eligible.place(self.action.intervention, self.action.route)]

    @property
    def _eligible(self) -> Eligible:
        return Eligible(self.interventions, self.routes, self.stops)


class Seen(Struct, frozen=True, kw_only=True, gc=False):
    """What the choice looked at; values in the order of the actions."""

    best: int
    next_best: int | None = None
    values_micro: tuple[int, ...] = ()
    terms_micro: tuple[int, ...] = UNVALUED
    probabilities: Probabilities | None = None


def choose(
    attempt: Attempt,
    *,
    amount_minor: int,
    fraud_probability_e9: int | None,
    economics: Economics,
    policy: Policy,
    ingest_us: int,
    rung: Rung = "full",
    stops: tuple[str, ...] = (),
    review_open: bool = True,
    multipliers: Multipliers = FREE,
) -> Chosen:
    """The action of highest expected value among the eligible ones.

    `amount_minor` is in the reporting currency, as `economics` is. `fraud_probability_e9` is the model's P(reported
    fraud if approved unauthenticated), an integer 1e-9; None, or a rung below the model, leads to the static answers.
    `stops` are hits of lists and blocking rules: any leaves only the block. Equal values go to the action of less
    friction, then to the lower route id.

    >>> from greenlane.payments.attempt import Card, Payment, PaymentMethod
    >>> payment = Payment(id="p", amount=10_000, currency="EUR", merchant_id="m",
    ...                   payment_method=PaymentMethod(card=Card(fingerprint="fp_1", issuer_country="US")))
    >>> chosen = choose(Attempt(attempt_id="a", payment=payment), amount_minor=10_000, fraud_probability_e9=1_000_000,
    ...                 economics=Economics(), policy=Policy(perspective="merchant"), ingest_us=0)
    >>> chosen.action, round(chosen.value_micro / 1e6)
    (Action(intervention='allow', route='default'), 2886)
    """
    history = history_of(attempt)
    may = eligible(attempt, economics, amount_minor=amount_minor, history=history, stops=stops, review_open=review_open)
    if fraud_probability_e9 is None and rung != "merchant_default":
        rung = "static"
    if fraud_probability_e9 is None or rung in ("static", "merchant_default"):
        picked = without_model(may, attempt, economics, amount_minor=amount_minor, rung=rung)
        seen = Seen(best=may.place(*picked))
    else:
        beliefs = believe(
            attempt, fraud_probability_e9, may.routes, economics=economics, priors=policy.priors, history=history
        )
        money = price(
            economics,
            amount_minor,
            policy.perspective,
            payer_present=attempt.payment.initiator == "cit",
            history=history,
            multipliers=multipliers,
        )
        over = route_matrix(beliefs.approvals, economics, may.routes, amount_minor=amount_minor)
        seen = look(may, beliefs, values(beliefs.fraud_given_history_e9, money, beliefs.payer, over), economics)
    return _record(may, seen, rung, economics=economics, policy=policy, ingest_us=ingest_us, multipliers=multipliers)


def look(may: Eligible, beliefs: Beliefs, table: NDArray[np.int64], economics: Economics) -> Seen:
    """The best and the next best of the eligible actions in a value table; ties keep the order of the actions."""
    if not may.routes:
        return Seen(best=0)
    by_intervention = table[:, :, VALUE].tolist()
    worth: list[int] = []
    for intervention in may.interventions[:-1]:
        worth += by_intervention[ROW[intervention]]
    worth.append(by_intervention[-1][0])
    best = worth.index(max(worth))
    intervention, route = may.action(best)
    allowed = by_intervention[0]
    column = may.routes.index(route) if route else allowed.index(max(allowed))
    return Seen(
        best=best,
        next_best=_next_best(worth, best),
        values_micro=tuple(worth),
        terms_micro=tuple(table[ROW[intervention], column, :VALUE].tolist()),
        probabilities=probabilities(beliefs, column, dispute_e9=economics.dispute_ppm * 1_000),
    )


def _next_best(worth: list[int], best: int) -> int | None:
    rest = worth[:best] + worth[best + 1 :]
    if not rest:
        return None
    at = rest.index(max(rest))
    return at + 1 if at >= best else at


def _record(
    may: Eligible,
    seen: Seen,
    rung: Rung,
    *,
    economics: Economics,
    policy: Policy,
    ingest_us: int,
    multipliers: Multipliers,
) -> Chosen:
    distribution, leaked = settled(greedy(may.size, seen.best), best=seen.best)
    worth, runner_up = seen.values_micro, seen.next_best
    return Chosen(
        action=Action(*may.action(seen.best)),
        rung=rung,
        interventions=may.interventions,
        routes=may.routes,
        values_micro=worth,
        distribution=distribution,
        terms_micro=seen.terms_micro,
        runner_up=None if runner_up is None else Action(*may.action(runner_up)),
        value_gap_micro=0 if runner_up is None else worth[seen.best] - worth[runner_up],
        probabilities=seen.probabilities,
        multipliers=multipliers,
        stops=may.stops,
        policy_epoch=epoch_of(ingest_us),
        policy_version=policy.version,
        economics_version=economics.version,
        degraded=(() if rung == "full" else (rung,)) + (("distribution",) if leaked else ()),
    )
